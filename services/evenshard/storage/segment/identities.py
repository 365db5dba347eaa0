"""Says which events of a batch are stored in segments already; exactly.

Candidates are the segments whose days and slots hold the row and whose filter does not rule it out; equality of event,
distinct_id, time and insert_id with a stored row decides. A row group in which something is found for the first
time is decoded, and kept: as it is, as far as there is memory, else in a form of which a look-up reads some hundred
bytes (``key_scratch.py``).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import NO_IDENTITY, EventHashes, UInt64, slots_of
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.deletions import NO_DELETIONS, Deletions, Hiding
from evenshard.storage.segment.cache import WRITTEN, SegmentCache
from evenshard.storage.segment.filter import (
    PREFIX_BYTES,
    BucketFilter,
    IdentityFilter,
    build_filter,
    from_bytes,
    has_values,
    identity_bytes,
)
from evenshard.storage.segment.info import DAY_MS, SegmentInfo
from evenshard.storage.segment.key_columns import KeyColumns, LaterColumns, read_columns
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.keys import BatchKeys, KeyPage, lay_out, may_hold, nonce_of
from evenshard.storage.segment.order import Int64
from evenshard.storage.segment.reader import RowGroups, SegmentReader
from evenshard.storage.segment.value_filter import lacks_any, read_trailer
from evenshard.storage.segment.value_keys import ValueKeys
from evenshard.storage.segment.writer import identity_of, with_own_dictionaries

CACHE_BYTES = 64 << 20
_FEW_ROWS = 8
"""So few of a batch in a row group that is not kept are most likely there by mistake of a filter, as about one of
50,000 new events is. Two columns tell."""
_METADATA_OVERHEAD = 4
"""Memory of a parsed footer, as a multiple of its bytes."""


class IndexedIdentities:
    """The identities of some segments, which must stay on the disk while it is used. One thread at a time.

    ``cache`` may be shared by those of several tenants, as long as one thread at a time uses any of them.
    """

    def __init__(
        self,
        disk: Disk,
        segments: Sequence[SegmentInfo],
        cache: SegmentCache | None = None,
        *,
        copies_count: bool = True,
    ) -> None:
        """``copies_count``: whether a copy tells that its event is known. It does as long as its original is one."""
        self._disk = disk
        self._copies_count = copies_count
        self._segments = tuple(segments)
        self._cache = cache if cache is not None else SegmentCache(CACHE_BYTES, KeyScratch(disk, 0))
        self._first_days = np.array([info.first_day for info in self._segments], np.int64)
        self._last_days = np.array([info.last_day for info in self._segments], np.int64)

    def __bool__(self) -> bool:
        return bool(self._segments)

    def known(
        self, tenant: TenantId, batch: EventBatch, hashes: EventHashes, deletions: Deletions = NO_DELETIONS
    ) -> npt.NDArray[np.bool_]:
        """For each row whether a segment of ``tenant`` holds an event equal to it, one that ``deletions`` do not hide;
        False without an insert_id.

        Raises ``DATA_DAMAGED`` naming the file, and ``OSError``.
        """
        result = np.zeros(batch.rows, np.bool_)
        if not self._segments or not batch.rows:
            return result
        keys = BatchKeys.of(batch, hashes)
        days, slots = keys.times // DAY_MS, slots_of(hashes.placement)
        near = (self._first_days <= int(days.max())) & (self._last_days >= int(days.min()))
        for number in np.flatnonzero(near).tolist():
            info = self._segments[number]
            if info.tenant != tenant or info.id in self._cache.unreadable:
                continue
            open_rows = (
                ~result
                & (hashes.identity != NO_IDENTITY)
                & (days >= info.first_day)
                & (days <= info.last_day)
                & (slots >= info.slot_first)
                & (slots <= info.slot_last)
            )
            rows = np.flatnonzero(open_rows)
            if not rows.size:
                continue
            try:
                rows = rows[self._filter(info).may_contain(hashes.identity[rows])]
                hiding = deletions.hiding(info.deletions_seen)
                if rows.size and hiding is not None:
                    rows = _not_hidden(rows, batch, keys, hiding)
                if rows.size:
                    self._confirm(info, keys, rows, result)
            except EvenshardError as error:
                self._unreadable(info, error)
        return result

    def _unreadable(self, info: SegmentInfo, error: EvenshardError) -> None:
        """A damaged segment is nobody's first copy, once that is on record."""
        if error.code != "DATA_DAMAGED" or self._cache.on_unreadable is None:
            raise error
        self._cache.on_unreadable(info, error)
        self._cache.unreadable.add(info.id)

    def _confirm(self, info: SegmentInfo, keys: BatchKeys, rows: Int64, result: npt.NDArray[np.bool_]) -> None:
        """Sets ``result`` for those of ``rows`` that are in the segment."""
        reader = self._reader(info)
        rows, groups = _places(reader.row_groups, keys, rows)
        answered, found = self._cache.scratch.find(info.id, keys, rows, groups, copies_count=self._copies_count)
        result[rows[found]] = True
        rows, groups = rows[~answered], groups[~answered]
        for group in np.unique(groups).tolist():
            wanted = rows[groups == group]
            result[wanted] |= self._decoded(info, reader, group, keys, wanted)

    def _filter(self, info: SegmentInfo) -> IdentityFilter:
        def load() -> tuple[IdentityFilter, int]:
            try:
                loaded = read_filter(self._disk, info)
            except EvenshardError as error:
                if error.code != "DATA_DAMAGED":
                    raise
                loaded = rebuilt_filter(self._reader(info))
            return loaded, loaded.bytes

        found: IdentityFilter = self._cache.get((info.id, "filter"), load)
        return found

    def _reader(self, info: SegmentInfo) -> SegmentReader:
        def load() -> tuple[SegmentReader, int]:
            opened = SegmentReader(self._disk, info)
            return opened, _METADATA_OVERHEAD * opened.footer_bytes

        found: SegmentReader = self._cache.get((info.id, "reader"), load)
        return found

    def _decoded(
        self, info: SegmentInfo, reader: SegmentReader, group: int, keys: BatchKeys, rows: Int64
    ) -> npt.NDArray[np.bool_]:
        """Whether each row is in a row group, which is decoded. Where one was there, more will be asked for: it is kept
        in memory as long as nothing else has to go for it, else on scratch, or where that cannot be, in memory. What
        was kept when it was written need not be decoded."""
        written: Sequence[LaterColumns] | None = self._cache.peek((info.id, WRITTEN))
        if written is not None and group < len(written):
            found = written[group].columns().contains(keys, rows, copies_count=self._copies_count)
            if found.any():
                self._cache.held((info.id, WRITTEN))
            return found
        held: KeyColumns | KeyPage | None = self._cache.held((info.id, group))
        if held is not None:
            return held.contains(keys, rows, copies_count=self._copies_count)
        if rows.size <= _FEW_ROWS and not may_hold(reader, group, keys, rows):
            return np.zeros(rows.size, np.bool_)
        columns = read_columns(reader, group)
        found = columns.contains(keys, rows, copies_count=self._copies_count)
        if found.any():
            self._keep(info, reader, group, columns)
        return found

    def _keep(self, info: SegmentInfo, reader: SegmentReader, group: int, columns: KeyColumns) -> None:
        key, size = (info.id, group), columns.bytes
        if self._cache.has_room(size):
            self._cache.put(key, columns, size)
            return
        page = lay_out(
            info.tenant,
            nonce_of(info.id, group),
            columns.events,
            columns.ids,
            columns.times,
            columns.insert_ids,
            columns.copies,
        )
        if not self._cache.scratch.keep(info.id, group, len(reader.row_groups), page):
            self._cache.put(key, page, page.bytes)


def _places(groups: RowGroups, keys: BatchKeys, rows: Int64) -> tuple[Int64, Int64]:
    """The row groups in which each row may be: rows, a row once for each, and beside them the numbers of row groups."""
    first = np.searchsorted(groups.hash_max, keys.placement[rows], "left")
    behind = np.minimum(np.searchsorted(groups.hash_min, keys.placement[rows], "right"), len(groups))
    counts = np.maximum(behind - first, 0)
    each = np.repeat(np.arange(rows.size), counts)
    number = first[each] + np.arange(each.size) - np.repeat(np.cumsum(counts) - counts, counts)
    times = keys.times[rows][each]
    inside = (times >= groups.time_min[number]) & (times <= groups.time_max[number])
    return rows[each[inside]], number[inside]


def _not_hidden(rows: Int64, batch: EventBatch, keys: BatchKeys, hiding: Hiding) -> Int64:
    """Without the rows whose equals would be hidden: what is equal has the same user and time."""
    column = batch.record.column("distinct_id")
    hidden = hiding.rows(keys.placement[rows], lambda some: column.take(pa.array(rows[some])), keys.times[rows])
    return rows if hidden is None else rows[~hidden]


def rebuilt_filter(reader: SegmentReader) -> BucketFilter:
    """A segment's filter from its rows, in the newest format."""
    return build_filter(stored_identities(reader))


def stored_identities(reader: SegmentReader) -> UInt64:
    """The identity hash of each row of a segment, from its fields."""
    columns = ("event", "distinct_id", "time", "insert_id", PLACEMENT_HASH)
    groups = [reader.read_group(group, columns) for group in range(len(reader.row_groups))]
    return np.concatenate([identity_of(reader.info.tenant, pa.Table.from_batches([record])) for record in groups])


def stored_values(reader: SegmentReader, salt: int | None = None) -> ValueKeys:
    """The values of a segment's columns; ``salt``: that of a filter that is there, a copied one has another's."""
    keys = ValueKeys(reader.info.id)
    if salt is not None:
        keys.salt = salt
    for group in range(len(reader.row_groups)):
        table = pa.Table.from_batches([reader.read_group(group, reader.columns)])
        keys.add(with_own_dictionaries(table))
    return keys


def values_are_whole(disk: Disk, reader: SegmentReader) -> bool:
    """Whether the value filter beside a segment has all its values; in older files there is none. Raises
    ``DATA_DAMAGED``."""
    name = reader.info.filter
    file = disk.open(name)
    try:
        if not has_values(file.read(0, PREFIX_BYTES)):
            return True
        trailer = read_trailer(file, name)
        return trailer is not None and not lacks_any(
            file, trailer, stored_values(reader, trailer.salt).finish()[0], name
        )
    finally:
        file.close()


def read_filter(disk: Disk, info: SegmentInfo) -> IdentityFilter:
    """The filter beside a segment. Raises ``DATA_DAMAGED`` where it is damaged or missing."""
    try:
        file = disk.open(info.filter)
    except FileNotFoundError as error:
        raise EvenshardError(
            "DATA_DAMAGED", f"{info.filter}: the file is missing", details={"file": info.filter}
        ) from error
    try:
        length = identity_bytes(file.read(0, PREFIX_BYTES), file.size())
        return from_bytes(file.read(0, length), info.filter)
    finally:
        file.close()
