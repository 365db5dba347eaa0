"""One directory of files as an argument: everything a shard keeps goes through it.

Names are relative, ``/`` separates folders. A power cut keeps what was synced: bytes by ``File.sync``, names
(creation, rename, unlink) by ``sync_directory``. Methods block; call them off the event loop.
"""

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class File(Protocol):
    """An open file."""

    def write(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Appends all buffers at the end, in order; returns the bytes written. Raises ``OSError``; what was
        written before it did is unknown."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer at the end of the file."""
        ...

    def read_pieces(self, offsets: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Pieces of the file, one behind the other; however many, it is one step. Raises ``OSError`` where one ends
        behind the file."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def sync(self) -> None:
        """Returns when all bytes written are durable (fdatasync). After an ``OSError`` nothing is known."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A directory tree owned by one process."""

    def open(self, name: str, *, create: bool = False) -> File:
        """Opens for reading and appending. ``create``: it must not exist yet (``FileExistsError``), folders are made;
        otherwise it must (``FileNotFoundError``)."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in ``folder``, sorted, without the folder; [] where there is none."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; replaces ``new``."""
        ...

    def unlink(self, name: str) -> None: ...

    def sync_directory(self, folder: str) -> None:
        """Makes creations, renames and unlinks in ``folder`` durable (and the folder itself in its parent)."""
        ...

    def database(self, name: str) -> sqlite3.Connection:
        """SQLite (WAL, ``synchronous=FULL``, ``isolation_level=None``). What COMMIT returned for is durable."""
        ...

    def database_copy(self, name: str) -> sqlite3.Connection | None:
        """A private copy in memory of what is committed; None: there is no such database. Changes nothing on the disk,
        not even a time stamp. Raises ``sqlite3.DatabaseError`` now or at the first statement where it is none."""
        ...

    def free_bytes(self) -> int: ...
