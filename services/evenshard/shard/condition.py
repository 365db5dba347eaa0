"""Tells ``evenshard status`` where a shard answers but takes no events: after a failed sync, until a restart. And what
it has in quarantine, although it serves.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from evenshard.ports.clock import Clock
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.store import Store

LOOK_EVERY_MS = 1000
NAMED_MAX: Final = 3


class Condition:
    """Belongs to one event loop."""

    def __init__(
        self, store: Store, clock: Clock, tell: Callable[[str], None], note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._note = note
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
            self._note(in_quarantine(self._store.quarantined))


def in_quarantine(records: Sequence[Quarantined]) -> str:
    """What is lost and not accepted, in words; empty: nothing."""
    lost = [each for each in records if each.is_in_force and each.tenants]
    if not lost:
        return ""
    named = [f"{each.file} ({', '.join(each.tenants[:NAMED_MAX])}, {each.days})" for each in lost[:NAMED_MAX]]
    more = f" and {len(lost) - NAMED_MAX} more" if len(lost) > NAMED_MAX else ""
    return f"in quarantine: {', '.join(named)}{more}; see docs/operations.md, or evenshard fsck"
