"""The identity fields of one row group in memory, as they are stored: an event is found by its user, then its time.

Nothing is laid out anew for it, so that it costs what decoding does; it takes some 42 bytes a row.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import StringBuffers, UInt64, string_buffers
from evenshard.events.scan import DUPLICATE, PLACEMENT_HASH
from evenshard.kernels import kernel, view
from evenshard.storage.segment.keys import BatchKeys
from evenshard.storage.segment.order import Int64, equal_bytes, only_chunk, plain_strings
from evenshard.storage.segment.reader import SegmentReader

Bools = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]

_FIELDS: Final = ("event", "distinct_id", "time", "insert_id", PLACEMENT_HASH)
_STRINGS: Final = ("event", "distinct_id", "insert_id")
_ROW_BYTES: Final = 8 + 8 + 2
"""Time and hash, whether it has an insert_id, and is a copy."""
_1 = np.uint64(1)


@kernel(f"void({view('int64')}, {view('int64')}, {view('int64')}, {view('int64')}, {view('int32')}, {view('int32')},"
        f"{view('uint8')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('int32')}, {view('uint8')},"
        f"{view('boolean')}, {view('boolean')}, {view('int64')}, {view('int32')}, {view('uint8')}, {view('int32')},"
        f"{view('int32')}, {view('uint8')}, {view('int32')}, {view('uint8')}, boolean, boolean[::1])")  # fmt: skip
def _find(  # type: ignore[no-untyped-def]
    wanted, firsts, behind, times, id_codes, ids, id_data, event_codes, events, event_data, inserts, insert_data,
    has_insert, copies, own_times, own_ids, own_id_data, own_event_codes, own_events, own_event_data, own_inserts,
    own_insert_data, copies_count, found,
):  # fmt: skip
    """``found[i]``: row ``wanted[i]`` of the batch (``own``) equals one of those stored from ``firsts[i]`` to before
    ``behind[i]``, all of one placement hash: an original or, where ``copies_count``, any."""
    for i in range(np.uint64(wanted.size)):
        row = np.uint64(wanted[i])
        found[i] = False
        at, end = np.uint64(firsts[i]), np.uint64(behind[i])
        if at >= end:
            continue
        time = own_times[row]
        by_time = id_codes[at] == id_codes[end - _1]  # of one user, in the order of their times
        if by_time:
            high = end
            while at < high:
                middle = (at + high) >> _1
                if times[middle] < time:
                    at = middle + _1
                else:
                    high = middle
        event = np.uint64(own_event_codes[row])
        while at < end and not (by_time and times[at] != time):
            code, name = np.uint64(id_codes[at]), np.uint64(event_codes[at])
            if (
                times[at] == time
                and has_insert[at]
                and (copies_count or not copies[at])
                and equal_bytes(
                    insert_data, inserts[at], inserts[at + _1], own_insert_data, own_inserts[row], own_inserts[row + _1]
                )
                and equal_bytes(id_data, ids[code], ids[code + _1], own_id_data, own_ids[row], own_ids[row + _1])
                and equal_bytes(
                    event_data,
                    events[name],
                    events[name + _1],
                    own_event_data,
                    own_events[event],
                    own_events[event + _1],
                )
            ):
                found[i] = True
                break
            at += _1


@kernel(f"int64({view('uint64')}, int64[::1])")
def _starts(placement, starts):  # type: ignore[no-untyped-def]
    """Fills ``starts`` with the first row of each placement hash, and behind them the number of rows; returns how many
    entries that are. It has room for one more than there are rows, of which there is one at least."""
    starts[0] = 0
    count = np.uint64(1)
    for row in range(np.uint64(1), np.uint64(placement.size)):
        starts[count] = row
        count += np.uint64(placement[row] != placement[row - _1])
    starts[count] = placement.size
    return np.int64(count + _1)


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """Made by ``read_columns`` or ``columns_of``."""

    placements: UInt64
    """The different placement hashes, ascending."""
    starts: Int64
    """The first row of each, and how many rows there are."""
    times: Int64
    events: pa.DictionaryArray
    ids: pa.DictionaryArray
    insert_ids: pa.StringArray
    copies: Bools
    event_codes: Int32
    event_names: StringBuffers
    id_codes: Int32
    id_names: StringBuffers
    inserts: StringBuffers

    @property
    def bytes(self) -> int:
        """Memory."""
        columns = (self.events, self.ids, self.insert_ids)
        arrays = (self.placements, self.starts, self.times, self.inserts.valid, self.copies)
        return sum(int(column.nbytes) for column in columns) + sum(int(array.nbytes) for array in arrays)

    def contains(self, keys: BatchKeys, rows: Int64, *, copies_count: bool) -> Bools:
        """Of the given rows of a batch, all with an insert_id: whether an equal event is here; one that is a duplicate
        where ``copies_count``."""
        wanted = keys.placement[rows]
        at = np.minimum(np.searchsorted(self.placements, wanted), self.placements.size - 1)
        found: Bools = self.placements[at] == wanted
        firsts, behind = self.starts[at], self.starts[at + found]
        _find(
            rows, firsts, behind, self.times, self.id_codes, self.id_names.offsets, self.id_names.data,
            self.event_codes, self.event_names.offsets, self.event_names.data, self.inserts.offsets, self.inserts.data,
            self.inserts.valid, self.copies, keys.times, keys.ids.offsets, keys.ids.data, keys.event_codes,
            keys.events.offsets, keys.events.data, keys.inserts.offsets, keys.inserts.data, copies_count, found,
        )  # fmt: skip
        return found


def read_columns(reader: SegmentReader, group: int) -> KeyColumns:
    """Decodes the identity fields of one row group."""
    return columns_of(reader.read_group(group, (*_FIELDS, DUPLICATE) if reader.info.duplicates > 0 else _FIELDS))


def columns_of(rows: pa.RecordBatch | pa.Table) -> KeyColumns:
    """Those of one row group, sorted, that has them; without ``duplicate`` there is none."""
    copies = np.zeros(rows.num_rows, np.bool_)
    if DUPLICATE in rows.schema.names:
        copies = only_chunk(rows.column(DUPLICATE)).to_numpy(zero_copy_only=False)
    placement = only_chunk(rows.column(PLACEMENT_HASH)).to_numpy()
    starts = np.empty(placement.size + 1, np.int64)
    starts = starts[: _starts(placement, starts)].copy()
    insert_ids = plain_strings(rows.column("insert_id"))
    events, ids = (_encoded(only_chunk(rows.column(name))) for name in ("event", "distinct_id"))
    return KeyColumns(
        placement[starts[:-1]],
        starts,
        only_chunk(rows.column("time")).to_numpy(),
        events,
        ids,
        insert_ids,
        copies,
        events.indices.to_numpy(),
        string_buffers(events.dictionary),
        ids.indices.to_numpy(),
        string_buffers(ids.dictionary),
        string_buffers(insert_ids),
    )


class LaterColumns:
    """The key columns of a row group that is in memory, made when they are first asked for: mostly they never are."""

    __slots__ = ("_columns", "_rows", "bytes")

    def __init__(self, rows: pa.Table) -> None:
        """As of ``columns_of``; there may be other columns, which are let go. A compaction waits for this: no column is
        looked at."""
        kept = (*_FIELDS, DUPLICATE) if DUPLICATE in rows.schema.names else _FIELDS
        self._rows: dict[str, pa.ChunkedArray] | None = {name: rows.column(name) for name in kept}
        self._columns: KeyColumns | None = None
        self.bytes = _ROW_BYTES * rows.num_rows + sum(self._rows[name].nbytes for name in _STRINGS)
        """Memory, of what will be made too: the hash of each row goes for that of each user."""

    def columns(self) -> KeyColumns:
        """One thread at a time."""
        if self._columns is None:
            self._columns, self._rows = columns_of(pa.table(self._rows)), None
        return self._columns


def _encoded(strings: pa.Array) -> pa.DictionaryArray:
    return strings if pa.types.is_dictionary(strings.type) else strings.dictionary_encode()
