"""Decides which events of a batch are hot: exact to the event where one router has one batch in flight. Pure.

A key's count is what counters are known to have of it, and what they have not heard of: rows that shards acknowledged
as new, and rows on their way that were entered before. Rows on their way count as new until their ack says which are.

A router asks counters about few keys: after each count it is told of keys with half their threshold or more, so a key
it never knew anything of has less; and a key with less than half its threshold on both sides cannot reach it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import UInt64, hash_of, string_buffers
from evenshard.hotkeys.aggregate import DAY_MS, CountedKeys, aggregate
from evenshard.hotkeys.marks import HotKey, Mark, Rule
from evenshard.hotkeys.near_keys import HOT, KNOWN_KEYS_MAX, SPREAD, NearKeys
from evenshard.hotkeys.sketch import NO_BUCKET, Bools, Int32, Int64, Sketch, among, buckets_of
from evenshard.ids import TenantId
from evenshard.kernels import kernel

_CROSSING: Final = 4


@dataclass(slots=True, eq=False)
class Rows:
    """Rows of one tenant that counters have not heard of; arrays have one entry a row."""

    number: int
    """Ascends in the order in which rows were entered."""
    tenant: TenantId
    distinct_ids: pa.StringArray
    times: Int64
    hashes: UInt64
    """Placement hashes."""
    buckets: Int32
    counted: Bools
    """Those that still count."""
    acknowledged: bool
    """Stored as new; else on their way."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """The keys of a batch that may be hot, or may become so in it."""

    keys: Sequence[HotKey]
    counted: CountedKeys
    buckets: Int32
    """Of each key."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What becomes of a batch; one entry a row."""

    hot: Bools
    """Stored as hot: shown rewritten."""
    spread: Bools
    """Of keys that were handed over: they go by their identity."""
    crossing: Bools
    """Beyond the threshold of a key that has no mark: the first of them that is stored as new makes it hot."""
    key_of_row: Int32
    """The number of its key; -1: of none of ``keys``."""
    keys: Sequence[HotKey]
    counts: Int64
    """The count of each key, this batch's rows included."""
    rule: Rule


@kernel("void(int32[::1], int64[::1], uint8[::1], uint8[::1])")
def _decide(key_of_row, room, effect, flags):  # type: ignore[no-untyped-def]
    """Gives rows for which their key has no room left its effect; ``room`` is used up."""
    for row in range(key_of_row.size):
        key = key_of_row[row]
        if key < 0:
            continue
        if room[key] > 0:
            room[key] -= 1
        else:
            flags[row] = effect[key]


class KeyWatch:
    """What one router knows of counts. ``lock`` makes each method one step, where several threads call them."""

    def __init__(self, lock: AbstractContextManager[Any] | None = None, known_keys_max: int = KNOWN_KEYS_MAX) -> None:
        self._lock = lock or nullcontext()
        self._sketch = Sketch()
        self._near = NearKeys(self._sketch, known_keys_max)
        self._pending: dict[int, Rows] = {}
        self._entered = 0

    def enter(
        self,
        tenant: TenantId,
        distinct_ids: pa.StringArray,
        times: Int64,
        hashes: UInt64,
        rule: Rule,
        uncounted: Bools | None = None,
    ) -> tuple[Rows, bool]:
        """Rows on their way to shards, and whether one of them may be hot: if not, none is. Those ``uncounted`` (None:
        none) never count, and are not decided about."""
        ids = string_buffers(distinct_ids)
        counted = np.ones(times.size, np.bool_)
        with self._lock:
            buckets, near = self._sketch.enter(hash_of(tenant), rule.count_min, ids, times, hashes)
            if uncounted is not None:
                self._sketch.leave(buckets, uncounted)
                buckets[uncounted], counted[uncounted] = NO_BUCKET, False
            return self._add(tenant, distinct_ids, times, hashes, buckets, counted, acknowledged=False), near

    def suspects(self, rows: Rows, rule: Rule) -> Suspects:
        """The keys of ``rows`` to look at."""
        with self._lock:
            near = self._sketch.near(hash_of(rows.tenant), rule.count_min, rows.buckets, rows.times, rows.hashes)
        counted = aggregate(rows.distinct_ids, rows.times, rows.hashes, near)
        days = counted.record.column("day").to_numpy().astype(np.int64)
        buckets = buckets_of(hash_of(rows.tenant), counted.hashes, days)
        return Suspects(_keys(rows.tenant, counted.record), counted, buckets)

    def to_look_up(self, rows: Rows, suspects: Suspects, rule: Rule) -> list[int]:
        """Numbers of the suspects whose count at the counters must be known to decide, and is not."""
        with self._lock:
            pending = self._ahead_of(rows, suspects)
            own = suspects.counted.record.column("count").to_numpy()
            forgotten = self._near.forgotten_of(suspects.keys)
            return [
                number
                for number, key in enumerate(suspects.keys)
                if (pending.get(key, 0) + own[number] >= rule.count_min or number in forgotten)
                and not self._near.is_known(key)
            ]

    def decide(self, rows: Rows, suspects: Suspects, rule: Rule, looked_up: Mapping[HotKey, int]) -> Decision:
        """``looked_up``: counts at the counters, asked for since nothing was counted any more."""
        total = len(suspects.keys)
        room, effect = np.zeros(total, np.int64), np.zeros(total, np.uint8)
        counts = np.zeros(total, np.int64)
        # Rows beyond the threshold go to the home still, as long as it takes them: what is new is known only then.
        fresh = _CROSSING | (HOT if rule.mode == "rewrite" else 0)
        with self._lock:
            # Before anything is learned, which may forget what is known of the very keys to decide about.
            known = {key: max(self._near.count(key), looked_up.get(key, 0)) for key in suspects.keys}
            self._near.learn(looked_up, rule.count_min)
            pending = self._ahead_of(rows, suspects)
            for number, key in enumerate(suspects.keys):
                mark = self._near.marked(key)
                if mark is not None:
                    effect[number] = mark
                    continue
                count = known[key] + pending.get(key, 0)
                room[number], effect[number], counts[number] = rule.threshold - count, fresh, count
        flags = np.zeros(rows.times.size, np.uint8)
        _decide(suspects.counted.key_of_row, room, effect, flags)
        counts += suspects.counted.record.column("count").to_numpy()
        return Decision(
            (flags & HOT) != 0,
            (flags & SPREAD) != 0,
            (flags & _CROSSING) != 0,
            suspects.counted.key_of_row,
            suspects.keys,
            counts,
            rule,
        )

    def spread_among(
        self, tenant: TenantId, distinct_ids: pa.StringArray, times: Int64, hashes: UInt64, chosen: Bools
    ) -> Bools:
        """Which of the ``chosen`` rows, which are not decided about, are of keys that were handed over."""
        counted = aggregate(distinct_ids, times, hashes, chosen)
        with self._lock:
            spread = [(self._near.marked(key) or 0) & SPREAD != 0 for key in _keys(tenant, counted.record)]
        found: Bools = np.array([*spread, False], np.bool_)[counted.key_of_row]  # -1: the last one
        return found

    def acknowledge(self, rows: Rows, at: Int64 | slice, distinct_ids: pa.StringArray, new: Bools) -> Rows:
        """Shards stored some of ``rows``, ``new`` ones and duplicates: the new ones as rows of their own, which count
        until ``tell``. ``distinct_ids`` are theirs."""
        buckets = rows.buckets[at]
        new = new & (buckets != NO_BUCKET)
        with self._lock:
            rows.counted[at] = False
            if not new.all():
                self._sketch.leave(buckets, ~new)
            return self._add(
                rows.tenant, distinct_ids, rows.times[at], rows.hashes[at], buckets, new, acknowledged=True
            )

    def leave(self, rows: Rows) -> None:
        """What is left of ``rows`` is not on its way any more."""
        with self._lock:
            self._remove(rows)

    def tell(self, rows: Iterable[Rows], told: Iterable[tuple[HotKey, int]], count_min: int) -> None:
        """Counters have heard of ``rows``, or never will; ``told`` is what they answered. Said twice, it is said once.

        Counts only grow, so the larger of what is known here and what counters say is right: also when one lost its
        memory.
        """
        with self._lock:
            for some in rows:
                if some.number in self._pending:
                    self._count_known(some)
                    self._remove(some)
            self._near.learn(dict(told), count_min)

    def learn(self, counts: Mapping[HotKey, int]) -> None:
        """What counters have of some keys, without what is pending here."""
        with self._lock:
            self._near.learn(counts, 1)

    def forget(self, tenant: TenantId, distinct_ids: Sequence[str]) -> None:
        """Some users are deleted: their keys, of all days, have no count and no mark any more, and what was stored of
        them and counters have not heard of does not count. Rows on their way are not stored yet, and stay."""
        chosen = frozenset(distinct_ids)
        ids = pa.array(distinct_ids, pa.utf8())
        with self._lock:
            self._near.forget(tenant, chosen)
            for rows in self._pending.values():
                if rows.tenant == tenant and rows.acknowledged:
                    gone = pc.is_in(rows.distinct_ids, value_set=ids).to_numpy(zero_copy_only=False) & rows.counted
                    self._sketch.leave(rows.buckets, gone)
                    rows.counted[gone] = False

    def mark(self, key: HotKey, mark: Mark) -> None:
        """The key is hot, and this is its mark now."""
        with self._lock:
            self._near.mark(key, mark)

    def cross(self, key: HotKey, mark: Mark) -> bool:
        """The key is hot, and this is to be its mark. False: it has one, which stays."""
        with self._lock:
            if self._near.marked(key) is not None:
                return False
            self._near.mark(key, mark)
            return True

    def unmark(self, key: HotKey) -> None:
        """The key's mark was removed."""
        with self._lock:
            self._near.unmark(key)

    def marked(self, tenant: TenantId, keys_of: pa.RecordBatch, hashes: UInt64) -> Bools:
        """Which of some keys, with the hashes of their ids, are marked; one entry a key."""
        days = keys_of.column("day").to_numpy().astype(np.int64)
        with self._lock:
            buckets = buckets_of(hash_of(tenant), hashes, days)
            marked = self._sketch.watched(hash_of(tenant), buckets, days * DAY_MS, hashes)
            watched = np.flatnonzero(marked)
            keys = _keys(tenant, keys_of.take(pa.array(watched)))
            marked[watched] = [self._near.marked(key) is not None for key in keys]
        return marked

    @property
    def pending_rows(self) -> int:
        """Rows that are on their way or that counters have not heard of."""
        with self._lock:
            return sum(int(np.count_nonzero(rows.counted)) for rows in self._pending.values())

    def _add(
        self,
        tenant: TenantId,
        distinct_ids: pa.StringArray,
        times: Int64,
        hashes: UInt64,
        buckets: Int32,
        counted: npt.NDArray[np.bool_],
        *,
        acknowledged: bool,
    ) -> Rows:
        self._entered += 1
        rows = Rows(self._entered, tenant, distinct_ids, times, hashes, buckets, counted, acknowledged)
        self._pending[rows.number] = rows
        return rows

    def _remove(self, rows: Rows) -> None:
        if self._pending.pop(rows.number, None) is not None:
            self._sketch.leave(rows.buckets, rows.counted)

    def _ahead_of(self, rows: Rows, suspects: Suspects) -> dict[HotKey, int]:
        """How many rows of each suspect without a mark count that were entered before ``rows``, or acknowledged. Other
        keys of the same buckets may be among them."""
        ahead: dict[HotKey, int] = {}
        undecided = [number for number, key in enumerate(suspects.keys) if self._near.marked(key) is None]
        if not undecided:
            return ahead
        in_buckets = among(suspects.buckets[undecided])
        for other in self._pending.values():
            if other.tenant == rows.tenant and (other.number < rows.number or other.acknowledged):
                same = in_buckets[other.buckets] & other.counted
                if same.any():
                    _count_into(ahead, other, same)
        return ahead

    def _count_known(self, rows: Rows) -> None:
        if not self._near.has_counts:
            return
        watched = self._sketch.watched(hash_of(rows.tenant), rows.buckets, rows.times, rows.hashes) & rows.counted
        if watched.any():
            counts: dict[HotKey, int] = {}
            _count_into(counts, rows, watched)
            self._near.add(counts)


def _count_into(counts: dict[HotKey, int], rows: Rows, counted: Bools) -> None:
    record = aggregate(rows.distinct_ids, rows.times, rows.hashes, counted).record
    for key, count in zip(_keys(rows.tenant, record), record.column("count").to_pylist(), strict=True):
        counts[key] = counts.get(key, 0) + count


def _keys(tenant: TenantId, record: pa.RecordBatch) -> list[HotKey]:
    ids, days = record.column("distinct_id").to_pylist(), record.column("day").to_pylist()
    return [(tenant, distinct_id, day) for distinct_id, day in zip(ids, days, strict=True)]
