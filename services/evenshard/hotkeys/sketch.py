"""Counts rows by buckets of keys: never less than a key's own rows, so most batches need no exact look. Pure.

A row costs few nanoseconds. Single keys may be *watched*: those that are hot, or near their threshold. They are known
by their whole hash, so that a bucket's other keys are nobody's business, however many are hot by now.
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import StringBuffers, UInt64
from evenshard.hotkeys.aggregate import DAY_MS
from evenshard.hotkeys.marks import HotKey
from evenshard.hotkeys.watched import WatchedKeys, holds, watch_hash
from evenshard.kernels import kernel, view

BUCKETS = 1 << 16
NO_BUCKET = BUCKETS
"""Of anonymous rows, which are never hot."""
_MASK = np.uint64(BUCKETS - 1)
_NEVER = 1 << 62
"""A count no bucket has."""

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@kernel(
    f"boolean(uint64, int64, {view('uint64')}, {view('int64')}, {view('int32')}, uint64[::1], int32[::1], int32[::1])"
)
def _enter(salt, limit, hashes, times, id_offsets, watched, counts, buckets):  # type: ignore[no-untyped-def]
    """Counts rows and fills their ``buckets``; whether one's key is watched, or its bucket counts ``limit`` by now."""
    near = False
    for row in range(np.uint64(times.size)):
        if id_offsets[row] == id_offsets[row + np.uint64(1)]:
            buckets[row] = NO_BUCKET
            continue
        key = watch_hash(hashes[row], salt, times[row] // DAY_MS)
        bucket = key & _MASK
        buckets[row] = bucket
        counts[bucket] += 1
        near |= counts[bucket] >= limit or holds(watched, key)
    return near


@kernel(f"void(int32[::1], {view('boolean')}, int32[::1])")
def _leave(buckets, counted, counts):  # type: ignore[no-untyped-def]
    for row in range(buckets.size):
        if counted[row]:
            counts[buckets[row]] -= 1


@kernel(f"void(uint64, int64, {view('uint64')}, {view('int64')}, int32[::1], uint64[::1], int32[::1], boolean[::1])")
def _near(salt, limit, hashes, times, buckets, watched, counts, near):  # type: ignore[no-untyped-def]
    """Fills ``near``: whether a row's key is watched, or its bucket counts ``limit``."""
    for row in range(times.size):
        bucket = buckets[row]
        near[row] = bucket != NO_BUCKET and (
            counts[bucket] >= limit or holds(watched, watch_hash(hashes[row], salt, times[row] // DAY_MS))
        )


@kernel(f"void(uint64, {view('uint64')}, {view('int64')}, int32[::1])")
def _buckets_of(salt, hashes, days, buckets):  # type: ignore[no-untyped-def]
    for key in range(days.size):
        buckets[key] = watch_hash(hashes[key], salt, days[key]) & _MASK


class Sketch:
    """The counts of all tenants together; a tenant's salt spreads its keys differently."""

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS + 1, np.int32)
        self._watched = WatchedKeys()

    @property
    def watched_keys(self) -> int:
        return self._watched.used

    def enter(self, salt: int, limit: int, ids: StringBuffers, times: Int64, hashes: UInt64) -> tuple[Int32, bool]:
        """Counts rows. Their buckets, and whether a key may have ``limit`` rows by now, or is watched."""
        buckets = np.empty(times.size, np.int32)
        near = _enter(np.uint64(salt), limit, hashes, times, ids.offsets, self._watched.slots, self._counts, buckets)
        return buckets, bool(near)

    def leave(self, buckets: Int32, counted: Bools) -> None:
        """Takes back rows that were entered: those ``counted``."""
        _leave(buckets, counted, self._counts)
        self._counts[NO_BUCKET] = 0

    def near(self, salt: int, limit: int, buckets: Int32, times: Int64, hashes: UInt64) -> Bools:
        """The rows whose key is watched, or whose bucket counts ``limit``."""
        near = np.empty(times.size, np.bool_)
        _near(np.uint64(salt), limit, hashes, times, buckets, self._watched.slots, self._counts, near)
        return near

    def watched(self, salt: int, buckets: Int32, times: Int64, hashes: UInt64) -> Bools:
        """The rows whose key is watched."""
        return self.near(salt, _NEVER, buckets, times, hashes)

    def watch(self, keys: Collection[HotKey]) -> None:
        """The keys are watched from now on."""
        self._watched.add(keys)

    def watch_all_of(self, keys: WatchedKeys) -> None:
        """These too."""
        self._watched.add_hashes(keys.slots)

    def watch_nothing(self) -> None:
        self._watched = WatchedKeys()


def buckets_of(salt: int, hashes: UInt64, days: Int64) -> Int32:
    """The buckets of keys: the hashes of their distinct_ids (none is empty), and their days."""
    buckets = np.empty(days.size, np.int32)
    _buckets_of(np.uint64(salt), hashes, days, buckets)
    return buckets


def among(buckets: Int32) -> Bools:
    """For each bucket, ``NO_BUCKET`` too, whether it is one of ``buckets``."""
    chosen = np.zeros(BUCKETS + 1, np.bool_)
    chosen[buckets] = True
    chosen[NO_BUCKET] = False
    return chosen
