"""The identity set: finds, for each new event, the stored event that may be the same; in memory, for one tenant's log.

An open-addressing table from identity hash to a *reference* (int64, whatever the caller numbers its rows by). It gives
candidates; the caller compares fields. Events whose hashes collide are all kept: one hash may stand there many times.
"""

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.kernels import kernel, view

NO_CANDIDATE = -1
ALL_BITS = (1 << 64) - 1

_CAPACITY_MIN = 64
_AHEAD = 32
_ALL = np.iinfo(np.int64).max
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Int64 = npt.NDArray[np.int64]


@kernel(inline=True)
def _home(key, shift):  # type: ignore[no-untyped-def]
    return np.int64((key * _SPREAD) >> np.uint64(shift)) << 1


@kernel(f"UniTuple(int64, 2)(uint64[::1], int64, {view('uint64')}, int64, int64[::1])")
def _insert_or_find(table, shift, hashes, first_reference, candidates):  # type: ignore[no-untyped-def]
    """Row i has reference ``first_reference + i``. ``candidates[i]``: the first reference its hash met, else -1 and it
    is inserted. Returns the number inserted. Homes are touched some rows ahead, so that their cache misses overlap;
    what was read there is returned too, lest the compiler leave it out."""
    mask = table.size - 1
    rows = hashes.size
    inserted = 0
    touched = np.uint64(0)
    for begin in range(0, rows, _AHEAD):
        end = min(begin + _AHEAD, rows)
        for i in range(begin, end):
            touched ^= table[_home(hashes[i], shift)]
        for i in range(begin, end):
            key = hashes[i]
            candidates[i] = NO_CANDIDATE
            if key == 0:
                continue
            at = _home(key, shift)
            while table[at] != 0 and table[at] != key:
                at = (at + 2) & mask
            if table[at] == key:
                candidates[i] = np.int64(table[at + 1])
            else:
                table[at] = key
                table[at + 1] = np.uint64(first_reference + i)
                inserted += 1
    return inserted, np.int64(touched)


@kernel(f"void(uint64[::1], int64, {view('uint64')}, int64[::1])")
def _find(table, shift, hashes, candidates):  # type: ignore[no-untyped-def]
    """As ``_insert_or_find``, but nothing is inserted."""
    mask = table.size - 1
    for i in range(hashes.size):
        key = hashes[i]
        candidates[i] = NO_CANDIDATE
        if key == 0:
            continue
        at = _home(key, shift)
        while table[at] != 0 and table[at] != key:
            at = (at + 2) & mask
        if table[at] == key:
            candidates[i] = np.int64(table[at + 1])


@kernel(f"int64(uint64[::1], int64, {view('uint64')}, int64)")
def _insert_all(table, shift, entries, below):  # type: ignore[no-untyped-def]
    """Copies the entries of another table with references lower than ``below``; returns how many they were."""
    mask = table.size - 1
    inserted = 0
    for i in range(0, entries.size, 2):
        if entries[i] != 0 and np.int64(entries[i + 1]) < below:
            at = _home(entries[i], shift)
            while table[at] != 0:
                at = (at + 2) & mask
            table[at] = entries[i]
            table[at + 1] = entries[i + 1]
            inserted += 1
    return inserted


@kernel(f"int64(uint64[::1], int64, {view('uint64')}, {view('boolean')}, int64)")
def _insert_shown(table, shift, entries, hidden, first):  # type: ignore[no-untyped-def]
    """Copies the entries of another table but those with ``hidden[reference - first]``; returns how many they were."""
    mask = table.size - 1
    inserted = 0
    for i in range(0, entries.size, 2):
        if entries[i] != 0 and not hidden[np.int64(entries[i + 1]) - first]:
            at = _home(entries[i], shift)
            while table[at] != 0:
                at = (at + 2) & mask
            table[at] = entries[i]
            table[at + 1] = entries[i + 1]
            inserted += 1
    return inserted


class IdentitySet:
    """Not safe for two threads at once. ``hash_mask`` keeps only some bits of each hash: tests force collisions."""

    def __init__(self, *, hash_mask: int = ALL_BITS) -> None:
        self._hash_mask = np.uint64(hash_mask)
        self._size = 0
        self._allocate(_CAPACITY_MIN)

    def __len__(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        """Memory of the table."""
        return int(self._table.nbytes)

    def insert_or_find(self, hashes: UInt64, first_reference: int) -> Int64:
        """For each row in order: the reference of the first entry with its hash (rows before it in this call included),
        or ``NO_CANDIDATE``, and then the row is inserted under ``first_reference + i``. Hash 0 is never looked at."""
        self._reserve(hashes.size)
        candidates = np.empty(hashes.size, np.int64)
        inserted, _ = _insert_or_find(self._table, self._shift, self._masked(hashes), first_reference, candidates)
        self._size += inserted
        return candidates

    def find(self, hashes: UInt64) -> Int64:
        """For each row the reference of the first entry with its hash, or ``NO_CANDIDATE``; nothing is inserted."""
        candidates = np.empty(hashes.size, np.int64)
        _find(self._table, self._shift, self._masked(hashes), candidates)
        return candidates

    def find_all(self, identity: int) -> list[int]:
        """The references of every entry with this hash, in the order they were inserted."""
        key = self._masked(np.array([identity], np.uint64))[0]
        mask = self._table.size - 1
        at = ((int(key) * int(_SPREAD) & ALL_BITS) >> self._shift) << 1
        found = []
        while (here := self._table[at]) != 0:
            if here == key:
                found.append(int(self._table[at + 1]))
            at = (at + 2) & mask
        return sorted(found)

    def insert(self, identity: int, reference: int) -> None:
        """Adds an entry beside those that have the same hash already."""
        self._reserve(1)
        entry = self._masked(np.array([identity, 0], np.uint64))
        entry[1] = reference
        self._size += _insert_all(self._table, self._shift, entry, reference + 1)

    def forget(self, first_reference: int) -> None:
        """Removes all entries from this reference on: their rows were not stored. Takes as long as growing does."""
        entries = self._table
        self._allocate(entries.size // 2)
        self._size = _insert_all(self._table, self._shift, entries, first_reference)

    def without(self, hidden: npt.NDArray[np.bool_], first_reference: int) -> "IdentitySet":
        """Another one, without the entries whose reference ``first_reference + i`` has ``hidden[i]``; none lies
        outside. Takes as long as growing does."""
        kept = IdentitySet(hash_mask=int(self._hash_mask))
        kept._allocate(self._table.size // 2)
        kept._size = _insert_shown(kept._table, kept._shift, self._table, hidden, first_reference)
        return kept

    def absorb(self, other: "IdentitySet") -> None:
        """Adds all entries of ``other``."""
        self._reserve(len(other))
        self._size += _insert_all(self._table, self._shift, other._table, _ALL)

    def _masked(self, hashes: UInt64) -> UInt64:
        if self._hash_mask == np.uint64(ALL_BITS):
            return hashes
        masked = hashes & self._hash_mask
        masked[(masked == 0) & (hashes != 0)] = 1
        return masked

    def _reserve(self, rows: int) -> None:
        """At most half full, also after ``rows`` more."""
        capacity = self._table.size // 2
        while (self._size + rows) * 2 > capacity:
            capacity *= 2
        if capacity * 2 != self._table.size:
            entries = self._table
            self._allocate(capacity)
            _insert_all(self._table, self._shift, entries, _ALL)

    def _allocate(self, capacity: int) -> None:
        self._table = np.zeros(2 * capacity, np.uint64)  # hash and reference side by side: one cache line
        self._shift = 64 - (capacity.bit_length() - 1)
