"""Leaves out rows in slots that a shard does not own: what may be there besides is another shard's to show. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import SLOT_SHIFT, slots_of
from evenshard.events.scan import PLACEMENT_HASH, ScannedRows
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tail.block import Block

Owned = npt.NDArray[np.bool_]
"""For each slot whether the shard owns it; bool[4096]."""


def owns_segment(owned: Owned, segment: SegmentInfo) -> bool:
    """Whether it surely owns every row."""
    return bool(owned[segment.slot_first : segment.slot_last + 1].all())


def owns_any_of(owned: Owned, segment: SegmentInfo) -> bool:
    """Whether it may own a row."""
    return bool(owned[segment.slot_first : segment.slot_last + 1].any())


def hash_bounds(owned: Owned) -> tuple[int, int]:
    """The lowest and the highest placement hash there can be in owned slots, at least one."""
    slots = np.flatnonzero(owned)
    return int(slots[0]) << SLOT_SHIFT, ((int(slots[-1]) + 1) << SLOT_SHIFT) - 1


def owned_block(owned: Owned, block: Block) -> Block:
    """The block, rows of other slots hidden."""
    if block.is_run:  # sorted by placement
        first, last = slots_of(block.placement[[0, -1]]).tolist()
        if owned[first : last + 1].all():
            return block
    foreign = ~owned[slots_of(block.placement)]
    if not foreign.any():
        return block
    return replace(block, hidden=foreign if block.hidden is None else foreign | block.hidden)


def owned_rows(owned: Owned, scanned: ScannedRows, fields: Sequence[str]) -> ScannedRows | None:
    """Of rows scanned with ``placement_hash`` those in owned slots, with that column only if it is among ``fields``;
    None: no row."""
    record = scanned.record
    kept = owned[slots_of(record.column(PLACEMENT_HASH).to_numpy())]
    if not kept.any():
        return None
    if not kept.all():
        record = record.filter(pa.array(kept))
    if PLACEMENT_HASH not in fields:
        record = record.select([name for name in record.schema.names if name != PLACEMENT_HASH])
    return replace(scanned, record=record)
