"""Reads files of events: NDJSON, Arrow, Parquet; gzip and zstd are recognised by their first bytes."""

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import pyarrow as pa

from evenshard.client.batches import PAYLOAD_BYTES_MAX, Batch, too_large
from evenshard.client.insert_ids import InsertIds, add_to_lines
from evenshard.client.sources import LINE_BATCH_BYTES, LINES_PER_BATCH, ROWS_PER_BATCH, batches_of_records
from evenshard.errors import EvenshardError

Format = Literal["auto", "ndjson", "arrow", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("auto", "ndjson", "arrow", "parquet")

LINE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - (1 << 16)
"""Of a line that can be sent at all, with room for an insert_id."""
WAIT_S: Final = 0.2
"""Lines of a pipe are sent at least so often, if there are any."""
_READ_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 8
_CODECS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff" * 4
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"SQLite f": "an SQLite database",
}
"""What people take for a file of events."""
_NEWLINE: Final = 10


class EventFile:
    """A file of events, or standard input (``-``), opened to be read once. A context manager."""

    def __init__(
        self, path: str | Path, file_format: Format = "auto", stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """``stopping`` is asked while standard input keeps one waiting: true ends it there.

        Raises ``OSError`` where it cannot be opened, ``PAYLOAD_INVALID`` where its bytes are not of the format."""
        self._raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
        self.size_bytes: int | None = None if str(path) == "-" else Path(path).stat().st_size or None
        self._counted = _Counted(self._raw, stopping)
        try:
            self._stream, head = _decompressed(self._counted)
            self.format: Format = _format_of(head, str(path)) if file_format == "auto" else file_format
        except BaseException as error:
            if not (self._counted.stopped and isinstance(error, OSError)):
                self.__exit__()
                raise
            self._stream, self.format = io.BufferedReader(io.BytesIO()), "ndjson"

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def batches(self, *, batch_rows: int | None, ids: InsertIds | None, first: int = 0) -> Iterator[Batch]:
        """Its events, in order, from line (or row) ``first`` on."""
        if self.format == "ndjson":
            return self._lines(batch_rows or LINES_PER_BATCH, ids, first)
        return self._records(batch_rows or ROWS_PER_BATCH, ids, first)

    def _lines(self, batch_rows: int, ids: InsertIds | None, first: int) -> Iterator[Batch]:
        try:
            self._counted.whole_reads = not isinstance(self._stream, _Plain)
            for block in _blocks(self._stream, batch_rows, first, self._counted):
                payload = block.payload if ids is None else add_to_lines(block.payload, ids)
                yield replace(block, payload=payload, bytes_read=self._counted.bytes_read)
        except OSError as error:
            if self._counted.stopped:
                return
            raise EvenshardError(
                "PAYLOAD_INVALID", f"the file cannot be read: {error}", hint="it is damaged or ends too early"
            ) from error

    def _records(self, batch_rows: int, ids: InsertIds | None, first: int) -> Iterator[Batch]:
        try:
            records = _without_first(self._record_batches(batch_rows), first)
            yield from batches_of_records(records, batch_rows=batch_rows, ids=ids, first=first)
        except (pa.ArrowException, OSError) as error:
            if self._counted.stopped:
                return
            raise EvenshardError("PAYLOAD_INVALID", f"the file is not whole {self.format}: {error}") from error

    def _record_batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        if self.format == "parquet":
            import pyarrow.parquet as pq

            yield from pq.ParquetFile(self._seekable()).iter_batches(batch_size=batch_rows)
            return
        head = self._stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        if head.startswith(_ARROW_FILE):
            with pa.ipc.open_file(self._seekable()) as reader:
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)
        else:
            with pa.ipc.open_stream(self._stream) as stream:
                yield from stream

    def _seekable(self) -> Any:
        """Parquet and Arrow files are read from their end: what was compressed or piped is held in memory."""
        if isinstance(self._stream, _Plain) and self._raw.seekable():
            self._raw.seek(0)
            return self._raw
        return pa.BufferReader(self._stream.read())


class _Counted(io.RawIOBase):
    """Counts what is read of a file. Of a pipe or terminal it reads what is there, and waits for more only so long."""

    def __init__(self, raw: IO[bytes], stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._raw = raw
        self._stopping = stopping
        self._live = _live(raw)
        self._read_until_s = 0.0
        self._left = b""
        self.whole_reads = True
        """Who reads wants all it asked for, however long that takes; else what comes within ``WAIT_S``."""
        self.stopped = False
        """The end was not seen, ``stopping`` ended it."""
        self.bytes_read = 0

    def begin(self) -> None:
        """What is read from now on is wanted soon."""
        self._read_until_s = time.monotonic() + WAIT_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._live is not None:
            return self._read_live(buffer, self._live)
        data = self._raw.read1(len(buffer)) if hasattr(self._raw, "read1") else self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.bytes_read += len(data)
        return len(data)

    def _read_live(self, buffer: Any, descriptor: int) -> int | None:
        """None: nothing came in time."""
        while not self._left:
            wait_s = WAIT_S if self.whole_reads else min(WAIT_S, self._read_until_s - time.monotonic())
            if wait_s > 0 and select.select([descriptor], [], [], wait_s)[0]:
                self._left = self._raw.read1(_READ_BYTES)  # type: ignore[attr-defined] # all that its buffer holds
                self.bytes_read += len(self._left)
                break
            if self._stopping():
                self.stopped = True
                return 0
            if not self.whole_reads:
                return None
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _live(raw: IO[bytes]) -> int | None:
    """The descriptor of a pipe, socket or terminal; None: a file, whose bytes are all there."""
    try:
        descriptor = raw.fileno()
    except OSError:
        return None
    return None if stat.S_ISREG(os.fstat(descriptor).st_mode) else descriptor


class _Plain(io.BufferedReader):
    """Not compressed."""


def _decompressed(raw: io.RawIOBase) -> tuple[io.BufferedReader, bytes]:
    """A stream of the plain bytes, and the first of them."""
    plain = _Plain(raw, _READ_BYTES)
    head = plain.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    stream: io.BufferedReader = plain
    codec = next((name for magic, name in _CODECS.items() if head.startswith(magic)), None)
    if codec is not None:
        # Arrow's decompressor notices a file that ends too early.
        stream = io.BufferedReader(pa.CompressedInputStream(plain, codec), _READ_BYTES)
    return stream, stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]


def _format_of(head: bytes, path: str) -> Format:
    """Raises ``PAYLOAD_INVALID`` where it is surely none: text has no zero bytes."""
    other = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "binary data")
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return "arrow"
    if other != "binary data" or b"\0" in head:
        raise EvenshardError(
            "PAYLOAD_INVALID",
            f"{path} holds no events: it looks like {other}",
            hint="give NDJSON (one JSON object a line), Arrow or Parquet, perhaps as .gz or .zst",
        )
    return "ndjson"


def _without_first(records: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Leaves out the first ``rows`` rows."""
    for record in records:
        if rows < record.num_rows:
            yield record.slice(rows)
        rows = max(0, rows - record.num_rows)


def _chunks(stream: io.BufferedReader, lines: int, source: _Counted) -> Iterator[bytes]:
    """The stream behind its first ``lines`` lines, as it comes."""
    while True:
        source.begin()
        chunk: bytes | None = stream.read(LINE_BATCH_BYTES)
        if chunk is None:
            continue
        if not chunk:
            return
        ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE) if lines else np.empty(0, np.int64)
        if lines > ends.size:
            lines -= int(ends.size)
            continue
        if lines:
            chunk, lines = chunk[int(ends[lines - 1]) + 1 :], 0
        if chunk:
            yield chunk


def _blocks(stream: io.BufferedReader, lines_max: int, first: int, source: _Counted) -> Iterator[Batch]:
    """Whole lines from line ``first`` on, at most ``lines_max`` and ``LINE_BATCH_BYTES`` a block; a line too long for
    any is rejected."""
    pending = b""
    skipping = False
    for chunk in _chunks(stream, first, source):
        if skipping:
            end = chunk.find(b"\n")
            if end < 0:
                continue
            yield too_large("ndjson", first, 0)
            first, skipping, chunk = first + 1, False, chunk[end + 1 :]
        pending += chunk
        cut = pending.rfind(b"\n") + 1
        for block in _cut(pending[:cut], lines_max, first):
            yield block
            first += block.rows
        pending = pending[cut:]
        if len(pending) > LINE_BYTES_MAX:
            pending, skipping = b"", True
    if skipping:
        yield too_large("ndjson", first, 0)
    elif pending and not source.stopped:  # else the line may go on
        yield Batch("ndjson", pending, 1, first)


def _cut(data: bytes, lines_max: int, first: int) -> Iterator[Batch]:
    """``data`` (whole lines) as blocks."""
    if not data:
        return
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
    start = line = 0
    while line < ends.size:
        by_bytes = int(np.searchsorted(ends, start + LINE_BATCH_BYTES, side="right"))
        stop = max(line + 1, min(line + lines_max, by_bytes))
        end = int(ends[stop - 1])
        if end - start > LINE_BYTES_MAX and stop == line + 1:
            yield too_large("ndjson", first + line, 0)
        else:
            yield Batch("ndjson", data[start:end], stop - line, first + line)
        start, line = end, stop
