"""Which rows of a tenant a move is about. Pure.

Those of users in its slots that were not spread, or, of the overflow, those that were spread and whose identities lie
in its slots. Of rows stored before that was noted a home counts all as its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES
from evenshard.events.hashing import SLOT_COUNT, UInt64, slots_of
from evenshard.events.scan import PLACEMENT_HASH, SPREAD, Bools
from evenshard.ids import TenantId
from evenshard.storage.ownership import Identities, Owned
from evenshard.storage.segment.info import SegmentInfo

Span = tuple[int, int]
"""Slots first to last, both inclusive."""


def mask_of(spans: Iterable[Span]) -> Owned:
    """bool[4096]."""
    mask = np.zeros(SLOT_COUNT, np.bool_)
    for first, last in spans:
        mask[first : last + 1] = True
    return mask


def spans_of(mask: Owned) -> tuple[Span, ...]:
    """What ``mask_of`` makes a mask of, joined."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return tuple((int(first), int(end) - 1) for first, end in edges.reshape(-1, 2))


@dataclass(frozen=True)
class MovedSlots:
    """Slots of a tenant; of its second slot map, if ``overflow``."""

    tenant: TenantId
    spans: tuple[Span, ...]
    overflow: bool = False

    @cached_property
    def mask(self) -> Owned:
        mask = mask_of(self.spans)
        mask.setflags(write=False)
        return mask

    @property
    def fields(self) -> Sequence[str]:
        """What tells which rows are meant."""
        return (PLACEMENT_HASH, SPREAD, *(FIELD_NAMES if self.overflow else ()))

    def may_be_in(self, segment: SegmentInfo) -> bool:
        """Whether a segment may have such rows."""
        if self.overflow:
            return segment.spread_rows != 0 and segment.spread_rows is not None
        return bool(self.mask[segment.slot_first : segment.slot_last + 1].any())

    def has_all_of(self, segment: SegmentInfo) -> bool:
        """Whether surely all rows of a segment are meant."""
        if self.overflow:
            return segment.spread_rows == segment.rows and bool(self.mask.all())
        return not segment.spread_rows and bool(self.mask[segment.slot_first : segment.slot_last + 1].all())

    def rows(self, record: pa.RecordBatch, placement: UInt64, spread: pa.Array | None) -> Bools:
        """One a row. ``spread``: null where it is not known; None: none is. ``record`` has all fields, of a move of the
        overflow."""
        is_spread = (
            np.zeros(placement.size, np.bool_)
            if spread is None
            else spread.fill_null(False).to_numpy(zero_copy_only=False)
        )
        if not self.overflow:
            return self.mask[slots_of(placement)] & ~is_spread
        meant = np.zeros(placement.size, np.bool_)
        rows = np.flatnonzero(is_spread)
        if rows.size:
            meant[rows] = self.mask[slots_of(Identities(self.tenant, record, placement)(rows))]
        return meant
