"""Which stored rows deletions hide: those of some users, or older than a horizon, that were stored before it. Pure.

A tenant's deletions are numbered by *seq* in the order they came. Each has a *position*: rows of the log below it were
stored before, all others after it; it never lies within a frame. What is hidden is nobody's original.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import UInt64, hash_strings, string_buffers

NO_HORIZON = -(1 << 63)
"""Before every time."""
RETIRED_DELETIONS_KEPT = 1000
"""Of a tenant: so many operations are still known when they are sent again although all they hid is gone."""

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion of a tenant: of users, or of what is older than a horizon."""

    seq: int
    """From 1, without gaps."""
    position: int
    operation: str
    """Who asked for it; the same one again changes nothing. Empty for a horizon."""
    users: tuple[str, ...] = ()
    """Their distinct_ids; the anonymous one is never among them."""
    horizon_ms: int | None = None
    """Rows before this time."""
    retired: bool = False
    """Nothing that it hid is left in any file. It hides nothing any more, and its users are forgotten."""

    def retire(self) -> "Deletion":
        """As it stands once all it hid is gone."""
        return replace(self, users=(), retired=True)


def to_json(deletion: Deletion) -> bytes:
    """As the catalog stores it."""
    return json.dumps(asdict(deletion), separators=(",", ":"), sort_keys=True).encode()


def from_json(data: bytes) -> Deletion:
    """What ``to_json`` wrote; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    record = json.loads(data)
    record["users"] = tuple(record["users"])
    return Deletion(**record)


class Hiding:
    """What one or some deletions hide of rows that were all stored before them."""

    def __init__(self, ids: pa.StringArray, hashes: UInt64, horizon_ms: int) -> None:
        """``ids`` of users in the order of their placement hashes, which ``hashes`` are."""
        self.horizon_ms = horizon_ms
        self._ids = ids
        self._hashes = hashes

    def may_hide(self, first_hash: int, last_hash: int, first_ms: int) -> bool:
        """Whether rows within these bounds of placement hash, and not before ``first_ms``, may be hidden."""
        return first_ms < self.horizon_ms or self.has_users(first_hash, last_hash)

    def has_users(self, first_hash: int, last_hash: int) -> bool:
        """Whether the placement hash of a user lies within these bounds, inclusive."""
        at = int(np.searchsorted(self._hashes, np.uint64(first_hash)))
        return at < self._hashes.size and int(self._hashes[at]) <= last_hash

    def users_among(self, placement: UInt64, ids: Callable[[Int64], pa.Array], *, in_order: bool = False) -> Int64:
        """The rows that are of its users. ``ids`` gives the distinct_ids of some rows: of those whose hash is a user's,
        for a hash alone hides nothing. ``in_order``: by placement hash, as rows of runs and segments are."""
        if not self._hashes.size or not placement.size:
            return np.zeros(0, np.int64)
        rows = self._candidates_in_order(placement) if in_order else self._candidates(placement)
        if not rows.size:
            return rows
        found = ids(rows)
        if pa.types.is_dictionary(found.type):
            found = found.dictionary_decode()
        result: Int64 = rows[pc.is_in(found, value_set=self._ids).to_numpy(zero_copy_only=False)]
        return result

    def _candidates(self, placement: UInt64) -> Int64:
        """Rows with the hash of a user, looked up row by row."""
        if self._hashes.size == 1:
            return np.flatnonzero(placement == self._hashes[0])
        at = np.searchsorted(self._hashes, placement)
        at[at == self._hashes.size] = 0
        return np.flatnonzero(self._hashes[at] == placement)

    def _candidates_in_order(self, placement: UInt64) -> Int64:
        """The same, looked up hash by hash."""
        first = int(np.searchsorted(self._hashes, placement[0], "left"))
        last = int(np.searchsorted(self._hashes, placement[-1], "right"))
        wanted = np.unique(self._hashes[first:last])
        starts = np.searchsorted(placement, wanted, "left")
        counts = np.searchsorted(placement, wanted, "right") - starts
        before = np.cumsum(counts) - counts
        result: Int64 = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
        return result

    def rows(
        self, placement: UInt64, ids: Callable[[Int64], pa.Array], times: Int64, *, in_order: bool = False
    ) -> Bools | None:
        """For each row whether it is hidden; None: none is."""
        hidden = times < self.horizon_ms
        hidden[self.users_among(placement, ids, in_order=in_order)] = True
        return hidden if hidden.any() else None

    def rows_of(self, batch: EventBatch, placement: UInt64, *, in_order: bool = False) -> Bools | None:
        """The same for an event batch."""
        column, times = batch.record.column("distinct_id"), batch.record.column("time").to_numpy()
        return self.rows(placement, lambda rows: column.take(pa.array(rows)), times, in_order=in_order)


def placement_of(ids: pa.StringArray) -> UInt64:
    """The placement hashes of the rows of users."""
    hashes = np.empty(len(ids), np.uint64)
    if hashes.size:
        buffers = string_buffers(ids)
        hash_strings(buffers.offsets, buffers.data, hashes)
    return hashes


class Deletions:
    """A tenant's deletions that may still hide something. Immutable."""

    def __init__(self, records: Iterable[Deletion] = (), last_seq: int = 0) -> None:
        """``records`` in the order of ``seq``; ``last_seq`` is the highest there ever was, ``records`` included."""
        self.records = tuple(records)
        self.last_seq = max([last_seq, *(record.seq for record in self.records)])
        self._horizon = next((record for record in reversed(self.records) if record.horizon_ms is not None), None)
        newest = {user: record.seq for record in self.records for user in record.users}
        ids = pa.array(newest.keys(), pa.utf8())
        hashes = placement_of(ids)
        order = np.argsort(hashes, kind="stable")
        self._ids = ids.take(pa.array(order))
        self._hashes = hashes[order]
        self._seqs = np.fromiter(newest.values(), np.int64, len(newest))[order]

    def __bool__(self) -> bool:
        return bool(self.records)

    def with_next(self, later: Iterable[Deletion]) -> "Deletions":
        """With some more."""
        return Deletions((*self.records, *later), self.last_seq)

    def without(self, seqs: Iterable[int]) -> "Deletions":
        """Without some, which hide nothing any more."""
        gone = frozenset(seqs)
        return Deletions((record for record in self.records if record.seq not in gone), self.last_seq)

    def hiding(self, seen: int) -> Hiding | None:
        """What those after ``seen`` hide of rows that were stored before them; None: there are none."""
        if not self.records or self.records[-1].seq <= seen:
            return None
        horizon = self._horizon
        horizon_ms = NO_HORIZON if horizon is None or horizon.seq <= seen else horizon.horizon_ms or 0
        if seen < self.records[0].seq:
            return Hiding(self._ids, self._hashes, horizon_ms)
        later = self._seqs > seen
        return Hiding(self._ids.filter(pa.array(later)), self._hashes[later], horizon_ms)


NO_DELETIONS = Deletions()
