"""The directory in memory: etcd's model with its history, deterministic, for one event loop; and its faults on demand.

Leases lapse by the clock given, looked at whenever the directory is asked anything.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Changes, Delete, Entry, Put, Snapshot, SwapResult, Unchanged

Answer = TypeVar("Answer")

FIRST_REVISION = Revision(1)
"""Of an empty directory, as etcd's."""


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    lapses_at_ms: float
    keys: set[str] = field(default_factory=set)


class MemoryDirectory:
    """``Directory`` in memory. Several services of one process share one; ``close`` of one does not end the others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._revision = FIRST_REVISION
        self._history: list[tuple[Revision, list[Entry | str]]] = []  # a str: that key was deleted
        self._compacted = Revision(0)
        self._leases: dict[int, _Lease] = {}
        self._lease_of_key: dict[str, int] = {}
        self._last_lease = 0
        self._news = asyncio.Event()
        self._failing_calls = 0
        self._lost_replies = 0
        self._away = False
        self._watches_paused = False
        self._watch_generation = 0

    # The port

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        await self._arrive()
        return await _replied(self._entries.get(key))

    async def range(self, prefix: str, *, timeout_s: float = 5.0) -> Snapshot:
        await self._arrive()
        return await _replied(self._snapshot(prefix))

    async def swap(
        self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], *, timeout_s: float = 5.0
    ) -> SwapResult:
        await self._arrive()
        result = self._swap(conditions, changes)
        if self._lost_replies:
            self._lost_replies -= 1
            raise _unavailable("the reply was lost", in_doubt=True)
        return await _replied(result)

    async def watch(self, prefix: str, after: Revision) -> AsyncIterator[Changes]:
        generation = self._watch_generation
        await self._arrive()
        yield Changes((), (), after)
        while True:
            if self._away or generation != self._watch_generation:
                raise _unavailable("the watch was lost")
            pending = [] if self._watches_paused else self._changes_after(prefix, after)
            if not pending:
                await self._news.wait()
                continue
            for changes in pending:
                after = changes.revision
                yield await _replied(changes)

    async def grant(self, ttl_s: int, *, timeout_s: float = 5.0) -> int:
        await self._arrive()
        self._last_lease += 1
        self._leases[self._last_lease] = _Lease(ttl_s, self._clock.monotonic_ms() + ttl_s * 1000)
        return await _replied(self._last_lease)

    async def keep_alive(self, lease: int, *, timeout_s: float = 5.0) -> bool:
        await self._arrive()
        held = self._leases.get(lease)
        if held is None:
            return False
        held.lapses_at_ms = self._clock.monotonic_ms() + held.ttl_s * 1000
        return await _replied(True)

    async def revoke(self, lease: int, *, timeout_s: float = 5.0) -> None:
        await self._arrive()
        if lease in self._leases:
            self._end_lease(lease)

    async def close(self) -> None:
        """Nothing to release: others may share it."""

    # Faults on demand

    def fail_next(self, calls: int = 1) -> None:
        """The next ``calls`` calls fail with ``DIRECTORY_UNAVAILABLE`` and do nothing."""
        self._failing_calls = calls

    def lose_reply_next(self, swaps: int = 1) -> None:
        """The next ``swaps`` swaps are decided and made as ever, but the caller gets ``DIRECTORY_UNAVAILABLE``, in
        doubt: what the real one raises when it could not read back before its deadline."""
        self._lost_replies = swaps

    def go_away(self) -> None:
        """Every call fails and every watch ends, until ``come_back``."""
        self._away = True
        self._announce()

    def come_back(self) -> None:
        self._away = False

    def break_watches(self) -> None:
        """Watches in progress end with ``DIRECTORY_UNAVAILABLE``; new ones work."""
        self._watch_generation += 1
        self._announce()

    def pause_watches(self) -> None:
        """Watches say nothing until ``resume_watches``; then everything they missed, in order."""
        self._watches_paused = True

    def resume_watches(self) -> None:
        self._watches_paused = False
        self._announce()

    def compact(self) -> None:
        """Forgets the history up to now: a watch that is behind gets a ``reload``."""
        self._compacted = self._revision
        self._history.clear()

    def lapse(self, lease: int) -> None:
        """The lease lapses now."""
        self._end_lease(lease)

    # Inside

    async def _arrive(self) -> None:
        """What happens before any call is answered. Others get their turns while it is on its way, and while the reply
        is, so that calls interleave as they do with the real one."""
        await asyncio.sleep(0)
        if self._away:
            raise _unavailable("it is away")
        if self._failing_calls:
            self._failing_calls -= 1
            raise _unavailable("it was told to fail")
        now_ms = self._clock.monotonic_ms()
        for lease in [lease for lease, held in self._leases.items() if held.lapses_at_ms <= now_ms]:
            self._end_lease(lease)

    def _snapshot(self, prefix: str) -> Snapshot:
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Snapshot([self._entries[key] for key in keys], self._revision)

    def _changes_after(self, prefix: str, after: Revision) -> list[Changes]:
        if after < self._compacted:
            snapshot = self._snapshot(prefix)
            return [Changes(snapshot.entries, (), snapshot.revision, reload=True)]
        found = []
        for revision, items in self._history[self._first_after(after) :]:
            entries = [item for item in items if isinstance(item, Entry) and item.key.startswith(prefix)]
            deleted = [item for item in items if isinstance(item, str) and item.startswith(prefix)]
            if entries or deleted:
                found.append(Changes(entries, deleted, revision))
        return found

    def _first_after(self, after: Revision) -> int:
        """Index into the history, which holds every revision since it begins."""
        return max(0, after - self._history[0][0] + 1) if self._history else 0

    def _swap(self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete]) -> SwapResult:
        keys = [change.key for change in changes]
        if len(set(keys)) != len(keys):
            raise ValueError(f"a swap changes a key twice: {keys}")
        for condition in conditions:
            entry = self._entries.get(condition.key)
            if (entry.revision if entry else 0) != condition.revision:
                return SwapResult(False, self._revision)
        for change in changes:
            if isinstance(change, Put) and change.lease and change.lease not in self._leases:
                raise EvenshardError("OPERATION_STATE", f"lease {change.lease} has lapsed")
        self._apply(changes)
        return SwapResult(True, self._revision)

    def _apply(self, changes: Sequence[Put | Delete]) -> None:
        revision = Revision(self._revision + 1)
        items: list[Entry | str] = []
        for change in changes:
            if isinstance(change, Delete):
                if self._entries.pop(change.key, None) is not None:
                    items.append(change.key)
                self._detach(change.key)
                continue
            entry = Entry(change.key, change.value, revision)
            self._entries[change.key] = entry
            items.append(entry)
            self._detach(change.key)
            if change.lease:
                self._leases[change.lease].keys.add(change.key)
                self._lease_of_key[change.key] = change.lease
        if items:
            self._revision = revision
            self._history.append((revision, items))
            self._announce()

    def _detach(self, key: str) -> None:
        held = self._leases.get(self._lease_of_key.pop(key, 0))
        if held is not None:
            held.keys.discard(key)

    def _end_lease(self, lease: int) -> None:
        keys = sorted(self._leases.pop(lease).keys)
        self._apply([Delete(key) for key in keys])

    def _announce(self) -> None:
        """Wakes every watch; each then waits for the next news."""
        self._news.set()
        self._news = asyncio.Event()


async def _replied(answer: Answer) -> Answer:
    await asyncio.sleep(0)
    return answer


def _unavailable(reason: str, *, in_doubt: bool = False) -> EvenshardError:
    return EvenshardError("DIRECTORY_UNAVAILABLE", f"the directory in memory: {reason}", in_doubt=in_doubt)
