"""A file of the events that an import rejected: one line each, what was wrong with it and the event itself."""

import os
import stat
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from evenshard.client.batches import Batch
from evenshard.client.import_result import Rejected
from evenshard.errors import EvenshardError


def refuse_input(path: str | Path, source: str | Path) -> None:
    """Raises ``USAGE`` where the rejected events would overwrite ``source``, the file they come from (``-``: standard
    input), under whatever name."""
    try:
        written = os.stat(path)
        read = os.fstat(sys.stdin.fileno()) if str(source) == "-" else os.stat(source)
    except (OSError, ValueError):
        return  # one of them is not there: whoever opens it says so
    if os.path.samestat(written, read) and stat.S_ISREG(read.st_mode):
        raise EvenshardError(
            "USAGE", f"{path} is what is imported: rejected events would overwrite it", hint="name another file"
        )


class RejectedEvents:
    """NDJSON: the fields of ``errors`` and ``event``, which is the event as it was sent; text where it is no JSON; null
    where it was too large to be sent. A context manager."""

    def __init__(self, path: str | Path, *, append: bool) -> None:
        """Raises ``USAGE`` where the file cannot be written."""
        self._path = path
        try:
            self._file: IO[bytes] = open(path, "ab" if append else "wb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> "RejectedEvents":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, batch: Batch, rejects: list[Rejected]) -> None:
        """Adds the rejected events of one batch, in their order. Raises ``USAGE``."""
        try:
            self._file.write(rejected_lines(batch, rejects))
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> EvenshardError:
        return EvenshardError("USAGE", f"{self._path}: {error.strerror or error}", hint="name a file to be written")


def rejected_lines(batch: Batch, rejects: list[Rejected]) -> bytes:
    """The lines of one batch, ended by line feeds."""
    ordered = sorted(rejects, key=lambda each: each.index)
    events = _events(batch, [each.index - batch.first for each in ordered])
    lines = [
        orjson.dumps({**asdict(each), "event": event}, default=str) + b"\n"
        for each, event in zip(ordered, events, strict=True)
    ]
    return b"".join(lines)


def _events(batch: Batch, rows: list[int]) -> list[Any]:
    if not batch.payload:
        return [None] * len(rows)
    if batch.encoding == "ndjson":
        lines = batch.payload.split(b"\n")
        return [_line(lines[row]) for row in rows]
    with pa.ipc.open_stream(batch.payload) as reader:
        found: list[Any] = reader.read_next_batch().take(pa.array(rows, pa.int64())).to_pylist()
    return found


def _line(line: bytes) -> Any:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.decode(errors="replace").rstrip("\r")
    return orjson.Fragment(line.strip())
