"""The moves of one tenant that a shard knows of: their records as they are now, and what is counted for them.

Mutable; the store's ``append_lock`` guards it. A record may be newer here than in the catalog by what frames of the log
say; whatever indexes those frames stores the record with them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import UInt64, slots_of, spread_hashes
from evenshard.ids import TenantId
from evenshard.storage.moving.counting import Counting
from evenshard.storage.moving.record import MoveRecord
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Ownership
from evenshard.storage.tail.block import Block

OVER_KEPT_MAX = 1000
"""Of moves that are over the revisions of so many are remembered, of a tenant."""


class Moves:
    """By name."""

    def __init__(self, records: Iterable[MoveRecord] = ()) -> None:
        self._records: Mapping[str, MoveRecord] = {}
        """Replaced as a whole: scans look at it without a lock."""
        self._counting: dict[str, Counting] = {}
        for record in records:
            self.put(record)

    def get(self, name: str) -> MoveRecord | None:
        """None: nothing was heard of it, or it was forgotten."""
        return self._records.get(name)

    def records(self) -> list[MoveRecord]:
        """Those that are not over."""
        return [record for record in self._records.values() if not record.is_over]

    def put(self, record: MoveRecord) -> None:
        """So it is from now on."""
        others = {name: each for name, each in self._records.items() if name != record.name}
        self._records = {**others, record.name: record}

    def superfluous(self) -> list[str]:
        """Moves that are over, beyond those that are remembered; the oldest."""
        over = [record.name for record in self._records.values() if record.is_over]
        return over[: max(0, len(over) - OVER_KEPT_MAX)]

    def forget(self, names: Iterable[str]) -> None:
        gone = frozenset(names)
        if gone:
            self._records = {name: each for name, each in self._records.items() if name not in gone}

    def fences(self, tenant: TenantId) -> list[MovedSlots]:
        """Slots that are fenced."""
        return [record.moved(tenant) for record in self._records.values() if record.fenced_at is not None]

    def check(
        self, tenant: TenantId, batch: EventBatch, placement: UInt64, spread: npt.NDArray[np.bool_] | None
    ) -> None:
        """Raises ``SLOTS_FENCED`` for rows that came for fenced slots."""
        for fence in self.fences(tenant):
            if fence.overflow:
                rows = np.zeros(0, np.int64) if spread is None else np.flatnonzero(spread)
                hashes = spread_hashes(tenant, batch.take(pa.array(rows)), placement[rows])
            else:
                hashes = placement if spread is None else placement[~spread]
            if fence.mask[slots_of(hashes)].any():
                raise fenced(tenant)

    def check_scan(self, tenant: TenantId, owned: Ownership) -> None:
        """Raises ``SLOTS_FENCED`` where a scan would answer for fenced slots."""
        for fence in self.fences(tenant):
            mine = owned.overflow if fence.overflow else owned.home
            if mine is None or (fence.mask & mine).any():
                raise fenced(tenant)

    def check_change(self, tenant: TenantId) -> None:
        """Raises ``SLOTS_FENCED`` where any slot is: nothing else of the tenant changes either, it travels along."""
        if self.fences(tenant):
            raise fenced(tenant)

    @property
    def kept_from(self) -> int | None:
        """The log from this position on is kept for followers; None: none of it is."""
        kept = [record.kept.position for record in self._records.values() if record.kept is not None]
        return min(kept, default=None)

    @property
    def deletions_kept_after(self) -> int | None:
        """Deletions with a higher seq are still to be told; None: none is."""
        kept = [record.kept.deletions_seen for record in self._records.values() if record.kept is not None]
        return min(kept, default=None)

    def counting(self, name: str, make: Callable[[], Counting] | None = None) -> Counting | None:
        """What is counted for a move; made where there is none."""
        if name not in self._counting and make is not None:
            self._counting[name] = make()
        return self._counting.get(name)

    def stop_counting(self, name: str) -> None:
        self._counting.pop(name, None)

    def came(self, blocks: Sequence[Block]) -> None:
        """Rows were stored."""
        for counting in self._counting.values():
            counting.came(blocks)

    def changed(self) -> None:
        """What was stored is shown otherwise from now on: what was counted is not right any more."""
        self._counting.clear()


def fenced(tenant: TenantId) -> EvenshardError:
    return EvenshardError(
        "SLOTS_FENCED", f"slots of {tenant} are being handed to another shard", retry_after_ms=RETRY_MS
    )


RETRY_MS = 20
