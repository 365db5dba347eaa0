"""Rows as storage gives them to queries: Arrow columns, with what storage knows of them beside."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import load64
from evenshard.events.held import Held
from evenshard.events.user_runs import UserRuns
from evenshard.events.users import NO_PEOPLE, Int64, People
from evenshard.kernels import kernel, view

DUPLICATE = "duplicate"
"""bool, never null: a copy of an event stored before."""
HOT = "hot"
"""bool, never null: stored after its key became hot; it is shown rewritten."""
SPREAD = "spread"
"""bool: it was taken for the overflow, and is placed there by its identity; else by its user. Null: it is not known, of
rows stored before this was noted."""
PLACEMENT_HASH = "placement_hash"
"""uint64, never null."""
SHOWN_NEEDS = ("event", "distinct_id", "time", HOT)
"""What showing hot rows needs of them, besides what is asked for."""


Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ScannedRows:
    """Some rows of one tenant.

    ``record`` has the fields that were asked for (``EventBatch`` types; strings may be dictionary-encoded, with int32
    indices), every typed column that exists here of the properties asked for, ``rest`` where it exists and any
    property was asked for, and always ``duplicate``. Its rows lie within the time range asked for, in any order.
    """

    record: pa.RecordBatch
    indexed: bool
    """From a segment; else from the log."""
    bytes_read: int
    """Bytes of columns read for it."""
    keep: Bools | None = None
    """The rows that are meant; the others are to be passed over. None: all."""
    users: UserRuns | None = None
    """Whose the rows are, where it is known; numbers are those of the scan."""
    late: "Callable[[str], tuple[pa.Array, int]] | None" = None
    """Reads a field of all rows that is looked at only if it comes to that, and how many bytes that is."""

    def column(self, field: str) -> tuple[pa.Array, int]:
        """A field of the record, or one that is read now; and the bytes read now."""
        if self.late is None or field in self.record.schema.names:
            return self.record.column(field), 0
        return self.late(field)

    def kept(self) -> "ScannedRows":
        """Only the rows that are meant, copied; nothing more can be read of them."""
        if self.keep is None:
            return replace(self, users=None, late=None)
        return replace(self, record=self.record.filter(pa.array(self.keep)), keep=None, users=None, late=None)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a scan that are read together, when they are asked for; to ask again reads them again."""

    rows: int
    """At most."""
    read: Callable[[], ScannedRows]
    users: UserRuns | None = None
    """Those of the rows it reads; None: the column ``distinct_id`` tells."""

    @staticmethod
    def of(some: ScannedRows) -> "Part":
        """Rows that were read."""
        return Part(some.record.num_rows, lambda: some, some.users)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Rows that cannot change the answer, by what is known of them."""

    held: Held
    parts: Callable[[], Sequence[Part]]
    """Without users."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All rows of a scan that may change its answer, each once."""

    parts: Sequence[Part]
    people: People = NO_PEOPLE
    """Whom the numbers of users stand for."""
    passed_over: Sequence[PassedOver] = ()
    """All the others."""

    @staticmethod
    def of(rows: "Parts | Iterable[ScannedRows]") -> "Parts":
        """Rows that were read, or will be, one after the other."""
        return rows if isinstance(rows, Parts) else Parts([Part.of(some) for some in rows])

    def read_once(self) -> "Parts":
        """The same, to be gone through twice: what is shown otherwise than it is stored has been read, and counted."""
        return replace(self, parts=[part if part.users is not None else Part.of(part.read()) for part in self.parts])


def duplicates_of(record: pa.RecordBatch) -> npt.NDArray[np.bool_] | None:
    """Which rows are duplicates; None: none is, which costs nothing to see."""
    column = record.column(DUPLICATE)
    if not column.true_count:
        return None
    first, last = column.offset // 8, (column.offset + len(column) + 7) // 8
    bits = np.frombuffer(column.buffers()[1], np.uint8)[first:last]
    start = column.offset % 8
    return np.unpackbits(bits, bitorder="little")[start : start + len(column)].view(np.bool_)


_1, _3, _6, _8, _58, _63 = (np.uint64(number) for number in (1, 3, 6, 8, 58, 63))
_DE_BRUIJN = 0x03F79D71B4CB0A89
_PLACES = np.zeros(64, np.uint8)
"""Where the lowest bit stands that is set in a word, by the top 6 bits of that bit times ``_DE_BRUIJN``. Source: C.
Leiserson, H. Prokop, K. Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998."""
for _place in range(64):
    _PLACES[(_DE_BRUIJN << _place) % (1 << 64) >> 58] = _place
_FACTOR = np.uint64(_DE_BRUIJN)


@kernel(f"int64({view('uint8')}, uint64, uint64, int64[::1])", counted=False)
def _set_bits(data, first, end, out):  # type: ignore[no-untyped-def]
    """Writes the places, from ``first``, of the bits ``first`` to ``end`` that are set, into ``out``; returns how many.
    Most are not: 64 at a time are passed over, and of others only those that are set are looked at."""
    count, size = np.uint64(0), np.uint64(data.size)
    for word in range(first >> _6, (end + _63) >> _6):
        at = word << _3
        if at + _8 <= size:
            bits = load64(data, at)
        else:
            bits = np.uint64(0)
            for byte in range(size - at):
                bits |= np.uint64(data[at + byte]) << (byte << _3)
        if word == first >> _6:
            bits &= ~np.uint64(0) << (first & _63)
        if word == end >> _6:
            bits &= (_1 << (end & _63)) - _1
        while bits:
            lowest = bits & (~bits + _1)
            out[count] = np.int64((word << _6) + np.uint64(_PLACES[(lowest * _FACTOR) >> _58]) - first)
            count += _1
            bits ^= lowest
    return np.int64(count)


def duplicate_rows(record: pa.RecordBatch) -> Int64:
    """The rows that are duplicates."""
    column = record.column(DUPLICATE)
    rows = np.empty(column.true_count, np.int64)
    if len(rows):
        data = np.frombuffer(column.buffers()[1], np.uint8)
        _set_bits(data, np.uint64(column.offset), np.uint64(column.offset + len(column)), rows)
    return rows
