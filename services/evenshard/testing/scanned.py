"""Rows of the reference as storage would give them."""

from collections.abc import Sequence
from typing import Any, cast

import orjson
import pyarrow as pa

from evenshard.events.batch import FIELDS, PROPERTY_TYPES, PropertyType, property_column
from evenshard.events.properties import typed_value
from evenshard.events.scan import DUPLICATE, ScannedRows
from evenshard.testing.reference import Row


def event_record(rows: Sequence[Row], *, rest: bool = False, dictionaries: bool = False) -> pa.RecordBatch:
    """An event batch with a last column ``duplicate``. ``rest``: properties have no columns of their own.
    ``dictionaries``: texts are dictionary-encoded."""
    columns: dict[str, list[Any]] = {}
    rests: list[str | None] = []
    for number, row in enumerate(rows):
        mine = {name: value for name, value in row["properties"].items() if value is not None}
        rests.append(orjson.dumps(mine).decode() if mine and rest else None)
        for name, value in mine.items() if not rest else ():
            kind, stored = typed_value(value)
            columns.setdefault(property_column(name, kind), [None] * len(rows))[number] = stored
    arrays = {field.name: pa.array([row[field.name] for row in rows], field.type) for field in FIELDS}
    for name, values in sorted(columns.items()):
        arrays[name] = pa.array(values, PROPERTY_TYPES[cast(PropertyType, name[0])])
    if rest:
        arrays["rest"] = pa.array(rests, pa.utf8())
    for name, array in arrays.items():
        if dictionaries and array.type == pa.utf8():
            arrays[name] = array.dictionary_encode()
    arrays[DUPLICATE] = pa.array([row["duplicate"] for row in rows], pa.bool_())
    return pa.RecordBatch.from_pydict(arrays)


def scanned_rows(
    rows: Sequence[Row], *, indexed: bool = False, rest: bool = False, dictionaries: bool = False
) -> ScannedRows:
    record = event_record(rows, rest=rest, dictionaries=dictionaries)
    return ScannedRows(record, indexed, record.nbytes)
