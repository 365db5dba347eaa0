"""A hash table of counted keys (tenant number, distinct_id, UTC day) in numpy arrays; grows by doubling. Pure.

Open addressing with linear probing, at most half full. The hash finds candidates, equality of the key decides.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.hotkeys.aggregate import key_hash, same_bytes, slots_for
from evenshard.hotkeys.count_table import Columns
from evenshard.kernels import kernel, view

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_ALL: Final = (1 << 63) - 1

_TABLE = "int32[::1], uint64[::1], int32[::1], int32[::1], int64[::1], int64[::1], uint8[::1]"
_KEYS = f"{view('uint64')}, {view('int32')}, {view('int32')}, {view('int64')}, {view('int64')}, {view('uint8')}"


@kernel(inline=True)
def _probe(slots, hashes, tenants, days, ends, data, id_hash, tenant, day, id_bytes, start, end):  # type: ignore[no-untyped-def]
    """The slot that holds a key, or the free one where it would go."""
    mask = np.uint64(slots.size - 1)
    at = key_hash(id_hash, tenant, day) & mask
    while True:
        entry = slots[at]
        if entry < 0:
            return at
        if hashes[entry] == id_hash and days[entry] == day and tenants[entry] == tenant:
            own_start = ends[entry - 1] if entry > 0 else np.int64(0)
            if same_bytes(id_bytes, start, end, data, own_start, ends[entry]):
                return at
        at = (at + np.uint64(1)) & mask


@kernel(f"int64({_TABLE}, int64, {_KEYS}, {view('int64')}, int64[::1], int64)")
def _add(  # type: ignore[no-untyped-def]
    slots,
    hashes,
    tenants,
    days,
    counts,
    ends,
    data,
    used,
    in_hashes,
    in_tenants,
    in_days,
    in_counts,
    in_bounds,
    in_data,
    chosen,
    totals,
    exact_below,
):
    """Adds the chosen keys to a table that has room for all of them; returns how many entries it now has. ``totals``
    that are not below ``exact_below`` become those of the table."""
    for i in chosen:
        start, end = in_bounds[i], in_bounds[i + 1]
        tenant, day = in_tenants[i], in_days[i]
        at = _probe(slots, hashes, tenants, days, ends, data, in_hashes[i], tenant, day, in_data, start, end)
        entry = slots[at]
        if entry >= 0:
            counts[entry] = max(counts[entry] + in_counts[i], totals[i])
            if totals[i] >= exact_below:
                totals[i] = counts[entry]
            continue
        slots[at] = used
        hashes[used], tenants[used], days[used], counts[used] = in_hashes[i], tenant, day, totals[i]
        own_start = ends[used - 1] if used > 0 else np.int64(0)
        for byte in range(end - start):
            data[own_start + byte] = in_data[start + byte]
        ends[used] = own_start + end - start
        used += 1
    return used


@kernel(f"void({_TABLE}, {_KEYS}, {view('int64')}, int32[::1])")
def _find(  # type: ignore[no-untyped-def]
    slots,
    hashes,
    tenants,
    days,
    counts,
    ends,
    data,
    in_hashes,
    in_tenants,
    in_days,
    in_counts,
    in_bounds,
    in_data,
    chosen,
    entries,
):
    """The entry of each chosen key, -1 where the table has none."""
    for number in range(chosen.size):
        i = chosen[number]
        start, end = in_bounds[i], in_bounds[i + 1]
        tenant, day = in_tenants[i], in_days[i]
        at = _probe(slots, hashes, tenants, days, ends, data, in_hashes[i], tenant, day, in_data, start, end)
        entries[number] = slots[at]


@kernel("void(int32[::1], uint64[::1], int32[::1], int32[::1], int64)")
def _index(slots, hashes, tenants, days, used):  # type: ignore[no-untyped-def]
    """Fills empty ``slots`` with the table's entries, which all differ."""
    mask = np.uint64(slots.size - 1)
    for entry in range(used):
        at = key_hash(hashes[entry], tenants[entry], days[entry]) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = entry


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Counted keys as columns; the distinct_id of key i is ``data[bounds[i]:bounds[i + 1]]``."""

    hashes: npt.NDArray[np.uint64]
    """XXH64 of distinct_id."""
    tenants: Int32
    days: Int32
    counts: Int64
    bounds: Int64
    data: npt.NDArray[np.uint8]

    @property
    def size(self) -> int:
        return self.hashes.size

    def slice(self, start: int, end: int) -> "Keys":
        """Some of them; nothing is copied."""
        part = slice(start, end)
        return Keys(
            self.hashes[part],
            self.tenants[part],
            self.days[part],
            self.counts[part],
            self.bounds[start : end + 1],
            self.data,
        )

    def id_of(self, key: int) -> str:
        return self.data[self.bounds[key] : self.bounds[key + 1]].tobytes().decode()


class KeyTable:
    """Keys and their counts, each key once, in order of first appearance."""

    def __init__(self) -> None:
        self.used = 0
        self._slots = slots_for(0)
        self._hashes = np.empty(0, np.uint64)
        self._tenants = np.empty(0, np.int32)
        self._days = np.empty(0, np.int32)
        self._counts = np.empty(0, np.int64)
        self._ends = np.empty(0, np.int64)
        self._data = np.empty(0, np.uint8)

    def keys(self) -> Keys:
        """All entries: views, valid until the next ``add``."""
        part = slice(0, self.used)
        bounds = np.concatenate((np.zeros(1, np.int64), self._ends[part]))
        return Keys(self._hashes[part], self._tenants[part], self._days[part], self._counts[part], bounds, self._data)

    def add(self, keys: Keys, chosen: Int64, totals: Int64, exact_below: int = _ALL) -> None:
        """Adds the counts of the keys at ``chosen``, which then have ``totals`` at least; new ones stand at the end.
        ``totals`` of ``exact_below`` or more may be too low: they become what is counted here."""
        self._make_room(chosen.size, int((keys.bounds[chosen + 1] - keys.bounds[chosen]).sum()))
        self.used = _add(*self._arrays(), self.used, *_columns(keys), chosen, totals, exact_below)

    def take(self, entries: Int64) -> "KeyTable":
        """A table of some entries."""
        table = KeyTable()
        keys = self.keys()
        table.add(keys, entries, keys.counts.copy())
        return table

    def find(self, keys: Keys, chosen: Int64) -> Int32:
        """The entry of each of the keys at ``chosen``, -1: none."""
        entries = np.empty(chosen.size, np.int32)
        _find(*self._arrays(), *_columns(keys), chosen, entries)
        return entries

    def counts_at(self, entries: Int32) -> Int64:
        """The count of each entry, 0 for -1."""
        known = entries >= 0
        counts = np.zeros(entries.size, np.int64)
        counts[known] = self._counts[entries[known]]
        return counts

    def raise_counts(self, entries: Int64, more: Int64) -> None:
        """Adds to the counts of some entries, each once."""
        self._counts[entries] += more

    def clear(self, entries: Int64) -> None:
        """Some entries count nothing any more."""
        self._counts[entries] = 0

    def forget(self, tenant: int, hashes: UInt64, distinct_ids: Container[str]) -> None:
        """The keys of some distinct_ids of a tenant, of all days, count nothing any more. ``hashes``: theirs, sorted,
        at least one."""
        at = np.searchsorted(hashes, self._hashes[: self.used])
        at[at == hashes.size] = 0
        candidates = (hashes[at] == self._hashes[: self.used]) & (self._tenants[: self.used] == tenant)
        keys = self.keys()
        for entry in np.flatnonzero(candidates).tolist():
            if keys.id_of(entry) in distinct_ids:
                self._counts[entry] = 0

    def save(self) -> Columns:
        """A copy of all entries that count something, as columns: of others not even the id."""
        keys = self.take(np.flatnonzero(self.keys().counts > 0)).keys()
        columns: Columns = {"hashes": keys.hashes, "tenants": keys.tenants, "days": keys.days, "counts": keys.counts}
        columns |= {"bounds": keys.bounds, "data": keys.data[: keys.bounds[-1]]}
        return {name: column.copy() for name, column in columns.items()}

    @staticmethod
    def restore(saved: Columns) -> "KeyTable":
        """What ``save`` gave."""
        table = KeyTable()
        keys = Keys(**saved)
        table.add(keys, np.arange(keys.size), keys.counts.copy())
        return table

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self._slots, self._hashes, self._tenants, self._days, self._counts, self._ends, self._data

    def _make_room(self, keys: int, id_bytes: int) -> None:
        rows = self.used + keys
        if rows > self._hashes.size:
            capacity = max(rows, 2 * self._hashes.size)
            self._hashes, self._tenants, self._days, self._counts, self._ends = (
                _grown(array, capacity) for array in (self._hashes, self._tenants, self._days, self._counts, self._ends)
            )
        size = (int(self._ends[self.used - 1]) if self.used else 0) + id_bytes
        if size > self._data.size:
            self._data = _grown(self._data, max(size, 2 * self._data.size))
        if 2 * rows > self._slots.size:
            self._slots = slots_for(rows)
            _index(self._slots, self._hashes, self._tenants, self._days, self.used)


def _columns(keys: Keys) -> tuple[npt.NDArray[Any], ...]:
    return keys.hashes, keys.tenants, keys.days, keys.counts, keys.bounds, keys.data


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    grown = np.empty(size, array.dtype)
    grown[: array.size] = array
    return grown
