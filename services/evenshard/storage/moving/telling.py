"""What a source tells a follower of what it has: strip by strip of days, each as it was at one position of the log.

A segment all of whose rows are meant goes as it is, byte by byte; of others the rows that are meant. What a deletion
hides is not told. Nothing is read while appends wait, and nothing is removed that is still read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.scan import HOT, PLACEMENT_HASH, SPREAD
from evenshard.storage.layers import TRASH
from evenshard.storage.moving.known import store
from evenshard.storage.moving.record import FIRST_DAY, LAST_DAY, Kept, MoveRecord, Strip, move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.quarantine import refusal
from evenshard.storage.segment.info import DAY_MS, SegmentInfo, day_of
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.state import State
from evenshard.storage.tail.scan import scan_block
from evenshard.storage.tenant import TenantRows, Visible

STRIP_BYTES: Final = 256 << 20
"""A strip ends with the range with which its files are so large."""
PIECE_BYTES: Final = 1 << 20
PIECE_ROWS_MAX: Final = 65_536
FIELDS_TOLD: Final = (*FIELD_NAMES, HOT)
NOTHING_SEEN: Final = -1
"""In place of a deletion's seq: the follower begins; or it was this move's source, and the source knows."""


@dataclass(frozen=True, slots=True)
class StripTold:
    """What a strip is, before its rows."""

    strip: Strip
    is_last: bool
    tail_first: bool
    rows_total: int
    bytes_total: int
    deletions_seen: int
    """The seq of the last deletion that came before it."""


@dataclass(frozen=True, slots=True)
class SegmentTold:
    """A segment begins. ``file_bytes``: of its files, if they follow; else its rows do."""

    info: SegmentInfo
    file_bytes: tuple[int, ...]


Told = StripTold | SegmentTold | bytes | MarkedRows


def tell_strip(
    state: State,
    moved: MovedSlots,
    operation: str,
    revision: int,
    first_day: int,
    position: int,
    deletions_seen: int,
) -> Iterator[Told]:
    """The strip from ``first_day`` on; first what it is. The log is kept from ``position`` on, or, where nothing was
    told yet (``NOTHING_SEEN``), from here on. Raises ``DATA_DAMAGED``, ``OPERATION_CONFLICT``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        last_seq = state.catalog.last_deletion(moved.tenant)
        if deletions_seen == NOTHING_SEEN:
            position, deletions_seen = state.writer.next_row, last_seq
        keep(state, rows, moved, operation, revision, Kept(position, deletions_seen))
        with state.visible_lock:
            visible = rows.visible
            state.pins.pin(visible.segments)
        at = state.writer.next_row
    try:
        told = _strip(visible, moved, first_day, at, last_seq, tail_first=deletions_seen < last_seq)
        yield told
        if not told.tail_first:
            for lost in visible.quarantined:
                if lost.is_in_force and lost.touches(*_times(told.strip)):
                    raise refusal(moved.tenant, lost)
            yield from _of_segments(state, visible, moved, told.strip)
            yield from _of_tail(visible, moved, told.strip)
    finally:
        state.pins.unpin(visible.segments)


def keep(state: State, rows: TenantRows, moved: MovedSlots, operation: str, revision: int, kept: Kept) -> MoveRecord:
    """A follower asks, which has taken so much: what comes after is kept. Under ``append_lock``. Raises
    ``OPERATION_CONFLICT`` where the move is over here, ``OPERATION_STATE`` where it is not kept any more."""
    known = rows.moves.get(move_name(operation, overflow=moved.overflow))
    if known is None:
        known = MoveRecord(operation, moved.overflow, moved.spans, revision)
    elif (
        known.slots != moved.spans
        or (known.is_over and revision <= known.revision)
        or (known.follow is not None and revision <= known.follow.since)
    ):
        raise EvenshardError("OPERATION_CONFLICT", f"operation {operation} is not told of {moved.tenant} any more")
    if known.kept is None and (gone := _is_gone(state, rows, kept)):
        raise EvenshardError("OPERATION_STATE", gone, details={"begin_anew": "1"})
    seen = kept.deletions_seen if kept.deletions_seen >= 0 else (known.kept.deletions_seen if known.kept else 0)
    kept = replace(kept, deletions_seen=seen)
    changed = replace(known, kept=kept, follow=None, revision=max(revision, known.revision))
    if known.kept is None or known.follow is not None or known.is_over:
        return store(state, rows, changed)
    rows.moves.put(changed)  # in the catalog it may be older: then more is kept after a restart
    return changed


def _is_gone(state: State, rows: TenantRows, kept: Kept) -> str:
    """Why what a follower needs may be gone; empty: nothing is."""
    first = state.log_files.first_position
    first = state.writer.next_row if first is None else first
    if kept.position < first:
        return f"the log of {rows.tenant} before {first} is gone"
    retired = [each.seq for each in state.catalog.deletions(rows.tenant) if each.retired]
    if kept.deletions_seen < max(retired, default=0):
        return f"whom deletions of {rows.tenant} hid is forgotten"
    return ""


def _strip(visible: Visible, moved: MovedSlots, first_day: int, at: int, seq: int, *, tail_first: bool) -> StripTold:
    segments = told_segments(visible, moved)
    ahead = sorted((each.first_day, each.last_day, each.bytes) for each in segments if each.last_day >= first_day)
    last_day, size = LAST_DAY, 0
    for first, last, file_bytes in ahead:
        if size >= STRIP_BYTES and first > last_day:
            break
        last_day = last if size == 0 else max(last_day, last)
        size += file_bytes
    else:
        last_day = LAST_DAY
    rows = sum(each.rows for each in segments) + visible.tail_rows
    total = sum(each.bytes for each in segments)
    is_last = last_day == LAST_DAY
    return StripTold(Strip(first_day, last_day, at), is_last, tail_first, rows, total, seq)


def told_segments(visible: Visible, moved: MovedSlots) -> list[SegmentInfo]:
    """Those that may have rows that are meant, shown or not, but for what was dropped."""
    return [each for each in visible.segments if not each.layer.startswith(TRASH) and moved.may_be_in(each)]


def _times(strip: Strip) -> tuple[int, int]:
    first = max(strip.first_day, FIRST_DAY) * DAY_MS
    return first, (min(strip.last_day, LAST_DAY - 1) + 1) * DAY_MS


def _of_segments(state: State, visible: Visible, moved: MovedSlots, strip: Strip) -> Iterator[Told]:
    start_ms, end_ms = _times(strip)
    for info in told_segments(visible, moved):
        if info.max_time_ms < start_ms or info.min_time_ms >= end_ms:
            continue
        hiding = visible.deletions.hiding(info.deletions_seen)
        if hiding is not None and not hiding.may_hide(*info.hash_bounds, info.min_time_ms):
            hiding = None
        within = start_ms <= info.min_time_ms and info.max_time_ms < end_ms
        if hiding is None and within and moved.has_all_of(info):
            yield from _files(state, info)
            continue
        reader = SegmentReader(state.disk, info)
        yield SegmentTold(info, ())
        fields = tuple(dict.fromkeys((*FIELDS_TOLD, *moved.fields)))
        slots = np.flatnonzero(moved.mask)
        hashes = None if moved.overflow else (int(slots[0]) << 52, ((int(slots[-1]) + 1) << 52) - 1)
        for scanned in reader.scan(fields, None, start_ms, end_ms, hiding, hashes):
            yield from _pieces(moved, scanned.record)


def _files(state: State, info: SegmentInfo) -> Iterator[Told]:
    SegmentReader(state.disk, info)  # a footer that is damaged is not passed on
    files = [state.disk.open(name) for name in info.files]
    try:
        yield SegmentTold(info, tuple(file.size() for file in files))
        for file in files:
            size = file.size()
            for offset in range(0, size, PIECE_BYTES):
                yield file.read(offset, min(PIECE_BYTES, size - offset))
    finally:
        for file in files:
            file.close()


def _of_tail(visible: Visible, moved: MovedSlots, strip: Strip) -> Iterator[Told]:
    start_ms, end_ms = _times(strip)
    fields = tuple(dict.fromkeys((*FIELDS_TOLD, *moved.fields)))
    run = 1 + max((info.run for info in visible.segments), default=0)
    for block in visible.blocks:
        scanned = scan_block(block, fields, None, start_ms, end_ms)
        pieces = [] if scanned is None else list(_pieces(moved, scanned.record))
        if pieces:
            times = [piece.batch.record.column("time").to_numpy() for piece in pieces]
            first_ms, last_ms = min(int(each.min()) for each in times), max(int(each.max()) for each in times)
            yield SegmentTold(_place(moved, first_ms, last_ms, run), ())
            run += 1
            yield from pieces


def _place(moved: MovedSlots, first_ms: int, last_ms: int, run: int) -> SegmentInfo:
    """Of rows that are in no segment yet: only their days are told, and that they are a run of their own."""
    return SegmentInfo(
        id=0,
        tenant=moved.tenant,
        first_day=day_of(first_ms),
        last_day=day_of(last_ms),
        run=run,
        written_day=0,
        min_time_ms=first_ms,
        max_time_ms=last_ms,
        slot_first=0,
        slot_last=0,
        rows=0,
        duplicates=0,
        hot_rows=0,
        bytes=0,
        files=("", ""),
        footer_checksum=0,
    )


def _pieces(moved: MovedSlots, record: pa.RecordBatch) -> Iterator[MarkedRows]:
    """The rows that are meant, in pieces."""
    kept = np.flatnonzero(moved.rows(record, record.column(PLACEMENT_HASH).to_numpy(), record.column(SPREAD)))
    if not kept.size:
        return
    record = record.drop_columns([PLACEMENT_HASH, SPREAD])
    if kept.size < record.num_rows:
        record = record.take(pa.array(kept))
    marked = MarkedRows.of_scanned(record)
    rows = max(1, min(PIECE_ROWS_MAX, PIECE_BYTES * marked.rows // max(1, record.nbytes)))
    for start in range(0, marked.rows, rows):
        yield marked.slice(start, min(rows, marked.rows - start))
