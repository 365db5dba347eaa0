"""Counts of keys without the keys: 8 bytes a slot, a hash table of fixed size in one array. Pure.

A slot has 36 bits of a hash of tenant and distinct_id, 12 bits of the UTC day and 16 of the count; another hash, of all
three, says where it stands. Two keys of one day are taken for one where both agree: among 100 million keys there is
such a pair with a chance of 1 in 200 (each is compared with some 3 slots: 3 · 10⁸ · 2⁻³⁶). Linear probing, at most
three quarters full.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.hotkeys.aggregate import key_hash
from evenshard.kernels import kernel, view

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

Columns = dict[str, npt.NDArray[Any]]
"""What is saved of a table, by name."""

COUNT_MAX: Final = (1 << 16) - 1
"""The largest count a slot holds; a key that has it may have more."""
_COUNT_BITS, _DAY_BITS = np.uint64(16), np.uint64(12)
_KEY_BITS = np.uint64(28)
_COUNT_MASK, _DAY_MASK = np.uint64(COUNT_MAX), np.uint64((1 << 12) - 1)
_DAYS_REPEAT: Final = 1 << 12
_DAY_MAX: Final = 1 << 15
"""Days that are looked for: to the year 2059, from 1970 on."""
_ID_MIX = np.uint64(0xC2B2AE3D27D4EB4F)
_HALF = np.uint64(32)
_LOAD: Final = 0.75

_KEYS = f"{view('uint64')}, {view('int32')}, {view('int32')}"


@kernel(inline=True)
def _user_bits(id_hash, tenant):  # type: ignore[no-untyped-def]
    """36 bits of a user, never 0."""
    bits = ((id_hash ^ (np.uint64(tenant) << _HALF)) * _ID_MIX) >> _KEY_BITS
    return max(bits, np.uint64(1))


@kernel(inline=True)
def _home(id_hash, tenant, day, slots):  # type: ignore[no-untyped-def]
    """Where a key's slot is, if nobody was there first."""
    return ((key_hash(id_hash, tenant, day) >> _HALF) * np.uint64(slots)) >> _HALF


@kernel(inline="always", counted=False)
def _find(slots, at, key):  # type: ignore[no-untyped-def]
    """The slot of a key (its upper 48 bits), or the free one where it would go, searched from ``at`` on."""
    size = np.uint64(slots.size)
    while True:
        word = slots[at]
        if word == np.uint64(0) or word >> _COUNT_BITS == key:
            return at
        at += np.uint64(1)
        if at == size:
            at = np.uint64(0)


@kernel(f"int64(uint64[::1], uint64[::1], {_KEYS}, {view('int64')}, int64[::1])", counted=False)
def _add(slots, older, hashes, tenants, days, counts, totals):  # type: ignore[no-untyped-def]
    """Adds counts; a key that is new takes along what ``older`` has of it. Returns how many are new."""
    new = 0
    for i in range(hashes.size):
        key = (_user_bits(hashes[i], tenants[i]) << _DAY_BITS) | (np.uint64(days[i]) & _DAY_MASK)
        at = _find(slots, _home(hashes[i], tenants[i], days[i], slots.size), key)
        total = np.int64(slots[at] & _COUNT_MASK) + counts[i]
        if slots[at] == np.uint64(0):
            new += 1
            if older.size > 0:
                before = _find(older, _home(hashes[i], tenants[i], days[i], older.size), key)
                total += np.int64(older[before] & _COUNT_MASK)
                older[before] &= ~_COUNT_MASK
        slots[at] = (key << _COUNT_BITS) | np.uint64(min(total, COUNT_MAX))
        totals[i] = total
    return new


@kernel(f"void({view('uint64')}, {_KEYS}, int64[::1])", counted=False)
def _counts(slots, hashes, tenants, days, counts):  # type: ignore[no-untyped-def]
    for i in range(hashes.size):
        key = (_user_bits(hashes[i], tenants[i]) << _DAY_BITS) | (np.uint64(days[i]) & _DAY_MASK)
        at = _find(slots, _home(hashes[i], tenants[i], days[i], slots.size), key)
        counts[i] = np.int64(slots[at] & _COUNT_MASK)


@kernel(f"void({view('uint64')}, int32, uint64[::1])", counted=False)
def _bits_of(hashes, tenant, bits):  # type: ignore[no-untyped-def]
    for user in range(hashes.size):
        bits[user] = _user_bits(hashes[user], tenant)


@kernel("void(uint64[::1], int32, uint64[::1], uint64[::1], boolean[::1])", counted=False)
def _forget(slots, tenant, hashes, bits, low_bits):  # type: ignore[no-untyped-def]
    """The keys of some users, of all days, count nothing: slots that bear a user's bits, where a key of theirs is.
    ``bits``, ascending: of ``hashes``; ``low_bits``: whether any of them ends with these 16."""
    for at in range(slots.size):
        held = slots[at] >> _KEY_BITS
        if held == np.uint64(0) or not low_bits[held & _COUNT_MASK]:
            continue
        key = slots[at] >> _COUNT_BITS
        user = np.searchsorted(bits, held)
        while user < bits.size and bits[user] == held:
            for day in range(np.int64(key & _DAY_MASK), _DAY_MAX, _DAYS_REPEAT):
                if _find(slots, _home(hashes[user], tenant, np.int32(day), slots.size), key) == np.uint64(at):
                    slots[at] &= ~_COUNT_MASK
            user += 1


class CountTable:
    """Counts of up to ``keys_max`` keys, each given by the XXH64 of its distinct_id, a tenant's number and a day."""

    def __init__(self, keys_max: int) -> None:
        self.used = 0
        """Keys that stand in it, also those that count nothing any more."""
        self._slots: UInt64 = np.zeros(int(keys_max / _LOAD) + 16, np.uint64)

    @property
    def bytes(self) -> int:
        return self._slots.nbytes

    def add(self, older: "CountTable | None", hashes: UInt64, tenants: Int32, days: Int32, counts: Int64) -> Int64:
        """Adds ``counts``; no more keys than there is room for. A key that is new here takes along what ``older`` has
        of it. Returns each key's count, up to and including its own row; one of ``COUNT_MAX`` and its own row's, or
        more, may be too low."""
        totals = np.empty(hashes.size, np.int64)
        before = np.zeros(0, np.uint64) if older is None else older._slots
        self.used += _add(self._slots, before, hashes, tenants, days, counts, totals)
        return totals

    def counts(self, hashes: UInt64, tenants: Int32, days: Int32) -> Int64:
        """The count of each key, at most ``COUNT_MAX``; 0: none."""
        counts = np.empty(hashes.size, np.int64)
        _counts(self._slots, hashes, tenants, days, counts)
        return counts

    def forget(self, tenant: int, hashes: UInt64) -> None:
        """The keys of some users of a tenant, of all days, count nothing any more."""
        bits, low_bits = np.empty(hashes.size, np.uint64), np.zeros(COUNT_MAX + 1, np.bool_)
        _bits_of(hashes, np.int32(tenant), bits)
        low_bits[bits & _COUNT_MASK] = True
        order = np.argsort(bits)
        _forget(self._slots, np.int32(tenant), hashes[order], bits[order], low_bits)

    def largest(self) -> int:
        """The largest count of all; 0: there is none."""
        return int(max((int((part & _COUNT_MASK).max()) for part in _parts(self._slots)), default=0))

    def save(self) -> Columns:
        """A copy of what is used, as columns."""
        at = np.flatnonzero(self._slots).astype(np.uint32)
        return {"at": at, "slots": self._slots[at]}

    @staticmethod
    def restore(keys_max: int, saved: Columns) -> "CountTable":
        """What ``save`` gave of a table of the same ``keys_max``."""
        table = CountTable(keys_max)
        table._slots[saved["at"]] = saved["slots"]
        table.used = saved["at"].size
        return table


def _parts(slots: UInt64) -> list[UInt64]:
    return [slots[start : start + (1 << 20)] for start in range(0, slots.size, 1 << 20)]
