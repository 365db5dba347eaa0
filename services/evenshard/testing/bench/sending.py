"""Sends prepared batches the way the client does, a few calls at once."""

from collections.abc import Callable, Iterator
from typing import Final

from evenshard.client.batches import Batch
from evenshard.client.import_result import ImportResult
from evenshard.client.importer import Importer, ImportOptions, Progress
from evenshard.client.loop import run_blocking
from evenshard.client.transport import Transport
from evenshard.runtime.rng import SystemRng

SHARDS: Final = 2
TENANT: Final = "bench"
SEED: Final = 20_260_101
IN_FLIGHT: Final = 6
TIMEOUT_S: Final = 120.0


def send(
    router: str,
    batches: Iterator[Batch],
    *,
    strict: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ImportResult:
    """Returns when every event is answered for."""
    return run_blocking(_send(router, batches, strict, stopping, on_progress))


async def _send(
    router: str,
    batches: Iterator[Batch],
    strict: bool,
    stopping: Callable[[], bool],
    on_progress: Callable[[Progress], None] | None,
) -> ImportResult:
    transport = Transport(router, None)
    try:
        options = ImportOptions(
            TENANT,
            strict=strict,
            in_flight=IN_FLIGHT,
            timeout_s=TIMEOUT_S,
            stopping=stopping,
            on_progress=on_progress,
        )
        return await Importer(transport, options, SystemRng()).run(batches, in_thread=True)
    finally:
        await transport.close()
