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
from evenshard.runtime.memory import keep_buffers, stay_small
from evenshard.runtime.metrics import start_metrics, stop_metrics
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.priority import share_interpreter
from evenshard.runtime.rng import SystemRng
from evenshard.runtime.server import Server
from evenshard.runtime.service import Build, Ports, ServiceOptions
from evenshard.runtime.telemetry import start_telemetry, stop_telemetry
from evenshard.wire.error_document import error_document

DIRECTORY_TIMEOUT_S: Final = 30.0
DRAIN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 20.0
UNREGISTER_TIMEOUT_S: Final = 3.0
TELL_EVERY_S: Final = 0.5
"""A record is written again for another reason at most so often."""


def run_process(options: ServiceOptions, build: Build) -> int:
    """Runs the service until a signal ends it; returns the exit status: 0 after a drain."""
    keep_buffers()
    share_interpreter()
    if options.kind == "shard":
        stay_small()
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
        server = Server(options.listen, starting=lambda: registration.reason)
        await server.listen()
        stack.push_async_callback(server.drain, 0.0)
        address = f"{options.listen.rpartition(':')[0]}:{server.port}"
        registration.begin(address)
        ports = Ports(SystemClock(), SystemRng(), directory, peers, disk, registration.tell, registration.say)
        running = await build(ports, options)

        async def close() -> None:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await running.close()

        stack.push_async_callback(close)
        await server.serve(running.servicers)
        stack.push_async_callback(server.drain, DRAIN_TIMEOUT_S)
        await registration.put()
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
    """The service's record in the directory: written when it serves, and before where there is a reason to tell."""

    def __init__(self, directory: Directory, options: ServiceOptions) -> None:
        self.reason = ""
        self._note = ""
        self._directory = directory
        self._options = options
        self._key = service_key(options.name)
        self._value = b""
        self._address = ""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._one = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None

    def begin(self, address: str) -> None:
        """From now on what is told is written."""
        self._address = address
        self._telling = asyncio.create_task(self._tell(), name="telling how it is")

    async def put(self) -> None:
        async with self._one:
            options = self._options
            self._value = ServiceRecord(
                options.name,
                options.kind,
                self._address,
                socket.gethostname(),
                os.getpid(),
                options.restarts,
                self.reason,
                self._note,
            ).to_json()
            await self._directory.swap([], [Put(self._key, self._value)])

    def tell(self, reason: str) -> None:
        """See ``Ports.tell``."""
        self._loop.call_soon_threadsafe(self._told, reason)

    def say(self, note: str) -> None:
        """See ``Ports.note``."""
        self._loop.call_soon_threadsafe(self._said, note)

    def _said(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._changed.set()

    def _told(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self._changed.set()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.put()
            except EvenshardError as error:
                logger().warning("record not written", code=error.code, message=error.message)
            await asyncio.sleep(TELL_EVERY_S)

    async def remove(self) -> None:
        """Unless another process has taken the name. A shard's stays: it holds data, and is missed while it is away.
        Without a directory the record stays, and shows a dead service."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        if not self._value or self._options.kind == "shard":
            return
        try:
            entry = await self._directory.get(self._key, timeout_s=UNREGISTER_TIMEOUT_S)
            if entry is not None and entry.value == self._value:
                await self._directory.swap(
                    [Unchanged(self._key, entry.revision)], [Delete(self._key)], timeout_s=UNREGISTER_TIMEOUT_S
                )
        except EvenshardError as error:
            logger().warning("record not removed", code=error.code, message=error.message)
