"""Builds a counter."""

from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.counter_pb2_grpc import add_CounterServiceServicer_to_server
from evenshard.counter.service import CounterService
from evenshard.hotkeys.counting import Counts
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.wire.rpcs import COUNTER_SERVICE


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A counter that knows nothing yet: counts begin with its start."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="count")
    service = CounterService(Counts(options.settings.counter_keys, ports.clock.now_ms()), pool)

    async def close() -> None:
        pool.shutdown(wait=True)

    return Running([Servicer(COUNTER_SERVICE, add_CounterServiceServicer_to_server, service)], close)
