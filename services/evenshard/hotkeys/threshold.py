"""Decides which events of a batch are hot: exact to the event where one router has one batch in flight. Pure.

A key's count is what counters are known to have of it, and what they have not heard of: rows that shards acknowledged
as new, and rows on their way that were entered before. Rows on their way count as new until their ack says which are.

A router asks counters about few keys: after each count it is told of keys with half their threshold or more, so a key
it never knew anything of has less; and a key with less than half its threshold on both sides cannot reach it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import UInt64, hash_of, string_buffers
from evenshard.hotkeys.aggregate import DAY_MS, CountedKeys, aggregate
from evenshard.hotkeys.marks import HotKey, Mark, Rule
from evenshard.hotkeys.sketch import NO_BUCKET, Bools, Int32, Int64, Sketch, among, buckets_of
from evenshard.hotkeys.watched import WatchedKeys
from evenshard.ids import TenantId
from evenshard.kernels import kernel

KNOWN_KEYS_MAX = 200_000
"""Keys near their threshold whose count a router keeps; beyond, the older half is forgotten and asked for again."""
DROPPED_KEYS_MAX = 1_000_000
"""Keys of which a router knows that their count is forgotten, 16 to 32 bytes each; beyond, it learns of them only when
they are counted again."""
_NOBODY: frozenset[int] = frozenset()
NEEDLESS_MIN = 64
NEEDLESS_PART = 4
"""So many watched keys that need no watch, and a share of all: then the watched ones are gathered anew."""
_HOT, _CROSSING, _SPREAD = 1, 2, 4


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
        self._known_keys_max = known_keys_max
        self._sketch = Sketch()
        self._pending: dict[int, Rows] = {}
        self._entered = 0
        self._known: dict[HotKey, int] = {}
        self._marks: dict[HotKey, int] = {}
        """What becomes of rows of keys that have a mark."""
        self._dropped = WatchedKeys()
        """Near keys whose count is forgotten: it must be asked for before anything is decided about them."""
        self._needless = 0
        """Keys that are still watched and need not be."""

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
            dropped = self._dropped.holds_of(suspects.keys) if self._dropped.used else _NOBODY
            return [
                number
                for number, key in enumerate(suspects.keys)
                if (pending.get(key, 0) + own[number] >= rule.count_min or number in dropped)
                and key not in self._known
                and key not in self._marks
            ]

    def decide(self, rows: Rows, suspects: Suspects, rule: Rule, looked_up: Mapping[HotKey, int]) -> Decision:
        """``looked_up``: counts at the counters, asked for since nothing was counted any more."""
        total = len(suspects.keys)
        room, effect = np.zeros(total, np.int64), np.zeros(total, np.uint8)
        counts = np.zeros(total, np.int64)
        # Rows beyond the threshold go to the home still, as long as it takes them: what is new is known only then.
        fresh = _CROSSING | (_HOT if rule.mode == "rewrite" else 0)
        with self._lock:
            # Before anything is learned, which may forget what is known of the very keys to decide about.
            known = {key: max(self._known.get(key, 0), looked_up.get(key, 0)) for key in suspects.keys}
            self._learn(looked_up, rule.count_min)
            pending = self._ahead_of(rows, suspects)
            for number, key in enumerate(suspects.keys):
                mark = self._marks.get(key)
                if mark is not None:
                    effect[number] = mark
                    continue
                count = known[key] + pending.get(key, 0)
                room[number], effect[number], counts[number] = rule.threshold - count, fresh, count
        flags = np.zeros(rows.times.size, np.uint8)
        _decide(suspects.counted.key_of_row, room, effect, flags)
        counts += suspects.counted.record.column("count").to_numpy()
        return Decision(
            (flags & _HOT) != 0,
            (flags & _SPREAD) != 0,
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
            spread = [self._marks.get(key, 0) & _SPREAD != 0 for key in _keys(tenant, counted.record)]
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
            self._learn(dict(told), count_min)

    def learn(self, counts: Mapping[HotKey, int]) -> None:
        """What counters have of some keys, without what is pending here."""
        with self._lock:
            self._learn(counts, 1)

    def forget(self, tenant: TenantId, distinct_ids: Sequence[str]) -> None:
        """Some users are deleted: their keys, of all days, have no count and no mark any more, and what was stored of
        them and counters have not heard of does not count. Rows on their way are not stored yet, and stay."""
        chosen = frozenset(distinct_ids)
        ids = pa.array(distinct_ids, pa.utf8())
        with self._lock:
            for keys in (self._known, self._marks):
                for key in [key for key in keys if key[0] == tenant and key[1] in chosen]:
                    del keys[key]
                    self._unwatched()
            for rows in self._pending.values():
                if rows.tenant == tenant and rows.acknowledged:
                    gone = pc.is_in(rows.distinct_ids, value_set=ids).to_numpy(zero_copy_only=False) & rows.counted
                    self._sketch.leave(rows.buckets, gone)
                    rows.counted[gone] = False

    def mark(self, key: HotKey, mark: Mark) -> None:
        """The key is hot, and this is its mark now."""
        with self._lock:
            self._mark(key, mark)

    def cross(self, key: HotKey, mark: Mark) -> bool:
        """The key is hot, and this is to be its mark. False: it has one, which stays."""
        with self._lock:
            if key in self._marks:
                return False
            self._mark(key, mark)
            return True

    def _mark(self, key: HotKey, mark: Mark) -> None:
        self._marks[key] = (_HOT if mark.has_hot_rows else 0) | (_SPREAD if mark.is_spread else 0)
        self._known.pop(key, None)
        self._sketch.watch([key])

    def unmark(self, key: HotKey) -> None:
        """The key's mark was removed."""
        with self._lock:
            if self._marks.pop(key, None) is not None:
                self._unwatched()

    def marked(self, tenant: TenantId, keys_of: pa.RecordBatch, hashes: UInt64) -> Bools:
        """Which of some keys, with the hashes of their ids, are marked; one entry a key."""
        days = keys_of.column("day").to_numpy().astype(np.int64)
        with self._lock:
            buckets = buckets_of(hash_of(tenant), hashes, days)
            marked = self._sketch.watched(hash_of(tenant), buckets, days * DAY_MS, hashes)
            watched = np.flatnonzero(marked)
            keys = _keys(tenant, keys_of.take(pa.array(watched)))
            marked[watched] = [key in self._marks for key in keys]
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
        undecided = [number for number, key in enumerate(suspects.keys) if key not in self._marks]
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
        if not self._known:
            return
        watched = self._sketch.watched(hash_of(rows.tenant), rows.buckets, rows.times, rows.hashes) & rows.counted
        if watched.any():
            counts: dict[HotKey, int] = {}
            _count_into(counts, rows, watched)
            for key, count in counts.items():
                if key in self._known:
                    self._known[key] += count

    def _learn(self, counts: Mapping[HotKey, int], count_min: int) -> None:
        near = {key: count for key, count in counts.items() if count >= count_min and key not in self._marks}
        for key, count in near.items():
            self._known[key] = max(count, self._known.get(key, 0))
        self._sketch.watch(near)
        if len(self._known) > self._known_keys_max:
            gone = list(self._known)[: len(self._known) - self._known_keys_max // 2]
            for key in gone:
                del self._known[key]
            if self._dropped.used + len(gone) > DROPPED_KEYS_MAX:
                self._dropped = WatchedKeys()
                self._watch_anew()
            self._dropped.add(gone)
            self._sketch.watch(gone)

    def _unwatched(self) -> None:
        """A key needs no watch any more. That costs its rows an exact look, so not all is done anew for each."""
        self._needless += 1
        if self._needless >= max(NEEDLESS_MIN, self._sketch.watched_keys // NEEDLESS_PART):
            self._watch_anew()

    def _watch_anew(self) -> None:
        self._sketch.watch_nothing()
        self._sketch.watch(self._known)
        self._sketch.watch(self._marks)
        self._sketch.watch_all_of(self._dropped)
        self._needless = 0


def _count_into(counts: dict[HotKey, int], rows: Rows, counted: Bools) -> None:
    record = aggregate(rows.distinct_ids, rows.times, rows.hashes, counted).record
    for key, count in zip(_keys(rows.tenant, record), record.column("count").to_pylist(), strict=True):
        counts[key] = counts.get(key, 0) + count


def _keys(tenant: TenantId, record: pa.RecordBatch) -> list[HotKey]:
    ids, days = record.column("distinct_id").to_pylist(), record.column("day").to_pylist()
    return [(tenant, distinct_id, day) for distinct_id, day in zip(ids, days, strict=True)]
