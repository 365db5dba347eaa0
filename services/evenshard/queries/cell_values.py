"""What a shard keeps of the rows of each cell for a measure beyond counts and users; shards add up.

**Rows of the partial**, besides those of ``segmentation``: of a cell a ``whole`` (int64), an ``exact`` (float64), at
most one of them set, and an ``amount`` (int64). Partials are merged by putting these behind one another; equal rows
mean what one of the sum of their amounts would.

| measure | a row |
|---|---|
| ``average`` | the amount is that of events of users |
| ``sum``, ``avg`` | ``whole`` is a limb (see ``numbers``), the amount its; limb ``COUNT`` counts the numbers |
| ``min``, ``max`` | a number, ``whole`` or ``exact``: the least or greatest of a shard |
| quantiles | a number, and how often it occurs |
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.cells import CellCounts
from evenshard.queries.groups import Integers
from evenshard.queries.measures import OF_EVENTS, QUANTILES, Measure
from evenshard.queries.number_kernel import find_extremes, sum_integers
from evenshard.queries.numbers import (
    LIMB_LOW,
    LIMBS,
    Doubles,
    Int64,
    doubles_of,
    limbs_of_doubles,
    numbers_of,
    order_by_cell,
    sortable,
)
from evenshard.queries.pairs_kernel import merge_pairs
from evenshard.queries.values import encoded

COUNT = LIMB_LOW - 1
"""The limb that counts."""
VALUES_MAX = 5_000_000
"""Distinct pairs of a cell and a number on one shard; 24 bytes each, twice while more are added. About as many as fit
into a partial."""
_EXACT_ROWS = 1 << 20
"""So many amounts of 32 bits have a sum that is exact as a double."""
_TABLE_ROOM = 1 << 62


@dataclass(frozen=True, slots=True)
class ValueRows:
    """Rows of the partial; ``cells`` as they were given, ascending or not."""

    cells: Integers
    whole: pa.Array
    exact: pa.Array
    amount: Integers


class CellValues(Protocol):
    """What is kept for one measure."""

    def add(self, cells: Integers, record: pa.RecordBatch) -> None:
        """Row i of ``record`` is in ``cells[i]``. Raises ``QUERY_INVALID`` for more than can be held."""
        ...

    def rows(self) -> ValueRows: ...


def cell_values(measure: Measure, name: str) -> CellValues | None:
    """None: counts of events and users are enough."""
    if measure == "average":
        return _EventsOfUsers()
    if measure in OF_EVENTS:
        return None
    if measure in ("sum", "avg"):
        return _Sums(name)
    if measure in QUANTILES:
        return _Quantiles(name)
    return _Extremes(name, largest=measure == "max")


class _EventsOfUsers:
    def __init__(self) -> None:
        self._counts = CellCounts()

    def add(self, cells: Integers, record: pa.RecordBatch) -> None:
        codes, ids = encoded(record.column("distinct_id"))
        somebody = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        if not somebody.all():
            cells = cells[somebody[codes]]
        if len(cells):
            self._counts.add(*np.unique(cells, return_counts=True))

    def rows(self) -> ValueRows:
        return counts_alone(*self._counts.sums())


def counts_alone(cells: Integers, counts: Integers) -> ValueRows:
    """Amounts of cells."""
    return ValueRows(cells, pa.nulls(len(cells), pa.int64()), pa.nulls(len(cells), pa.float64()), counts)


class _Sums:
    """Amounts by (cell, limb), counts among them."""

    _PLACES = LIMBS + 1

    def __init__(self, name: str) -> None:
        self._name = name
        self._amounts = CellCounts()

    def add(self, cells: Integers, record: pa.RecordBatch) -> None:
        for rows, numbers in numbers_of(record, self._name):
            mine = cells[rows].astype(np.int64)
            for start in range(0, len(numbers), _EXACT_ROWS):
                self._add(mine[start : start + _EXACT_ROWS], numbers[start : start + _EXACT_ROWS])

    def _add(self, cells: Int64, numbers: Int64 | Doubles) -> None:
        if not len(cells):
            return
        found, places = _close_by(cells)
        if numbers.dtype == np.int64:
            low, high, counts = np.zeros((3, len(found)), np.int64)
            sum_integers(places, numbers.astype(np.int64, copy=False), low, high, counts)
            limbs = [(0, low), (1, high)]
        else:
            counts, limbs = np.bincount(places, minlength=len(found)), []
            for mine, amounts in limbs_of_doubles(numbers.astype(np.float64, copy=False)):
                keys, places = _close_by(self._key(cells, mine))
                sums = np.bincount(places, amounts, minlength=len(keys)).astype(np.int64)  # exact, see _EXACT_ROWS
                there = np.flatnonzero(sums)
                self._amounts.add(keys[there], sums[there])
        there = np.flatnonzero(counts)
        for limb, sums in [(COUNT, counts), *limbs]:
            self._amounts.add(self._key(found[there], limb), sums[there])

    def _key(self, cells: Int64, limb: int | Int64) -> Int64:
        result: Int64 = cells * self._PLACES + (limb - COUNT)
        return result

    def rows(self) -> ValueRows:
        keys, amounts = self._amounts.sums()
        limbs = pa.array(keys % self._PLACES + COUNT, pa.int64())
        return ValueRows(keys // self._PLACES, limbs, pa.nulls(len(keys), pa.float64()), amounts)


class _Extremes:
    """The least number of each cell, or the greatest: of those whole, and of the others."""

    def __init__(self, name: str, *, largest: bool) -> None:
        self._name = name
        self._largest = largest
        self._kept = {True: _no_pairs(), False: _no_pairs()}

    def add(self, cells: Integers, record: pa.RecordBatch) -> None:
        for rows, numbers in numbers_of(record, self._name):
            whole = numbers.dtype == np.int64
            keys = numbers.astype(np.int64, copy=False) if whole else sortable(numbers.astype(np.float64, copy=False))
            if len(keys):
                kept_cells, kept = self._kept[whole]
                self._kept[whole] = self._least(
                    np.concatenate([kept_cells, cells[rows].astype(np.int64)]), np.concatenate([kept, keys])
                )

    def _least(self, cells: Int64, keys: Int64) -> tuple[Int64, Int64]:
        found, places = _close_by(cells)
        chosen, seen = np.zeros(len(found), np.int64), np.zeros(len(found), np.uint8)
        find_extremes(places, keys, self._largest, chosen, seen)
        there = np.flatnonzero(seen)
        return found[there], chosen[there]

    def rows(self) -> ValueRows:
        whole_cells, whole = self._kept[True]
        exact_cells, exact = self._kept[False]
        return _value_rows(whole_cells, whole, exact_cells, exact, np.ones(len(whole) + len(exact), np.int64))


class _Quantiles:
    """How often each number occurs in each cell."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts = {True: PairCounts(), False: PairCounts()}

    def add(self, cells: Integers, record: pa.RecordBatch) -> None:
        for rows, numbers in numbers_of(record, self._name):
            whole = numbers.dtype == np.int64
            keys = numbers.astype(np.int64, copy=False) if whole else sortable(numbers.astype(np.float64, copy=False))
            self._counts[whole].add(cells[rows].astype(np.int64), keys)
        held = sum(map(len, self._counts.values()))
        if held > VALUES_MAX and sum(len(counts.sums()[0]) for counts in self._counts.values()) > VALUES_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"property {self._name}: more than {VALUES_MAX} distinct numbers of groups and buckets on one shard",
                hint="quantiles are exact: ask for fewer days, a coarser unit, or filter with where",
                fields=(FieldFault("property", "it has too many distinct numbers"),),
            )

    def rows(self) -> ValueRows:
        whole_cells, whole, whole_counts = self._counts[True].sums()
        exact_cells, exact, exact_counts = self._counts[False].sums()
        return _value_rows(whole_cells, whole, exact_cells, exact, np.concatenate([whole_counts, exact_counts]))


class PairCounts:
    """How often each pair of a cell and a key occurs; sorted by both.

    What comes waits, and is merged into the rest some at a time: to sort all of it anew would take several times its
    memory."""

    _WAIT_MIN = 1 << 20

    def __init__(self) -> None:
        self._sums = (*_no_pairs(), np.zeros(0, np.int64))
        self._waiting: list[tuple[Int64, Int64, Int64]] = []
        self._waiting_rows = 0

    def __len__(self) -> int:
        """Pairs held, some perhaps more than once."""
        return len(self._sums[0]) + self._waiting_rows

    def add(self, cells: Int64, keys: Int64) -> None:
        if not len(cells):
            return
        piece = _counted_pairs(cells, keys)
        self._waiting.append(piece)
        self._waiting_rows += len(piece[0])
        if self._waiting_rows > self._WAIT_MIN:
            self.sums()

    def sums(self) -> tuple[Int64, Int64, Int64]:
        """Cells, keys and how often each pair occurs."""
        if self._waiting:
            more = _added_up(*(np.concatenate([part[at] for part in self._waiting]) for at in range(3)))
            self._waiting, self._waiting_rows = [], 0
            cells, keys, counts = (np.empty(len(self._sums[0]) + len(more[0]), np.int64) for _ in range(3))
            size = merge_pairs(*self._sums, *more, cells, keys, counts)
            self._sums = cells[:size], keys[:size], counts[:size]
        return self._sums


def _counted_pairs(cells: Int64, keys: Int64) -> tuple[Int64, Int64, Int64]:
    """Distinct pairs and how often each occurs; counted by a table, or in one integer, where these have room."""
    low_cell, low = int(cells.min()), int(keys.min())
    span_cells, span = int(cells.max()) - low_cell + 1, int(keys.max()) - low + 1
    if span_cells * span > _TABLE_ROOM:
        return _added_up(cells, keys, np.ones(len(keys), np.int64))
    packed = (cells - low_cell) * span + (keys - low)
    if span_cells * span <= 8 * len(packed) + 1024:
        counts = np.bincount(packed)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(packed, return_counts=True)
    return found // span + low_cell, found % span + low, counts


def _added_up(cells: Int64, keys: Int64, counts: Int64) -> tuple[Int64, Int64, Int64]:
    """Distinct pairs, sorted, with the sums of their counts; at least one."""
    order = order_by_cell(cells, np.argsort(keys))
    cells, keys = cells[order], keys[order]
    first = np.flatnonzero(np.append(True, (cells[1:] != cells[:-1]) | (keys[1:] != keys[:-1])))
    return cells[first], keys[first], np.add.reduceat(counts[order], first)


def _close_by(keys: Int64) -> tuple[Int64, Int64]:
    """Keys, ascending, all of ``keys`` among them and not many others; and the place of each of ``keys``."""
    first = int(keys.min())
    size = int(keys.max()) - first + 1
    if size > 4 * len(keys) + 1024:
        return np.unique(keys, return_inverse=True)
    return np.arange(first, first + size), keys - first


def _no_pairs() -> tuple[Int64, Int64]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def _value_rows(whole_cells: Int64, whole: Int64, exact_cells: Int64, exact: Int64, amount: Int64) -> ValueRows:
    return ValueRows(
        np.concatenate([whole_cells, exact_cells]),
        pa.concat_arrays([pa.array(whole, pa.int64()), pa.nulls(len(exact), pa.int64())]),
        pa.concat_arrays([pa.nulls(len(whole), pa.float64()), pa.array(doubles_of(exact), pa.float64())]),
        amount,
    )
