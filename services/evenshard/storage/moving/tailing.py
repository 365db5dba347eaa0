"""What a source tells a follower of its log: rows that are meant, frame by frame, and deletions where they came."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.ports.disk import File
from evenshard.storage.deletions import Deletion
from evenshard.storage.log.frame import Frame, FrameKind, unpacked_bits
from evenshard.storage.log.reader import Hole, LogFileReader, damaged
from evenshard.storage.log.writer import file_name
from evenshard.storage.moving.note import noted
from evenshard.storage.moving.record import Kept
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.telling import keep
from evenshard.storage.state import State


@dataclass(frozen=True, slots=True)
class Tailed:
    """One thing that came; everything before ``position`` has been told with it."""

    position: int
    rows: MarkedRows | None = None
    deletion: Deletion | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the log a position stands: a shortcut for the next time."""

    position: int
    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What is in the log of one tenant from a position on, up to where it was synced."""

    end: int
    files: tuple[tuple[int, int | None], ...]
    """Their numbers, and how much of each may be read; None: all."""
    deletions: tuple[Deletion, ...]
    position: int


def tail_from(
    state: State, moved: MovedSlots, operation: str, revision: int, taken: Kept, told: Kept | None = None
) -> Tail:
    """What is to be told now. What came after ``taken`` is kept until the follower asks again; ``told``: so much was
    told already. Raises ``OPERATION_CONFLICT``, ``OPERATION_STATE``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        record = keep(state, rows, moved, operation, revision, taken)
        assert record.kept is not None
        position = taken.position if told is None else told.position
        seen = max(record.kept.deletions_seen, -1 if told is None else told.deletions_seen)
        later = tuple(each for each in state.catalog.deletions(moved.tenant) if each.seq > seen and not each.retired)
        numbers = state.log_files.numbers
        files = tuple((number, state.writer.offset if number == state.writer.number else None) for number in numbers)
        return Tail(state.writer.next_row, files, later, position)


def tell_tail(
    state: State, moved: MovedSlots, tail: Tail, place: Place | None
) -> Iterator[tuple[Tailed, Place | None]]:
    """In the order of the log; the last one says where it ended. Raises ``DATA_DAMAGED``."""
    waiting, position = list(tail.deletions), tail.position
    for frame, after in _frames(state, moved, tail, position, place):
        while waiting and waiting[0].position <= frame.first_row:
            yield Tailed(max(position, waiting[0].position), deletion=waiting.pop(0)), None
        marked = _meant(moved, frame)
        if marked is not None:
            yield Tailed(frame.end_row, marked), after
    for deletion in waiting:
        yield Tailed(max(position, deletion.position), deletion=deletion), None
    yield Tailed(tail.end), None


def _frames(
    state: State, moved: MovedSlots, tail: Tail, position: int, place: Place | None
) -> Iterator[tuple[Frame, Place]]:
    """Those of the tenant from a position on."""
    files = _needed(state, tail, position, place)
    for number, size in files:
        name = file_name(number)
        file = state.disk.open(name)
        try:
            whole = file.size() if size is None else size
            reader = LogFileReader(_Part(file, whole), name, number, state.shard, last=False)
            start = (place.offset, place.position) if place is not None and place.file == number else None

            def wanted(frame: Frame) -> bool:
                return frame.tenant == moved.tenant and frame.end_row > position

            for piece in reader.pieces(wanted, start):
                if isinstance(piece, Hole):
                    if piece.end_row is None or piece.end_row > position:
                        raise damaged(name, piece.offset, piece.reason)
                elif wanted(piece):
                    yield piece, Place(piece.end_row, number, piece.end)
        finally:
            file.close()


def _needed(state: State, tail: Tail, position: int, place: Place | None) -> list[tuple[int, int | None]]:
    """The files from the one on that has the position."""
    if place is not None and place.position <= position:
        return [each for each in tail.files if each[0] >= place.file]
    needed: list[tuple[int, int | None]] = []
    for number, size in reversed(tail.files):
        needed.insert(0, (number, size))
        file = state.disk.open(file_name(number))
        try:
            reader = LogFileReader(file, file_name(number), number, state.shard, last=False)
        finally:
            file.close()
        if reader.first_row <= position:
            break
    return needed


def _meant(moved: MovedSlots, frame: Frame) -> MarkedRows | None:
    payload = bytes(frame.payload)
    batch = EventBatch.from_ipc(noted(payload)[1] if frame.kind is FrameKind.COPIED else payload)
    if batch.rows != frame.rows:
        raise EvenshardError("DATA_DAMAGED", f"{batch.rows} rows where {frame.rows} were written")
    spread = pa.array(unpacked_bits(frame.spread_bits, frame.rows)) if frame.spread_bits else None
    placement = hash_events(moved.tenant, batch).placement
    kept = np.flatnonzero(moved.rows(batch.record, placement, spread))
    if not kept.size:
        return None
    duplicate = unpacked_bits(frame.bits, frame.rows)
    hot = unpacked_bits(frame.hot_bits, frame.rows) if frame.hot_bits else np.zeros(frame.rows, np.bool_)
    marked = MarkedRows(batch, duplicate, hot)
    return marked if kept.size == batch.rows else marked.take(kept)


class _Part:
    """The beginning of a file: what was synced of it."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, max(0, min(length, self._size - offset)))

    def size(self) -> int:
        return self._size
