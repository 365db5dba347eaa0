"""Counts of keys without the keys: 8 bytes a slot, a hash table of fixed size in one array. Pure.

A slot has 36 bits of a hash of tenant and distinct_id, 12 bits of the UTC day and 16 of the count; another hash, of all
three, says where it stands. Two keys of one day are taken for one where both agree: among 100 million keys there is
such a pair with a chance of 1 in 200 (each is compared with some 3 slots: 3 · 10⁸ · 2⁻³⁶). Linear probing, at most
three quarters full.

It begins small and grows fourfold. Until it is as large as it may be, it keeps 32 bits of the other hash besides, so
that keys can be moved: 4 bytes a slot.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.hotkeys.aggregate import key_hash
from evenshard.kernels import kernel, prefetch, view

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
SLOTS_MIN: Final = 1 << 16
_GROWTH: Final = 4
_STRETCH: Final = 64
"""Keys whose slots fit into the nearest cache, with room to spare."""
_PROBED = np.uint64(6)
"""Most keys are found in so many slots."""

_KEYS = f"{view('uint64')}, {view('int32')}, {view('int32')}"


@kernel(inline=True)
def _user_bits(id_hash, tenant):  # type: ignore[no-untyped-def]
    """36 bits of a user, never 0."""
    bits = ((id_hash ^ (np.uint64(tenant) << _HALF)) * _ID_MIX) >> _KEY_BITS
    return max(bits, np.uint64(1))


@kernel(inline=True)
def _home_bits(id_hash, tenant, day):  # type: ignore[no-untyped-def]
    """32 bits of a key that say where its slot is, in a table of any size."""
    return key_hash(id_hash, tenant, day) >> _HALF


@kernel(inline=True)
def _home(id_hash, tenant, day, slots):  # type: ignore[no-untyped-def]
    """Where a key's slot is, if nobody was there first."""
    return (_home_bits(id_hash, tenant, day) * np.uint64(slots)) >> _HALF


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


@kernel(
    f"int64(uint64[::1], uint32[::1], uint64[::1], {_KEYS}, {view('int64')}, int64, int64[::1], boolean[::1],"
    "uint64[::1])",
    counted=False,
)
def _add(slots, homes, older, hashes, tenants, days, counts, listed_from, totals, listed, starts):  # type: ignore[no-untyped-def]
    """Adds counts; a key that is new takes along what ``older`` has of it. Returns how many are new. Fills ``totals``
    and ``listed``, as ``Added`` has them. ``starts``: room for a stretch of keys.

    Where the keys of a stretch may stand is asked for before any is added to: those reads wait for memory together, as
    those of a loop that goes on by what it reads do not. A key's slot may be in the next line of memory: that is asked
    for too.
    """
    new = 0
    for first in range(0, hashes.size, starts.size):
        end = min(first + starts.size, hashes.size)
        for i in range(first, end):
            start = _home(hashes[i], tenants[i], days[i], slots.size)
            starts[i - first] = start
            prefetch(slots, start)
            prefetch(slots, start + _PROBED)
            if homes.size > 0:
                prefetch(homes, start)
        for i in range(first, end):
            key = (_user_bits(hashes[i], tenants[i]) << _DAY_BITS) | (np.uint64(days[i]) & _DAY_MASK)
            at = _find(slots, starts[i - first], key)
            total = np.int64(slots[at] & _COUNT_MASK) + counts[i]
            enters = total - counts[i] < listed_from or total >= COUNT_MAX
            if slots[at] == np.uint64(0):
                new += 1
                enters = True
                if homes.size > 0:
                    homes[at] = _home_bits(hashes[i], tenants[i], days[i])
                if older.size > 0:
                    before = _find(older, _home(hashes[i], tenants[i], days[i], older.size), key)
                    total += np.int64(older[before] & _COUNT_MASK)
                    older[before] &= ~_COUNT_MASK
            slots[at] = (key << _COUNT_BITS) | np.uint64(min(total, COUNT_MAX))
            totals[i] = total
            listed[i] = enters and total >= listed_from
    return new


@kernel("void(uint64[::1], uint32[::1], uint64[::1], uint32[::1])", counted=False)
def _move(slots, homes, grown, grown_homes):  # type: ignore[no-untyped-def]
    """Moves all keys to a larger table, which is empty; ``grown_homes`` is empty where it grows no more."""
    size = np.uint64(grown.size)
    for at in range(slots.size):
        if slots[at] == np.uint64(0):
            continue
        there = (np.uint64(homes[at]) * size) >> _HALF
        while grown[there] != np.uint64(0):
            there += np.uint64(1)
            if there == size:
                there = np.uint64(0)
        grown[there] = slots[at]
        if grown_homes.size > 0:
            grown_homes[there] = homes[at]


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


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What became of added counts; one entry a row."""

    totals: Int64
    """Each key's count, up to and including its own row; one of ``COUNT_MAX`` and its own row's, or more, may be too
    low."""
    listed: npt.NDArray[np.bool_]
    """The key has as many as are listed, and had not before, or not here; or more than a slot can count."""


class CountTable:
    """Counts of up to ``keys_max`` keys, each given by the XXH64 of its distinct_id, a tenant's number and a day."""

    def __init__(self, keys_max: int, slots: int | None = None) -> None:
        """``slots``: how many it begins with."""
        self.used = 0
        """Keys that stand in it, also those that count nothing any more."""
        self._slots_max = _slots_max(keys_max)
        self._slots, self._homes = self._empty(slots or SLOTS_MIN)

    @property
    def bytes(self) -> int:
        return self._slots.nbytes + self._homes.nbytes

    def add(
        self,
        older: "CountTable | None",
        hashes: UInt64,
        tenants: Int32,
        days: Int32,
        counts: Int64,
        listed_from: int = 1,
    ) -> Added:
        """Adds ``counts``; no more keys than there is room for. A key that is new here takes along what ``older`` has
        of it."""
        self._make_room(hashes.size)
        totals, listed = np.empty(hashes.size, np.int64), np.empty(hashes.size, np.bool_)
        before = np.zeros(0, np.uint64) if older is None else older._slots
        starts = np.empty(_STRETCH, np.uint64)
        self.used += _add(
            self._slots, self._homes, before, hashes, tenants, days, counts, listed_from, totals, listed, starts
        )
        return Added(totals, listed)

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
        columns: Columns = {"at": at, "slots": self._slots[at]}
        if self._homes.size:
            columns |= {"homes": self._homes[at], "size": np.array([self._slots.size])}
        return columns

    @staticmethod
    def restore(keys_max: int, saved: Columns) -> "CountTable":
        """What ``save`` gave of a table of the same ``keys_max``."""
        table = CountTable(keys_max, int(saved["size"][0]) if "size" in saved else _slots_max(keys_max))
        table._slots[saved["at"]] = saved["slots"]
        if "homes" in saved:
            table._homes[saved["at"]] = saved["homes"]
        table.used = saved["at"].size
        return table

    def _make_room(self, keys: int) -> None:
        size = self._slots.size
        while size < self._slots_max and self.used + keys > _LOAD * size:
            size *= _GROWTH
        if size > self._slots.size:
            slots, homes = self._empty(size)
            _move(self._slots, self._homes, slots, homes)
            self._slots, self._homes = slots, homes

    def _empty(self, size: int) -> tuple[UInt64, npt.NDArray[np.uint32]]:
        """Slots, as many as there may be at most, and homes as long as they will be moved."""
        if size >= self._slots_max:
            return np.zeros(self._slots_max, np.uint64), np.zeros(0, np.uint32)
        return np.zeros(size, np.uint64), np.zeros(size, np.uint32)


def _slots_max(keys_max: int) -> int:
    return int(keys_max / _LOAD) + 16


def _parts(slots: UInt64) -> list[UInt64]:
    return [slots[start : start + (1 << 20)] for start in range(0, slots.size, 1 << 20)]
