"""Tells ``evenshard status`` where a shard answers but takes no events: after a failed sync, until a restart."""

import asyncio
from collections.abc import Callable

from evenshard.ports.clock import Clock
from evenshard.storage.store import Store

LOOK_EVERY_MS = 1000


class Condition:
    """Belongs to one event loop."""

    def __init__(self, store: Store, clock: Clock, tell: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="condition")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_MS)
            refusal = self._store.refuses_changes
            self._tell("" if refusal is None else f"{refusal.message}; reads go on. {refusal.hint}")
