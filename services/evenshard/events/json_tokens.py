"""Lines of JSON as tokens: plain lines by the kernel, odd ones rewritten one by one and then by the kernel too."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events import json_kernel, limits
from evenshard.events.faults import Detail
from evenshard.events.json_kernel import AT, END, KEY_AT, KEY_END, KIND, SIZE, rebuild_slots, tokenize
from evenshard.events.json_lines import Rewritten
from evenshard.events.text import find_invalid_utf8

_OUTER_KEYS = (b"tenant", b"event", b"properties", b"distinct_id", b"time", b"insert_id", b"$insert_id", b"duplicate")
_INNER_KEYS = (b"distinct_id", b"time", b"$insert_id")
TENANT, EVENT, OUTER_ID, OUTER_TIME, OUTER_INSERT, OUTER_INSERT_2 = 0, 1, 3, 4, 5, 6
INNER_ID, INNER_TIME, INNER_INSERT = 8, 9, 10
FIRST_PROPERTY = 11
"""Keys below are the fields, in the order of these numbers."""

SEEDS = b"".join(_OUTER_KEYS) + b"".join(_INNER_KEYS)
"""The text the fields' keys point into."""
_PADDING_BYTES = 32
_SLOTS_FIRST = 4096

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]

Rewrite = Callable[[bytes, "Counter[str]"], Rewritten]


def _buffer(*parts: bytes | UInt8) -> UInt8:
    """The parts one after the other, and padding of line feeds."""
    arrays = [np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part for part in parts]
    return np.concatenate([*arrays, np.full(_PADDING_BYTES, 10, np.uint8)])


def seed_keys(keys: npt.NDArray[np.int64]) -> None:
    """Makes the fields' names the first keys of a table (5 × n) for data that begins with ``SEEDS``."""
    at = 0
    for number, key in enumerate((*_OUTER_KEYS, *_INNER_KEYS)):
        scope = 0 if number < len(_OUTER_KEYS) else 1
        keys[:, number] = (at, at + len(key), scope, -1, 0)
        at += len(key)


class JsonTokens:
    """The tokens of all rows (lines that are not blank) of one payload.

    ``data``: the text tokens point into; ``tokens``: int32, 6 × n; ``fields``: the token of each field and row, or -1;
    ``numbers``: the line of each row.
    """

    values = None

    def __init__(self, text: bytes | UInt8, *, bare: bool, rewrite: Rewrite) -> None:
        """``bare``: each line is a properties object alone. Raises ``REQUEST_TOO_LARGE``."""
        if len(text) > limits.PAYLOAD_BYTES_MAX // 4:
            raise EvenshardError("REQUEST_TOO_LARGE", "the payload is too large once decompressed")
        self._bare = bare
        self.data = _buffer(SEEDS, text, b"\n")
        line_count = int(np.count_nonzero(self.data == 10)) - _PADDING_BYTES
        if line_count > 4 * limits.ROWS_MAX:
            raise EvenshardError("REQUEST_TOO_LARGE", f"a payload holds at most {limits.ROWS_MAX} events")
        self.tokens: Int32 = np.empty((6, 0), np.int32)
        self.fields: Int32 = np.full((FIRST_PROPERTY, line_count), -1, np.int32)
        self._lines = np.empty((3, line_count), np.int64)
        self._odd = np.empty(line_count, np.bool_)
        self._make_table()
        self._state = np.zeros(6, np.int64)
        self._state[json_kernel.KEYS] = FIRST_PROPERTY
        self._run(len(SEEDS), self.data.size - _PADDING_BYTES, np.arange(line_count), trusted=False)
        self.rows = int(self._state[json_kernel.LINES])
        if self.rows > limits.ROWS_MAX:
            raise EvenshardError("REQUEST_TOO_LARGE", f"a payload holds at most {limits.ROWS_MAX} events")
        self.numbers: npt.NDArray[np.int64] = self._lines[json_kernel.LINE_NUMBER, : self.rows]
        self.blank_lines = bool(self._state[json_kernel.LINE_COUNT] != self.rows)
        self.fields = self.fields[:, : self.rows]
        self.faults: dict[int, Detail] = {}
        """By row, of the lines the slow path refused."""
        self.ignored: Counter[str] = Counter()
        self.slow_rows = 0
        self._read_odd(rewrite)

    def _make_table(self) -> None:
        self._keys = np.full((5, _SLOTS_FIRST // 2), -1, np.int64)
        seed_keys(self._keys)
        self._slots = np.full(_SLOTS_FIRST, -1, np.int32)
        rebuild_slots(self.data, self._keys, self._slots, FIRST_PROPERTY)

    def _grow_table(self) -> None:
        self._keys = np.concatenate([self._keys, np.full_like(self._keys, -1)], axis=1)
        self._slots = np.full(2 * self._slots.size, -1, np.int32)
        rebuild_slots(self.data, self._keys, self._slots, self._state[json_kernel.KEYS])

    def _run(self, begin: int, stop: int, rows: npt.NDArray[np.int64], *, trusted: bool) -> None:
        """Adds the tokens of the lines in ``data[begin:stop]``; a value needs a colon before it."""
        capacity = int(np.count_nonzero(self.data[begin:stop] == 58))
        tokens = np.empty((6, capacity), np.int32)
        fields = self.fields if self.fields.flags.c_contiguous else np.ascontiguousarray(self.fields)
        self._state[[json_kernel.POSITION, json_kernel.TOKENS, json_kernel.LINES]] = (begin, 0, 0)
        before = self.tokens.shape[1]
        while True:
            tokenize(
                self.data,
                stop,
                rows,
                trusted,
                self._bare,
                limits.PROPERTIES_MAX + (len(_INNER_KEYS) if trusted else 0),
                self.data.size if trusted else limits.EVENT_SIZE_BYTES_MAX,
                self._keys,
                self._slots,
                tokens,
                fields,
                np.empty_like(self._lines) if trusted else self._lines,
                self._odd,
                self._state,
            )
            if self._state[json_kernel.POSITION] >= stop:
                break
            self._grow_table()
        found = tokens[:, : int(self._state[json_kernel.TOKENS])]
        if before:
            found = np.concatenate([self.tokens, found], axis=1)
            part = fields[:, rows]
            fields[:, rows] = np.where(part >= 0, part + before, -1)
        self.tokens, self.fields = found, fields

    def _read_odd(self, rewrite: Rewrite) -> None:
        """Sends the odd lines, and those that are not UTF-8, down the slow path."""
        odd = self._odd[: self.rows]
        begins, ends = self._lines[json_kernel.LINE_AT], self._lines[json_kernel.LINE_END]
        invalid = self._invalid_lines()
        odd |= invalid
        rows = np.flatnonzero(odd)
        self.slow_rows = rows.size
        if not rows.size:
            return
        if invalid.any():
            self._forget(invalid)
        text = self.data.tobytes()
        out: list[bytes] = []
        for row, begin, end in zip(rows.tolist(), begins[rows].tolist(), ends[rows].tolist(), strict=True):
            rewritten = rewrite(text[begin:end], self.ignored)
            if rewritten.fault is not None:
                self.faults[row] = rewritten.fault
            out.append(rewritten.line)
        del text
        begin = self.data.size - _PADDING_BYTES
        self.data = _buffer(self.data[:begin], b"\n".join(out), b"\n")
        self._run(begin, self.data.size - _PADDING_BYTES, rows, trusted=True)
        if self._odd[rows].any():
            raise AssertionError(f"a rewritten line is odd: {out[int(np.argmax(self._odd[rows]))][:200]!r}")

    def _invalid_lines(self) -> npt.NDArray[np.bool_]:
        out = np.zeros(self.rows, np.bool_)
        size = self.data.size
        whole = pa.Array.from_buffers(
            pa.utf8(), 1, [None, pa.py_buffer(np.array([0, size], np.int32)), pa.py_buffer(self.data)]
        )
        try:
            whole.validate(full=True)
        except pa.ArrowInvalid:
            begins, ends = self._lines[json_kernel.LINE_AT], self._lines[json_kernel.LINE_END]
            find_invalid_utf8(begins[: self.rows], ends[: self.rows], self.data, out)
        return out

    def _forget(self, rows: npt.NDArray[np.bool_]) -> None:
        """Drops the tokens of rows that only the slow path may read."""
        self.fields = np.ascontiguousarray(self.fields)
        kept = ~rows[self.tokens[json_kernel.ROW]]
        moved = np.append(np.cumsum(kept, dtype=np.int32) - 1, 0)
        self.fields[:, rows] = -1
        self.fields = np.where(self.fields >= 0, moved[np.maximum(self.fields, 0)], -1).astype(np.int32)
        self.tokens = np.ascontiguousarray(self.tokens[:, kept])  # a row of it is what kernels take

    def key_name(self, key: int) -> str:
        """The name of a property."""
        raw = self.data[self._keys[KEY_AT, key] : self._keys[KEY_END, key]].tobytes()
        return str(orjson.loads(b'"' + raw + b'"')) if b"\\" in raw else raw.decode()

    @property
    def key_count(self) -> int:
        """Keys met, the fields' included."""
        return int(self._state[json_kernel.KEYS])

    def raw(self, token: int) -> bytes:
        """The JSON text of a token's value."""
        begin, end = int(self.tokens[AT, token]), int(self.tokens[END, token])
        quote = 1 if self.tokens[KIND, token] == json_kernel.STRING else 0
        return self.data[begin - quote : end + quote].tobytes()

    def raw_key(self, key: int) -> bytes:
        """The JSON text of a property's name."""
        return self.data[self._keys[KEY_AT, key] - 1 : self._keys[KEY_END, key] + 1].tobytes()

    def is_escaped(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each token's text has escapes."""
        escaped: npt.NDArray[np.bool_] = self.tokens[END, tokens] - self.tokens[AT, tokens] != self.tokens[SIZE, tokens]
        return escaped
