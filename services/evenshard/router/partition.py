"""Deals a batch out to the shards of its placement: every row to the owner of its slot, order kept. Pure.

The rows are grouped by a counting sort (two passes, stable), then each shard's rows are taken once, column by column.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.directory.placement import Placement
from evenshard.events.batch import FIELD_NAMES, EventBatch
from evenshard.events.hashing import SLOT_SHIFT, UInt64, slots_of, spread_hashes
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
    """Whether each row is shown as a hot event; None: none is."""
    spread: Bools | None = None
    """Whether each row goes by its identity over the overflow, not by its user; None: none does."""

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
            None if self.spread is None else self.spread[start:end],
        )

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> "Part":
        """Some rows of it, by their places."""
        return Part(
            self.tenant,
            self.epoch,
            self.shard,
            self.batch.take(pa.array(rows)),
            self.positions[rows],
            self.placement[rows],
            None if self.hot is None else self.hot[rows],
            None if self.spread is None else self.spread[rows],
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
    spread: Bools | None = None,
) -> list[Part]:
    """The parts of ``batch``, one for each shard that owns a row of it, in the order of ``placement.shards``.

    ``positions`` (int64), ``hashes`` (uint64, placement hashes), ``hot`` and ``spread`` have one entry a row. A part
    that is the whole batch is the batch itself. Where there is no overflow nothing is spread.
    """
    if batch.rows == 0:
        return []
    whole = Part(tenant, placement.epoch, placement.shards[0], batch, positions, hashes, hot, spread)
    bounds = np.zeros(len(placement.shards) + 1, np.int64)
    order = np.empty(batch.rows, np.int32)
    if len(placement.shards) == 1:
        bounds[1] = batch.rows
    elif spread is not None and placement.overflow and spread.any():
        _group_spread(whole, placement, bounds, order)
    else:
        _group(hashes, placement.shard_of_slot, bounds, order)
    parts = []
    for number, shard in enumerate(placement.shards):
        start, end = int(bounds[number]), int(bounds[number + 1])
        if end - start == batch.rows:
            parts.append(replace(whole, shard=shard))
        elif end > start:
            parts.append(replace(whole.take(order[start:end]), shard=shard))
    return parts


def _group_spread(whole: Part, placement: Placement, bounds: Int64, order: npt.NDArray[np.int32]) -> None:
    """As ``_group``, with rows that are spread."""
    assert whole.spread is not None
    shard_of_row = placement.shard_of_slot[slots_of(whole.placement)]
    rows = np.flatnonzero(whole.spread)
    fields = EventBatch(whole.batch.record.select(FIELD_NAMES).take(pa.array(rows)))
    identities = spread_hashes(whole.tenant, fields, whole.placement[rows])
    shard_of_row[rows] = placement.shard_of_overflow_slot[slots_of(identities)]
    order[:] = np.argsort(shard_of_row, kind="stable")
    bounds[1:] = np.cumsum(np.bincount(shard_of_row, minlength=bounds.size - 1))
