"""Runs a coroutine on a clock that stands still while anything can go on, and else jumps to whoever waits next."""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

from evenshard.testing.clock import ManualClock

_Result = TypeVar("_Result")
_TURNS = 12
"""Of the loop, that whoever was woken gets before time goes on: more than any chain of calls here takes."""


class VirtualClock(ManualClock):
    """Nothing may run in threads."""

    async def step(self) -> None:
        """To the next one that waits."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._sleepers:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_ms = max(self._elapsed_ms, due_ms)
            woken.set()

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Until it is done."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.step()
        return await task

    def run_all(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """In a loop of its own."""
        return asyncio.run(self.run(work))
