"""Keeps a loop of a service going: a defect in it is said in full, and the loop begins anew after a pause."""

from collections.abc import Awaitable, Callable
from typing import Final

from evenshard.ports.clock import Clock
from evenshard.runtime.logs import logger

BACKOFF_MS_MIN: Final = 100
BACKOFF_MS_MAX: Final = 10_000
GOOD_MS: Final = 60_000
"""After so long without a defect, the pause is short again."""


async def until_ended(run: Callable[[], Awaitable[None]], clock: Clock, name: str) -> None:
    """Until ``run`` returns by itself, or is cancelled: who waits for that while it stops gives it a deadline."""
    backoff_ms = BACKOFF_MS_MIN
    while True:
        begun_ms = clock.monotonic_ms()
        try:
            await run()
        except Exception as defect:  # noqa: BLE001 - said in full; who waits for the loop's work is not left alone
            logger().critical("a loop broke off", loop=name, exc_info=defect)
        else:
            return
        if clock.monotonic_ms() - begun_ms >= GOOD_MS:
            backoff_ms = BACKOFF_MS_MIN
        await clock.sleep(backoff_ms)
        backoff_ms = min(BACKOFF_MS_MAX, 2 * backoff_ms)
