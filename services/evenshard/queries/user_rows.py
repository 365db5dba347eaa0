"""Gathers rows by user: those that a query keeps, of somebody, as columns in the order that kernels want.

A query takes a batch, says which rows it keeps and what each of them matches (a mask, whose bits mean what the query
says), and may have codes made of the rows kept: dense numbers of its own (a group of a breakdown), or values, which
are numbered here over all batches (held values, names).

Memory: for each row 36 bytes at the end (time, mask, user, their order) and 4 for each code; where the order within a
ms matters its name and insert_id, for sessions 4 and the rows that only those need. ``ROWS_MAX`` bounds them to about
1.2 GiB.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.queries.groups import Integers
from evenshard.queries.user_codes import NOBODY, number_users, select_rows, user_codes
from evenshard.queries.user_order import number_sessions, order_by_rank, order_by_user
from evenshard.queries.values import encoded

ROWS_MAX: Final = 32_000_000
"""Rows of one shard that a query keeps."""
SESSION_GAP_MS: Final = 30 * 60_000
"""A longer time without an event ends a session."""

Masks = npt.NDArray[np.uint64]
Kept = npt.NDArray[np.bool_]
Ties = Literal["any", "shared", "all"]
"""How rows of one user and ms are ordered: as they came; by (name, insert_id) where two of them have a bit of
``tie_mask`` in common; always by (name, insert_id). Rows that agree in both stay as they came."""
CodesOf = Callable[[pa.RecordBatch, Masks], Mapping[str, Integers | pa.Array]]
"""For some rows and their masks codes by name, the same names each time: numbers (int32) of one numbering, or values
(utf8, perhaps dictionary-encoded), which get numbers here, null -1."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """Rows by (user, time, order within a ms)."""

    starts: npt.NDArray[np.int64]
    """Where each user's begin, and the end of all; a user may have none."""
    times: npt.NDArray[np.int64]
    masks: Masks
    codes: Mapping[str, npt.NDArray[np.int32]]
    """For each name the code of each row; none where there are no rows at all."""
    values: Mapping[str, pa.Array]
    """What the codes stand for (utf8), of those that were given as values."""
    sessions: npt.NDArray[np.int32]
    """The number of each row's session, from 0 for each user; empty unless asked for."""
    ids: pa.Array
    """The distinct_id of each user (utf8)."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one batch. ``users[i]`` stands for ``ids[users[i]]``; rows that only sessions need are in ``times`` and
    ``users`` alone."""

    times: npt.NDArray[np.int64]
    users: Integers
    ids: pa.Array
    kept: Kept | None
    """Of ``times``; None: all."""
    masks: Masks
    codes: Mapping[str, Integers | pa.Array]
    order: pa.RecordBatch | None
    """``event`` and ``insert_id``; only where ties are ordered."""


@dataclass(slots=True)
class UserRowGatherer:
    """Takes batches, gives ``UserRows``."""

    codes_of: CodesOf | None = None
    ties: Ties = "any"
    tie_mask: int = (1 << 64) - 1
    rank_mask: int = 0
    """Rows of one ms that have lower ones of these bits come first, those with none last, whatever their names."""
    sessions: bool = False
    pieces: list[_Piece] = field(default_factory=list)
    rows: int = 0

    def add(self, record: pa.RecordBatch, masks: Masks, kept: Kept | None = None, alive: Kept | None = None) -> None:
        """Keeps rows of ``record``: it has ``time``, ``distinct_id``, ``event`` and ``insert_id`` where ties are
        ordered, and what ``codes_of`` looks at.

        kept: which rows; those with a mask if it is not given. alive: with sessions, all rows that count as their
        user's events, those kept among them. Raises ``QUERY_INVALID`` beyond ``ROWS_MAX``.
        """
        kept = masks != 0 if kept is None else kept
        picked = alive.copy() if self.sessions and alive is not None else kept.copy()
        size = int(np.count_nonzero(picked))
        codes, ids = user_codes(record.column("distinct_id"))
        numbers = np.where(pc.equal(ids, "").to_numpy(zero_copy_only=False), NOBODY, -1).astype(np.int32)
        times, chosen, users = np.empty(size, np.int64), np.empty(size, np.uint64), np.empty(size, np.int32)
        used = np.empty(len(ids), np.int32)
        stored = record.column("time").to_numpy()
        count, people = select_rows(picked, masks, stored, codes, numbers, times, chosen, users, used).tolist()
        if not count:
            return
        self.rows += count
        if self.rows > ROWS_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {ROWS_MAX} events of a shard take part",
                hint="ask for fewer days, a shorter window, or filter with where",
            )
        ids = ids.take(pa.array(used[:people]))
        chosen, among = chosen[:count], None
        if self.sessions:
            among = kept[picked]
            chosen = chosen[among]
            picked &= kept
        found: Mapping[str, Integers | pa.Array] = {}
        order = None
        if self.codes_of is not None or self.ties != "any":
            own = record if len(chosen) == record.num_rows else record.take(pa.array(np.flatnonzero(picked)))
            if self.codes_of is not None:
                found = self.codes_of(own, chosen)
            if self.ties != "any":
                insert_ids = own.column("insert_id").cast(pa.utf8())
                order = pa.RecordBatch.from_pydict({"event": own.column("event"), "insert_id": insert_ids})
        self.pieces.append(_Piece(times[:count], users[:count], ids, among, chosen, found, order))

    def gathered(self) -> UserRows:
        """All rows, in order."""
        if not self.pieces:
            none, no_masks, sessions = np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int32)
            return UserRows(np.zeros(1, np.int64), none, no_masks, {}, {}, sessions, pa.array([], pa.utf8()))
        numbers, ids = number_users([piece.ids for piece in self.pieces])
        users = np.concatenate([mine[piece.users] for mine, piece in zip(numbers, self.pieces, strict=True)])
        times = np.concatenate([piece.times for piece in self.pieces])
        starts, order = np.empty(len(ids) + 1, np.int64), np.empty(len(users), np.int32)
        order_by_user(users, times, starts, order)
        times = times[order]
        sessions = np.zeros(0, np.int32)
        if self.sessions:
            sessions = np.empty(len(times), np.int32)
            number_sessions(starts, times, SESSION_GAP_MS, sessions)
            kept = np.concatenate([piece.kept for piece in self.pieces if piece.kept is not None])
            place = np.cumsum(kept, dtype=np.int32) - np.int32(1)
            shown = kept[order]
            starts = np.append(0, np.cumsum(shown))[starts]
            users, order, times, sessions = users[kept], place[order[shown]], times[shown], sessions[shown]
        masks = np.concatenate([piece.masks for piece in self.pieces])
        if self.ties != "any":
            self._order_within_ms(users[order], times, masks[order], order)
        if self.rank_mask:
            order_by_rank(starts, times, masks, np.uint64(self.rank_mask), order)
        codes, values = self._codes(order)
        return UserRows(starts, times, masks[order], codes, values, sessions, ids)

    def _codes(self, order: Integers) -> tuple[dict[str, npt.NDArray[np.int32]], dict[str, pa.Array]]:
        codes: dict[str, npt.NDArray[np.int32]] = {}
        values: dict[str, pa.Array] = {}
        for name in self.pieces[0].codes:
            parts = [piece.codes[name] for piece in self.pieces]
            if isinstance(parts[0], np.ndarray):
                codes[name] = np.concatenate(parts)[order]
                continue
            own = [encoded(part) for part in parts]
            numbers, values[name] = number_users([found.cast(pa.utf8()) for _, found in own])
            pairs = zip(own, numbers, strict=True)
            codes[name] = np.concatenate([np.append(mine, np.int32(-1))[part] for (part, _), mine in pairs])[order]
        return codes, values

    def _order_within_ms(self, users: Integers, times: Integers, masks: Masks, order: Integers) -> None:
        """Sorts rows of one user and ms by (name, insert_id), where it matters; rows that agree keep their order."""
        if not len(users):
            return
        first = np.flatnonzero(np.append(True, (users[1:] != users[:-1]) | (times[1:] != times[:-1])))
        sizes = np.diff(np.append(first, len(users)))
        contended = sizes > 1
        if self.ties == "shared":
            looked_at = masks & np.uint64(self.tie_mask)
            union = np.bitwise_or.reduceat(looked_at, first)
            bits = np.add.reduceat(np.bitwise_count(looked_at).astype(np.int64), first)
            contended = bits > np.bitwise_count(union)
        run = np.repeat(np.arange(len(first)), sizes)
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
