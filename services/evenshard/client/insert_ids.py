"""Gives events without insert_id one of their own before they are first sent, so that a retry meets its original.

Events that have one stay byte for byte as they came. Lines are judged by columns of positions; only those that cannot
be judged that way (an escaped key, a nested object, a null) are parsed. A line that is no JSON object stays as it is.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.limits import GENERATED_INSERT_ID_PREFIX

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_TOKEN_BYTES: Final = 10
_KEY: Final = b"insert_id"
_KEY_UNDERSCORE: Final = _KEY.index(b"_")
_NAMES: Final = ("insert_id", "$insert_id")
_NEWLINE, _QUOTE, _COLON, _SPACE, _DOLLAR, _OPEN, _CLOSE, _BACKSLASH, _RETURN = b'\n": ${}\\\r'
_EMPTY_VALUE: Final = re.compile(rb'"\$insert_id"\s*:\s*""')
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
FIELD: Final = "$insert_id"
"""The key that ids are given under, beside ``event``: of the two allowed there it is the one that counts."""


class InsertIds:
    """A supply of insert_ids that nobody else makes: ``$auto-``, 80 random bits, a running number; ≤ 46 characters."""

    def __init__(self, token: str | None = None) -> None:
        self._prefix = f"{GENERATED_INSERT_ID_PREFIX}{token or secrets.token_hex(_TOKEN_BYTES)}-"
        self._next = 0

    def one(self) -> str:
        return self._prefix + str(self._numbers(1))

    def many(self, count: int, before: str = "", after: str = "") -> pa.StringArray:
        """``count`` ids, each between two texts."""
        first = self._numbers(count)
        numbers = pa.array(np.arange(first, first + count)).cast(pa.utf8())
        return pc.binary_join_element_wise(pa.scalar(before + self._prefix), numbers, pa.scalar(after), pa.scalar(""))

    def _numbers(self, count: int) -> int:
        first, self._next = self._next, self._next + count
        return first


def has_insert_id(event: Mapping[str, Any]) -> bool:
    """Whether an event, as a line of NDJSON says it, has an insert_id; null and ``""`` are none."""
    properties = event.get("properties")
    inner = properties.get("$insert_id") if isinstance(properties, dict) else None
    for found in (inner, *(event.get(name) for name in ("$insert_id", "insert_id"))):
        if found is not None:
            return bool(found != "")
    return False


def hides_insert_id(event: Mapping[str, Any]) -> bool:
    """Whether an empty insert_id among the properties counts before any beside ``event``."""
    properties = event.get("properties")
    return isinstance(properties, dict) and properties.get("$insert_id") == ""


def add_to_lines(payload: bytes, ids: InsertIds) -> bytes:
    """NDJSON in which every event has an insert_id; the number of lines stays."""
    lines = _Lines(payload)
    if not lines.count:
        return payload
    plain, unclear = lines.judge()
    appended, filled = lines.places_of(np.flatnonzero(unclear).tolist())
    places = np.sort(np.concatenate((lines.last_brace[plain], appended, filled)))
    if not places.size:
        return payload
    offsets = np.empty(places.size + 1, np.int32)
    offsets[0], offsets[1:] = 0, places
    pieces = pa.Array.from_buffers(pa.binary(), places.size, [None, pa.py_buffer(offsets), pa.py_buffer(payload)])
    fields = ids.many(places.size, f',"{FIELD}":"', '"')
    if filled.size:
        fields = pc.if_else(pa.array(np.isin(places, filled)), ids.many(places.size), fields)
    joined = pc.binary_join_element_wise(pieces, fields.cast(pa.binary()), pa.scalar(b""))
    return _bytes_of(joined) + payload[int(places[-1]) :]


def add_to_record(record: pa.RecordBatch, ids: InsertIds) -> pa.RecordBatch:
    """A record batch in which every event has an insert_id. Columns the server will refuse stay as they are."""
    present = [name for name in record.schema.names if name in _NAMES]
    if not present:
        return record.append_column("insert_id", ids.many(record.num_rows))
    if len(present) > 1:
        return record
    at = record.schema.get_field_index(present[0])
    column = record.column(at)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (
        pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        return record
    texts = column.cast(pa.utf8())
    missing = pc.or_kleene(pc.is_null(texts), pc.equal(pc.fill_null(texts, ""), ""))
    if not pc.any(missing).as_py():
        return record
    filled = pc.if_else(missing, ids.many(record.num_rows), texts)
    return record.set_column(at, present[0], filled)


class _Lines:
    """A block of lines with what byte positions say about them; arrays have one entry a line."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.data: UInt8 = np.frombuffer(payload, np.uint8)
        ends = np.flatnonzero(self.data == _NEWLINE)
        if payload and payload[-1] != _NEWLINE:
            ends = np.append(ends, len(payload))
        self.ends: Int64 = ends
        self.starts: Int64 = np.concatenate((np.zeros(min(1, ends.size), np.int64), ends[:-1] + 1))
        self.count = int(ends.size)
        self.last_brace: Int64 = self.ends - 1

    def judge(self) -> tuple[Mask, Mask]:
        """Which lines surely lack an insert_id, and which must be parsed to know."""
        mentions = self._mentions()
        braces = np.flatnonzero(self.data == _OPEN)
        if self._all_have_one(mentions, braces):
            nothing = np.zeros(self.count, np.bool_)
            return nothing, nothing
        mention_count = self._per_line(mentions)
        brace_count = self._per_line(braces)
        clear_count = self._per_line(self._clear_keys(mentions, braces))
        has = (mention_count == 1) & (clear_count == 1) & (brace_count <= 2)
        lengths = self.ends - self.starts
        self.last_brace = self.ends - 1 - ((lengths > 0) & (self._at(self.ends - 1) == _RETURN))
        lengths = self.last_brace - self.starts + 1
        blank = lengths <= 0
        objects = (
            (lengths > 2)
            & (self._at(self.starts) == _OPEN)
            & (self._at(self.last_brace) == _CLOSE)
            & (self._at(self.last_brace - 1) != _OPEN)
            & (self._at(self.last_brace - 1) > _SPACE)
        )
        plain = objects & (mention_count == 0) & (self._per_line(self._escaped_letters()) == 0)
        return plain, ~(has | plain | blank)

    def _all_have_one(self, mentions: Int64, braces: Int64) -> bool:
        """Whether every line is as clients write it: two braces opened, and its insert_id the only mention of one. Told
        without asking which line a position is in, since the n-th is the n-th line's."""
        if mentions.size != self.count or braces.size != 2 * self.count:
            return False
        return all(
            bool(((each >= self.starts) & (each < self.ends)).all()) for each in (mentions, braces[::2], braces[1::2])
        ) and bool(self._is_clear(mentions, opened=None).all())

    def places_of(self, lines: Sequence[int]) -> tuple[Int64, Int64]:
        """Of lines that have to be parsed: where a field is to be added, and where an empty text is to be filled."""
        added, filled = [], []
        for line in lines:
            start = int(self.starts[line])
            text = self.payload[start : int(self.ends[line])]
            try:
                event = orjson.loads(text.removeprefix(_BYTE_ORDER_MARK) if line == 0 else text)
            except orjson.JSONDecodeError:
                continue  # the cluster says what is wrong with it
            if not isinstance(event, dict) or not event or has_insert_id(event):
                continue
            if hides_insert_id(event):
                empty = list(_EMPTY_VALUE.finditer(text))
                if len(empty) == 1:
                    filled.append(start + empty[0].end() - 1)
            else:
                added.append(start + text.rindex(b"}"))
        return np.array(added, np.int64), np.array(filled, np.int64)

    def _mentions(self) -> Int64:
        """Positions of ``insert_id``, by its underscore."""
        at = np.flatnonzero(self.data == _KEY[_KEY_UNDERSCORE])
        for offset, letter in sorted(enumerate(_KEY), key=lambda each: -each[0]):
            at = at[self._at(at + (offset - _KEY_UNDERSCORE)) == letter]
        return at - _KEY_UNDERSCORE

    def _clear_keys(self, mentions: Int64, braces: Int64) -> Int64:
        """Mentions that surely are the insert_id: a key of that name, and a text that is not empty after it."""
        line_starts = self.starts[self._line_of(mentions)]
        opened = np.searchsorted(braces, mentions) - np.searchsorted(braces, line_starts)
        result: Int64 = mentions[self._is_clear(mentions, opened)]
        return result

    def _is_clear(self, mentions: Int64, opened: Int64 | None) -> Mask:
        """``opened``: braces before each in its line; None: not known, so that only the name with a dollar counts."""
        behind = mentions + len(_KEY)
        is_key = (self._at(behind) == _QUOTE) & (self._at(behind + 1) == _COLON)
        value = behind + 2 + (self._at(behind + 2) == _SPACE)
        is_key &= (self._at(value) == _QUOTE) & (self._at(value + 1) != _QUOTE)
        with_dollar = (self._at(mentions - 1) == _DOLLAR) & (self._at(mentions - 2) == _QUOTE)
        result: Mask = is_key & with_dollar
        if opened is not None:
            # Without the dollar it is a field only beside ``event``: before any second brace opens.
            result |= is_key & (self._at(mentions - 1) == _QUOTE) & (opened == 1)
        return result

    def _escaped_letters(self) -> Int64:
        r"""Positions of ``\u00..``, ASCII written so that a key could hide."""
        at = np.flatnonzero(self.data == _BACKSLASH)
        for offset, letter in ((1, b"u"), (2, b"0"), (3, b"0")):
            at = at[self._at(at + offset) == letter[0]]
        return at

    def _at(self, places: Int64) -> UInt8:
        """The bytes at ``places``; beyond the payload some byte that never completes a pattern by accident."""
        inside = (places >= 0) & (places < self.data.size)
        if inside.all():
            return self.data[places]
        out = np.full(places.size, _NEWLINE, np.uint8)
        out[inside] = self.data[places[inside]]
        return out

    def _line_of(self, places: Int64) -> Int64:
        return np.searchsorted(self.starts, places, side="right") - 1

    def _per_line(self, places: Int64) -> Int64:
        return np.bincount(self._line_of(places), minlength=self.count)


def _bytes_of(array: pa.BinaryArray) -> bytes:
    """All values of an array without nulls, one behind the other."""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return bytes(memoryview(data)[int(bounds[0]) : int(bounds[-1])])
