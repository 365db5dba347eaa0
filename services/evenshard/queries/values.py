"""The values of a property: typed columns of a record batch, and one text form in which equal values are equal.

A **tag** is a value as text, led by a letter for its type: ``n`` null, ``bf`` and ``bt`` bool, ``i`` followed by digits
for whole numbers within int64 (doubles too, so 3 and 3.0 are one), ``d`` for other doubles, ``s`` for strings, ``j``
for the JSON text of arrays and objects. ``OTHER`` stands for the rest of a breakdown.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import REST, PropertyType, property_of
from evenshard.events.properties import property_values

NULL_TAG = "n"
OTHER = "o"
FIELD_OF_NAME = {"$event": "event", "$distinct_id": "distinct_id", "$time": "time", "$insert_id": "insert_id"}
"""Fields that are usable as properties, by the name under which they are."""

Value = None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class JsonText:
    """An array or object as a value."""

    text: str


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """A property's values of one type; null where a row has none of it."""

    kind: PropertyType
    values: pa.Array
    """bool, int64, float64 or utf8; utf8 may be dictionary-encoded."""


def columns_of(record: pa.RecordBatch, name: str) -> list[TypedColumn]:
    """The typed columns that together hold a property: a row has a value in at most one of them."""
    if name in FIELD_OF_NAME:
        kind: PropertyType = "i" if name == "$time" else "s"
        return [TypedColumn(kind, record.column(FIELD_OF_NAME[name]))]
    return [TypedColumn(kind, values) for kind, values in property_values(record, name).arrays.items()]


def columns_holding(names: Collection[str], columns: Iterable[str]) -> list[str]:
    """Of ``columns`` those that ``columns_of`` looks at for properties of these names."""
    fields = {FIELD_OF_NAME[name] for name in names if name in FIELD_OF_NAME}
    properties = [name for name in names if name not in FIELD_OF_NAME]

    def needed(column: str) -> bool:
        found = property_of(column)
        return column in fields or bool(found and found[0] in properties) or (column == REST and bool(properties))

    return [column for column in columns if needed(column)]


def encoded(values: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Codes (int32, -1 for null) and the values they stand for; nothing is hashed where that was done before."""
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    codes = values.indices.fill_null(-1) if values.indices.null_count else values.indices
    return codes.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), values.dictionary


def tagged_codes(record: pa.RecordBatch, name: str) -> tuple[npt.NDArray[np.int32], pa.StringArray]:
    """A property of every row as codes (int32) of tags. Two codes may have one tag; not every code need occur."""
    tags: list[pa.Array] = [pa.array([NULL_TAG])]
    codes = np.zeros(record.num_rows, np.int32)
    size = 1
    for column in columns_of(record, name):
        own, dictionary = encoded(column.values)
        codes = np.where(own >= 0, own + np.int32(size), codes)
        tags.append(tags_of(column.kind, dictionary))
        size += len(dictionary)
    return codes, pa.concat_arrays(tags)


def tags_of(kind: PropertyType, values: pa.Array) -> pa.StringArray:
    """The tag of each value of one type; none is null."""
    match kind:
        case "b":
            return pc.if_else(values, "bt", "bf")
        case "i":
            return pc.binary_join_element_wise("i", values.cast(pa.utf8()), "")
        case "d":
            return _double_tags(values)
        case "s" | "j":
            return pc.binary_join_element_wise(kind, values, "")


def _double_tags(values: pa.Array) -> pa.StringArray:
    numbers = values.to_numpy(zero_copy_only=False)
    whole = (np.floor(numbers) == numbers) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)
    integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.utf8())
    return pc.if_else(
        pa.array(whole),
        pc.binary_join_element_wise("i", integers, ""),
        pc.binary_join_element_wise("d", values.cast(pa.utf8()), ""),
    )


def value_of_tag(tag: str) -> Value | JsonText:
    """The value a tag stands for."""
    text = tag[1:]
    match tag[:1]:
        case "n":
            return None
        case "b":
            return text == "t"
        case "i":
            return int(text)
        case "d":
            return float(text)
        case "s":
            return text
        case "j":
            return JsonText(text)
        case "o":
            return "$other"
    raise ValueError(f"{tag!r} is not a tag")


def rank_of_tag(tag: str) -> tuple[int, bool | int | float | bytes]:
    """Sorts tags as values ascend: null, bool, number, string (bytewise), arrays and objects by their text."""
    value = value_of_tag(tag)
    match value:
        case None:
            return 0, False
        case bool():
            return 1, value
        case int() | float():
            return 2, value
        case str():
            return 3, value.encode()
        case JsonText(text=text):
            return 4, text.encode()
