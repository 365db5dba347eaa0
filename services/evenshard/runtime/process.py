"""One service process from start to exit: ports, service, server, registration; a drain on SIGTERM or SIGINT.

Its log on stderr holds one line ``ready``, or one line ``failed`` with the error it exits for.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Final

from evenshard import kernels
from evenshard.directory.keys import service_key
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.disk import LocalDisk
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.logs import logger, start_logs
from evenshard.runtime.memory import keep_buffers
from evenshard.runtime.metrics import start_metrics, stop_metrics
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.rng import SystemRng
from evenshard.runtime.server import Server
from evenshard.runtime.service import Build, Ports, ServiceOptions
from evenshard.runtime.telemetry import start_telemetry, stop_telemetry
from evenshard.wire.error_document import error_document

DIRECTORY_TIMEOUT_S: Final = 30.0
DRAIN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 20.0
UNREGISTER_TIMEOUT_S: Final = 3.0


def run_process(options: ServiceOptions, build: Build) -> int:
    """Runs the service until a signal ends it; returns the exit status: 0 after a drain."""
    keep_buffers()
    start_logs(options.name)
    try:
        start_telemetry(options.name, options.settings.trace_file)
        start_metrics(options.name)
        asyncio.run(_until_signal(options, build))
        return ExitStatus.WHOLE
    except EvenshardError as failed:
        error = failed
        logger().error("failed", **error_document(error))
    except Exception as defect:  # noqa: BLE001 - the last resort of the process: logged in full, and exit status 5
        error = EvenshardError("INTERNAL", f"{type(defect).__name__}: {defect}")
        logger().error("failed", exc_info=defect, **error_document(error))
    finally:
        stop_telemetry()
        stop_metrics()
    return error.exit_status


async def _until_signal(options: ServiceOptions, build: Build) -> None:
    """A signal before the service is ready ends its start; after, it drains."""
    stop, ready = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with _serving(options, build):
            ready.set()
            await stop.wait()
            logger().info("draining")
        logger().info("stopped")

    task = asyncio.create_task(serve())

    def on_signal() -> None:
        stop.set()
        if not ready.is_set():
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a supervisor passes its own on
        loop.add_signal_handler(signal.SIGINT, on_signal)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@contextlib.asynccontextmanager
async def _serving(options: ServiceOptions, build: Build) -> AsyncIterator[None]:
    """Everything that has to be there, in order; taken down in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        disk = None
        if options.data_dir is not None:
            disk = _open_disk(options)
            stack.callback(disk.close)
        directory = EtcdDirectory(options.etcd)
        stack.push_async_callback(directory.close)
        peers = GrpcPeers()
        stack.push_async_callback(peers.close)
        await directory.get(service_key(options.name), timeout_s=DIRECTORY_TIMEOUT_S)
        registration = _Registration(directory, options)
        stack.push_async_callback(registration.remove)
        running = await build(Ports(SystemClock(), SystemRng(), directory, peers, disk), options)

        async def close() -> None:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await running.close()

        stack.push_async_callback(close)
        server = Server(options.listen, running.servicers)
        await server.start()
        stack.push_async_callback(server.drain, DRAIN_TIMEOUT_S)
        address = f"{options.listen.rpartition(':')[0]}:{server.port}"
        await registration.put(address)
        logger().info(
            "ready",
            kind=options.kind,
            address=address,
            pid=os.getpid(),
            restarts=options.restarts,
            kernels_compiled=kernels.compiled(),
        )
        kernels.on_compilation(lambda name: logger().error("kernel compiled after readiness", kernel=name))
        yield


def _open_disk(options: ServiceOptions) -> LocalDisk:
    assert options.data_dir is not None
    try:
        disk = LocalDisk(options.data_dir)
        try:
            disk.check_writable()
        except BaseException:
            disk.close()
            raise
    except OSError as error:
        raise EvenshardError(
            "USAGE",
            f"cannot use {options.data_dir} as data directory: {error.strerror}",
            hint="make it writable for this user, or choose another: --data-dir",
        ) from error
    return disk


class _Registration:
    """The service's record in the directory."""

    def __init__(self, directory: Directory, options: ServiceOptions) -> None:
        self._directory = directory
        self._options = options
        self._key = service_key(options.name)
        self._value = b""

    async def put(self, address: str) -> None:
        options = self._options
        self._value = ServiceRecord(
            options.name, options.kind, address, socket.gethostname(), os.getpid(), options.restarts
        ).to_json()
        await self._directory.swap([], [Put(self._key, self._value)])

    async def remove(self) -> None:
        """Unless another process has taken the name. Without a directory the record stays, and shows a dead service."""
        if not self._value:
            return
        try:
            entry = await self._directory.get(self._key, timeout_s=UNREGISTER_TIMEOUT_S)
            if entry is not None and entry.value == self._value:
                await self._directory.swap(
                    [Unchanged(self._key, entry.revision)], [Delete(self._key)], timeout_s=UNREGISTER_TIMEOUT_S
                )
        except EvenshardError as error:
            logger().warning("record not removed", code=error.code, message=error.message)
