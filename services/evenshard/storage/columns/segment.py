"""A segment cut into parts, whose columns are decoded once and kept.

A part is some row groups that follow one another, of about the size of a run of the tail: small enough to be decoded
at once within a scan's memory, large enough that what is done once a part costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import UInt64
from evenshard.events.scan import HOT, PLACEMENT_HASH, SPREAD, Bools
from evenshard.ports.disk import Disk
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.deletions import Hiding, Int64
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import SegmentReader

PART_ROWS_MAX = 256 * 1024
PART_BYTES_MAX = 64 << 20
"""Of encoded, uncompressed columns of more than one row group."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Row groups ``first`` to ``end`` of a segment."""

    first: int
    end: int
    rows: int
    time_min: int
    time_max: int
    hash_min: int
    hash_max: int


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    reader: SegmentReader
    parts: Sequence[Groups]


class SegmentColumns:
    """One segment as a scan sees it. Raises ``DATA_DAMAGED`` naming the file, at opening and at reading."""

    def __init__(self, disk: Disk, cache: ColumnCache, scan: int, info: SegmentInfo) -> None:
        self.info = info
        self._cache = cache
        self._scan = scan
        key = (info.id, "reader")
        opened: _Opened | None = cache.get(key, scan)
        if opened is None:
            reader = SegmentReader(disk, info)
            opened = _Opened(reader, _cut(reader))
            cache.put(key, opened, _READER_COPIES * reader.footer_bytes, scan)
        self.reader = opened.reader
        self.parts = opened.parts

    def columns(self, part: Groups, names: Sequence[str]) -> dict[str, pa.Array]:
        """Whole columns of a part, by name."""
        stored = [name for name in dict.fromkeys(names) if self.reader.stores(name)]
        found: dict[str, pa.Array] = {}
        missing: list[str] = []
        for name in stored:
            held = self._cache.get((self.info.id, part.first, name), self._scan)
            if held is None:
                missing.append(name)
            else:
                found[name] = held
        if missing:
            record = self.reader.read_groups(part.first, part.end, missing)
            for name, column in zip(missing, record.columns, strict=True):
                found[name] = column
                key = (self.info.id, part.first, name)
                self._cache.put(key, column, column.get_total_buffer_size(), self._scan)
        for name in names:
            if name not in found:
                found[name] = self.reader.absent(name, part.rows)
        return found

    def bytes_of(self, part: Groups, names: Sequence[str]) -> int:
        """What these columns take on disk."""
        stored = [name for name in names if self.reader.stores(name)]
        return sum(self.reader.bytes_of(group, stored) for group in range(part.first, part.end))

    def times(self, part: Groups) -> Int64:
        times: Int64 = self.columns(part, ["time"])["time"].to_numpy()
        return times

    def ids(self, part: Groups) -> pa.Array:
        """The distinct_id of each row; not kept, for whose rows they are is."""
        held = self._cache.get((self.info.id, part.first, "distinct_id"), self._scan)
        return self.reader.read_groups(part.first, part.end, ["distinct_id"]).column(0) if held is None else held

    def ids_by_group(self, part: Groups) -> Sequence[pa.Array]:
        """The same in pieces, each with a dictionary of its own: to make one of them costs more than to read them."""
        held = self._cache.get((self.info.id, part.first, "distinct_id"), self._scan)
        return self.reader.read_pieces(part.first, part.end, "distinct_id") if held is None else [held]

    def hot(self, part: Groups) -> Bools | None:
        """Which rows are hot; None: none is."""
        if not self.info.has_hot_rows:
            return None
        column = self.columns(part, [HOT])[HOT]
        return column.to_numpy(zero_copy_only=False) if column.true_count else None

    def hidden(self, part: Groups, hiding: Hiding) -> Bools | None:
        """Which rows are hidden; None: none is."""
        if not hiding.may_hide(part.hash_min, part.hash_max, part.time_min):
            return None
        hidden = np.zeros(part.rows, np.bool_)
        if part.time_min < hiding.horizon_ms:
            hidden = self.times(part) < hiding.horizon_ms
        if hiding.has_users(part.hash_min, part.hash_max):
            placement = self.placement(part)
            hidden[hiding.users_among(placement, lambda rows: self.ids(part).take(pa.array(rows)), in_order=True)] = (
                True
            )
        return hidden if hidden.any() else None

    def spread(self, part: Groups) -> pa.BooleanArray | None:
        """Which rows are spread, null where it is not known; None: none is."""
        return None if self.info.spread_rows == 0 else self.columns(part, [SPREAD])[SPREAD]

    def placement(self, part: Groups) -> UInt64:
        """The placement hash of each row."""
        hashes: UInt64 = self.columns(part, [PLACEMENT_HASH])[PLACEMENT_HASH].to_numpy()
        return hashes


_READER_COPIES = 8
"""What a parsed footer takes, as a multiple of its bytes."""


def _cut(reader: SegmentReader) -> list[Groups]:
    groups = reader.row_groups
    parts: list[Groups] = []
    first, rows, size = 0, 0, 0
    for group in range(len(groups)):
        more_rows, more_bytes = int(groups.rows[group]), int(groups.bytes[group])
        if group > first and (rows + more_rows > PART_ROWS_MAX or size + more_bytes > PART_BYTES_MAX):
            parts.append(_groups(reader, first, group))
            first, rows, size = group, 0, 0
        rows, size = rows + more_rows, size + more_bytes
    return [*parts, _groups(reader, first, len(groups))]


def _groups(reader: SegmentReader, first: int, end: int) -> Groups:
    found = reader.row_groups
    return Groups(
        first,
        end,
        int(found.rows[first:end].sum()),
        int(found.time_min[first:end].min()),
        int(found.time_max[first:end].max()),
        int(found.hash_min[first]),
        int(found.hash_max[end - 1]),
    )
