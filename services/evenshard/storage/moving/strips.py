"""What a follower takes of a source's strips of days: files as they are, and rows, as segments of its own.

A strip is taken whole, in one transaction, or not at all. Its segments are a *layer*: their ranges may overlap others,
and they are originals only for what is stored later, so that a replay derives every bit as it was decided.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD
from evenshard.ports.disk import File
from evenshard.storage.compaction.compact import compact
from evenshard.storage.compaction.plan import Task, storage_day
from evenshard.storage.compaction.settle import as_it_is
from evenshard.storage.deletions import Deletions
from evenshard.storage.indexing import catalog_committed, merge_limits
from evenshard.storage.layers import COPIED, Layer
from evenshard.storage.moving.known import following
from evenshard.storage.moving.telling import SegmentTold, StripTold
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.info import FOLDER, SegmentInfo, file_names
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows, counting_identities

ROWS_AT_ONCE_BYTES = 32 << 20
"""Rows that are told piece by piece become a segment with so many."""


class StripTaking:
    """One strip on its way in; to be ended by ``commit`` or ``discard``. Not for two threads at once."""

    def __init__(self, state: State, rows: TenantRows, name: str, told: StripTold) -> None:
        self._state = state
        self._rows = rows
        self._name = name
        self._told = told
        self._ids: list[int] = []
        self._added: list[SegmentInfo] = []
        self._segment: SegmentTold | None = None
        self._left: list[int] = []
        """Bytes of each file of the segment that are still to come."""
        self._file: File | None = None
        self._pieces: list[MarkedRows] = []
        self._pieces_bytes = 0
        self.bytes = 0
        """Taken so far."""

    def segment(self, told: SegmentTold) -> None:
        """One begins."""
        self._end_segment()
        self._segment = told
        self._left = list(told.file_bytes)
        if told.file_bytes:
            self._ids.append(self._next_id())
            self._next_file()

    def data(self, piece: bytes) -> None:
        """The next bytes of the segment's files; a piece never goes over the end of one. Raises ``ValueError``."""
        if self._file is None or not self._left or len(piece) > self._left[0]:
            raise ValueError("more bytes than were announced")
        self._file.write([piece])
        self.bytes += len(piece)
        self._left[0] -= len(piece)
        if not self._left[0]:
            self._next_file()

    def rows(self, piece: MarkedRows) -> None:
        """The next rows of the segment."""
        if self._segment is None or self._segment.file_bytes:
            raise ValueError("rows without a segment")
        self._pieces.append(piece)
        self._pieces_bytes += int(piece.batch.record.nbytes)
        if self._pieces_bytes >= ROWS_AT_ONCE_BYTES:
            self._write_rows()

    def commit(self) -> None:
        """Durable at return; the rows are there, though nobody sees them before the shard owns them. Raises
        ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``OPERATION_STATE``; then nothing was taken."""
        self._end_segment()
        state, rows = self._state, self._rows
        if self._added:
            state.disk.sync_directory(FOLDER)
        with rows.maintenance, state.append_lock:
            record = following(rows, self._name)
            assert record.follow is not None
            follow, strip = record.follow, self._told.strip
            if follow.next_day != strip.first_day:
                raise ValueError(f"the strip from day {strip.first_day} is not the next one")
            if not follow.strips_taken:
                follow = replace(follow, position=strip.position, deletions_seen=self._told.deletions_seen)
            follow = replace(
                follow,
                next_day=None if self._told.is_last else strip.last_day + 1,
                strips=(*follow.strips, strip) if strip.position > follow.position else follow.strips,
                rows_done=follow.rows_done + sum(info.rows for info in self._added),
                rows_total=self._told.rows_total,
                bytes_done=follow.bytes_done + sum(info.bytes for info in self._added),
                bytes_total=self._told.bytes_total,
                strips_taken=follow.strips_taken + 1,
            )
            layer = f"{COPIED}{self._name}/{follow.strips_taken}/{state.writer.next_row}"
            seen = state.catalog.last_deletion(rows.tenant)
            named = [replace(info, layer=info.layer or layer, deletions_seen=seen) for info in self._added]
            known = rows.visible.layers
            layers = [_coming(name, state.writer.next_row) for name in {info.layer for info in named} - set(known)]
            before = record
            rows.moves.put(replace(record, follow=follow))
            try:
                segments = catalog_committed(state, rows.tenant, named, (), rows.visible.mark, layers=layers)
            except BaseException:
                rows.moves.put(before)
                raise
            all_layers = state.catalog.layers(rows.tenant)
            indexed = counting_identities(state.disk, segments, all_layers, state.cache)
            with state.visible_lock:
                rows.replace_segments(segments, indexed, all_layers)
            rows.moves.changed()

    def discard(self) -> None:
        """Nothing of it is left."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._state.pins.discard(self._rows.tenant, self._ids)

    def _next_id(self) -> int:
        with self._state.changing_catalog() as catalog:
            return catalog.next_segment_id()

    def _next_file(self) -> None:
        """The one before is whole."""
        assert self._segment is not None
        if self._file is not None:
            self._file.sync()
            self._file.close()
            self._file = None
            self._left.pop(0)
        if self._left and not self._left[0]:
            raise ValueError("a file of a segment is empty")
        if self._left:
            number = len(self._segment.file_bytes) - len(self._left)
            self._file = self._state.disk.open(file_names(self._ids[-1])[number], create=True)

    def _end_segment(self) -> None:
        if self._segment is None:
            return
        if self._left:
            raise ValueError("a segment is not whole")
        if self._segment.file_bytes:
            info = self._segment.info
            files = file_names(self._ids[-1])
            adopted = replace(info, id=self._ids[-1], files=files, origin="", layer=_own_layer(info))
            SegmentReader(self._state.disk, adopted)  # its footer is as the source's catalog says
            self._added.append(adopted)
        else:
            self._write_rows()
        self._segment = None

    def _write_rows(self) -> None:
        if not self._pieces:
            return
        assert self._segment is not None
        marked, self._pieces, self._pieces_bytes = MarkedRows.joined(self._pieces), [], 0
        state, info = self._state, self._segment.info
        written = compact(
            state.disk,
            self._id_noted,
            self._rows.tenant,
            [_table(self._rows, marked, spread=following(self._rows, self._name).overflow)],
            (),
            storage_day(state.clock.now_ms()),
            shard=state.shard,
            deletions=Deletions((), state.catalog.last_deletion(self._rows.tenant)),
            limits=merge_limits(state.settings),
            tasks=[Task(info.first_day, info.last_day, info.run, ())],
            settle=as_it_is,
        ).added
        self.bytes += sum(each.bytes for each in written)
        self._added += [replace(each, layer=_own_layer(info)) for each in written]

    def _id_noted(self) -> int:
        self._ids.append(self._next_id())
        return self._ids[-1]


def _own_layer(info: SegmentInfo) -> str:
    """A repair's layer stays one; what came to the source by a move is like any other row."""
    return "" if info.layer.startswith(COPIED) else info.layer


def _coming(name: str, position: int) -> Layer:
    """Shown, where the shard owns it, and originals for what is stored from now on."""
    return Layer(name, shown=True, counts=((0, False), (position, True)))


def _table(rows: TenantRows, marked: MarkedRows, *, spread: bool) -> pa.Table:
    hashes = hash_events(rows.tenant, marked.batch)
    table = pa.Table.from_batches([marked.batch.record])
    for name, values in (
        (PLACEMENT_HASH, hashes.placement),
        (DUPLICATE, marked.duplicate),
        (HOT, marked.hot),
        (IDENTITY_HASH, hashes.identity),
    ):
        table = table.append_column(name, pa.array(values))
    return table.append_column(SPREAD, pa.array(np.ones(marked.rows, np.bool_))) if spread else table
