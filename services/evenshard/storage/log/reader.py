"""Reads one log file piece by piece: frames, and *holes* where frames should be and cannot be read.

A bad frame is *torn* only in the last file, with no frame after it, no sign that it had been synced, and no record that
it is damage: that may be cut. Everything else is a hole, named by file, offset and the rows it held, and never skipped
in silence.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.log.frame import (
    FILE_HEADER_BYTES,
    FORMAT_VERSION,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    Bad,
    FileHeader,
    Frame,
    FrameKind,
    TooNew,
    head_bytes,
    parse_file_header,
    parse_frame,
)

_WINDOW_BYTES = 64 << 10
"""Read at once where only headers are wanted."""
_SEARCH_BYTES = 1 << 20


class Source(Protocol):
    """The part of a ``File`` that is needed."""

    def read(self, offset: int, length: int) -> bytes: ...

    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file as read. ``frames`` are those with events; ``end_offset`` is where the next frame goes."""

    number: int
    first_row: int
    frames: tuple[Frame, ...]
    end_offset: int
    end_row: int
    clean: bool
    """It ends with the marker of a clean stop."""
    torn: str
    """Why the bytes from ``end_offset`` on have to be cut; empty: nothing is there."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes from ``offset`` to ``end`` of a log file that cannot be read, or that are missing there (both are equal).

    The rows from ``first_row`` to ``end_row`` (exclusive; None: up to where the next file begins) are lost, all of
    ``tenant`` where that is known.
    """

    offset: int
    end: int
    first_row: int
    end_row: int | None
    tenant: TenantId | None
    reason: str


def damaged(name: str, offset: int, reason: str, hint: str = "") -> EvenshardError:
    """``DATA_DAMAGED`` at a place."""
    return EvenshardError(
        "DATA_DAMAGED", f"{name}, byte {offset}: {reason}", hint, details={"file": name, "offset": str(offset)}
    )


def is_torn_creation(data: bytes) -> bool:
    """Whether this last file is the rest of a creation that was cut off: it never held a frame."""
    return len(data) <= FILE_HEADER_BYTES and isinstance(parse_file_header(data), Bad)


def check_file_header(data: bytes, name: str, number: int, shard: ShardId) -> FileHeader | Bad:
    """The header of a log file that begins with ``data``; ``Bad``: it cannot be read.

    Raises ``FORMAT_TOO_NEW``, and ``DATA_DAMAGED`` where it is another shard's or another file's.
    """
    header = parse_file_header(data)
    match header:
        case Bad():
            return header
        case TooNew(version):
            raise EvenshardError("FORMAT_TOO_NEW", f"{name} has log format {version}", details={"file": name})
    if (header.shard, header.number) != (shard, number):
        raise damaged(
            name,
            0,
            f"it is file {header.number} of {header.shard}, not file {number} of {shard}",
            "files of several shards or copies are mixed here: copy one whole directory, with nothing else in it",
        )
    return header


class LogFileReader:
    """One pass over a log file; ``pieces`` first, what it found out afterwards."""

    def __init__(
        self,
        source: Source,
        name: str,
        number: int,
        shard: ShardId,
        *,
        last: bool,
        synced_row: int = 0,
        expected_row: int | None = None,
        quarantined: Collection[int] = (),
    ) -> None:
        """``synced_row``: rows below it are known to have been synced (the catalog says so). ``expected_row``: where
        the file before ended; used where this one's header cannot be read. ``quarantined``: offsets of what is on
        record as damage.

        Raises ``FORMAT_TOO_NEW`` and ``DATA_DAMAGED``.
        """
        self._source = source
        self._size = source.size()
        self._name = name
        self._number = number
        self._last = last
        self._synced_row = synced_row
        self._quarantined = quarantined
        self._window = memoryview(b"")
        self._window_at = 0
        self.header_fault = ""
        """Why the file header cannot be read; empty: it can. Frames do not need it."""
        found = check_file_header(source.read(0, FILE_HEADER_BYTES), name, number, shard)
        self.version = FORMAT_VERSION
        """Of the file; where that cannot be read, the newest."""
        if isinstance(found, Bad):
            self.header_fault = found.reason
            self.first_row = self._guessed_first_row(expected_row)
        else:
            self.first_row, self.version = found.first_row, found.version
        self.end_offset = FILE_HEADER_BYTES
        self.end_row: int | None = self.first_row
        """None: how many rows were lost at the end is not known."""
        self.clean = False
        self.ends_in_hole = False
        self.torn = ""

    def pieces(
        self, wanted: Callable[[Frame], bool] = lambda _: True, start: tuple[int, int] | None = None
    ) -> Iterator[Frame | Hole]:
        """Frames with events, and holes, in order. Of frames that are not ``wanted`` only the header is read.
        ``start``: the offset of a frame, and its first row; None: the first."""
        offset, row = (FILE_HEADER_BYTES, self.first_row) if start is None else start
        while offset < self._size:
            found = self._frame(offset, row, wanted)
            if isinstance(found, Bad):
                reason = self._why_not_torn(offset, row, found)
                if not reason:
                    self.torn, self.clean = found.reason, False
                    break
                hole = self._hole(offset, row, reason)
                self.clean, self.ends_in_hole = False, True
                yield hole
                offset = hole.end
                if hole.end_row is None:
                    self.end_offset, self.end_row = offset, None
                    return
                row = hole.end_row
                self.end_offset, self.end_row = offset, row
                continue
            self.clean, self.ends_in_hole = found.kind is FrameKind.END, False
            if not self.clean:
                yield found
            offset, row = found.end, found.end_row
            self.end_offset, self.end_row = offset, row

    def _guessed_first_row(self, expected_row: int | None) -> int:
        if expected_row is not None:
            return expected_row
        first = self._header(FILE_HEADER_BYTES)
        if isinstance(first, Bad):
            raise damaged(self._name, 0, self.header_fault)
        return first.first_row

    def _frame(self, offset: int, row: int, wanted: Callable[[Frame], bool]) -> Frame | Bad:
        frame = self._header(offset)
        if isinstance(frame, Bad):
            return frame
        if frame.end > self._size:
            return Bad("a frame is cut short")
        if frame.kind is FrameKind.END or wanted(frame):
            data = self._bytes(offset, frame.end - offset)
            read = parse_frame(data, offset, self._number, base=offset)
            if isinstance(read, Bad):
                return read
            frame = read
        if frame.first_row != row:
            return Bad(f"a frame begins with row {frame.first_row} instead of {row}", tearable=False)
        return frame

    def _header(self, offset: int) -> Frame | Bad:
        """The frame at ``offset`` by its header alone."""
        data = self._bytes(offset, FRAME_HEADER_BYTES)
        if len(data) == FRAME_HEADER_BYTES:
            data = self._bytes(offset, head_bytes(data))
        return parse_frame(data, offset, self._number, header_only=True, base=offset)

    def _bytes(self, offset: int, length: int) -> memoryview:
        """Fewer at the end of the file."""
        start = offset - self._window_at
        if start < 0 or start + length > len(self._window):
            self._window = memoryview(self._source.read(offset, max(length, _WINDOW_BYTES)))
            self._window_at, start = offset, 0
        return self._window[start : start + length]

    def _why_not_torn(self, offset: int, row: int, bad: Bad) -> str:
        """Why the bad frame at ``offset`` cannot be the torn end of a write that was never acked; empty: it can."""
        if not bad.tearable:
            return bad.reason
        if self.header_fault:
            return f"{bad.reason}, and {self.header_fault}"
        if not self._last:
            return f"{bad.reason}, and a later file exists"
        if row < self._synced_row:
            return f"{bad.reason}, although it was synced"
        if offset in self._quarantined:
            return f"{bad.reason}, and it is in quarantine"
        later = self._next_frame(offset + 1, row)
        if later is not None:
            known = ", which says that it was synced" if later.synced_bytes > offset else ""
            return f"{bad.reason}, and a frame follows at byte {later.offset}{known}"
        return ""

    def _hole(self, offset: int, row: int, reason: str) -> Hole:
        own = self._header(offset)
        if isinstance(own, Frame):
            if own.first_row > row:
                return Hole(offset, offset, row, own.first_row, None, reason)
            rows = own.rows if own.first_row == row else 0
            return Hole(offset, min(own.end, self._size), row, row + rows, own.tenant, reason)
        later = self._next_frame(offset + 1, row)
        if later is not None:
            return Hole(offset, later.offset, row, later.first_row, None, reason)
        return Hole(offset, self._size, row, None, None, reason)

    def _next_frame(self, start: int, row: int) -> Frame | None:
        """The next place with a sound frame header of a row not before ``row``."""
        overlap = len(FRAME_MAGIC) - 1
        while start < self._size:
            raw = self._source.read(start, _SEARCH_BYTES + overlap)
            at = raw.find(FRAME_MAGIC)
            while at >= 0:
                frame = self._header(start + at)
                if isinstance(frame, Frame) and frame.first_row >= row:
                    return frame
                at = raw.find(FRAME_MAGIC, at + 1)
            start += _SEARCH_BYTES
        return None


class _Bytes:
    """A whole file in memory as a ``Source``."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def size(self) -> int:
        return len(self._data)


def read_log_file(data: bytes, name: str, number: int, shard: ShardId, *, last: bool, synced_row: int = 0) -> LogFile:
    """Parses a whole file, of which nothing may be damaged. ``synced_row``: see ``LogFileReader``.

    Raises ``DATA_DAMAGED`` and ``FORMAT_TOO_NEW``.
    """
    reader = LogFileReader(_Bytes(data), name, number, shard, last=last, synced_row=synced_row)
    if reader.header_fault:
        raise damaged(name, 0, reader.header_fault)
    frames = []
    for piece in reader.pieces():
        if isinstance(piece, Hole):
            raise damaged(name, piece.offset, piece.reason)
        frames.append(piece)
    assert reader.end_row is not None
    if last and reader.end_row < synced_row:
        raise damaged(name, reader.end_offset, f"the log ends before row {synced_row}, which was synced")
    return LogFile(
        number, reader.first_row, tuple(frames), reader.end_offset, reader.end_row, reader.clean, reader.torn
    )
