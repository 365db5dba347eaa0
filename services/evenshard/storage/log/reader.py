"""Reads one log file: its frames, and how it ends: cleanly, torn (may be cut), or damaged (``DATA_DAMAGED``). Pure.

A bad frame is *torn* only in the last file, with no frame after it and no sign that it had been synced; everything
else is damage, named by file and offset, and never skipped.
"""

from dataclasses import dataclass

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.storage.log.frame import (
    FILE_HEADER_BYTES,
    FRAME_MAGIC,
    Bad,
    Frame,
    FrameKind,
    TooNew,
    parse_file_header,
    parse_frame,
)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file as read. ``frames`` are those with events; ``end_offset`` is where the next frame goes."""

    number: int
    first_row: int
    frames: tuple[Frame, ...]
    end_offset: int
    end_row: int
    clean: bool
    """It ends with the marker of a clean stop (or holds no frame at all)."""
    torn: str
    """Why the bytes from ``end_offset`` on have to be cut; empty: nothing is there."""


def damaged(name: str, offset: int, reason: str) -> EvenshardError:
    """``DATA_DAMAGED`` at a place."""
    return EvenshardError(
        "DATA_DAMAGED", f"{name}, byte {offset}: {reason}", details={"file": name, "offset": str(offset)}
    )


def is_torn_creation(data: bytes) -> bool:
    """Whether this last file is the rest of a creation that was cut off: it never held a frame."""
    return len(data) <= FILE_HEADER_BYTES and isinstance(parse_file_header(data), Bad)


def read_log_file(data: bytes, name: str, number: int, shard: ShardId, *, last: bool, synced_row: int = 0) -> LogFile:
    """Parses a whole file. ``synced_row``: rows below it are known to have been synced (the catalog says so).

    Raises ``DATA_DAMAGED`` and ``FORMAT_TOO_NEW``.
    """
    header = parse_file_header(data)
    match header:
        case Bad(reason):
            raise damaged(name, 0, reason)
        case TooNew(version):
            raise EvenshardError("FORMAT_TOO_NEW", f"{name} has log format {version}", details={"file": name})
    if (header.shard, header.number) != (shard, number):
        raise damaged(name, 0, f"it is file {header.number} of {header.shard}, not file {number} of {shard}")

    whole = memoryview(data)
    frames: list[Frame] = []
    offset, row, clean = FILE_HEADER_BYTES, header.first_row, True
    while offset < len(whole):
        frame = parse_frame(whole, offset, number)
        if isinstance(frame, Frame) and frame.first_row != row:
            frame = Bad(f"a frame begins with row {frame.first_row} instead of {row}", tearable=False)
        if isinstance(frame, Bad):
            _check_torn(whole, offset, number, frame, name, last=last, synced=row < synced_row)
            return LogFile(number, header.first_row, tuple(frames), offset, row, False, frame.reason)
        clean = frame.kind is FrameKind.END
        if not clean:
            frames.append(frame)
        offset, row = frame.end, frame.end_row
    if last and row < synced_row:
        raise damaged(name, offset, f"the log ends before row {synced_row}, which was synced")
    return LogFile(number, header.first_row, tuple(frames), offset, row, clean, "")


def _check_torn(data: memoryview, offset: int, number: int, bad: Bad, name: str, *, last: bool, synced: bool) -> None:
    """Raises unless the bad frame at ``offset`` can be the torn end of a write that was never acked."""
    reason = bad.reason
    if not bad.tearable:
        raise damaged(name, offset, reason)
    if not last:
        raise damaged(name, offset, f"{reason}, and a later file exists")
    if synced:
        raise damaged(name, offset, f"{reason}, although it was synced")
    later = _next_frame(data, offset + 1, number)
    if later is not None:
        known = ", which says that it was synced" if later.synced_bytes > offset else ""
        raise damaged(name, offset, f"{reason}, and a frame follows at byte {later.offset}{known}")


def _next_frame(data: memoryview, start: int, number: int) -> Frame | None:
    """The next place with a sound frame header."""
    raw = bytes(data[start:])
    at = raw.find(FRAME_MAGIC)
    while at >= 0:
        frame = parse_frame(data, start + at, number, header_only=True)
        if isinstance(frame, Frame):
            return frame
        at = raw.find(FRAME_MAGIC, at + 1)
    return None
