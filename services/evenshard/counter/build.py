"""Builds a counter."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.counter_pb2_grpc import add_CounterServiceServicer_to_server
from evenshard.api.v1.debug_pb2_grpc import add_DebugServiceServicer_to_server
from evenshard.counter.service import CounterService
from evenshard.counter.snapshots import Snapshots, load_counts
from evenshard.hotkeys.counting import Counts
from evenshard.hotkeys.slow_queries import SlowQueries
from evenshard.runtime.debug_service import DebugService
from evenshard.runtime.hot_key_reports import HotKeyReports
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.services import ServiceView
from evenshard.wire.rpcs import COUNTER_SERVICE, DEBUG_SERVICE


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A counter that goes on with the counts it last wrote; without a disk it begins with none, and keeps none."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="count")
    keys_max, now_ms = options.settings.counter_keys, ports.clock.now_ms()
    snapshots = None
    if ports.disk is None:
        counts = Counts(keys_max, now_ms)
    else:
        counts = await asyncio.to_thread(load_counts, ports.disk, keys_max, now_ms)
        snapshots = Snapshots(ports.disk, counts, ports.clock, pool, ports.note)
        snapshots.start()
    services = ServiceView(ports.directory, ports.clock)
    await services.start()
    reports = HotKeyReports(ports.directory, ports.peers, services)
    service = CounterService(counts, ports.clock, pool, snapshots, reports)

    async def close() -> None:
        await services.close()
        if snapshots is not None:
            await snapshots.close()
        pool.shutdown(wait=True)

    return Running(
        [
            Servicer(COUNTER_SERVICE, add_CounterServiceServicer_to_server, service),
            Servicer(DEBUG_SERVICE, add_DebugServiceServicer_to_server, DebugService(SlowQueries(0.0), "counter")),
        ],
        close,
    )
