"""Gives events another distinct_id, out of one of their properties. Pure.

A text is taken as it is, an integer as its decimal text, as imports do. Events whose property is neither, or would be
no distinct_id, or names the user they have already, keep theirs: they are *left*.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.limits import DISTINCT_ID_BYTES_MAX, PLACEHOLDER_IDS
from evenshard.events.properties import property_values


def new_ids(record: pa.RecordBatch, name: str, *, refused: Collection[str] = (), strict: bool = False) -> pa.Array:
    """For each row of a canonical or scanned batch its new distinct_id (utf8); null: it is left. ``refused``: ids that
    nobody may have; ``strict``: neither placeholders."""
    values = property_values(record, name).arrays
    found = pa.nulls(record.num_rows, pa.utf8())
    for kind in ("s", "i"):
        if kind in values:
            found = pc.coalesce(found, _texts(values[kind]))
    size = pc.binary_length(found)
    old = _texts(record.column("distinct_id"))
    left = [pc.equal(size, 0), pc.greater(size, DISTINCT_ID_BYTES_MAX), pc.equal(found, old)]
    if refused:
        left.append(pc.is_in(found, value_set=pa.array(sorted(refused), pa.utf8())))
    if strict:
        left.append(pc.is_in(found, value_set=pa.array(sorted(PLACEHOLDER_IDS), pa.utf8())))
    is_left = np.logical_or.reduce([each.fill_null(True).to_numpy(zero_copy_only=False) for each in left])
    return pc.if_else(pa.array(is_left), pa.scalar(None, pa.utf8()), found)


def with_ids(record: pa.RecordBatch, ids: pa.Array) -> pa.RecordBatch:
    """The rows under other distinct_ids."""
    at = record.schema.get_field_index("distinct_id")
    arrays = [ids if number == at else column for number, column in enumerate(record.columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=record.schema.set(at, pa.field("distinct_id", pa.utf8(), False)))


def _texts(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode()
    return values if values.type == pa.utf8() else values.cast(pa.utf8())
