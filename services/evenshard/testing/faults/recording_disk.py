"""A disk in memory that keeps a journal of all that changed it, and can be made to fail at any operation.

For one thread. Databases change by whole COMMITs (``Committed``): that SQLite keeps that promise on real files is shown
by copies of its bytes (tests/fault/test_catalog_files.py).
"""

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evenshard.testing.disk import MemoryDisk, MemoryFile, Operation
from evenshard.testing.faults.journal import (
    Committed,
    DiskState,
    Entry,
    FolderSynced,
    Named,
    Noted,
    Synced,
    SyncFailed,
    Truncated,
    Wrote,
)

Done = Literal["nothing", "half", "all"]
CHANGING = frozenset(
    {"create", "write", "truncate", "sync", "rename", "unlink", "sync_directory", "database"}
    | {"begin", "statement", "commit", "checkpoint"}
)
"""Operations that change something."""
SPACE_TAKING = frozenset({"create", "write", "database", "statement", "commit"})
"""Operations that a full disk refuses."""


class ProcessKilledError(BaseException):
    """The process ends here: nothing it does after this reaches the disk. Not an ``Exception``: nobody handles it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How an operation fails; ``done``: how much of it happened nevertheless."""

    error: OSError | ProcessKilledError
    done: Done = "nothing"


FaultPlan = Callable[[int, Operation, str], Fault | None]
"""Asked before each operation, with its number (from 0), its kind and its name."""


class RecordingFile(MemoryFile):
    """A file whose changes are in the disk's journal."""

    _disk: "RecordingDisk"

    def write(self, buffers: Sequence[bytes | memoryview]) -> int:
        joined = b"".join(buffers)
        boundaries = [0]
        for buffer in buffers:
            boundaries.append(boundaries[-1] + len(buffer))
        with self._disk.operation("write", self._name) as fault:
            data = joined
            if fault is not None:
                data = joined[: {"nothing": 0, "half": len(joined) // 2, "all": len(joined)}[fault.done]]
            before = self.size()
            try:
                super().write([data])
            finally:
                taken = self.size() - before
                if taken:
                    self._record(Wrote(self._number(), joined[:taken], tuple(b for b in boundaries if b <= taken)))
        return len(joined)

    def read(self, offset: int, length: int) -> bytes:
        with self._disk.operation("read", self._name):
            return super().read(offset, length)

    def read_pieces(self, offsets: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        with self._disk.operation("read", self._name):
            return super().read_pieces(offsets, lengths)

    def truncate(self, size: int) -> None:
        with self._disk.operation("truncate", self._name) as fault:
            if fault is None or fault.done == "all":
                super().truncate(size)
                self._record(Truncated(self._number(), size))

    def sync(self) -> None:
        with self._disk.operation("sync", self._name) as fault:
            if fault is None or fault.done == "all":
                super().sync()
                self._record(Synced(self._number()))
            elif not isinstance(fault.error, ProcessKilledError):
                self._record(SyncFailed(self._number()))

    def _number(self) -> int:
        return self._disk.number_of(self._open())

    def _record(self, entry: Entry) -> None:
        self._disk.journal.append(entry)


class _Database(sqlite3.Connection):
    """A connection whose statements are operations of the disk."""

    disk: "RecordingDisk"
    name: str

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        operation = _operation_of(sql)
        if operation is None:
            return super().execute(sql, *parameters)
        try:
            with self.disk.operation(operation, self.name) as fault:
                if fault is None or fault.done == "all":
                    cursor = super().execute(sql, *parameters)
                    if operation == "commit":
                        self.disk.journal.append(Committed(self.name, self.serialize()))
                    if fault is not None:
                        cursor.close()
                    return cursor
        except OSError as error:
            raise _as_sqlite(error) from error
        raise AssertionError("the fault was not raised")


def _operation_of(sql: str) -> Operation | None:
    word = sql.split(maxsplit=1)[0].upper()
    if word == "PRAGMA":
        return "checkpoint" if "checkpoint" in sql else "query"
    return {"ROLLBACK": None, "BEGIN": "begin", "COMMIT": "commit", "SELECT": "query"}.get(word, "statement")


def _as_sqlite(error: OSError) -> sqlite3.OperationalError:
    full = error.errno == errno.ENOSPC
    failed = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
    failed.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
    return failed


class RecordingDisk(MemoryDisk):
    """``journal`` begins with the disk as it was made; ``plan`` may make any operation fail."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        super().__init__()
        self.journal: list[Entry] = []
        self.start = DiskState({}, {})
        self.plan = plan
        self.operations = 0
        self._numbers: dict[object, int] = {}
        self._dead = False
        self._inside = False

    @staticmethod
    def holding(state: DiskState, plan: FaultPlan | None = None) -> "RecordingDisk":
        """As it is after a power cut: everything durable."""
        disk = RecordingDisk()
        for name in sorted(state.files):
            file = disk.open(name, create=True)
            file.write([state.files[name]])
            file.sync()
            disk.sync_directory(str(PurePosixPath(name).parent).removeprefix("."))
        for name, content in state.databases.items():
            source = sqlite3.connect(":memory:")
            source.deserialize(content)
            with disk.database(name) as copy:
                source.backup(copy)
            copy.close()
            source.close()
        disk.journal.clear()
        disk.start = state
        disk.plan = plan
        disk.operations = 0
        return disk

    def state(self) -> DiskState:
        """As it is after a switch-off: everything durable."""
        files = {name: bytes(inode.data) for name, inode in self._names.items()}
        return DiskState(files, {name: database.serialize() for name, database in self._databases.items()})

    def open(self, name: str, *, create: bool = False) -> RecordingFile:
        with self.operation("create" if create else "open", name) as fault:
            if fault is None or fault.done == "all":
                inode = super().open(name, create=create)._open()
                if create:
                    self.journal.append(Named(((name, self.number_of(inode)),)))
                return RecordingFile(self, name, inode)
        raise AssertionError("the fault was not raised")

    def list(self, folder: str) -> list[str]:
        with self.operation("list", folder):
            return super().list(folder)

    def rename(self, old: str, new: str) -> None:
        with self.operation("rename", old) as fault:
            if fault is None or fault.done == "all":
                inode = self._existing(old)
                super().rename(old, new)
                self.journal.append(Named(((old, None), (new, self.number_of(inode)))))

    def unlink(self, name: str) -> None:
        with self.operation("unlink", name) as fault:
            if fault is None or fault.done == "all":
                super().unlink(name)
                self.journal.append(Named(((name, None),)))

    def sync_directory(self, folder: str) -> None:
        with self.operation("sync_directory", folder) as fault:
            if fault is None or fault.done == "all":
                super().sync_directory(folder)
                self.journal.append(FolderSynced(folder))

    def database(self, name: str) -> sqlite3.Connection:
        try:
            with self.operation("database", name):
                return super().database(name)
        except OSError as error:
            raise _as_sqlite(error) from error

    def database_copy(self, name: str) -> sqlite3.Connection | None:
        try:
            with self.operation("database_copy", name):
                return super().database_copy(name)
        except OSError as error:
            raise _as_sqlite(error) from error

    def connect(self, uri: str, name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=_Database)
        connection.disk = self
        connection.name = name
        return connection

    def note(self, what: object) -> None:
        """Into the journal: what the one who uses the disk did or was told."""
        self.journal.append(Noted(what))

    def restart(self) -> None:
        """A killed process's successor: what was written is there, synced or not; open transactions are not."""
        self._dead = False
        self.plan = None
        self.restart_connections()

    def restart_connections(self) -> None:
        """Open transactions are rolled back, as when a process ends."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def number_of(self, inode: object) -> int:
        return self._numbers.setdefault(inode, len(self._numbers))

    @contextmanager
    def operation(self, kind: Operation, name: str) -> Iterator[Fault | None]:
        """An operation that may be made to fail: the caller does what the fault leaves of it, then it raises."""
        if self._inside:
            yield None
            return
        if self._dead:
            raise ProcessKilledError
        fault = None if self.plan is None else self.plan(self.operations, kind, name)
        self.operations += 1
        if fault is not None and fault.done == "nothing" and kind not in CHANGING:
            raise fault.error
        self._inside = True
        try:
            yield fault
        finally:
            self._inside = False
        if fault is not None:
            self._dead = isinstance(fault.error, ProcessKilledError)
            raise fault.error
