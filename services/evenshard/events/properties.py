"""Property columns as a whole: batches joined, rare columns folded into ``rest``, a property's values read back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import (
    FIELD_NAMES,
    PROPERTY_COLUMNS_MAX,
    PROPERTY_TYPES,
    REST,
    PropertyType,
    property_column,
    property_of,
    schema_of,
)
from evenshard.events.scan import DUPLICATE

CELLS_MAX = 1 << 26
"""Rows × property columns of a batch: beyond, the rarest columns are folded, so that sparse rows cost no gigabytes."""


def columns_max(rows: int) -> int:
    """How many property columns a batch of so many rows may have."""
    return max(1, min(PROPERTY_COLUMNS_MAX, CELLS_MAX // max(rows, 1)))


def most_frequent(counts: Mapping[str, int], keep: int) -> set[str]:
    """The ``keep`` columns with the most values; of equals, the first by name."""
    return set(sorted(counts, key=lambda name: (-counts[name], name))[:keep])


def _json_values(column: str, array: pa.Array) -> Iterator[tuple[int, Any]]:
    """(row, value) of each value that is set, ready for orjson."""
    rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    values = array.take(pa.array(rows)).to_pylist()
    if column[0] == "j":
        values = [orjson.Fragment(text) for text in values]
    return zip(rows.tolist(), values, strict=True)


def fold(columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """The columns, the rarest of them folded into ``rest`` where there are more than ``columns_max``.

    What ``rest`` holds already stays in it. Only rows with a folded value are met one by one.
    """
    limit = columns_max(rows)
    counts = {name: len(array) - array.null_count for name, array in columns.items() if name != REST}
    if len(counts) <= limit:
        return dict(columns)
    return fold_into_rest(columns, rows, most_frequent(counts, limit))


def fold_into_rest(columns: Mapping[str, pa.Array], rows: int, kept: set[str]) -> dict[str, pa.Array]:
    """The ``kept`` columns and ``rest``, which takes the values of all others besides what it holds already."""
    objects: dict[int, dict[str, Any]] = {}
    for column, array in columns.items():
        if column != REST and column not in kept:
            for row, value in _json_values(column, array):
                objects.setdefault(row, {})[column[2:]] = value
    old = columns.get(REST)
    texts: list[str | None] = [None] * rows if old is None else old.to_pylist()
    for row, found in objects.items():
        text = orjson.dumps(found).decode()
        before = texts[row]
        texts[row] = text if before is None else f"{before[:-1]},{text[1:]}"
    return {name: columns[name] for name in columns if name in kept} | {REST: pa.array(texts, pa.utf8())}


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Canonical batches one after the other: the union of their columns, null where a batch has none.

    Columns that are neither fields nor properties (storage's own) are kept if every batch has them.
    """
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=schema_of(()))
    names = {name for batch in batches for name in batch.schema.names}
    properties = sorted(name for name in names if property_of(name))
    own = [
        field
        for field in batches[0].schema
        if field.name not in FIELD_NAMES and field.name != REST and not property_of(field.name)
    ]
    fields = schema_of(properties, rest=REST in names)
    schema = pa.schema([*fields, *own])
    aligned = [_aligned(batch, schema) for batch in batches]
    table = pa.Table.from_batches(aligned).unify_dictionaries().combine_chunks()
    columns = {name: _one_chunk(table.column(name)) for name in schema.names}
    rows = table.num_rows
    folded = fold({name: columns[name] for name in schema.names if property_of(name) or name == REST}, rows)
    final = schema_of([name for name in folded if name != REST], rest=REST in folded)
    arrays = [columns.get(name) if name in FIELD_NAMES else folded[name] for name in final.names]
    arrays += [columns[field.name] for field in own]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*final, *own]))


def canonical(record: pa.RecordBatch) -> pa.RecordBatch:
    """Scanned rows with the columns of an event batch, of its types, that have any value, then ``duplicate``."""
    filled = [
        name
        for name, column in zip(record.schema.names, record.columns, strict=True)
        if column.null_count < record.num_rows
    ]
    fields = schema_of((name for name in filled if property_of(name)), rest=REST in filled)
    schema = fields.append(pa.field(DUPLICATE, pa.bool_(), nullable=False))
    arrays = []
    for field in schema:
        array = record.column(field.name)
        if array.type != field.type:
            encode = pa.types.is_dictionary(field.type)
            array = array.dictionary_encode() if encode else array.cast(field.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _aligned(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    have = set(batch.schema.names)
    arrays = [
        batch.column(field.name) if field.name in have else pa.nulls(batch.num_rows, field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True, slots=True)
class PropertyValues:
    """One property's value in each row: in at most one of the arrays, null in the others; all null: not set."""

    arrays: Mapping[PropertyType, pa.Array]
    """Only types that occur; each as long as the batch. Texts may be dictionary-encoded if the batch's are."""

    def is_set(self, rows: int) -> pa.BooleanArray:
        """Whether the property is set in each of ``rows`` rows."""
        out = np.zeros(rows, np.bool_)
        for array in self.arrays.values():
            out |= array.is_valid().to_numpy(zero_copy_only=False)
        return pa.array(out)


def property_values(record: pa.RecordBatch, name: str) -> PropertyValues:
    """The values of a property in a canonical or scanned batch, also those that stand in ``rest``."""
    present = set(record.schema.names)
    found = {
        kind: record.column(column) for kind in PROPERTY_TYPES if (column := property_column(name, kind)) in present
    }
    if REST in present:
        for kind, array in _from_rest(record.column(REST), name).items():
            typed = found.get(kind)
            found[kind] = array if typed is None else pc.coalesce(_plain(typed), array)
    return PropertyValues({kind: array for kind, array in found.items() if array.null_count < len(array)})


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _from_rest(rest: pa.Array, name: str) -> dict[PropertyType, pa.Array]:
    """The values of a property that stand in ``rest``. Rows are looked into only if its text can hold the name."""
    needle = orjson.dumps(name).decode()
    hits = pc.match_substring(_plain(rest), needle).fill_null(False).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(hits)
    values: dict[PropertyType, list[Any]] = {}
    for row, text in zip(rows.tolist(), _plain(rest).take(pa.array(rows)).to_pylist(), strict=True):
        value = orjson.loads(text).get(name)
        if value is None:
            continue
        kind, stored = typed_value(value)
        values.setdefault(kind, [None] * len(rest))[row] = stored
    return {kind: pa.array(column, PROPERTY_TYPES[kind]) for kind, column in values.items()}


def typed_value(value: bool | int | float | str | list[Any] | dict[str, Any]) -> tuple[PropertyType, Any]:
    """The type of a JSON value, and what its property column holds."""
    match value:
        case bool():
            return "b", value
        case int():
            return "i", value
        case float():
            return "d", value
        case str():
            return "s", value
        case _:
            return "j", orjson.dumps(value).decode()
