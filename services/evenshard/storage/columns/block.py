"""A block of the tail as a scan sees it: its columns are in memory; what follows from them is kept."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import SLOT_COUNT, slots_of
from evenshard.events.scan import Bools
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.deletions import Int64
from evenshard.storage.ownership import Shown, block_spread, left_out_of
from evenshard.storage.segment.reader import none_set
from evenshard.storage.tail.block import Block

_SAMPLE_ROWS: Final = 4096
_PLAIN: Final = object()
"""Stands for a column whose values do not repeat."""


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What holds for a block whatever is hidden of it."""

    time_min: int
    time_max: int
    slots: npt.NDArray[np.bool_]
    """For each slot whether it has rows here; bool[4096]."""
    duplicates: pa.BooleanArray


def block_key(tenant: TenantId, block: Block) -> Hashable:
    """Names the rows of a block in their order, whatever is hidden of them."""
    return ("block", tenant, block.first_ordinal, block.rows, block.is_run)


def facts_of(cache: ColumnCache, scan: int, tenant: TenantId, block: Block) -> BlockFacts:
    """The facts of a block."""
    key = (block_key(tenant, block), "facts")
    held: BlockFacts | None = cache.get(key, scan)
    if held is not None:
        return held
    times: Int64 = block.batch.record.column("time").to_numpy()
    slots = np.zeros(SLOT_COUNT, np.bool_)
    slots[slots_of(block.placement)] = True
    duplicates = pa.array(block.duplicates) if block.duplicates.any() else none_set(block.rows)
    facts = BlockFacts(int(times.min()), int(times.max()), slots, duplicates)
    cache.put(key, facts, slots.nbytes + duplicates.get_total_buffer_size(), scan)
    return facts


def coded_column(cache: ColumnCache, scan: int, key: Hashable, name: str, column: pa.Array) -> pa.Array:
    """A column of texts with a dictionary, where values repeat; any other as it is."""
    if column.type != pa.utf8():
        return column
    held = cache.get((key, name), scan)
    if held is not None:
        return column if held is _PLAIN else held
    sample = column.slice(0, _SAMPLE_ROWS)
    if len(sample) > 1 and pc.count_distinct(sample).as_py() * 2 > len(sample):
        cache.put((key, name), _PLAIN, 1, scan)
        return column
    coded = column.dictionary_encode()
    cache.put((key, name), coded, coded.get_total_buffer_size(), scan)
    return coded


def foreign_rows(shown: Shown | None, block: Block, facts: BlockFacts) -> Bools | None:
    """Rows that are not shown; None: all are."""
    if shown is None or (block_spread(block) is None and shown.home[facts.slots].all()):
        return None
    return left_out_of(shown, block)
