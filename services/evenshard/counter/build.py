"""Builds a counter."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.counter_pb2_grpc import add_CounterServiceServicer_to_server
from evenshard.counter.service import CounterService
from evenshard.counter.snapshots import Snapshots, load_counts
from evenshard.hotkeys.counting import Counts
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.wire.rpcs import COUNTER_SERVICE


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
    service = CounterService(counts, ports.clock, pool, snapshots)

    async def close() -> None:
        if snapshots is not None:
            await snapshots.close()
        pool.shutdown(wait=True)

    return Running([Servicer(COUNTER_SERVICE, add_CounterServiceServicer_to_server, service)], close)
