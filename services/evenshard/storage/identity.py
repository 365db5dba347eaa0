"""The identity set: finds, for each new event, the stored event that may be the same; in memory, for one tenant's log.

An open-addressing table of *references* (whatever the caller numbers its rows by, one after another), each beside half
of its row's identity hash; and the hashes of all rows, by reference, of which compaction makes filters. It gives
candidates; the caller compares fields. Events whose hashes collide are all kept: one hash may stand there many times.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.kernels import kernel, view

NO_CANDIDATE = -1
ALL_BITS = (1 << 64) - 1

_CAPACITY_MIN = 64
_AHEAD = 32
_ROWS_MAX = (1 << 32) - 2
_SMALL_PIECE_ROWS = 1 << 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NONE: Bools = np.zeros(0, np.bool_)

# An entry: the low half of a hash in its upper 32 bits; in the lower ones the row's place plus 1, so that 0 is none.


@kernel(inline=True)
def _home(key, shift):  # type: ignore[no-untyped-def]
    return np.int64((key * _SPREAD) >> np.uint64(shift))


@kernel(f"UniTuple(int64, 2)(uint64[::1], int64, {view('uint64')}, int64, int64[::1])")
def _insert_or_find(table, shift, hashes, first_place, candidates):  # type: ignore[no-untyped-def]
    """Row i has place ``first_place + i``. ``candidates[i]``: the first place its hash met, else -1 and it is inserted.
    Returns the number inserted. Homes are touched some rows ahead, so that their cache misses overlap; what was read
    there is returned too, lest the compiler leave it out."""
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
            tag = key & _LOW
            at = _home(key, shift)
            while table[at] != 0 and (table[at] >> _32) != tag:
                at = (at + 1) & mask
            if table[at] != 0:
                candidates[i] = np.int64(table[at] & _LOW) - 1
            else:
                table[at] = (tag << _32) | np.uint64(first_place + i + 1)
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
        tag = key & _LOW
        at = _home(key, shift)
        while table[at] != 0 and (table[at] >> _32) != tag:
            at = (at + 1) & mask
        if table[at] != 0:
            candidates[i] = np.int64(table[at] & _LOW) - 1


@kernel(f"int64(uint64[::1], int64, {view('uint64')}, {view('uint64')}, {view('boolean')}, int64)")
def _insert_all(table, shift, entries, hashes, left_out, moved):  # type: ignore[no-untyped-def]
    """Copies the entries of another table to places ``moved`` higher; ``hashes`` are theirs, by place. Those behind its
    end are left out, and where ``left_out[place]``, unless that is empty. Returns how many were copied. Hashes are read
    some entries ahead, so that their cache misses overlap."""
    mask = table.size - 1
    inserted = 0
    taken = np.empty(_AHEAD + 1, np.uint64)
    keys = np.empty(_AHEAD, np.uint64)
    for begin in range(0, entries.size, _AHEAD):
        count = 0
        for i in range(begin, min(begin + _AHEAD, entries.size)):
            place = np.int64(entries[i] & _LOW) - 1
            taken[count] = entries[i]
            count += 0 <= place < hashes.size
        for i in range(count):
            keys[i] = hashes[np.int64(taken[i] & _LOW) - 1]
        for i in range(count):
            if left_out.size == 0 or not left_out[np.int64(taken[i] & _LOW) - 1]:
                at = _home(keys[i], shift)
                while table[at] != 0:
                    at = (at + 1) & mask
                table[at] = taken[i] + np.uint64(moved)
                inserted += 1
    return inserted


@dataclass(slots=True)
class _Hashes:
    """Those of rows one after another, in pieces: the arrays that came, small ones joined."""

    pieces: list[UInt64]
    rows: int = 0

    def add(self, hashes: UInt64) -> None:
        self.rows += hashes.size
        pieces = self.pieces
        pieces.append(hashes)
        while len(pieces) > 1 and pieces[-2].size <= min(pieces[-1].size, _SMALL_PIECE_ROWS):
            last = pieces.pop()
            pieces[-1] = np.concatenate([pieces[-1], last])

    def slices(self, start: int, rows: int) -> list[UInt64]:
        found: list[UInt64] = []
        at = 0
        for piece in self.pieces:
            if at + piece.size > start and at < start + rows:
                found.append(piece[max(0, start - at) : start + rows - at])
            at += piece.size
        return found

    def slice(self, start: int, rows: int) -> UInt64:
        found = self.slices(start, rows)
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.uint64), *found])


class IdentitySet:
    """Not safe for two threads at once. ``hash_mask`` keeps only some bits of each hash: tests force collisions."""

    def __init__(self, *, hash_mask: int = ALL_BITS) -> None:
        self._hash_mask = np.uint64(hash_mask)
        self._size = 0
        self._first = 0
        """The reference of the first row."""
        self._hashes = _Hashes([])
        self._allocate(_CAPACITY_MIN)

    def __len__(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        """Memory."""
        return int(self._table.nbytes) + 8 * self._hashes.rows

    def insert_or_find(self, hashes: UInt64, first_reference: int, kept: UInt64 | None = None) -> Int64:
        """For each row in order: the reference of the first entry with its hash (rows before it in this call included),
        or ``NO_CANDIDATE``, and then the row is inserted under ``first_reference + i``. Hash 0 is never looked at.

        The first reference is that behind the last row's; ``kept`` are the hashes to keep of the rows, where they are
        others, as of rows that are not to be looked at.
        """
        self._reserve(hashes.size)
        first_place = self._add(hashes if kept is None else kept, first_reference)
        candidates = np.empty(hashes.size, np.int64)
        inserted, _ = _insert_or_find(self._table, self._shift, self._masked(hashes), first_place, candidates)
        self._size += inserted
        return self._references(candidates)

    def find(self, hashes: UInt64) -> Int64:
        """For each row the reference of the first entry with its hash, or ``NO_CANDIDATE``; nothing is inserted."""
        candidates = np.empty(hashes.size, np.int64)
        _find(self._table, self._shift, self._masked(hashes), candidates)
        return self._references(candidates)

    def find_all(self, identity: int) -> list[int]:
        """The references of every entry that may have this hash, in the order they were inserted."""
        key = int(self._masked(np.array([identity], np.uint64))[0])
        mask = self._table.size - 1
        at = (key * int(_SPREAD) & ALL_BITS) >> self._shift
        found = []
        while (here := int(self._table[at])) != 0:
            if key and here >> 32 == key & int(_LOW):
                found.append(self._first + (here & int(_LOW)) - 1)
            at = (at + 1) & mask
        return sorted(found)

    def insert(self, identity: int, reference: int) -> None:
        """Adds an entry, for a row that is there or is the next, beside those that have the same hash already."""
        self._reserve(1)
        if reference == self._first + self._hashes.rows:
            self._add(np.array([identity], np.uint64), reference)
        key, mask = int(self._masked(np.array([identity], np.uint64))[0]), self._table.size - 1
        at = (key * int(_SPREAD) & ALL_BITS) >> self._shift
        while self._table[at] != 0:
            at = (at + 1) & mask
        self._table[at] = (key & int(_LOW)) << 32 | reference - self._first + 1
        self._size += 1

    def hashes(self, first_reference: int, rows: int) -> list[UInt64]:
        """The identity hashes of rows that are there, also of those that were not looked at; in pieces, not copied."""
        return self._hashes.slices(first_reference - self._first, rows)

    def forget(self, first_reference: int) -> None:
        """Removes all rows from this reference on: they were not stored. Takes as long as growing does."""
        kept = max(0, first_reference - self._first)
        if kept < self._hashes.rows:
            self._hashes = _Hashes([self._hashes.slice(0, kept)], kept)
        self._make_again(self._table.size)

    def without(self, hidden: Bools, first_reference: int) -> "IdentitySet":
        """Another one, without the entries whose reference ``first_reference + i`` has ``hidden[i]``; none lies
        outside. Takes as long as growing does."""
        made = IdentitySet(hash_mask=int(self._hash_mask))
        made._first, made._hashes = self._first, _Hashes([*self._hashes.pieces], self._hashes.rows)
        made._table = self._table
        start = self._first - first_reference
        made._make_again(self._table.size, hidden[start : start + self._hashes.rows])
        return made

    def absorb(self, other: "IdentitySet") -> None:
        """Adds all rows of ``other``, which follow those here."""
        hashes = other._hashes.slice(0, other._hashes.rows)
        if hashes.size:
            self._reserve(len(other))
            moved = self._add(hashes, other._first)
            self._size += _insert_all(self._table, self._shift, other._table, self._masked(hashes), _NONE, moved)

    def _add(self, hashes: UInt64, first_reference: int) -> int:
        """Keeps the hashes of the next rows; returns the place of the first of them."""
        if not self._hashes.rows:
            self._first = first_reference
        place = first_reference - self._first
        if place != self._hashes.rows or place + hashes.size > _ROWS_MAX:
            raise AssertionError(f"rows from {first_reference} do not follow {self._first} + {self._hashes.rows}")
        self._hashes.add(hashes)
        return place

    def _references(self, places: Int64) -> Int64:
        if self._first:
            places[places >= 0] += self._first
        return places

    def _masked(self, hashes: UInt64) -> UInt64:
        if self._hash_mask == np.uint64(ALL_BITS):
            return hashes
        masked = hashes & self._hash_mask
        masked[(masked == 0) & (hashes != 0)] = 1
        return masked

    def _reserve(self, rows: int) -> None:
        """At most half full, also after ``rows`` more."""
        capacity = self._table.size
        while (self._size + rows) * 2 > capacity:
            capacity *= 2
        if capacity != self._table.size:
            self._make_again(capacity)

    def _make_again(self, capacity: int, left_out: Bools = _NONE) -> None:
        """A table of that capacity, without some rows' entries."""
        entries, hashes = self._table, self._hashes.slice(0, self._hashes.rows)
        self._allocate(capacity)
        self._size = _insert_all(self._table, self._shift, entries, self._masked(hashes), left_out, 0)

    def _allocate(self, capacity: int) -> None:
        self._table = np.zeros(capacity, np.uint64)
        self._shift = 64 - (capacity.bit_length() - 1)
