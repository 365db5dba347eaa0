"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from typing import Final

START_MS: Final = 1_767_225_600_000
"""2026-01-01, UTC."""

_TURNS_PER_WAKE: Final = 20
"""How many turns of the loop a woken task gets before time goes on."""


class ManualClock:
    """Starts at ``now_ms``; wall and monotonic clock move together, by ``advance``."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._wall_at_zero_ms = now_ms
        self._elapsed_ms = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return int(self._wall_at_zero_ms + self._elapsed_ms)

    def monotonic_ms(self) -> float:
        return self._elapsed_ms

    async def sleep(self, duration_ms: float) -> None:
        if duration_ms <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        sleeper = (self._elapsed_ms + duration_ms, next(self._order), woken)
        heapq.heappush(self._sleepers, sleeper)
        try:
            await woken.wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    async def advance(self, duration_ms: float) -> None:
        """Moves time on; wakes whoever is due, in order, each at its own time."""
        end_ms = self._elapsed_ms + duration_ms
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end_ms:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_ms = max(self._elapsed_ms, due_ms)
            woken.set()
            await self._settle()
        self._elapsed_ms = end_ms

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleepers)

    def jump_wall(self, by_ms: int) -> None:
        """Moves the wall clock alone, as an administrator might."""
        self._wall_at_zero_ms += by_ms

    async def _settle(self) -> None:
        for _ in range(_TURNS_PER_WAKE):
            await asyncio.sleep(0)
