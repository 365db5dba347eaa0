"""A hash of all that is in an event, however its properties are laid out: as columns, or in ``rest``. Pure.

Segments of a tenant with very many properties hold the same value now in a column, now in ``rest``. So the hash is a
sum over its parts: the fields, and each property by itself.
"""

from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import FIELD_NAMES, PROPERTY_TYPES, REST, PropertyType, property_of
from evenshard.events.hashing import UInt64, hash_strings, string_buffers
from evenshard.events.ndjson_encode import ROWS_AT_ONCE, json_values, lines_of, member
from evenshard.events.properties import typed_value

_FIELDS: Final = np.uint64(0x9E3779B97F4A7C15)
_PROPERTY: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT: Final = np.uint64(32)


def content_hashes(record: pa.RecordBatch) -> UInt64:
    """One a row, of canonical or scanned rows with all fields; what storage knows of them takes no part."""
    parts = [_hashes_of(record.slice(first, ROWS_AT_ONCE)) for first in range(0, record.num_rows, ROWS_AT_ONCE)]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def _hashes_of(record: pa.RecordBatch) -> UInt64:
    hashes = _mixed(_hashed(lines_of(record.select(FIELD_NAMES))), _FIELDS)
    for name, column in zip(record.schema.names, record.columns, strict=True):
        named = property_of(name)
        if named is not None and column.null_count < len(column):
            texts = member(named[0], json_values(named[1], column))
            hashes += np.where(
                texts.is_valid().to_numpy(zero_copy_only=False), _mixed(_hashed(texts), _PROPERTY), np.uint64(0)
            )
    if REST in record.schema.names and record.column(REST).null_count < record.num_rows:
        _add_rest(record.column(REST), hashes)
    return hashes


def _add_rest(rest: pa.Array, hashes: UInt64) -> None:
    """Few rows have any."""
    texts = rest.dictionary_decode() if pa.types.is_dictionary(rest.type) else rest
    held: dict[PropertyType, tuple[list[int], list[str], list[object]]] = {}
    for row in np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False)).tolist():
        for name, value in orjson.loads(texts[row].as_py()).items():
            if value is not None:
                kind, typed = typed_value(value)
                rows, names, values = held.setdefault(kind, ([], [], []))
                rows.append(row)
                names.append("," + orjson.dumps(name).decode() + ":")
                values.append(typed)
    for kind, (rows, names, values) in held.items():
        column = json_values(kind, pa.array(values, PROPERTY_TYPES[kind]))
        members = pc.binary_join_element_wise(pa.array(names), column, "")
        np.add.at(hashes, rows, _mixed(_hashed(members), _PROPERTY))


def _hashed(texts: pa.StringArray) -> UInt64:
    buffers = string_buffers(texts)
    hashes = np.empty(len(texts), np.uint64)
    hash_strings(buffers.offsets, buffers.data, hashes)
    return hashes


def _mixed(hashes: UInt64, factor: np.uint64) -> UInt64:
    mixed = hashes * factor
    result: UInt64 = (mixed ^ (mixed >> _SHIFT)) * _PROPERTY
    return result
