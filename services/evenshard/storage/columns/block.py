"""A block of the tail as a scan sees it: its columns are in memory; what follows from them is kept."""

import weakref
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import SLOT_COUNT, slots_of
from evenshard.events.scan import Bools
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.deletions import Int64
from evenshard.storage.ownership import Owned
from evenshard.storage.segment.reader import none_set
from evenshard.storage.tail.block import Block


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What holds for a block whatever is hidden of it."""

    time_min: int
    time_max: int
    slots: npt.NDArray[np.bool_]
    """For each slot whether it has rows here; bool[4096]."""
    duplicates: pa.BooleanArray
    block: "weakref.ref[object]"
    """Its ``placement``: to be sure."""


def block_key(tenant: TenantId, block: Block) -> Hashable:
    """Names the rows of a block in their order, whatever is hidden of them."""
    return ("block", tenant, block.first_ordinal, block.rows, block.is_run)


def facts_of(cache: ColumnCache, scan: int, tenant: TenantId, block: Block) -> BlockFacts:
    """The facts, and whose rows they are is forgotten where the key once named another block."""
    key = (block_key(tenant, block), "facts")
    held: BlockFacts | None = cache.get(key, scan)
    if held is not None and held.block() is block.placement:
        return held
    times: Int64 = block.batch.record.column("time").to_numpy()
    slots = np.zeros(SLOT_COUNT, np.bool_)
    slots[slots_of(block.placement)] = True
    duplicates = pa.array(block.duplicates) if block.duplicates.any() else none_set(block.rows)
    facts = BlockFacts(int(times.min()), int(times.max()), slots, duplicates, weakref.ref(block.placement))
    cache.put(key, facts, slots.nbytes + duplicates.get_total_buffer_size(), scan)
    return facts


def foreign_rows(owned: Owned | None, block: Block, facts: BlockFacts) -> Bools | None:
    """Rows in slots that are not owned; None: none is."""
    if owned is None or owned[facts.slots].all():
        return None
    return ~owned[slots_of(block.placement)]
