"""Takes turns between tenants: what waits of each, in its order, and no tenant behind another's flood. Pure.

*Start-time fair queueing*: each item gets a tag, where it would start if every waiting tenant were served bytes at the
same pace, and the lowest tag goes first. So a tenant with nothing ahead of its own waits for at most one item of each
other tenant, however much those have queued.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_PRUNE_AT_MIN: Final = 256


class FairShare:
    """The account of a bounded room: *a tenant may hold as much as is free*.

    So one alone gets half of the room, each of n greedy ones an n+1-th, and as much stays free for the next.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: dict[str, int] = {}
        self.bytes = 0
        """Held by all."""

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    def held_by(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def take(self, tenant: str, size: int) -> bool:
        """Room for ``size`` bytes; False: there is none for this tenant now. What meets an empty room is always taken,
        also where it is larger than the room."""
        held = self._held.get(tenant, 0)
        if self.bytes and held + size > self._bytes_max - self.bytes:
            return False
        self._held[tenant] = held + size
        self.bytes += size
        return True

    def give_back(self, tenant: str, size: int) -> None:
        """``size`` bytes that ``take`` gave."""
        held = self._held[tenant] - size
        self.bytes -= size
        if held:
            self._held[tenant] = held
        else:
            del self._held[tenant]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    item: Item
    size: int
    start: int


class FairQueue(Generic[Item]):
    """Items of several tenants, each with its bytes. The caller bounds it (``FairShare``)."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[_Entry[Item]]] = {}
        self._heads: list[tuple[int, int, str]] = []
        """Of each line that is not empty: its first item's tag, when it came to stand there, its tenant."""
        self._turn = 0
        self._now = 0
        """The tag of the item served last."""
        self._finish: dict[str, int] = {}
        """Where a tenant's next item may start: behind all it had before."""
        self._prune_at = _PRUNE_AT_MIN

    def __bool__(self) -> bool:
        return bool(self._heads)

    def put(self, tenant: str, size: int, item: Item) -> None:
        """Adds an item behind those of its tenant."""
        start = max(self._now, self._finish.get(tenant, 0))
        self._finish[tenant] = start + size
        line = self._lines.setdefault(tenant, deque())
        line.append(_Entry(item, size, start))
        if len(line) == 1:
            self._push(tenant, start)

    def next_size(self) -> int:
        """Bytes of the item that ``pop`` would give; the queue must not be empty."""
        return self._lines[self._heads[0][2]][0].size

    def pop(self) -> Item:
        """The item whose turn it is; the queue must not be empty."""
        start, _, tenant = heapq.heappop(self._heads)
        line = self._lines[tenant]
        entry = line.popleft()
        self._now = start
        if line:
            self._push(tenant, line[0].start)
        else:
            del self._lines[tenant]
        if len(self._finish) >= self._prune_at:
            self._prune()
        return entry.item

    def _prune(self) -> None:
        """Forgets tenants that may start at once anyway; all of them where nobody waits."""
        if not self._heads:
            self._now = max(self._finish.values())
        self._finish = {name: finish for name, finish in self._finish.items() if finish > self._now}
        self._prune_at = max(_PRUNE_AT_MIN, 2 * len(self._finish))

    def _push(self, tenant: str, start: int) -> None:
        self._turn += 1
        heapq.heappush(self._heads, (start, self._turn, tenant))
