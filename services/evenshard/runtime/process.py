"""One service process from start to exit: ports, service, server, registration; a drain on SIGTERM or SIGINT.

Its log on stderr holds one line ``ready``, or one line ``failed`` with the error it exits for.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

from evenshard import kernels
from evenshard.directory.keys import service_key
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.directory_start import await_directory, etcd_tls
from evenshard.runtime.disk import LocalDisk
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.logs import logger, start_logs
from evenshard.runtime.memory import keep_buffers, stay_small
from evenshard.runtime.metrics import start_metrics, stop_metrics
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.priority import share_interpreter
from evenshard.runtime.process_metrics import observe_process
from evenshard.runtime.registration import Registration
from evenshard.runtime.rng import SystemRng
from evenshard.runtime.server import Server
from evenshard.runtime.service import Build, Ports, ServiceOptions
from evenshard.runtime.telemetry import start_telemetry, stop_telemetry
from evenshard.runtime.traces import KeepElsewhere
from evenshard.wire.error_document import error_document

DRAIN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 20.0


def run_process(options: ServiceOptions, build: Build) -> int:
    """Runs the service until a signal ends it; returns the exit status: 0 after a drain."""
    keep_buffers()
    share_interpreter()
    if options.kind == "shard":
        stay_small()
    start_logs(options.name)
    try:
        settings = options.settings
        start_telemetry(
            options.name,
            settings.trace_file,
            sampled_percent=settings.trace_sample_percent,
            slow_ms=settings.slow_trace_ms,
        )
        start_metrics(options.name, options.metrics_listen or settings.metrics_listen)
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
        directory = EtcdDirectory(options.etcd, etcd_tls(options.settings))
        stack.push_async_callback(directory.close)
        peers = GrpcPeers()
        stack.push_async_callback(peers.close)
        registration = Registration(directory, options)
        stack.push_async_callback(registration.remove)
        server = Server(options.listen, starting=lambda: registration.reason)
        await server.listen()
        stack.push_async_callback(server.drain, 0.0)
        # Behind the server, whose health tells meanwhile that this process is alive and not ready.
        await await_directory(directory, options.etcd, service_key(options.name), options.settings, registration.waits)
        address = options.advertise or f"{options.listen.rpartition(':')[0]}:{server.port}"
        await registration.check_free(address, peers)
        registration.begin(address)
        ports = Ports(SystemClock(), SystemRng(), directory, peers, disk, registration.tell, registration.say)
        keeping = KeepElsewhere(peers, ports.clock)
        keeping.start()
        observe_process(options.data_dir, lambda: server.serves, lambda: keeping.untold_spans)
        stack.push_async_callback(keeping.close)
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
