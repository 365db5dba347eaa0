"""What a gateway knows from queries before: partials of shards, and answers put together from them.

Nothing here is believed without being asked for: a shard says for each query whether its rows are still those that a
partial was made of (``tag``), and an answer counts only for the very partials it was made of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar, cast

import pyarrow as pa

from evenshard.gateway.lru import Lru
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.queries.plan import ScanStats
from evenshard.queries.reunion import SplitRows

_ANSWERS_SHARE: Final = 4
"""A quarter of the room is for answers."""
_TOLD_SHARE: Final = 64
"""Besides, a little for names of split users."""
_PLANS_SHARE: Final = 64
"""And for plans."""
_PLAN_COPIES: Final = 16
"""A plan's numbers are objects: so many times what it has as a text."""
_ENTRY_BYTES: Final = 1 << 10
"""Of the smallest entry, about."""
_ANSWER_COPIES: Final = 4
"""An answer's numbers are objects: so many times what they took in its partials."""

_Answer = TypeVar("_Answer")
_Plan = TypeVar("_Plan")
Planned = tuple[_Plan, bytes]
"""A plan, and the scan that it asks shards for."""
Told = dict[ShardId, tuple[str, ...]]
"""Shards, and the split users each is told of."""


class Asked(NamedTuple):
    """What one shard was asked."""

    tenant: TenantId
    epoch: Epoch
    shard: ShardId
    scan: bytes
    told: tuple[str, ...] = ()
    """Split users whom it was told of."""


@dataclass(frozen=True, slots=True)
class Partial:
    """What it answered."""

    table: pa.Table
    stats: ScanStats
    data_version: str
    tag: str
    """Of the rows that were read; empty: the shard gave none."""
    split_rows: SplitRows = ()
    """Of split users, who are not in the table."""
    split_users: tuple[str, ...] = ()
    """Those of them who are at home elsewhere."""
    split_bytes: int = 0
    """Memory of ``split_rows`` once they are decoded."""

    @property
    def bytes(self) -> int:
        """Memory."""
        return int(self.table.nbytes) + sum(map(len, (*self.split_rows, *self.split_users)))


@dataclass(frozen=True, slots=True)
class _Finished:
    tags: tuple[str, ...]
    answer: Any


class Known:
    """Belongs to one event loop."""

    def __init__(self, bytes_max: int) -> None:
        """``bytes_max``: for all; 0: nothing is kept."""
        answers = bytes_max // _ANSWERS_SHARE
        self._partials: Lru[Asked, Partial] = Lru(bytes_max - answers)
        self._answers: Lru[Hashable, _Finished] = Lru(answers)
        self._told: Lru[Hashable, Told] = Lru(bytes_max // _TOLD_SHARE)
        self._plans: Lru[Hashable, Any] = Lru(bytes_max // _PLANS_SHARE)

    @property
    def bytes(self) -> int:
        """Held now."""
        return self._partials.bytes + self._answers.bytes

    async def planned(self, question: Hashable, plan: Callable[[], Planned[_Plan]]) -> Planned[_Plan]:
        """What ``plan`` gives, in a thread, or gave for the same question before: nothing else decides it."""
        found: Planned[_Plan] | None = self._plans.get(question)
        if found is None:
            found = await asyncio.to_thread(plan)
            self._plans.put(question, found, _PLAN_COPIES * len(found[1]) + _ENTRY_BYTES)
        return found

    def partial(self, asked: Asked) -> Partial | None:
        """What was answered last."""
        return self._partials.get(asked)

    def told(self, question: Hashable) -> Told | None:
        """Whom shards were told of when they were asked this last."""
        return self._told.get(question)

    def note_told(self, question: Hashable, told: Told) -> None:
        """So that one round will do next time; to be told of users who are whole changes no answer."""
        names = sum(len(name) for users in told.values() for name in users)
        self._told.put(question, told, _ENTRY_BYTES + names)

    def note(self, asked: Asked, partial: Partial) -> None:
        if partial.tag:
            size = partial.bytes + len(asked.scan) + sum(map(len, asked.told)) + _ENTRY_BYTES
            self._partials.put(asked, partial, size)

    async def finish(
        self,
        question: Hashable,
        tags: tuple[str, ...],
        partial_bytes: Callable[[], int],
        compute: Callable[[], _Answer],
    ) -> _Answer:
        """What ``compute`` gives, in a thread; or what it gave for the same question and ``tags`` before."""
        return await self.remember(question, tags, partial_bytes, lambda: asyncio.to_thread(compute))

    async def remember(
        self,
        question: Hashable,
        tags: tuple[str, ...],
        partial_bytes: Callable[[], int],
        compute: Callable[[], Awaitable[_Answer]],
    ) -> _Answer:
        """What ``compute`` gives; or what it gave for the same question and ``tags`` before.

        ``question``: all that the answer depends on besides the partials that ``tags`` stand for, in their order; no
        tags: they stand for nothing.
        """
        found = self._answers.get(question) if tags else None
        if found is not None and found.tags == tags:
            return cast(_Answer, found.answer)
        answer = await compute()
        if tags:
            self._answers.put(question, _Finished(tags, answer), _ANSWER_COPIES * partial_bytes() + _ENTRY_BYTES)
        return answer
