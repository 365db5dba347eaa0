"""Leaves out rows that a shard does not own: what may be there besides is another shard's to show. Pure.

A row was taken either for its home, and is owned with the slot of its user, or for the overflow (*spread*), and is
owned with the slot of its identity there. So a row that was copied to another shard is shown by exactly one of the two,
at any epoch, whichever holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES, plain_fields
from evenshard.events.hashing import SLOT_COUNT, SLOT_SHIFT, UInt64, slots_of, spread_hashes
from evenshard.events.scan import PLACEMENT_HASH, SPREAD, Bools, ScannedRows
from evenshard.ids import TenantId
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tail.block import Block

Owned = npt.NDArray[np.bool_]
"""For each slot whether the shard owns it; bool[4096]."""
NO_SLOTS: Owned = np.zeros(SLOT_COUNT, np.bool_)
NO_SLOTS.setflags(write=False)
IdentityOf = Callable[[npt.NDArray[np.int64]], UInt64]
"""The hashes by which some rows are spread."""


@dataclass(frozen=True, slots=True, eq=False)
class Ownership:
    """What a shard owns of a tenant."""

    home: Owned
    """Slots of users."""
    overflow: Owned | None = None
    """Slots of the overflow; None: all of the rows in them that are here."""


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """Slots with rows that may be here although the shard does not own them: copied here, or left when they went."""

    home: Owned
    overflow: Owned

    @property
    def is_nothing(self) -> bool:
        return not self.home.any() and not self.overflow.any()


NOTHING_FOREIGN = Foreign(NO_SLOTS, NO_SLOTS)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Which rows of a tenant are shown; made by ``of``."""

    tenant: TenantId
    home: Owned
    """Of rows that are not spread, by the slots of their users."""
    overflow: Owned | None
    """Of spread ones, by the slots of their identities; None: all."""
    old: Owned
    """Of those of which it is not known whether they are, by the slots of their users."""

    @staticmethod
    def of(tenant: TenantId, owned: "Ownership | Owned | None", foreign: Foreign) -> "Shown | None":
        """None: all are."""
        if owned is None:
            return None
        if not isinstance(owned, Ownership):
            return Shown(tenant, owned, None, owned)
        spread = owned.overflow
        if spread is not None and not (foreign.overflow & ~spread).any():
            spread = None  # all that are here are owned
        takes_spread = owned.overflow is None or bool(owned.overflow.any())
        old = owned.home | ~foreign.home if takes_spread else owned.home
        return Shown(tenant, owned.home, spread, old)

    def all_of(self, segment: SegmentInfo, first: int, last: int) -> bool:
        """Whether surely all rows of a segment are shown whose users lie in these slots, both inclusive."""
        slots = slice(first, last + 1)
        if segment.spread_rows is None:
            return self.overflow is None and bool(self.home[slots].all() and self.old[slots].all())
        if segment.spread_rows and self.overflow is not None:
            return False
        return segment.spread_rows == segment.rows or bool(self.home[slots].all())

    def none_of(self, segment: SegmentInfo, first: int, last: int) -> bool:
        """Whether surely none is."""
        if segment.spread_rows is None:
            return not self.overflow_has_any and not (self.home | self.old)[first : last + 1].any()
        return not segment.spread_rows and not self.home[first : last + 1].any()

    @property
    def overflow_has_any(self) -> bool:
        return self.overflow is None or bool(self.overflow.any())

    def rows(self, placement: UInt64, spread: pa.Array | None, identity_of: IdentityOf) -> Bools:
        """One a row. ``spread``: null where it is not known; None: none is."""
        slots = slots_of(placement)
        shown: Bools = self.home[slots]
        if spread is None or (not spread.true_count and not spread.null_count):
            return shown
        if spread.null_count:
            shown = np.where(spread.is_valid().to_numpy(zero_copy_only=False), shown, self.old[slots])
        rows = np.flatnonzero(spread.fill_null(False).to_numpy(zero_copy_only=False))
        shown[rows] = True if self.overflow is None else self.overflow[slots_of(identity_of(rows))]
        return shown

    @property
    def needs_identities(self) -> bool:
        return self.overflow is not None


class Identities:
    """The hashes by which rows are spread, computed for those that are asked for."""

    def __init__(self, tenant: TenantId, record: pa.RecordBatch, placement: UInt64) -> None:
        """``record`` has all fields, strings encoded or not."""
        self._tenant = tenant
        self._record = record
        self._placement = placement

    def __call__(self, rows: npt.NDArray[np.int64]) -> UInt64:
        taken = self._record.select(FIELD_NAMES).take(pa.array(rows))
        return spread_hashes(self._tenant, plain_fields(taken), self._placement[rows])


def shows_segment(shown: Shown, segment: SegmentInfo) -> bool:
    """Whether it surely shows every row."""
    return shown.all_of(segment, segment.slot_first, segment.slot_last)


def shows_any_of(shown: Shown, segment: SegmentInfo) -> bool:
    """Whether it may show a row."""
    return not shown.none_of(segment, segment.slot_first, segment.slot_last)


def hash_bounds(shown: Shown, segment: SegmentInfo) -> tuple[int, int] | None:
    """The lowest and the highest placement hash that a shown row of a segment can have; None: any."""
    if segment.spread_rows != 0:
        return None
    slots = np.flatnonzero(shown.home)
    return int(slots[0]) << SLOT_SHIFT, ((int(slots[-1]) + 1) << SLOT_SHIFT) - 1


def block_spread(block: Block) -> pa.Array | None:
    """The spread bits of a block's rows, null where they are not known."""
    if block.of_old:
        return pa.nulls(block.rows, pa.bool_())
    return None if block.spread is None else pa.array(block.spread)


def left_out_of(shown: Shown, block: Block) -> Bools | None:
    """Rows of a block that are not shown; None: all are."""
    spread = block_spread(block)
    if block.is_run and spread is None:  # sorted by placement
        first, last = slots_of(block.placement[[0, -1]]).tolist()
        if shown.home[first : last + 1].all():
            return None
    kept = shown.rows(block.placement, spread, Identities(shown.tenant, block.batch.record, block.placement))
    return None if kept.all() else ~kept


def shown_block(shown: Shown, block: Block) -> Block:
    """The block, all other rows hidden."""
    left_out = left_out_of(shown, block)
    if left_out is None:
        return block
    return replace(block, hidden=left_out if block.hidden is None else left_out | block.hidden)


def fields_needed(shown: Shown, segment: SegmentInfo) -> Sequence[str]:
    """What tells which rows of a segment are shown."""
    if segment.spread_rows == 0:
        return (PLACEMENT_HASH,)
    return (PLACEMENT_HASH, SPREAD, *(FIELD_NAMES if shown.needs_identities else ()))


def shown_rows(shown: Shown, scanned: ScannedRows, fields: Sequence[str]) -> ScannedRows | None:
    """Of rows scanned with ``fields_needed`` those that are shown, with these columns only if they are among
    ``fields``; None: no row."""
    record = scanned.record
    placement = record.column(PLACEMENT_HASH).to_numpy()
    spread = record.column(SPREAD) if SPREAD in record.schema.names else None
    kept = shown.rows(placement, spread, Identities(shown.tenant, record, placement))
    if not kept.any():
        return None
    if not kept.all():
        record = record.filter(pa.array(kept))
    superfluous = {PLACEMENT_HASH, SPREAD, *FIELD_NAMES} - set(fields)
    if superfluous & set(record.schema.names):
        record = record.select([name for name in record.schema.names if name not in superfluous])
    return replace(scanned, record=record)
