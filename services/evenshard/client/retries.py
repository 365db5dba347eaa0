"""When to send again: what is retryable, until the deadline, with growing and jittered pauses; never else."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.ports.rng import Rng

Answer = TypeVar("Answer")

PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
FIRST_CONNECT_MAX_S: Final = 3.0
"""How long an address that never answered is tried: it is wrong more often than late."""
FIRST_CONNECT_FAILURES: Final = 2
"""Until then pauses do not grow beyond the one after so many failures."""


class Retries:
    """The patience of one operation: pauses between its attempts, and its deadline."""

    def __init__(
        self,
        timeout_s: float,
        rng: Rng,
        *,
        attempt_max_s: float = math.inf,
        limit_wait_max_s: float = 0.0,
        on_limit: Callable[[EvenshardError], None] = lambda _: None,
    ) -> None:
        """``limit_wait_max_s``: how long, beyond ``timeout_s``, to wait for a tenant's own import limit, which is no
        failure and ends by itself; ``on_limit`` is told of each such wait."""
        self._attempt_max_s = attempt_max_s
        self._limit_wait_s = limit_wait_max_s
        self._on_limit = on_limit
        self._started_s = time.monotonic()
        self._deadline_s = self._started_s + timeout_s
        self._rng = rng
        self._failures = 0

    def remaining_s(self) -> float:
        return max(0.0, self._deadline_s - time.monotonic())

    def attempt_s(self) -> float:
        """How long the next attempt may take."""
        return min(self.remaining_s(), self._attempt_max_s)

    def _pause_s(self, retry_after_ms: int | None = None) -> float:
        """The pause before the next attempt, at least what the cluster asked for."""
        longest = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0**self._failures)
        self._failures += 1
        return max(longest * (0.5 + self._rng.random() / 2), (retry_after_ms or 0) / 1000)

    async def wait(self, retry_after_ms: int | None = None) -> bool:
        """Pauses; False where that would pass the deadline."""
        pause_s = self._pause_s(retry_after_ms)
        if pause_s >= self.remaining_s():
            return False
        await asyncio.sleep(pause_s)
        return True

    async def again(self, error: EvenshardError, transport: Transport) -> bool:
        """Pauses where another attempt makes sense after ``error``; False where none does."""
        if not error.retryable:
            return False
        if error.code == "UNREACHABLE" and not transport.was_connected:
            if time.monotonic() - self._started_s > FIRST_CONNECT_MAX_S:
                return False
            self._failures = min(self._failures, FIRST_CONNECT_FAILURES)
        if error.code == "LIMIT_EXCEEDED":
            return await self._wait_for_limit(error)
        return await self.wait(error.retry_after_ms)

    async def _wait_for_limit(self, error: EvenshardError) -> bool:
        """Pauses for as long as was asked, a little longer each by chance, and moves the deadline by that much."""
        asked_s = (error.retry_after_ms or 0) / 1000
        pause_s = max(PAUSE_FIRST_S, asked_s) + PAUSE_FIRST_S * self._rng.random()
        beyond_s = min(pause_s, self._limit_wait_s)
        if pause_s - beyond_s >= self.remaining_s():
            return False
        self._limit_wait_s -= beyond_s
        self._deadline_s += beyond_s
        self._on_limit(error)
        await asyncio.sleep(pause_s)
        return True

    async def attempt(self, transport: Transport, send: Callable[[float], Awaitable[Answer]]) -> Answer:
        """``send(timeout_s)`` until it answers. The error that ends it is in doubt if any attempt was."""
        in_doubt = False
        while True:
            try:
                return await send(self.attempt_s())
            except EvenshardError as error:
                in_doubt |= error.in_doubt
                error.in_doubt = in_doubt
                if not await self.again(error, transport):
                    raise
