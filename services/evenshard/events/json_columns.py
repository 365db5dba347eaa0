"""Tokens, of JSON or of rows, as Arrow columns."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from evenshard.events.batch import REST, PropertyType, property_column
from evenshard.events.json_kernel import AT, BOOL, DOUBLE, END, INT, KEY, KIND, NESTED, ROW, SIZE, STRING
from evenshard.events.json_tokens import FIRST_PROPERTY
from evenshard.events.properties import columns_max, most_frequent
from evenshard.kernels import kernel, view

Int64 = npt.NDArray[np.int64]


class Tokens(Protocol):
    """Values of properties as they were found: see ``JsonTokens``."""

    rows: int
    data: npt.NDArray[np.uint8]
    tokens: npt.NDArray[np.int32]
    """6 × n."""

    @property
    def values(self) -> Int64 | None:
        """Each token's bool, integer, or double (its bits); None: they are JSON text in ``data``."""

    def key_name(self, key: int) -> str:
        """The name of a property."""

    def raw(self, token: int) -> bytes:
        """A token's value as JSON."""

    def raw_key(self, key: int) -> bytes:
        """The name of a property as JSON."""


_LETTERS: dict[int, PropertyType] = {BOOL: "b", INT: "i", DOUBLE: "d", STRING: "s", NESTED: "j"}
_KINDS = 8
"""Columns are numbered key × _KINDS + kind."""


@kernel(f"void({view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('int32')}, uint8[::1])")
def _copy_texts(data, tokens, starts, ends, offsets, out):  # type: ignore[no-untyped-def]  # noqa: C901
    """Text i of ``out`` is token i's, unescaped (its escapes were checked); tokens of -1 are empty."""
    one = np.uint64(1)
    for i in range(np.uint64(tokens.size)):
        if tokens[i] < 0:
            continue
        token = np.uint64(tokens[i])
        at, end = np.uint64(starts[token]), np.uint64(ends[token])
        to, size = np.uint64(offsets[i]), np.uint64(offsets[i + one] - offsets[i])
        if end - at == size:
            for place in range(size):
                out[to + place] = data[at + place]
            continue
        while at < end:
            letter = data[at]
            at += one
            if letter != 0x5C:
                out[to] = letter
                to += one
                continue
            letter = data[at]
            at += one
            if letter != 0x75:
                if letter == 0x62:
                    letter = np.uint8(8)
                elif letter == 0x66:
                    letter = np.uint8(12)
                elif letter == 0x6E:
                    letter = np.uint8(10)
                elif letter == 0x72:
                    letter = np.uint8(13)
                elif letter == 0x74:
                    letter = np.uint8(9)
                out[to] = letter
                to += one
                continue
            code = np.int64(0)
            for place in range(np.uint64(4)):
                digit = np.int64(data[at + place])
                digit -= 48 if digit <= 57 else (55 if digit <= 70 else 87)
                code = code * 16 + digit
            at += np.uint64(4)
            if code < 0x80:
                out[to] = code
                to += one
            elif code < 0x800:
                out[to] = 0xC0 | code >> 6
                out[to + one] = 0x80 | code & 0x3F
                to += np.uint64(2)
            else:
                out[to] = 0xE0 | code >> 12
                out[to + one] = 0x80 | code >> 6 & 0x3F
                out[to + np.uint64(2)] = 0x80 | code & 0x3F
                to += np.uint64(3)


@kernel(f"void({view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')}, int64[::1])")
def _parse_integers(data, tokens, starts, ends, out):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(tokens.size)):
        token = np.uint64(tokens[i])
        at, end = np.uint64(starts[token]), np.uint64(ends[token])
        negative = data[at] == 0x2D
        at += np.uint64(1) if negative else np.uint64(0)
        value = np.int64(0)
        while at < end:
            # Downwards, so that the lowest int64 fits.
            value = value * 10 - (np.int64(data[at]) - 48)
            at += np.uint64(1)
        out[i] = value if negative else -value


@kernel(f"void({view('int32')}, int64[::1], int64[::1])")
def _group(columns, firsts, out):  # type: ignore[no-untyped-def]
    """``out``: tokens by column, those of a column in their order; ``firsts``: where each column begins (advanced)."""
    for token in range(np.uint64(columns.size)):
        if columns[token] >= 0:
            column = np.uint64(columns[token])
            out[np.uint64(firsts[column])] = token
            firsts[column] += 1


def _mask(present: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))


def texts_of(found: Tokens, tokens: Int64, present: npt.NDArray[np.bool_] | None = None) -> pa.StringArray:
    """The tokens' texts; -1 is empty, and null where ``present`` is false."""
    offsets = np.zeros(tokens.size + 1, np.int32)
    if found.tokens.shape[1]:
        np.cumsum(np.where(tokens >= 0, found.tokens[SIZE, tokens], 0), out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _copy_texts(found.data, tokens, found.tokens[AT], found.tokens[END], offsets, out)
    valid = None if present is None else _mask(present)
    return pa.Array.from_buffers(pa.utf8(), tokens.size, [valid, pa.py_buffer(offsets), pa.py_buffer(out)])


def kinds_of(found: Tokens, tokens: Int64) -> npt.NDArray[np.uint8]:
    """The kind of each token; 0 for -1."""
    if not found.tokens.shape[1]:
        return np.zeros(tokens.size, np.uint8)
    return np.where(tokens >= 0, found.tokens[KIND, tokens], 0).astype(np.uint8)


def _integers(found: Tokens, tokens: Int64) -> Int64:
    if found.values is not None:
        return found.values[tokens]
    parsed = np.empty(tokens.size, np.int64)
    _parse_integers(found.data, tokens, found.tokens[AT], found.tokens[END], parsed)
    return parsed


def _column(found: Tokens, kind: int, tokens: Int64) -> pa.Array:
    """One property's values of one kind, in all rows."""
    rows = found.tokens[ROW, tokens]
    if kind in (STRING, NESTED):
        of_row = np.full(found.rows, -1, np.int64)
        of_row[rows] = tokens
        return texts_of(found, of_row, of_row >= 0)
    present = np.zeros(found.rows, np.bool_)
    present[rows] = True
    if kind == BOOL:
        values = np.zeros(found.rows, np.bool_)
        given = found.values
        values[rows] = found.data[found.tokens[AT, tokens]] == ord("t") if given is None else given[tokens]
        return pa.Array.from_buffers(
            pa.bool_(), found.rows, [_mask(present), pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    if kind == INT:
        numbers = np.zeros(found.rows, np.int64)
        numbers[rows] = _integers(found, tokens)
        return pa.Array.from_buffers(pa.int64(), found.rows, [_mask(present), pa.py_buffer(numbers)])
    doubles = np.zeros(found.rows, np.float64)
    if found.values is None:
        doubles[rows] = texts_of(found, tokens).cast(pa.float64()).to_numpy()
    else:
        doubles[rows] = found.values[tokens].view(np.float64)
    return pa.Array.from_buffers(pa.float64(), found.rows, [_mask(present), pa.py_buffer(doubles)])


def _rest(found: Tokens, tokens: Int64) -> pa.StringArray:
    """``rest`` from the tokens without a column, which are few: one by one."""
    parts: dict[int, list[bytes]] = {}
    for token in np.sort(tokens).tolist():
        member = found.raw_key(int(found.tokens[KEY, token])) + b":" + found.raw(token)
        parts.setdefault(int(found.tokens[ROW, token]), []).append(member)
    out: list[str | None] = [None] * found.rows
    for row, members in parts.items():
        # Through orjson: one way of writing, whichever way the line went.
        out[row] = orjson.dumps(orjson.loads(b"{" + b",".join(members) + b"}")).decode()
    return pa.array(out, pa.utf8())


def property_columns(found: Tokens) -> dict[str, pa.Array]:
    """All property columns, the rarest folded into ``rest`` where there are too many."""
    keys, kinds = found.tokens[KEY], found.tokens[KIND]
    columns = np.where(keys >= FIRST_PROPERTY, keys * _KINDS + kinds, -1).astype(np.int32)
    counts = np.bincount(columns[columns >= 0], minlength=1)
    occurring = np.flatnonzero(counts)
    names = {
        column: property_column(found.key_name(column // _KINDS), _LETTERS[column % _KINDS])
        for column in occurring.tolist()
    }
    firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    grouped = np.empty(int(firsts[-1]), np.int64)
    _group(columns, firsts[:-1].copy(), grouped)
    kept = set(names.values())
    limit = columns_max(found.rows)
    if len(names) > limit:
        kept = most_frequent({name: int(counts[column]) for column, name in names.items()}, limit)
    out: dict[str, Any] = {}
    folded: list[Int64] = []
    for column, name in names.items():
        tokens = grouped[firsts[column] : firsts[column + 1]]
        if name in kept:
            out[name] = _column(found, column % _KINDS, tokens)
        else:
            folded.append(tokens)
    if folded:
        out[REST] = _rest(found, np.concatenate(folded))
    return out
