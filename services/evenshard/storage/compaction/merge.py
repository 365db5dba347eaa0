"""Merges sorted tables into one; nothing is decided anew: duplicate and hot bits travel with their rows."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import PROPERTY_COLUMNS_MAX, REST, property_of
from evenshard.events.hashing import string_buffers
from evenshard.events.properties import fold_into_rest, most_frequent
from evenshard.events.scan import DUPLICATE, SPREAD
from evenshard.ids import TenantId
from evenshard.storage.compaction.weave import number_users, originals_alike, second_original, weave
from evenshard.storage.rows import take_rows, take_strings
from evenshard.storage.segment.format import IDENTITY_HASH, column_rank, repeats
from evenshard.storage.segment.order import Int64, in_order, only_chunk, order_of, sort_keys
from evenshard.storage.segment.reader import none_set

_CODES = pa.dictionary(pa.int32(), pa.utf8())


def sort_table(table: pa.Table) -> pa.Table:
    """The rows in segment order, stable; one chunk a column. Canonical columns and ``placement_hash`` are needed."""
    return sort_with_order(table)[0]


def sort_with_order(table: pa.Table) -> tuple[pa.Table, Int64 | None]:
    """The same; and which row came where, None: each stayed where it was."""
    whole = _one_chunk(table)
    keys = sort_keys(whole)
    if in_order(keys):
        return whole, None
    order = order_of(keys)
    return _taken(whole, order), order


def merged_schema(stored: Sequence[tuple[pa.Schema, int]], samples: Sequence[pa.Table] = ()) -> pa.Schema:
    """The columns of all, in the order of a segment's file; ``stored``: schemas of segments, each with its rows.

    Of more than ``PROPERTY_COLUMNS_MAX`` property columns the most frequent stay, the others go into ``rest``.

    A string property is dictionary-encoded where a schema has it so, or where it repeats in the first of ``samples``
    that has it; ``distinct_id`` and ``insert_id`` are plain.
    """
    fields: dict[str, pa.Field] = {}
    for schema in [*(schema for schema, _ in stored), *(sample.schema for sample in samples)]:
        for field in schema:
            known = fields.get(field.name)
            if known is None or (pa.types.is_dictionary(field.type) and field.name != "distinct_id"):
                fields[field.name] = field
    judged: set[str] = set()
    for sample in samples:
        for field in sample.schema:
            if field.name not in judged and fields[field.name].type == pa.utf8() and field.name[1:2] == ":":
                judged.add(field.name)
                if repeats(sample.column(field.name)):
                    fields[field.name] = field.with_type(_CODES)
    for name in ("distinct_id", "insert_id"):
        if name in fields:
            fields[name] = fields[name].with_type(pa.utf8())
    properties = {name for name in fields if property_of(name)}
    if len(properties) > PROPERTY_COLUMNS_MAX:
        for name in properties - most_frequent(_frequencies(stored, samples), PROPERTY_COLUMNS_MAX):
            del fields[name]
        fields.setdefault(REST, pa.field(REST, pa.utf8()))
    return pa.schema([fields[name] for name in sorted(fields, key=column_rank)])


def _frequencies(stored: Sequence[tuple[pa.Schema, int]], samples: Sequence[pa.Table]) -> dict[str, int]:
    """How many rows have a value in each property column; of a segment, how many may."""
    counts: dict[str, int] = {}
    for schema, rows in stored:
        for name in schema.names:
            counts[name] = counts.get(name, 0) + rows
    for sample in samples:
        for name, column in zip(sample.column_names, sample.columns, strict=True):
            counts[name] = counts.get(name, 0) + sample.num_rows - column.null_count
    return {name: count for name, count in counts.items() if property_of(name)}


def row_bytes(schema: pa.Schema) -> int:
    """Memory of a row's fixed parts, roughly: what a row costs however empty its columns are."""
    return sum(1 if pa.types.is_boolean(field.type) else 8 for field in schema)


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with exactly the columns of ``schema``: absent ones null, superfluous ones in ``rest``, strings encoded
    or decoded."""
    table = _folded(table, {*schema.names, IDENTITY_HASH})
    present = set(table.column_names)
    columns = []
    for field in schema:
        if field.name == SPREAD and field.name not in present:  # where there is no such column none is
            columns.append(pa.chunked_array([none_set(table.num_rows)]))
            continue
        if field.name not in present:
            columns.append(pa.chunked_array([_nulls(table.num_rows, field.type)]))
            continue
        column = table.column(field.name)
        if column.type != field.type:
            column = column.dictionary_encode() if pa.types.is_dictionary(field.type) else column.cast(field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _folded(table: pa.Table, kept: set[str]) -> pa.Table:
    """Property columns that are not ``kept`` put into ``rest``."""
    if kept.issuperset(table.column_names):
        return table
    held = {name: only_chunk(table.column(name)) for name in table.column_names if property_of(name) or name == REST}
    others = table.select([name for name in table.column_names if name not in held])
    for name, array in fold_into_rest(held, table.num_rows, kept).items():
        others = others.append_column(name, array)
    return others


def merge_sorted(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """All rows of sorted ``tables`` in segment order; of equal rows those of the earlier table first.

    ``distinct_id`` is dictionary-encoded, its values in the order of the rows; ``identity_hash`` is in that of the
    tables."""
    written = pa.schema([field for field in schema if field.name != IDENTITY_HASH])
    whole = _one_chunk(pa.concat_tables([conformed(table, written) for table in tables]))
    keys = sort_keys(whole)
    order = weave(keys, [table.num_rows for table in tables])
    codes, firsts = number_users(order, keys.placement, keys.ids)
    users = pa.DictionaryArray.from_arrays(codes, take_strings(only_chunk(whole.column("distinct_id")), firsts))
    others = whole.drop_columns(["distinct_id"])
    if len(tables) > 1:
        others = _taken(others, order)
    merged = others.add_column(written.get_field_index("distinct_id"), "distinct_id", users)
    if IDENTITY_HASH not in schema.names:
        return merged
    hashes = [chunk for table in tables for chunk in table.column(IDENTITY_HASH).chunks]
    return merged.append_column(IDENTITY_HASH, pa.chunked_array(hashes, pa.uint64()))


def check_originals(table: pa.Table, tenant: TenantId) -> None:
    """Two originals of one identity cannot be: raises ``DATA_DAMAGED``, so that the evidence is not replaced.
    ``table`` is what ``merge_sorted`` gives."""
    users = only_chunk(table.column("distinct_id")).indices.to_numpy()
    times = only_chunk(table.column("time")).to_numpy()
    events = only_chunk(table.column("event").unify_dictionaries()).indices.to_numpy()
    duplicates = only_chunk(table.column(DUPLICATE))
    bits = np.frombuffer(duplicates.buffers()[1], np.uint8)
    rows = np.empty(times.size, np.int64)
    originals = rows[: originals_alike(users, times, events, bits, duplicates.offset, rows)]
    if not originals.size:  # as mostly: nothing else has to be looked at
        return
    inserts = string_buffers(only_chunk(table.column("insert_id")))
    row = second_original(
        originals,
        users,
        times,
        events,
        inserts.offsets,
        inserts.data,
        inserts.valid,
        bits,
        duplicates.offset,
    )
    if row >= 0:
        event = table.select(["event", "distinct_id", "time", "insert_id"]).slice(row, 1).to_pylist()[0]
        raise EvenshardError(
            "DATA_DAMAGED",
            f"tenant {tenant}: two stored events with one identity are both marked as the first: {event}",
            hint="the invariant of deduplication is broken; nothing was rewritten: report it",
        )


def _taken(table: pa.Table, rows: Int64) -> pa.Table:
    """The rows of a table of one chunk, in that order."""
    (record,) = table.to_batches()
    return pa.Table.from_batches([take_rows(record, rows)])


def _one_chunk(table: pa.Table) -> pa.Table:
    return pa.Table.from_arrays(
        [only_chunk(column) for column in table.unify_dictionaries().columns], schema=table.schema
    )


def _nulls(rows: int, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), pa.array([], pa.utf8()))
    return pa.nulls(rows, kind)
