"""Decodes rows: events whose values are typed already, by the same rules as the other codecs.

Who reads the rows' encoding (``wire.rows``) hands over tokens. Properties named like fields (``distinct_id``, ``time``,
``$insert_id``) are not stored: the row's own fields count.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from evenshard.events import faults, limits
from evenshard.events.checks import Draft, finish
from evenshard.events.faults import FINE, Detail
from evenshard.events.json_columns import property_columns, texts_of
from evenshard.events.json_kernel import AT, BOOL, DOUBLE, END, INT, KEY, KIND, NESTED, ROW, SIZE, STRING
from evenshard.events.json_lines import load_value
from evenshard.events.json_tokens import FIRST_PROPERTY
from evenshard.events.json_values import value_fault
from evenshard.events.rejects import Decoded, DecodeWarning

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

_KINDS = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}
_DOUBLE_EXPONENT = 0x7FF << 52
_NONE = 0
"""The key of tokens that are no property; and, of tokens, the kind of those that are not set."""


@dataclass(slots=True)
class RowTokens:
    """Rows as they were read: ``Tokens`` of ``events.json_columns``, whose texts are as they are meant."""

    rows: int
    data: UInt8
    """What texts point into."""
    tokens: npt.NDArray[np.int32]
    """6 × n, the fields' among them; a property has one token a row; kind 0: not set."""
    values: Int64
    """Each token's bool, integer, or double (its bits)."""
    fields: npt.NDArray[np.int32]
    """Tokens of event, distinct_id, insert_id × row; -1: none."""
    times: Int64
    has_time: npt.NDArray[np.bool_]
    names: Int64
    """2 × keys: where the names of properties, from key ``FIRST_PROPERTY`` on, begin and end."""
    json_tokens: Int64
    """Tokens whose text is JSON not read yet."""
    large: bool
    """A row may be larger than an event may be."""

    def key_name(self, key: int) -> str:
        """The name of a property."""
        return self.data[self.names[0, key] : self.names[1, key]].tobytes().decode()

    def raw_key(self, key: int) -> bytes:
        """The name of a property as JSON."""
        return orjson.dumps(self.key_name(key))

    def text(self, token: int) -> bytes:
        """What a token's text is."""
        return self.data[self.tokens[AT, token] : self.tokens[END, token]].tobytes()

    def raw(self, token: int) -> bytes:
        """A token's value as JSON."""
        match int(self.tokens[KIND, token]):
            case kind if kind == NESTED:
                return self.text(token)
            case kind if kind == STRING:
                return orjson.dumps(self.text(token).decode())
            case kind if kind == DOUBLE:
                return orjson.dumps(float(self.values[token : token + 1].view(np.float64)[0]))
            case kind if kind == BOOL:
                return b"true" if self.values[token] else b"false"
        return str(int(self.values[token])).encode()


class _Notes:
    """The lowest fault of each row, and of equals the first property's."""

    def __init__(self, found: RowTokens) -> None:
        self._found = found
        self.faults: UInt8 = np.full(found.rows, FINE, np.uint8)
        self.details: dict[int, Detail] = {}

    def add(self, row: int, number: int, key: int) -> None:
        if number < self.faults[row]:
            self.faults[row] = number
            self.details[row] = Detail(number, self._found.key_name(key), "")

    def add_row(self, row: int, number: int) -> None:
        if number < self.faults[row]:
            self.faults[row] = number


def _read_json(found: RowTokens, notes: _Notes) -> None:
    """Reads the JSON texts, one by one: they stand for what has no type of its own, and are rarer than the rest."""
    texts: list[bytes] = []
    at = found.data.size
    for token in found.json_tokens.tolist():
        kind, text, number = _NONE, b"", FINE
        value, number = load_value(found.text(token))
        if number == FINE:
            number = value_fault(value)
        if number == faults.NUMBER_NOT_FINITE:
            # JSON text has no infinities: this double was too large.
            number = faults.NUMBER_OUT_OF_RANGE
        if number != FINE:
            notes.add(int(found.tokens[ROW, token]), number, int(found.tokens[KEY, token]))
        elif value is not None:
            kind = _KINDS.get(type(value), NESTED)
            if kind in (STRING, NESTED):
                text = value.encode() if kind == STRING else orjson.dumps(value)
            else:
                found.values[token] = _bits(value)
        found.tokens[KIND, token] = kind
        found.tokens[[AT, END, SIZE], token] = (at, at + len(text), len(text))
        texts.append(text)
        at += len(text)
    if at > limits.DECODED_BYTES_MAX:
        raise AssertionError("JSON texts grew beyond what a payload can hold")
    found.data = np.concatenate([found.data, np.frombuffer(b"".join(texts), np.uint8)])


def _bits(value: Any) -> int:
    return int(np.float64(value).view(np.int64)) if type(value) is float else int(value)


def _drop_unset(found: RowTokens) -> int:
    """Takes the properties out that are not set, and those named like fields; returns the rows with such."""
    keys, kinds = found.tokens[KEY], found.tokens[KIND]
    is_property = np.ones(keys.size, np.bool_)
    fields = found.fields[found.fields >= 0]
    is_property[fields] = False
    keys[is_property & (kinds == _NONE)] = _NONE
    ignored = found.tokens[ROW, is_property & (keys > _NONE) & (keys < FIRST_PROPERTY)]
    return int(np.unique(ignored).size)


def _check_rows(found: RowTokens, notes: _Notes) -> None:
    """Notes doubles that are not finite, events with too many properties, events that are too large."""
    rows, keys, kinds = found.tokens[ROW], found.tokens[KEY], found.tokens[KIND]
    properties = keys >= FIRST_PROPERTY
    infinite = properties & (kinds == DOUBLE) & (found.values & _DOUBLE_EXPONENT == _DOUBLE_EXPONENT)
    for token in np.flatnonzero(infinite).tolist():
        notes.add(int(rows[token]), faults.NUMBER_NOT_FINITE, int(keys[token]))
    if keys.size > limits.PROPERTIES_MAX:
        counts = np.bincount(rows[properties], minlength=found.rows)
        for row in np.flatnonzero(counts > limits.PROPERTIES_MAX).tolist():
            notes.add_row(row, faults.PROPERTIES_TOO_MANY)
    if found.large:
        names = np.where(properties, found.names[1, keys] - found.names[0, keys], 0)
        texts = np.isin(kinds, (STRING, NESTED))
        counted = properties | np.isin(np.arange(keys.size), found.fields)
        sizes = np.where(counted, names + np.where(texts, found.tokens[SIZE], 1), 0)
        totals = np.zeros(found.rows, np.int64)
        np.add.at(totals, rows, sizes)
        for row in np.flatnonzero(totals > limits.EVENT_SIZE_BYTES_MAX).tolist():
            notes.add_row(row, faults.EVENT_TOO_LARGE)


def decode_rows(found: RowTokens, *, tenant: str, strict: bool, now_ms: int) -> Decoded:
    """Decodes a tenant's rows; ``found`` is used up. A time of 0 is none. Raises nothing."""
    notes = _Notes(found)
    if found.json_tokens.size:
        _read_json(found, notes)
    ignored = _drop_unset(found)
    _check_rows(found, notes)
    if notes.details or (notes.faults != FINE).any():
        # As lines: what a refused event holds makes no columns.
        found.tokens[KEY, (notes.faults != FINE)[found.tokens[ROW]]] = _NONE
    event, distinct_id, insert_id = found.fields.astype(np.int64)
    np.minimum(notes.faults, np.where(found.has_time, FINE, faults.TIME_MISSING).astype(np.uint8), out=notes.faults)
    message = "properties that are named like fields, and were not stored: the fields of the row count"
    draft = Draft(
        rows=found.rows,
        event=texts_of(found, event).dictionary_encode(),
        distinct_id=texts_of(found, distinct_id),
        time=found.times,
        insert_id=texts_of(found, insert_id, insert_id >= 0),
        properties=property_columns(found),
        faults=notes.faults,
        details=notes.details,
        warnings=[DecodeWarning("FIELD_IGNORED", message, ignored)] if ignored else [],
        tenants=(tenant,),
    )
    return finish(draft, strict=strict, now_ms=now_ms)
