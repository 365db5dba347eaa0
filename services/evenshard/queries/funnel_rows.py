"""Gathers the rows of a funnel: those that match a step, of somebody, as columns in the order the kernel wants.

Memory: for each row matched 32 bytes at the end (time, steps, user, their order), with a breakdown 8 more and its
insert_id; ``ROWS_MAX`` bounds them to about 1 GiB.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.queries.funnel_kernel import order_by_user
from evenshard.queries.groups import Groups, Integers
from evenshard.queries.user_codes import NOBODY, number_users, select_rows, user_codes
from evenshard.queries.values import columns_holding

ROWS_MAX: Final = 32_000_000
"""Rows of one shard that match a step."""
NO_GROUP: Final = 0
"""The number of the group whose values are all unset."""


@dataclass(frozen=True, slots=True)
class FunnelRows:
    """Rows by (user, time, order within a ms). ``starts``: where each user's begin, and the end of all (int64).
    ``groups`` (int32): empty without a breakdown."""

    starts: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]
    groups: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one batch. ``users[i]`` stands for ``ids[users[i]]``."""

    times: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]
    users: Integers
    ids: pa.Array
    groups: Integers
    order: pa.RecordBatch | None
    """``event`` and ``insert_id``; only with a breakdown."""


@dataclass(slots=True)
class RowGatherer:
    """Takes batches, gives ``FunnelRows``. ``group_mask``: steps whose values may group a user."""

    groups: Groups
    group_mask: int
    pieces: list[_Piece] = field(default_factory=list)
    rows: int = 0

    def add(self, record: pa.RecordBatch, masks: npt.NDArray[np.uint32]) -> None:
        """``masks``: the steps each row matches; it is changed. Raises ``QUERY_INVALID`` beyond ``ROWS_MAX``."""
        codes, ids = user_codes(record.column("distinct_id"))
        numbers = np.where(pc.equal(ids, "").to_numpy(zero_copy_only=False), NOBODY, -1).astype(np.int32)
        size = int(np.count_nonzero(masks))
        times, chosen, users = np.empty(size, np.int64), np.empty(size, np.uint32), np.empty(size, np.int32)
        used = np.empty(len(ids), np.int32)
        stored = record.column("time").to_numpy()
        count, people = select_rows(masks, stored, codes, numbers, times, chosen, users, used).tolist()
        if not count:
            return
        self.rows += count
        if self.rows > ROWS_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {ROWS_MAX} events of a shard match a step",
                hint="ask for fewer days, a shorter window, or filter with where",
            )
        groups: Integers = np.zeros(0, np.int32)
        order = None
        if self.groups.by:
            record = record if count == record.num_rows else record.take(pa.array(np.flatnonzero(masks)))
            groups = self._groups(record, chosen[:count])
            insert_ids = record.column("insert_id").cast(pa.utf8())
            order = pa.RecordBatch.from_pydict({"event": record.column("event"), "insert_id": insert_ids})
        ids = ids.take(pa.array(used[:people]))
        self.pieces.append(_Piece(times[:count], chosen[:count], users[:count], ids, groups, order))

    def _groups(self, record: pa.RecordBatch, masks: npt.NDArray[np.uint32]) -> Integers:
        groups: Integers = np.full(len(masks), NO_GROUP, np.int32)
        wanted = masks & np.uint32(self.group_mask) != 0
        shown = record.select(columns_holding(self.groups.by, record.schema.names))
        if not shown.num_columns:
            return groups
        if not wanted.all():
            shown = shown.take(pa.array(np.flatnonzero(wanted)))
        if shown.num_rows:
            groups[wanted] = self.groups.number(shown)
        return groups

    def gathered(self) -> FunnelRows:
        """All rows, in order."""
        if not self.pieces:
            nothing = np.zeros(0, np.int64)
            return FunnelRows(np.zeros(1, np.int64), nothing, np.zeros(0, np.uint32), np.zeros(0, np.int32))
        numbers, people = number_users([piece.ids for piece in self.pieces])
        users = np.concatenate([mine[piece.users] for mine, piece in zip(numbers, self.pieces, strict=True)])
        times = np.concatenate([piece.times for piece in self.pieces])
        masks = np.concatenate([piece.masks for piece in self.pieces])
        groups = np.concatenate([piece.groups for piece in self.pieces])
        starts, order = np.empty(people + 1, np.int64), np.empty(len(users), np.int32)
        order_by_user(users, times, starts, order)
        times, masks = times[order], masks[order]
        if self.groups.by:
            self._order_within_ms(users[order], times, masks, order)
            masks, groups = np.concatenate([piece.masks for piece in self.pieces])[order], groups[order]
        return FunnelRows(starts, times, masks, groups)

    def _order_within_ms(self, users: Integers, times: Integers, masks: Integers, order: Integers) -> None:
        """Sorts rows of one user and ms by (name, insert_id), where two of them match one step: which of them fills it
        decides the group. Rows that agree keep their order."""
        first = np.flatnonzero(np.append(True, (users[1:] != users[:-1]) | (times[1:] != times[:-1])))
        union = np.bitwise_or.reduceat(masks, first)
        bits = np.add.reduceat(np.bitwise_count(masks).astype(np.int64), first)
        contended = bits > np.bitwise_count(union)
        run = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(users))))
        places = np.flatnonzero(contended[run])
        if not len(places):
            return
        keys = self._order_keys(order[places])
        keys = keys.append_column("run", pa.array(run[places]))
        by = [("run", "ascending"), ("event", "ascending"), ("insert_id", "ascending", "at_start")]
        sorted_places = pc.sort_indices(keys, by).to_numpy()
        order[places] = order[places][sorted_places]

    def _order_keys(self, rows: Integers) -> pa.Table:
        """``event`` and ``insert_id`` (utf8) of rows, numbered over all pieces."""
        ends = np.cumsum([len(piece.masks) for piece in self.pieces])
        piece_of = np.searchsorted(ends, rows, "right")
        by_piece = np.argsort(piece_of, kind="stable")
        parts: list[pa.Table] = []
        for number in np.unique(piece_of).tolist():
            piece = self.pieces[number]
            mine = rows[piece_of == number] - (ends[number] - len(piece.masks))
            assert piece.order is not None
            found = piece.order.take(pa.array(mine))
            parts.append(
                pa.table({"event": found.column("event").cast(pa.utf8()), "insert_id": found.column("insert_id")})
            )
        back = np.empty(len(rows), np.int64)
        back[by_piece] = np.arange(len(rows))
        return pa.concat_tables(parts).take(pa.array(back))
