"""Deals a batch out to the shards of its placement: every row to the owner of its slot, order kept. Pure.

The rows are grouped by a counting sort (two passes, stable), then each shard's rows are taken once, column by column.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.directory.placement import Placement
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import SLOT_SHIFT, UInt64
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.kernels import kernel, view

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SHIFT = np.uint64(SLOT_SHIFT)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one tenant, all of them bound for one shard."""

    tenant: TenantId
    epoch: Epoch
    """Of the placement they were dealt by."""
    shard: ShardId
    batch: EventBatch
    positions: Int64
    """Where each row stands in the payload it came in."""
    placement: UInt64
    """The placement hash of each row."""
    hot: Bools | None = None
    """Whether each row's key is hot; None: none is."""

    @property
    def rows(self) -> int:
        return self.batch.rows

    def slice(self, start: int, rows: int) -> "Part":
        """Some rows of it; nothing is copied."""
        end = start + rows
        return Part(
            self.tenant,
            self.epoch,
            self.shard,
            EventBatch(self.batch.record.slice(start, rows)),
            self.positions[start:end],
            self.placement[start:end],
            None if self.hot is None else self.hot[start:end],
        )


@kernel(f"void({view('uint64')}, {view('int32')}, int64[::1], int32[::1])")
def _group(placement, shard_of_slot, bounds, order):  # type: ignore[no-untyped-def]
    """``order[bounds[s]:bounds[s + 1]]`` = the rows of shard s, ascending."""
    for row in range(placement.size):
        bounds[shard_of_slot[placement[row] >> _SHIFT] + 1] += 1
    for shard in range(1, bounds.size):
        bounds[shard] += bounds[shard - 1]
    free = bounds.copy()
    for row in range(placement.size):
        shard = shard_of_slot[placement[row] >> _SHIFT]
        order[free[shard]] = row
        free[shard] += 1


def deal(
    tenant: TenantId,
    batch: EventBatch,
    positions: Int64,
    hashes: UInt64,
    placement: Placement,
    hot: Bools | None = None,
) -> list[Part]:
    """The parts of ``batch``, one for each shard that owns a row of it, in the order of ``placement.shards``.

    ``positions`` (int64), ``hashes`` (uint64, placement hashes) and ``hot`` have one entry a row. A part that is the
    whole batch is the batch itself.
    """
    if batch.rows == 0:
        return []
    bounds = np.zeros(len(placement.shards) + 1, np.int64)
    order = np.empty(batch.rows, np.int32)
    if len(placement.shards) == 1:
        bounds[1] = batch.rows
    else:
        _group(hashes, placement.shard_of_slot, bounds, order)
    parts = []
    for number, shard in enumerate(placement.shards):
        start, end = int(bounds[number]), int(bounds[number + 1])
        if end - start == batch.rows:
            parts.append(Part(tenant, placement.epoch, shard, batch, positions, hashes, hot))
        elif end > start:
            rows = order[start:end]
            taken = batch.take(pa.array(rows))
            hot_rows = None if hot is None else hot[rows]
            parts.append(Part(tenant, placement.epoch, shard, taken, positions[rows], hashes[rows], hot_rows))
    return parts
