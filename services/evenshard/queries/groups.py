"""Gives the groups of a breakdown dense numbers, the same in every batch of a scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.values import columns_holding, columns_of, encoded, tagged_codes

GROUPS_MAX = 100_000
"""Groups of a breakdown on one shard."""
_VALUE_BITS = 20
"""A value's number within one property; three fit into one int64."""
_FEW_VALUES = 1 << 10
_FEW_GROUPS = 1 << 12
"""So many are far from ``GROUPS_MAX``, even if some are of rows that are not wanted."""
_TABLE_MAX = 1 << 22
"""Combinations that are found by a table of this size; more, by sorting."""

Integers = npt.NDArray[np.integer[Any]]


class Numbering:
    """Numbers distinct values 0, 1, 2 … in the order they come. Raises ``QUERY_INVALID`` beyond ``GROUPS_MAX``."""

    def __init__(self, kind: pa.DataType, what: str) -> None:
        self.values: pa.Array = pa.array([], kind)
        self._what = what

    def number(self, values: pa.Array) -> Integers:
        """The number of each of ``values``, which may repeat; none is null."""
        numbers = pc.index_in(values, value_set=self.values)
        if numbers.null_count:
            fresh = pc.unique(values.filter(numbers.is_null()))
            if len(self.values) + len(fresh) > GROUPS_MAX:
                raise EvenshardError(
                    "QUERY_INVALID",
                    f"by {self._what}: more than {GROUPS_MAX} groups",
                    hint="break down by a property with fewer values, or filter with where",
                    fields=(FieldFault("by", f"{self._what} has too many values"),),
                )
            self.values = pa.concat_arrays([self.values, fresh])
            numbers = pc.index_in(values, value_set=self.values)
        result: Integers = numbers.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return result


class Groups:
    """Numbers combinations of the values of up to three properties."""

    def __init__(self, by: tuple[str, ...]) -> None:
        self.by = by
        self._values = [Numbering(pa.utf8(), name) for name in by]
        self._combinations = Numbering(pa.int64(), ", ".join(by))

    def __len__(self) -> int:
        return len(self._combinations.values) if self.by else 1

    def add(self, groups: tuple[tuple[str, ...], ...]) -> None:
        """Numbers these groups (tags) next, in this order."""
        columns = [
            values.number(pa.array([group[at] for group in groups], pa.utf8()))
            for at, values in enumerate(self._values)
        ]
        self._combinations.number(pa.array(_packed(columns)))

    def number(self, record: pa.RecordBatch) -> Integers:
        """The group of each row."""
        if not self.by:
            return np.zeros(record.num_rows, np.int32)
        numbers: list[Integers] = []
        combined, size = np.zeros(record.num_rows, np.int64), 1
        for name, values in zip(self.by, self._values, strict=True):
            codes, tags = tagged_codes(record, name)
            used, places = dense(codes, len(tags))
            numbers.append(values.number(tags.take(pa.array(used))))
            combined, size = combined * len(used) + places, size * len(used)
        found: Integers
        found, places = dense(combined, size) if size <= _TABLE_MAX else np.unique(combined, return_inverse=True)
        columns: list[Integers] = []
        left = found
        for mine in reversed(numbers):
            columns.insert(0, mine[left % len(mine)])
            left = left // len(mine)
        return self._combinations.number(pa.array(_packed(columns)))[places]

    def tags(self) -> list[pa.StringArray]:
        """For each property the tag of each group."""
        packed = self._combinations.values.to_numpy()
        mask = (1 << _VALUE_BITS) - 1
        return [
            values.values.take(pa.array((packed >> (_VALUE_BITS * at)) & mask))
            for at, values in enumerate(self._values)
        ]


@dataclass(frozen=True, slots=True)
class OwnCodes:
    """A property's values as a batch codes them."""

    codes: npt.NDArray[np.int32]
    values: pa.Array
    """Null among them where a row has none."""
    column: str


def own_codes(by: Sequence[str], record: pa.RecordBatch) -> OwnCodes | None:
    """Where ``by`` is one property, all of whose values stand in one column that has a dictionary here."""
    if len(by) != 1:
        return None
    names = columns_holding(by, record.schema.names)
    columns = columns_of(record, by[0])
    if len(names) != 1 or len(columns) != 1 or not pa.types.is_dictionary(columns[0].values.type):
        return None
    codes, values = encoded(columns[0].values)
    if columns[0].values.null_count:
        codes = np.where(codes < 0, np.int32(len(values)), codes)
        values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    return OwnCodes(codes, values, names[0])


def groups_of_rows(
    groups: Groups, record: pa.RecordBatch, wanted: Callable[[], Integers], other: int
) -> npt.NDArray[np.int32]:
    """The group of each row of ``record`` that is ``wanted``; ``other`` where no property is. Of other rows it may be
    ``other`` or theirs: where there are few values all of them are numbered, which costs less than to look who is
    wanted."""
    shown = record.select(columns_holding(groups.by, record.schema.names))
    if not shown.num_columns:
        return np.full(record.num_rows, other, np.int32)
    own = own_codes(groups.by, record)
    if own is not None and len(own.values) <= _FEW_VALUES and len(groups) <= _FEW_GROUPS:
        every = groups.number(pa.RecordBatch.from_arrays([own.values], names=[own.column]))
        result: npt.NDArray[np.int32] = every.astype(np.int32, copy=False)[own.codes]
        return result
    found, rows = np.full(record.num_rows, other, np.int32), wanted()
    if not len(rows):
        return found
    if own is None:
        found[rows] = groups.number(shown if len(rows) == record.num_rows else shown.take(pa.array(rows)))
        return found
    codes = own.codes[rows]
    there = np.zeros(len(own.values), np.bool_)
    there[codes] = True
    used = np.flatnonzero(there)
    of_codes = np.zeros(len(own.values), np.int32)
    of_codes[used] = groups.number(pa.RecordBatch.from_arrays([own.values.take(pa.array(used))], names=[own.column]))
    found[rows] = of_codes[codes]
    return found


def dense(codes: Integers, size: int) -> tuple[Integers, Integers]:
    """The codes (below ``size``) that occur, and for each row the place of its code among them."""
    present = np.zeros(size, np.bool_)
    present[codes] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[codes]


def _packed(columns: Sequence[Integers]) -> Integers:
    packed = np.zeros(len(columns[0]), np.int64)
    for at, column in enumerate(columns):
        packed |= column.astype(np.int64) << (_VALUE_BITS * at)
    return packed
