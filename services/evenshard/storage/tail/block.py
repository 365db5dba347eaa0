"""A block: some consecutive unindexed rows of a tenant; as appended, or put in the order of segments (a *run*).

A tenant's rows are numbered by *ordinals* in the order they were stored, from its first unindexed row at start. A run's
rows are sorted, so it knows where each ordinal went.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import UInt64

ROW_BYTES = 9
"""Of a row's hash and bit, beside its columns."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one tenant. ``placement`` (uint64) and ``duplicates`` (bool) run parallel to ``batch``."""

    batch: EventBatch
    placement: UInt64
    duplicates: npt.NDArray[np.bool_]
    first_ordinal: int
    end_position: int
    """The log position after its last row."""
    appended_ms: int
    """When its first row was appended."""
    bytes: int
    """Memory of its columns, roughly."""
    row_of_ordinal: npt.NDArray[np.int32] | None = None
    """A run's row of ordinal ``first_ordinal + i``; None: rows stand in ordinal order."""
    hot: npt.NDArray[np.bool_] | None = None
    """One a row; None: none is hot."""
    hidden: npt.NDArray[np.bool_] | None = None
    """One a row: a deletion hides it; None: none is hidden."""
    spread: npt.NDArray[np.bool_] | None = None
    """One a row: it was taken for the overflow; None: none was."""
    of_old: bool = False
    """It is not known which rows were spread: nobody noted it then."""

    @property
    def rows(self) -> int:
        return self.batch.rows

    @property
    def is_run(self) -> bool:
        return self.row_of_ordinal is not None

    def rows_of(self, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows that hold these ordinals."""
        offsets = ordinals - self.first_ordinal
        return offsets if self.row_of_ordinal is None else self.row_of_ordinal[offsets].astype(np.int64)


def hidden_by_ordinal(blocks: Sequence[Block]) -> npt.NDArray[np.bool_] | None:
    """Of blocks one after the other, for each ordinal from the first one's on whether its row is hidden; None: none."""
    if all(block.hidden is None for block in blocks):
        return None
    hidden = np.zeros(sum(block.rows for block in blocks), np.bool_)
    at = 0
    for block in blocks:
        if block.hidden is not None:
            in_order = block.hidden if block.row_of_ordinal is None else block.hidden[block.row_of_ordinal]
            hidden[at : at + block.rows] = in_order
        at += block.rows
    return hidden


def hot_of(blocks: Sequence[Block]) -> npt.NDArray[np.bool_] | None:
    """The hot bits of blocks one after the other; None: none is set."""
    if all(block.hot is None for block in blocks):
        return None
    return np.concatenate([np.zeros(block.rows, np.bool_) if block.hot is None else block.hot for block in blocks])


def spread_of(blocks: Sequence[Block]) -> pa.Array | None:
    """The spread bits of blocks one after the other, null where they are not known; None: none is set."""
    if all(block.spread is None and not block.of_old for block in blocks):
        return None
    bits = [np.zeros(block.rows, np.bool_) if block.spread is None else block.spread for block in blocks]
    unknown = np.concatenate([np.full(block.rows, block.of_old) for block in blocks])
    return pa.array(np.concatenate(bits), mask=unknown)


def block_of_ordinals(blocks: Sequence[Block], ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each ordinal the index of the block that holds it; blocks follow one another."""
    starts = np.fromiter((block.first_ordinal for block in blocks), np.int64, len(blocks))
    return np.searchsorted(starts, ordinals, side="right") - 1
