"""Reads serialized ``EventRows`` byte by byte: no object per row, and no byte beyond the message.

Fields of unknown number or of another wire type than ours are passed over, as protobuf asks; of a field given twice the
last counts. Groups, which our messages never had, are not read. Indices are unsigned (see ``events.hashing``).
"""

import numpy as np

from evenshard.events.hashing import load64
from evenshard.events.json_kernel import (
    AT,
    BOOL,
    DOUBLE,
    END,
    INT,
    KEY,
    KEY_AT,
    KEY_END,
    KEY_NEXT,
    KEY_SCOPE,
    KEY_SEEN,
    KIND,
    ROW,
    SIZE,
    STRING,
    find_key,
)
from evenshard.kernels import kernel, view

UNSET, JSON = 0, 6
"""Kinds of tokens beyond those of JSON's kernel: a property that is not set, and a JSON text not read yet."""

# Tags (number << 3 | wire type) of EventRows, EventRow, Property and Value.
ROWS_TAG = np.uint64(1 << 3 | 2)
EVENT_TAG, ID_TAG, TIME_TAG = np.uint64(1 << 3 | 2), np.uint64(2 << 3 | 2), np.uint64(3 << 3)
INSERT_TAG, PROPERTY_TAG = np.uint64(4 << 3 | 2), np.uint64(5 << 3 | 2)
NAME_TAG, VALUE_TAG = np.uint64(1 << 3 | 2), np.uint64(2 << 3 | 2)
NULL_TAG, BOOL_TAG, INT_TAG = np.uint64(1 << 3), np.uint64(2 << 3), np.uint64(3 << 3)
DOUBLE_TAG, STRING_TAG, JSON_TAG = np.uint64(4 << 3 | 1), np.uint64(5 << 3 | 2), np.uint64(6 << 3 | 2)

# Places in the state.
ROWS, PROPERTIES, MALFORMED, TOKENS, KEYS, ROW_BYTES = range(6)
"""``ROW_BYTES`` of the longest row."""

_PROPERTY_SCOPE = 1
_U0, _U1, _U2, _U4 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4)
_U5, _U7, _U8 = np.uint64(5), np.uint64(7), np.uint64(8)
_LOW_BITS = np.uint64(0x7F)
_VARINT_BYTES_MAX = 10


@kernel(inline="always")
def _varint(data, at, end):  # type: ignore[no-untyped-def]
    """(value, where it ends); ``end + 1`` where it does not end before ``end``. 64 bits are kept, as protobuf does."""
    value, stop = np.uint64(0), end + _U1
    if at < end and data[at] < 0x80:
        value, stop = np.uint64(data[at]), at + _U1
    else:
        shift = np.uint64(0)
        for _ in range(np.uint64(_VARINT_BYTES_MAX)):
            if at >= end:
                break
            byte = np.uint64(data[at])
            at += _U1
            value |= (byte & _LOW_BITS) << shift
            shift += _U7
            if byte <= _LOW_BITS:
                stop = at
                break
    return value, stop


@kernel(inline="always")
def _field(data, at, end):  # type: ignore[no-untyped-def]
    """The field at ``at``: (tag, its number or size, where its bytes begin, where it ends); the last is ``end + 1``
    where it is not whole, or its wire type is not read here."""
    tag, begin = _varint(data, at, end)
    number, stop = np.uint64(0), end + _U1
    if begin <= end:
        kind = tag & _U7
        if kind == _U2:
            number, begin = _varint(data, begin, end)
            if begin <= end and number <= end - begin:
                stop = begin + number
        elif kind == _U0:
            number, stop = _varint(data, begin, end)
        elif kind == _U1:
            stop = begin + _U8
        elif kind == _U5:
            stop = begin + _U4
        stop = min(stop, end + _U1)
    return tag, number, begin, stop


@kernel(f"void({view('uint8')}, int64, int64, int64[::1])", counted=False)
def count_rows(data, first, stop, state):  # type: ignore[no-untyped-def]
    """Counts rows and properties into ``state``, so that what ``read_rows`` writes has its place."""
    rows, properties, longest = np.int64(0), np.int64(0), np.int64(0)
    at, end = np.uint64(first), np.uint64(stop)
    while at < end:
        tag, size, inner, at = _field(data, at, end)
        if at <= end and tag == ROWS_TAG:
            rows += 1
            longest = max(longest, np.int64(size))
            while inner < at:
                tag, _, _, inner = _field(data, inner, at)
                properties += tag == PROPERTY_TAG
            if inner > at:
                at = end + _U1
    state[ROWS], state[PROPERTIES], state[ROW_BYTES], state[MALFORMED] = rows, properties, longest, at > end


@kernel(inline="always")
def _read_value(data, at, end):  # type: ignore[no-untyped-def]
    """A ``Value``: (kind, its bool, integer or bits of the double, where its text begins, where that ends, ``end``;
    the last is ``end + 1`` where it is malformed)."""
    kind, value = UNSET, np.int64(0)
    text_at, text_end = at, at
    while at < end:
        tag, number, begin, at = _field(data, at, end)
        if at > end:
            break
        if tag in (STRING_TAG, JSON_TAG):
            kind = STRING if tag == STRING_TAG else JSON
            text_at, text_end = begin, at
        elif tag == INT_TAG:
            kind, value = INT, np.int64(number)
        elif tag == BOOL_TAG:
            kind, value = BOOL, np.int64(number != _U0)
        elif tag == DOUBLE_TAG:
            kind, value = DOUBLE, np.int64(load64(data, begin))
        elif tag == NULL_TAG:
            kind = UNSET
    return kind, value, text_at, text_end, at


@kernel(
    f"void({view('uint8')}, int64, int64, int64[:,::1], int32[::1], int32[:,::1], int64[::1], int32[:,::1],"
    "int64[::1], boolean[::1], int64[::1])",
    counted=False,
)
def read_rows(  # type: ignore[no-untyped-def]  # noqa: C901
    data, first, stop, keys, slots, tokens, values, fields, times, has_time, state
):
    """Reads what ``count_rows`` counted in ``data[first:stop]``, which is 16 bytes shorter than ``data``.

    keys, slots: the table of keys (see ``events.json_kernel``), large enough for a new key a property. Written: tokens
    (6 × n) and values (n) of fields and properties, fields (token of event, distinct_id, insert_id × row, -1: none),
    times (row) and whether they are given. Of a property named twice in a row there is one token.
    """
    token_count, key_count, row = np.uint64(0), np.int64(state[KEYS]), np.uint64(0)
    at, end = np.uint64(first), np.uint64(stop)
    malformed = False
    while at < end and not malformed:
        tag, _, inner, at = _field(data, at, end)
        if tag != ROWS_TAG:
            continue
        first_token, previous = token_count, _U0
        while inner < at:
            tag, number, begin, inner = _field(data, inner, at)
            if tag == TIME_TAG:
                times[row], has_time[row] = np.int64(number), number != _U0
            elif tag in (EVENT_TAG, ID_TAG, INSERT_TAG):
                field = _U0 if tag == EVENT_TAG else (_U1 if tag == ID_TAG else _U2)
                token = token_count
                if fields[field, row] >= 0:
                    token = np.uint64(fields[field, row])
                else:
                    fields[field, row] = token
                    token_count += _U1
                tokens[ROW, token], tokens[KEY, token], tokens[KIND, token] = row, field, STRING
                tokens[AT, token], tokens[END, token], tokens[SIZE, token] = begin, inner, inner - begin
            elif tag == PROPERTY_TAG:
                name_at, name_end = begin, begin
                kind, value, text_at, text_end = UNSET, np.int64(0), begin, begin
                while begin < inner:
                    tag, _, part_at, begin = _field(data, begin, inner)
                    if begin <= inner:
                        if tag == NAME_TAG:
                            name_at, name_end = part_at, begin
                        elif tag == VALUE_TAG:
                            kind, value, text_at, text_end, part_at = _read_value(data, part_at, begin)
                            malformed |= part_at > begin
                malformed |= begin > inner
                if malformed:
                    break
                # The key: most often the one that followed the previous one last time.
                known, key = False, np.uint64(0)
                if keys[KEY_NEXT, previous] >= 0:
                    key = np.uint64(keys[KEY_NEXT, previous])
                    source = np.uint64(keys[KEY_AT, key])
                    known = np.uint64(keys[KEY_END, key]) - source == name_end - name_at
                    if known:
                        for place in range(name_end - name_at):
                            known &= data[name_at + place] == data[source + place]
                if not known:
                    number_of_key, slot = find_key(data, name_at, name_end, _PROPERTY_SCOPE, keys, key_count, slots)
                    key = np.uint64(number_of_key)
                    if number_of_key == key_count:
                        keys[KEY_AT, key], keys[KEY_END, key] = np.int64(name_at), np.int64(name_end)
                        keys[KEY_SCOPE, key], keys[KEY_NEXT, key], keys[KEY_SEEN, key] = _PROPERTY_SCOPE, -1, -1
                        slots[slot] = key_count
                        key_count += 1
                    keys[KEY_NEXT, previous] = number_of_key
                previous = key
                token = token_count
                if keys[KEY_SEEN, key] >= np.int64(first_token):
                    token = np.uint64(keys[KEY_SEEN, key])
                else:
                    keys[KEY_SEEN, key] = np.int64(token)
                    token_count += _U1
                tokens[ROW, token], tokens[KEY, token], tokens[KIND, token] = row, key, kind
                tokens[AT, token], tokens[END, token], tokens[SIZE, token] = text_at, text_end, text_end - text_at
                values[token] = value
        row += _U1
    state[TOKENS], state[KEYS], state[MALFORMED] = np.int64(token_count), key_count, malformed
