"""Encodes rows as the NDJSON lines of an export; importing them again gives the same events."""

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import FIELD_NAMES, REST, property_of
from evenshard.events.hashing import string_buffers
from evenshard.events.scan import DUPLICATE
from evenshard.kernels import kernel, view

ROWS_AT_ONCE = 1 << 16
"""Rows whose lines are made at once: they must stay below Arrow's 2 GiB of text an array."""


@kernel(inline=True)
def _short_escape(letter):  # type: ignore[no-untyped-def]
    """The letter after the backslash, 0 if the character needs none, 1 if it needs the long form."""
    if letter == 0x22 or letter == 0x5C:
        return letter
    if letter >= 0x20:
        return 0
    if letter == 8:
        return 0x62
    if letter == 9:
        return 0x74
    if letter == 10:
        return 0x6E
    if letter == 12:
        return 0x66
    return 0x72 if letter == 13 else 1


@kernel(f"void({view('int32')}, {view('uint8')}, int64[::1])")
def _quoted_sizes(offsets, data, out):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(out.size)):
        size = np.int64(2)
        for at in range(np.uint64(offsets[i]), np.uint64(offsets[i + np.uint64(1)])):
            size += 1
            if data[at] < 0x20 or data[at] == 0x22 or data[at] == 0x5C:
                size += 5 if _short_escape(data[at]) == 1 else 1
        out[i] = size


@kernel(f"void({view('int32')}, {view('uint8')}, {view('int32')}, uint8[::1])")
def _quote(offsets, data, out_offsets, out):  # type: ignore[no-untyped-def]
    one = np.uint64(1)
    for i in range(np.uint64(offsets.size - 1)):
        to = np.uint64(out_offsets[i])
        out[to] = 0x22
        to += one
        for at in range(np.uint64(offsets[i]), np.uint64(offsets[i + one])):
            letter = data[at]
            if letter >= 0x20 and letter != 0x22 and letter != 0x5C:
                out[to] = letter
                to += one
                continue
            short = _short_escape(letter)
            out[to] = 0x5C
            if short != 1:
                out[to + one] = short
                to += np.uint64(2)
                continue
            out[to + one] = 0x75
            out[to + np.uint64(2)] = 0x30
            out[to + np.uint64(3)] = 0x30
            out[to + np.uint64(4)] = 0x30 + (letter >> 4)
            low = letter & 15
            out[to + np.uint64(5)] = 0x30 + low if low < 10 else 0x57 + low
            to += np.uint64(6)
        out[to] = 0x22


def json_strings(array: pa.Array) -> pa.StringArray:
    """Texts (utf8 or a dictionary of it) as JSON strings, null where null."""
    if pa.types.is_dictionary(array.type):
        return json_strings(array.dictionary).take(array.indices)
    buffers = string_buffers(array)
    sizes = np.empty(len(array), np.int64)
    _quoted_sizes(buffers.offsets, buffers.data, sizes)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _quote(buffers.offsets, buffers.data, offsets, out)
    valid = None if not array.null_count else pa.py_buffer(np.packbits(buffers.valid, bitorder="little"))
    return pa.Array.from_buffers(pa.utf8(), len(array), [valid, pa.py_buffer(offsets), pa.py_buffer(out)])


def _json_doubles(array: pa.DoubleArray) -> pa.StringArray:
    """The shortest text that reads back as the same double, and as a double."""
    texts = array.cast(pa.utf8())
    return pc.if_else(pc.match_substring_regex(texts, "[.e]"), texts, pc.binary_join_element_wise(texts, ".0", ""))


def json_values(kind: str, array: pa.Array) -> pa.StringArray:
    """The values of a property's column of one type as JSON, null where null."""
    match kind:
        case "s":
            return json_strings(array)
        case "j":
            return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        case "d":
            return _json_doubles(array)
        case _:
            return array.cast(pa.utf8())


def member(name: str, values: pa.StringArray) -> pa.StringArray:
    """``,"name":value``, null where the value is."""
    return pc.binary_join_element_wise("," + orjson.dumps(name).decode() + ":", values, "")


def _rest_members(rest: pa.Array) -> pa.StringArray:
    """The inside of the objects, after a comma; null where there is none."""
    texts = rest.dictionary_decode() if pa.types.is_dictionary(rest.type) else rest
    texts = pc.if_else(pc.equal(texts, "{}"), pa.scalar(None, pa.utf8()), texts)
    inside = pc.binary_slice(texts.cast(pa.binary()), 1, -1).cast(pa.utf8())
    return pc.binary_join_element_wise(",", inside, "")


def _property_members(record: pa.RecordBatch) -> list[pa.StringArray]:
    """``,"name":value`` of every property column, and those of ``rest``; null where not set."""
    members = []
    for column in record.schema.names:
        named = property_of(column)
        if named is not None and record.column(column).null_count < record.num_rows:
            members.append(member(named[0], json_values(named[1], record.column(column))))
    if REST in record.schema.names:
        members.append(_rest_members(record.column(REST)))
    return members


def properties_json(record: pa.RecordBatch) -> pa.StringArray:
    """The properties of each row as one JSON object; never null."""
    # A first text that is never null: rows without any would be dropped otherwise (pyarrow 26).
    members = pc.binary_join_element_wise(
        pa.repeat("", record.num_rows), *_property_members(record), "", null_handling="skip"
    )
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(members, 1), "}", "")


def lines_of(record: pa.RecordBatch, tenant: str | None = None, *, mark_duplicates: bool = False) -> pa.StringArray:
    """The line of each of at most ``ROWS_AT_ONCE`` rows."""
    start = "{" if tenant is None else f'{{"tenant":{orjson.dumps(tenant).decode()},'
    pieces = [
        start + '"event":',
        json_strings(record.column("event")),
        ',"properties":{"distinct_id":',
        json_strings(record.column("distinct_id")),
        ',"time":',
        record.column("time").cast(pa.utf8()),
        member("$insert_id", json_strings(record.column("insert_id"))),
        *_property_members(record),
        pc.if_else(record.column(DUPLICATE), '},"duplicate":true}\n', "}}\n") if mark_duplicates else "}}\n",
    ]
    return pc.binary_join_element_wise(*pieces, "", null_handling="skip")


def _encode(record: pa.RecordBatch, tenant: str | None, mark_duplicates: bool) -> bytes:
    lines = lines_of(record, tenant, mark_duplicates=mark_duplicates)
    offsets = np.frombuffer(lines.buffers()[1], np.int32)
    first, end = int(offsets[lines.offset]), int(offsets[lines.offset + len(lines)])
    result: bytes = lines.buffers()[2].slice(first, end - first).to_pybytes()
    return result


def encode_ndjson(record: pa.RecordBatch, *, tenant: str | None, mark_duplicates: bool) -> bytes:
    """Lines ``{"event","properties":{"distinct_id","time","$insert_id",…}}`` of canonical or scanned rows, in order.

    ``tenant`` given: ``"tenant"`` stands before ``"event"``. ``mark_duplicates``: ``"duplicate":true`` after the
    properties of the rows that ``record``'s column ``duplicate`` marks. Columns that are neither fields nor properties
    are left out.
    """
    missing = [name for name in FIELD_NAMES if name not in record.schema.names]
    if missing:
        raise ValueError(f"cannot encode rows without {missing}")
    return b"".join(
        _encode(record.slice(first, ROWS_AT_ONCE), tenant, mark_duplicates)
        for first in range(0, record.num_rows, ROWS_AT_ONCE)
    )
