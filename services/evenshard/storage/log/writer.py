"""Appends groups of frames: one write, one sync; nothing counts as written before the sync has returned.

After a failed write the file is cut back; after a failed sync, or where cutting fails, the writer is *broken*: it takes
nothing any more, and the sync is never tried again.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.ports.disk import Disk, File
from evenshard.storage.log.frame import (
    FILE_HEADER_BYTES,
    Content,
    FileHeader,
    encode_file_header,
    encode_frame,
    frame_bytes,
)

FOLDER = "log"
_SUFFIX = ".log"


def file_name(number: int) -> str:
    """The name of a log file."""
    return f"{FOLDER}/{number:010d}{_SUFFIX}"


def file_number(name: str) -> int | None:
    """The number in a file's name within the folder; None: it is not a log file."""
    stem = name.removesuffix(_SUFFIX)
    return int(stem) if stem != name and stem.isdecimal() else None


def create_log_file(disk: Disk, shard: ShardId, number: int, first_row: int) -> File:
    """A new log file, durable with its name before it is returned; gone again where that fails."""
    file = _begin_log_file(disk, shard, number, first_row)
    try:
        file.sync()
        disk.sync_directory(FOLDER)
    except OSError:
        file.close()
        disk.unlink(file_name(number))  # the kernel may show a header that never reached the disk
        raise
    return file


def _begin_log_file(disk: Disk, shard: ShardId, number: int, first_row: int) -> File:
    file = disk.open(file_name(number), create=True)
    try:
        file.write([encode_file_header(FileHeader(shard, number, first_row))])
    except OSError:
        file.close()
        raise
    return file


class LogWriter:
    """Writes at the end of the last log file. One thread at a time."""

    def __init__(
        self, disk: Disk, shard: ShardId, *, file: File, number: int, offset: int, next_row: int, file_bytes_max: int
    ) -> None:
        self._disk = disk
        self._shard = shard
        self._file = file
        self._file_bytes_max = file_bytes_max
        self.number = number
        self.offset = offset
        """Bytes of the file that are synced."""
        self.next_row = next_row
        """Position of the next row."""
        self.broken: EvenshardError | None = None

    def append(self, contents: Sequence[Content]) -> list[int]:
        """Writes and syncs a group; returns the position of each batch's first row.

        Raises ``DISK_FULL`` (try again later) or ``SHARD_UNAVAILABLE`` (broken); then nothing was appended.
        """
        if self.broken is not None:
            raise self._broken_error()
        try:
            return self._append(contents)
        except EvenshardError:
            raise
        except BaseException as defect:
            self.stop(f"an append broke off: {defect!r}")
            raise

    def stop(self, why: str) -> None:
        """Takes nothing any more, as after a failed sync: for what leaves open what the disk holds."""
        if self.broken is None:
            self._break(why)

    def _append(self, contents: Sequence[Content]) -> list[int]:
        if self.offset > FILE_HEADER_BYTES and self.offset >= self._file_bytes_max:
            self._rotate()
        first_rows: list[int] = []
        buffers: list[bytes | memoryview] = []
        offset, row = self.offset, self.next_row
        for content in contents:
            frame = self._encode(content, offset, row)
            buffers += frame
            first_rows.append(row)
            offset += frame_bytes(frame)
            row += content.rows
        self._write_and_sync(buffers)
        self.offset, self.next_row = offset, row
        return first_rows

    def rotate(self) -> None:
        """Goes on in a new file, unless nothing was written to this one. Raises as ``append``."""
        if self.broken is not None:
            raise self._broken_error()
        if self.offset > FILE_HEADER_BYTES:
            self._rotate()

    def close(self) -> None:
        """Writes the marker of a clean stop, if the log is sound, and closes the file."""
        try:
            if self.broken is None:
                marker = self._encode(None, self.offset, self.next_row)
                self._write_and_sync(marker)
                self.offset += frame_bytes(marker)
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Closes the file as it is, without a marker."""
        self._file.close()

    def _encode(self, content: Content | None, offset: int, row: int) -> list[bytes | memoryview]:
        return encode_frame(content, file_number=self.number, offset=offset, first_row=row, synced_bytes=self.offset)

    def _write_and_sync(self, buffers: Sequence[bytes | memoryview]) -> None:
        try:
            self._file.write(buffers)
        except OSError as error:
            self._cut_back(error)
            raise _refusal(error) from error
        try:
            self._file.sync()
        except OSError as error:
            self._break(f"a sync of {file_name(self.number)} failed: {error}")
            self._drop_unsynced()
            raise self._broken_error() from error

    def _cut_back(self, cause: OSError) -> None:
        """After a failed write: the file ends again where it did."""
        try:
            self._file.truncate(self.offset)
            self._file.sync()
        except OSError as error:
            self._break(f"{file_name(self.number)} could not be cut back after a failed write ({cause}): {error}")
            raise self._broken_error() from error

    def _drop_unsynced(self) -> None:
        """The kernel may show bytes that never reached the disk: a restart must not take them for written."""
        try:
            self._file.truncate(self.offset)
        except OSError as error:
            self._break(f"a sync of {file_name(self.number)} failed, and cutting it back: {error}")

    def _drop_creation(self, number: int) -> None:
        """As ``_drop_unsynced``: a restart must not write behind a header that never reached the disk."""
        try:
            self._disk.unlink(file_name(number))
        except OSError as error:
            self._break(f"a sync of the new {file_name(number)} failed, and removing it: {error}")

    def _rotate(self) -> None:
        """Goes on in a new file. All frames of the old one are synced, every group is."""
        number = self.number + 1
        try:
            file = _begin_log_file(self._disk, self._shard, number, self.next_row)
        except OSError as error:
            self._undo_creation(number)
            raise _refusal(error) from error
        try:
            file.sync()
            self._disk.sync_directory(FOLDER)
        except OSError as error:
            file.close()
            self._break(f"a sync of the new {file_name(number)} failed: {error}")
            self._drop_creation(number)
            raise self._broken_error() from error
        self._file.close()
        self._file, self.number, self.offset = file, number, FILE_HEADER_BYTES

    def _undo_creation(self, number: int) -> None:
        try:
            if file_name(number).removeprefix(f"{FOLDER}/") in self._disk.list(FOLDER):
                self._disk.unlink(file_name(number))
        except OSError as error:
            self._break(f"{file_name(number)} could neither be made nor removed: {error}")
            raise self._broken_error() from error

    def _break(self, why: str) -> None:
        self.broken = EvenshardError(
            "SHARD_UNAVAILABLE", f"{self._shard} takes no events: {why}", hint="see to its disk, then restart the shard"
        )

    def _broken_error(self) -> EvenshardError:
        assert self.broken is not None
        return replace(self.broken)  # an exception raised twice would keep the frames of both


def _refusal(error: OSError) -> EvenshardError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EvenshardError("DISK_FULL", f"the log could not be written: {error}")
    return EvenshardError("SHARD_UNAVAILABLE", f"the log could not be written: {error}")
