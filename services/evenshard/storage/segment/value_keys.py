"""Gathers what values the columns of a segment have, as 32-bit keys for its value filter.

A key is the upper half of a hash of the column, the value (of strings their XXH64; numbers, of whatever type, are equal
where their values are) and a salt, another one for each segment: else a value that looks like one that is everywhere
would be let by everywhere. That a row has a property at all is a key too. Numbers that repeat are dropped as they
come where a small table remembers them, all others when keys are sorted.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES, REST, property_of
from evenshard.events.hashing import UInt64, hash_of, string_buffers, xxh64
from evenshard.kernels import kernel, view
from evenshard.storage.segment.order import only_chunk
from evenshard.storage.segment.value_pages import UInt32

KEYS_MAX = 8 << 20
"""Keys held of a segment that is being written, ``KEY_BYTES`` each; beyond, those of the properties with most are given
up, so that there is room for some more. Where memory is short there are fewer."""
KEY_BYTES = 4
KEYS_A_ROW_MAX = 8
"""Distinct keys of a finished segment, beside ``KEYS_SPARE``; beyond, likewise."""
KEYS_SPARE = 4096
KEYS_ALWAYS = 256
"""Columns with at most so many are not given up: that would gain nothing."""
_TABLE_ROWS = 1 << 14
_32 = np.uint64(32)
_INT64_MIN, _INT64_END = -(2.0**63), 2.0**63
_PROPERTY = ":"


def text_column(name: str) -> str:
    """Where a property's strings are looked up; those of a field: under its name."""
    return f"s:{name}"


def number_column(name: str) -> str:
    """Where its numbers are."""
    return f"n:{name}"


def bool_column(name: str) -> str:
    """Where its bools are, as 0 and 1."""
    return f"b:{name}"


def presence_column(name: str) -> str:
    """Where it is looked up, as 0, whether any row has a property."""
    return f":{name}"


def open_column(column: str) -> str:
    """Where it is looked up, as 0, that a column's values were given up: it may have any."""
    return f"?{column}"


@kernel(inline=True)
def _mixed(key):  # type: ignore[no-untyped-def]
    """MurmurHash3's finaliser."""
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xC4CEB9FE1A85EC53)
    return key ^ (key >> np.uint64(33))


@kernel("uint32(uint64, uint64)")
def key_of(seed, value):  # type: ignore[no-untyped-def]
    """The key of a value by its hash; ``seed``: XXH64 of the column, ^ the salt."""
    return np.uint32(_mixed(seed ^ value) >> _32)


@kernel("uint64(uint64)")
def number_hash(bits):  # type: ignore[no-untyped-def]
    """The hash of a number by its bits: see ``bits_of``."""
    return _mixed(bits)


@kernel(f"int64({view('int32')}, {view('uint8')}, {view('boolean')}, uint64, uint32[::1])")
def _text_keys(offsets, data, valid, seed, out):  # type: ignore[no-untyped-def]
    """Keys of strings, but for those that follow their equal; returns how many."""
    count, before = np.uint64(0), np.uint64(1) << _32
    for i in range(np.uint64(valid.size)):
        if valid[i]:
            key = _mixed(seed ^ xxh64(data, offsets[i], offsets[i + np.uint64(1)])) >> _32
            out[count] = np.uint32(key)
            count += np.uint64(key != before)
            before = key
    return np.int64(count)


@kernel(f"int64({view('uint64')}, {view('boolean')}, uint64, uint32[::1], uint32[::1])")
def _number_keys(bits, valid, seed, table, out):  # type: ignore[no-untyped-def]
    """Keys of numbers, but for those that ``table`` remembers of the same call; returns how many. Its size is a power
    of two."""
    count, slots = np.uint64(0), np.uint64(table.size - 1)
    table[:] = 0
    table[0] = 1  # no key of slot 0, so that key 0 is not taken for one that was
    for i in range(np.uint64(bits.size)):
        if valid[i]:
            key = _mixed(seed ^ _mixed(bits[i])) >> _32
            out[count] = np.uint32(key)
            count += np.uint64(table[key & slots] != np.uint32(key))
            table[key & slots] = np.uint32(key)
    return np.int64(count)


@kernel(f"void({view('float64')}, {view('uint64')}, uint64[::1])")
def _canonical(numbers, stored, out):  # type: ignore[no-untyped-def]
    """Bits in which equal numbers are equal: those of an int64 where it is one."""
    for i in range(numbers.size):
        number = numbers[i]
        whole = number >= _INT64_MIN and number < _INT64_END and np.floor(number) == number
        out[i] = np.uint64(np.int64(number)) if whole else stored[i]


def bits_of(number: float) -> int | None:
    """The bits of an int64 where the number is one, else those of a double; None: it is neither, no stored number
    equals it."""
    if -(1 << 63) <= number < 1 << 63 and int(number) == number:
        return int(number) & ((1 << 64) - 1)
    try:
        double = float(number)
    except OverflowError:
        return None
    return int(np.float64(double).view(np.uint64)) if double == number else None


class ValueKeys:
    """The keys of a segment's rows, so many at a time; ``add`` row groups, then ``finish``."""

    def __init__(self, segment_id: int, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = self._room = keys_max
        self.salt = int(number_hash(np.uint64(segment_id)))
        self._keys: dict[str, list[UInt32]] = {}
        self._table = np.empty(_TABLE_ROWS, np.uint32)
        self._present: set[str] = set()
        self._open: set[str] = set()
        self._count = 0
        self._rows = 0
        self.has_rest = False
        """Some properties of some rows have no column."""

    def add(self, table: pa.Table) -> None:
        """Rows; dictionaries hold what occurs and nothing else."""
        self._rows += table.num_rows
        for name, column in zip(table.column_names, table.columns, strict=True):
            held = property_of(name)
            if column.null_count == len(column) or (held is None and name not in (*FIELD_NAMES, REST)):
                continue
            if held is not None:
                self._present.add(held[0])
                self._add_property(*held, column)
            elif name == REST:
                self.has_rest = True
            elif name != "time":
                self._add_texts(name, column)
        if self._count > self._room:
            self._give_up_most(self._keys_max * 3 // 4)
            self._room = max(self._keys_max, self._count + self._count // 4)  # of fields nothing can be given up

    def _add_property(self, name: str, kind: str, column: pa.ChunkedArray) -> None:
        match kind:
            case "s":
                self._add_texts(text_column(name), column)
            case "i" | "d":
                self._add_numbers(number_column(name), only_chunk(column))
            case "b":
                chosen = only_chunk(column)
                values = [0] * (chosen.false_count > 0) + [1] * (chosen.true_count > 0)
                self._put(bool_column(name), self._keys_of(bool_column(name), values))

    def _add_texts(self, column: str, values: pa.ChunkedArray) -> None:
        if column in self._open:
            return
        chunk = only_chunk(values)
        strings = string_buffers(chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk)
        out = np.empty(strings.valid.size, np.uint32)
        count = _text_keys(strings.offsets, strings.data, strings.valid, self._seed(column), out)
        self._put(column, out[:count])

    def _add_numbers(self, column: str, values: pa.Array) -> None:
        if column in self._open:
            return
        rows = len(values)
        bits: UInt64 = np.frombuffer(values.buffers()[1], np.uint64, rows, values.offset * 8)
        if pa.types.is_floating(values.type):
            doubles, bits = bits.view(np.float64), np.empty(rows, np.uint64)
            _canonical(doubles, doubles.view(np.uint64), bits)
        valid = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else np.ones(rows, np.bool_)
        out = np.empty(rows, np.uint32)
        count = _number_keys(bits, valid, self._seed(column), self._table, out)
        self._put(column, out[:count])

    def _put(self, column: str, keys: UInt32) -> None:
        """Few keys of many rows are copied: they would keep the room of all."""
        few = isinstance(keys.base, np.ndarray) and 2 * keys.size < keys.base.size
        self._keys.setdefault(column, []).append(keys.copy() if few else keys)
        self._count += keys.size

    def _give_up_most(self, keys_max: int) -> None:
        """Each key once, and no more than so many, as far as there are properties to give up."""
        sizes = {}
        for column, pieces in self._keys.items():
            distinct = np.unique(np.concatenate(pieces))
            self._keys[column] = [distinct]
            sizes[column] = distinct.size
        many = (column for column, size in sizes.items() if _PROPERTY in column and size > KEYS_ALWAYS)
        properties = sorted(many, key=lambda column: -sizes[column])
        total = sum(sizes.values())
        for column in properties:
            if total <= keys_max:
                break
            total -= sizes[column]
            del self._keys[column]
            self._open.add(column)
        self._count = total

    def finish(self) -> tuple[UInt32, int, bool]:
        """All keys, ascending; how many different ones; and whether values of some columns were given up."""
        keys_max = KEYS_A_ROW_MAX * self._rows + KEYS_SPARE
        if self._count > keys_max:
            self._give_up_most(keys_max)
        facts = [presence_column(name) for name in self._present] + [open_column(column) for column in self._open]
        pieces = [self._keys_of(fact, [0]) for fact in facts]
        found, at = np.empty(self._count + len(pieces), np.uint32), 0
        while pieces or self._keys:  # each goes when it is copied: not all are held twice
            pieces += self._keys.popitem()[1] if self._keys else []
            while pieces:
                piece = pieces.pop()
                found[at : at + piece.size] = piece
                at += piece.size
        found.sort()
        distinct = int(np.count_nonzero(found[1:] != found[:-1])) + 1 if found.size else 0
        return found, distinct, bool(self._open)

    def _seed(self, column: str) -> np.uint64:
        return np.uint64(hash_of(column) ^ self.salt)

    def _keys_of(self, column: str, hashes: Iterable[int]) -> UInt32:
        """The keys of values by their hashes."""
        return np.array([key_of(self._seed(column), np.uint64(each)) for each in hashes], np.uint32)
