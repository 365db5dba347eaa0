"""Counts rows by buckets of keys: never less than a key's own rows, so most batches need no exact look. Pure.

A row costs few nanoseconds. A bucket may be *watched*: one of its keys is hot, or near its threshold.
"""

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import StringBuffers, UInt64, hash_of
from evenshard.hotkeys.aggregate import DAY_MS, key_hash
from evenshard.hotkeys.marks import HotKey
from evenshard.kernels import kernel, view

BUCKETS = 1 << 16
NO_BUCKET = BUCKETS
"""Of anonymous rows, which are never hot."""
_MASK = np.uint64(BUCKETS - 1)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@kernel(
    f"boolean(uint64, int64, {view('uint64')}, {view('int64')}, {view('int32')}, uint8[::1], int32[::1], int32[::1])"
)
def _enter(salt, limit, hashes, times, id_offsets, watched, counts, buckets):  # type: ignore[no-untyped-def]
    """Counts rows and fills their ``buckets``; whether one of them is watched or counts ``limit`` by now."""
    near = False
    for row in range(np.uint64(times.size)):
        if id_offsets[row] == id_offsets[row + np.uint64(1)]:
            buckets[row] = NO_BUCKET
            continue
        bucket = key_hash(hashes[row] ^ salt, 0, times[row] // DAY_MS) & _MASK
        buckets[row] = bucket
        counts[bucket] += 1
        near |= counts[bucket] >= limit or watched[bucket] != 0
    return near


@kernel(f"void(int32[::1], {view('boolean')}, int32[::1])")
def _leave(buckets, counted, counts):  # type: ignore[no-untyped-def]
    for row in range(buckets.size):
        if counted[row]:
            counts[buckets[row]] -= 1


@kernel(f"void(uint64, {view('uint64')}, {view('int64')}, int32[::1])")
def _buckets_of(salt, hashes, days, buckets):  # type: ignore[no-untyped-def]
    for key in range(days.size):
        buckets[key] = key_hash(hashes[key] ^ salt, 0, days[key]) & _MASK


class Sketch:
    """The counts of all tenants together; a tenant's salt spreads its keys differently."""

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS + 1, np.int32)
        self._watched = np.zeros(BUCKETS + 1, np.uint8)

    def enter(self, salt: int, limit: int, ids: StringBuffers, times: Int64, hashes: UInt64) -> tuple[Int32, bool]:
        """Counts rows. Their buckets, and whether a key may have ``limit`` rows by now, or is watched."""
        buckets = np.empty(times.size, np.int32)
        near = _enter(np.uint64(salt), limit, hashes, times, ids.offsets, self._watched, self._counts, buckets)
        return buckets, bool(near)

    def leave(self, buckets: Int32, counted: Bools) -> None:
        """Takes back rows that were entered: those ``counted``."""
        _leave(buckets, counted, self._counts)
        self._counts[NO_BUCKET] = 0

    def near(self, buckets: Int32, limit: int) -> Bools:
        """The rows whose bucket is watched or counts ``limit``."""
        near = (self._counts >= limit) | (self._watched != 0)
        near[NO_BUCKET] = False
        return near[buckets]

    def watched(self, buckets: Int32) -> Bools:
        """The rows whose bucket is watched."""
        return self._watched[buckets] != 0

    def watch(self, key: HotKey) -> None:
        """The key's bucket is watched from now on."""
        tenant, distinct_id, day = key
        hashes, days = np.array([hash_of(distinct_id)], np.uint64), np.array([day], np.int64)
        self._watched[buckets_of(hash_of(tenant), hashes, days)[0]] = 1

    def watch_nothing(self) -> None:
        self._watched[:] = 0


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
