"""Gives freed memory back to the system before a shard's memory is full of it.

An allocator keeps what is freed in the middle of its heap, and a merge frees and takes all the time: a process that
holds 300 MB may so have 300 more that nobody uses. To give it back takes a few ms; it is done where it is needed.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from evenshard.ports.clock import Clock
from evenshard.runtime.endless import until_ended

LOOK_EVERY_MS: Final = 50
FROM_SHARE: Final = 0.75
"""Of the bound: with less resident nothing is done."""
STEP_SHARE: Final = 1 / 32
"""Of the bound: so much has to come to what was left, before it is tried again."""


class Line:
    """Says when memory is to be given back. Pure."""

    def __init__(self, bytes_max: int) -> None:
        self._lowest = int(FROM_SHARE * bytes_max)
        self._step = int(STEP_SHARE * bytes_max)
        self._at = self._lowest

    def is_reached(self, resident_bytes: int) -> bool:
        if resident_bytes < self._lowest:
            self._at = self._lowest
        return resident_bytes >= self._at

    def left(self, resident_bytes: int) -> None:
        """What is resident after memory was given back: that much is in use."""
        self._at = max(self._lowest, resident_bytes + self._step)


class MemoryGiver:
    """Belongs to one event loop."""

    def __init__(
        self, clock: Clock, bytes_max: int, resident_bytes: Callable[[], int | None], give_back: Callable[[], None]
    ) -> None:
        """``resident_bytes`` is quick, and None where the system does not say; ``give_back`` is called in a thread."""
        self._clock = clock
        self._line = Line(bytes_max)
        self._resident_bytes = resident_bytes
        self._give_back = give_back
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(until_ended(self._run, self._clock, "memory giver"), name="memory giver")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_MS)
            if self._line.is_reached(self._resident_bytes() or 0):
                await asyncio.to_thread(self._give_back)
                self._line.left(self._resident_bytes() or 0)
