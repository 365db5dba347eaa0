"""A set of keys by their 64-bit hash: it never misses a key, and takes another for it once in 2^64. Pure.

Open addressing with linear probing, at most half full: 16 to 32 bytes a key. A key of any batch is found or
not in a few nanoseconds, however many there are.
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64, hash_of
from evenshard.hotkeys.aggregate import DAY_MS, MIX, key_hash
from evenshard.hotkeys.marks import HotKey
from evenshard.ids import TenantId
from evenshard.kernels import kernel, view

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

_EMPTY = np.uint64(0)
_SLOTS_MIN = 16
_ALL_BITS = (1 << 64) - 1


@kernel(inline=True)
def watch_hash(id_hash, salt, day):  # type: ignore[no-untyped-def]
    """The hash of a key: of its distinct_id, its tenant (``salt``) and its day; never that of an empty slot. To be
    called from kernels."""
    value = key_hash(id_hash ^ salt, 0, day)  # hash_of_key says the same
    return value if value != _EMPTY else np.uint64(1)


@kernel(inline="always")
def holds(slots, value):  # type: ignore[no-untyped-def]
    """Whether a key with this hash was added. To be called from kernels."""
    mask = np.uint64(slots.size - 1)
    at = value & mask
    while slots[at] != _EMPTY and slots[at] != value:
        at = (at + np.uint64(1)) & mask
    return slots[at] != _EMPTY


@kernel(f"void(uint64[::1], {view('uint64')}, boolean[::1])")
def _held(slots, values, held):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        held[i] = holds(slots, values[i])


@kernel(f"void(uint64[::1], uint64, {view('uint64')}, {view('int64')}, boolean[::1])")
def _held_rows(slots, salt, placement, times, held):  # type: ignore[no-untyped-def]
    for row in range(times.size):
        held[row] = holds(slots, watch_hash(placement[row], salt, times[row] // DAY_MS))


@kernel(f"int64(uint64[::1], {view('uint64')})")
def _insert(slots, values):  # type: ignore[no-untyped-def]
    """Adds hashes to slots with room for all of them (empty ones are passed over); returns how many are new."""
    mask = np.uint64(slots.size - 1)
    new = 0
    for i in range(values.size):
        value = values[i]
        at = value & mask
        while slots[at] != _EMPTY and slots[at] != value:
            at = (at + np.uint64(1)) & mask
        if slots[at] == _EMPTY and value != _EMPTY:
            slots[at] = value
            new += 1
    return new


def hash_of_key(key: HotKey) -> int:
    """The ``watch_hash`` of a key."""
    tenant, distinct_id, day = key
    value = ((hash_of(distinct_id) ^ hash_of(tenant) ^ day) * int(MIX)) & _ALL_BITS
    return (value ^ (value >> 29)) or 1


def _hashes_of(keys: Collection[HotKey]) -> UInt64:
    return np.fromiter((hash_of_key(key) for key in keys), np.uint64, len(keys))


class WatchedKeys:
    """Grows by doubling; nothing is taken out but all."""

    def __init__(self) -> None:
        self.slots = np.zeros(_SLOTS_MIN, np.uint64)
        """To be given to kernels, anew each time."""
        self.used = 0

    def add(self, keys: Collection[HotKey]) -> None:
        """Those that are there already change nothing."""
        self.add_hashes(_hashes_of(keys))

    def add_hashes(self, hashes: UInt64) -> None:
        """Of keys; empty slots of another table are passed over."""
        needed = 2 * (self.used + hashes.size)
        if needed > self.slots.size:
            old = self.slots
            self.slots = np.zeros(1 << (needed - 1).bit_length(), np.uint64)
            self.used = _insert(self.slots, old)
        self.used += _insert(self.slots, hashes)

    def rows_of(self, tenant: TenantId, placement: UInt64, times: Int64) -> Bools:
        """For each row, by its user's hash and its time, whether its key was added."""
        held = np.empty(times.size, np.bool_)
        _held_rows(self.slots, np.uint64(hash_of(tenant)), placement, times, held)
        return held

    def holds_of(self, keys: Collection[HotKey]) -> frozenset[int]:
        """The numbers of those keys that were added."""
        held = np.empty(len(keys), np.bool_)
        _held(self.slots, _hashes_of(keys), held)
        return frozenset(np.flatnonzero(held).tolist())
