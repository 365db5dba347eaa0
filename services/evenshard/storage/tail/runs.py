"""Puts blocks into sorted runs of at most 256 k rows, in the order of segments. Pure; takes long, off the ack path."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import REST, EventBatch, property_of, schema_of
from evenshard.events.hashing import UInt64
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD
from evenshard.kernels import kernel, view
from evenshard.storage.compaction.inputs import TailTable
from evenshard.storage.identity import IdentitySet
from evenshard.storage.rows import take_rows
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.loose_hashes import LooseHashes, PickedHashes
from evenshard.storage.segment.order import order_of, sort_keys
from evenshard.storage.tail.block import Block, hot_of, spread_of

RUN_ROWS_MAX = 256 * 1024
LOOSE_BLOCKS_MAX = 64
"""So many blocks that are in no run yet are made one, however few rows they hold."""


@kernel(f"void({view('uint64')}, {view('int32')}, uint64[::1])")
def _scatter(values, rows, out):  # type: ignore[no-untyped-def]
    """``out[rows[i]] = values[i]``."""
    for i in range(np.uint64(rows.size)):
        out[np.uint64(rows[i])] = values[i]


class _Group:
    """Blocks to be joined, as long as few of the run's cells would be empty."""

    def __init__(self) -> None:
        self.rows = 0
        self._cells = 0
        self._of_old: bool | None = None
        self._columns: frozenset[str] = frozenset()

    def take(self, block: Block) -> bool:
        """Adds a block, unless the run would be too long, or of too many other properties."""
        names = frozenset(block.batch.record.schema.names)
        rows, cells = self.rows + block.rows, self._cells + block.rows * len(names)
        columns = self._columns | names
        if self.rows and (rows > RUN_ROWS_MAX or rows * len(columns) > 2 * cells or block.of_old != self._of_old):
            return False
        self._of_old = block.of_old
        self.rows, self._cells, self._columns = rows, cells, columns
        return True


def next_run(blocks: Sequence[Block]) -> range | None:
    """Which blocks to join into the next run; None: none for now.

    The oldest loose blocks, as many as fit, and the runs before them that are not much longer: so each row is sorted
    again O(log n) times.
    """
    first = next((number for number, block in enumerate(blocks) if not block.is_run), len(blocks))
    loose = blocks[first:]
    if len(loose) < LOOSE_BLOCKS_MAX and sum(block.rows for block in loose) < RUN_ROWS_MAX:
        return None
    group = _Group()
    end = first
    while end < len(blocks) and group.take(blocks[end]):
        end += 1
    while first > 0 and blocks[first - 1].rows <= 2 * group.rows and group.take(blocks[first - 1]):
        first -= 1
    return range(first, end)


def tables(blocks: Sequence[Block], identities: IdentitySet) -> Iterator[pa.Table | TailTable]:
    """All rows in log order, but hidden ones, as few tables of at most ``RUN_ROWS_MAX`` rows, with ``placement_hash``,
    ``duplicate``, ``hot``, and ``spread`` where any is set, for compaction; and ``identity_hash`` where some are
    hidden. Rows of a run come in its order."""
    start = 0
    while start < len(blocks):
        group = _Group()
        end = start
        while end < len(blocks) and group.take(blocks[end]):
            end += 1
        yield _table(blocks[start:end], identities)
        start = end


def _table(blocks: Sequence[Block], identities: IdentitySet) -> pa.Table | TailTable:
    record = joined([block.batch for block in blocks]).record
    duplicates = np.concatenate([block.duplicates for block in blocks])
    table = pa.Table.from_batches([record])
    table = table.append_column(PLACEMENT_HASH, pa.array(np.concatenate([block.placement for block in blocks])))
    table = table.append_column(DUPLICATE, pa.array(duplicates))
    hot = hot_of(blocks)
    table = table.append_column(HOT, pa.array(np.zeros(duplicates.size, np.bool_) if hot is None else hot))
    spread = spread_of(blocks)
    if spread is not None:
        table = table.append_column(SPREAD, spread)
    in_order = partial(identities_of, blocks, identities)
    if any(block.hidden is not None for block in blocks):
        shown = [np.ones(block.rows, np.bool_) if block.hidden is None else ~block.hidden for block in blocks]
        kept = np.concatenate(shown)
        return table.append_column(IDENTITY_HASH, pa.array(in_order())).filter(pa.array(kept))
    return TailTable(table, in_order, partial(identities_among, blocks, identities))


def identities_of(blocks: Sequence[Block], identities: IdentitySet) -> UInt64:
    """The identity hashes of the rows of blocks that follow one another."""
    of_rows = np.empty(sum(block.rows for block in blocks), np.uint64)
    first = 0
    for block in blocks:
        of_block, at = of_rows[first : first + block.rows], 0
        for hashes in identities.hashes(block.first_ordinal, block.rows):
            if block.row_of_ordinal is None:
                of_block[at : at + hashes.size] = hashes
            else:
                _scatter(hashes, block.row_of_ordinal[at : at + hashes.size], of_block)
            at += hashes.size
        first += block.rows
    return of_rows


def identities_among(
    blocks: Sequence[Block], identities: IdentitySet, chosen: npt.NDArray[np.bool_] | None
) -> Sequence[LooseHashes]:
    """The identity hashes of the ``chosen`` rows of blocks that follow one another, or of all, in any order."""
    if chosen is None:
        return identities.hashes(blocks[0].first_ordinal, sum(block.rows for block in blocks))
    found: list[LooseHashes] = []
    first = 0
    for block in blocks:
        of_block = chosen[first : first + block.rows]
        rows = np.arange(block.rows, dtype=np.int32) if block.row_of_ordinal is None else block.row_of_ordinal
        hashes = identities.hashes(block.first_ordinal, block.rows)
        bits, count = np.packbits(of_block, bitorder="little"), int(np.count_nonzero(of_block))
        found.append(PickedHashes(hashes, rows, bits, count))
        first += block.rows
    return found


def sorted_run(blocks: Sequence[Block]) -> Block:
    """One run of some blocks that follow one another; its rows and bits are theirs."""
    placement = np.concatenate([block.placement for block in blocks])
    batch = joined([block.batch for block in blocks])
    table = pa.Table.from_batches([batch.record]).append_column(PLACEMENT_HASH, pa.array(placement))
    order = order_of(sort_keys(table))
    first_ordinal = blocks[0].first_ordinal
    ordinals = np.concatenate([_ordinals(block) for block in blocks]) - first_ordinal
    row_of_ordinal = np.empty(order.size, np.int32)
    row_of_ordinal[ordinals[order]] = np.arange(order.size, dtype=np.int32)
    sorted_batch = EventBatch(take_rows(batch.record, order))
    hot, spread = hot_of(blocks), spread_of(blocks)
    return Block(
        batch=sorted_batch,
        placement=placement[order],
        duplicates=np.concatenate([block.duplicates for block in blocks])[order],
        first_ordinal=first_ordinal,
        end_position=blocks[-1].end_position,
        appended_ms=blocks[0].appended_ms,
        bytes=int(sorted_batch.record.nbytes) + 13 * order.size,
        row_of_ordinal=row_of_ordinal,
        hot=None if hot is None else hot[order],
        spread=None if spread is None else spread.fill_null(False).to_numpy(zero_copy_only=False)[order],
        of_old=blocks[0].of_old,
    )


def _ordinals(block: Block) -> npt.NDArray[np.int64]:
    """The ordinal of each row."""
    offsets = np.arange(block.rows, dtype=np.int64)
    if block.row_of_ordinal is not None:
        offsets[block.row_of_ordinal] = np.arange(block.rows, dtype=np.int64)
    return offsets + block.first_ordinal


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """The rows of all batches in turn, with the columns of any of them."""
    names = {name for batch in batches for name in batch.record.schema.names}
    schema = schema_of((name for name in names if property_of(name)), rest=REST in names)
    tables = [pa.Table.from_batches([batch.record]) for batch in batches]
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()
    columns = [table.column(name) for name in schema.names]
    arrays = [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in columns]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema))
