"""A disk in memory that can lose power: ``crash`` gives the disk as it may look afterwards.

What was synced is kept. Of unsynced bytes a prefix survives, perhaps followed by zeros or noise up to the size the file
had; of unsynced creations, renames and unlinks any subset. Databases keep what was committed. The crashed disk itself
refuses everything from then on, so that a thread that still runs cannot write into the past.
"""

import errno
import itertools
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

Operation = str
"""``create open read write truncate sync close rename unlink sync_directory database list``."""

Hook = Callable[[Operation, str], None]
"""Called with the operation and the name before it happens; what it raises is what the caller meets."""


_numbers = itertools.count()


@dataclass(slots=True, eq=False)
class _Inode:
    data: bytearray = field(default_factory=bytearray)
    synced_bytes: int = 0
    shadow: bytes | None = None
    """What is durable, where an unsynced truncation went below it."""

    def truncate(self, size: int) -> None:
        if size < self.synced_bytes:
            if self.shadow is None:
                self.shadow = bytes(self.data[: self.synced_bytes])
            self.synced_bytes = size
        if size <= len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))

    def sync(self) -> None:
        self.synced_bytes = len(self.data)
        self.shadow = None

    def after_crash(self, random: Random) -> "_Inode":
        if self.shadow is not None and random.random() < 0.5:
            content = self.shadow
        else:
            kept = random.randint(self.synced_bytes, len(self.data))
            content = bytes(self.data[:kept])
            lost = len(self.data) - kept
            if lost and (fate := random.random()) < 0.5:
                content += bytes(lost) if fate < 0.25 else random.randbytes(lost)
        return _Inode(bytearray(content), len(content))


@dataclass(frozen=True, slots=True)
class _NameChange:
    """An unsynced change of names: these were set (None: removed), all or none."""

    entries: tuple[tuple[str, _Inode | None], ...]

    def touches(self, folder: str) -> bool:
        return any(_folder(name) == folder for name, _ in self.entries)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


class MemoryFile:
    """A file opened for reading and appending."""

    def __init__(self, disk: "MemoryDisk", name: str, inode: _Inode) -> None:
        self._disk = disk
        self._name = name
        self._inode: _Inode | None = inode

    def write(self, buffers: Sequence[bytes | memoryview]) -> int:
        joined = b"".join(buffers)
        with self._disk.begin("write", self._name):
            room = self._disk.free_bytes()
            self._open().data.extend(joined[:room])
            if len(joined) > room:
                raise OSError(errno.ENOSPC, "no space left on the disk")
        return len(joined)

    def read(self, offset: int, length: int) -> bytes:
        with self._disk.begin("read", self._name):
            return bytes(self._open().data[offset : offset + length])

    def read_pieces(self, offsets: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        with self._disk.begin("read", self._name):
            inode = self._open()
            if offsets.size and int((offsets + lengths).max()) > len(inode.data):
                raise OSError(errno.EIO, "a piece ends behind the file")
            within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            pieces: npt.NDArray[np.uint8] = np.frombuffer(inode.data, np.uint8)[np.repeat(offsets, lengths) + within]
            return pieces

    def size(self) -> int:
        return len(self._open().data)

    def truncate(self, size: int) -> None:
        with self._disk.begin("truncate", self._name):
            self._open().truncate(size)

    def sync(self) -> None:
        with self._disk.begin("sync", self._name):
            self._open().sync()

    def close(self) -> None:
        self._inode = None

    def _open(self) -> _Inode:
        if self._inode is None:
            raise OSError(errno.EBADF, "the file is closed")
        return self._inode


class _Connection(sqlite3.Connection):
    """May be closed while another thread uses it, as when power is lost: the statement under way ends first."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._alone = threading.RLock()
        super().__init__(*arguments, **named)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        with self._alone:
            return super().execute(sql, parameters)

    def close(self) -> None:
        with self._alone:
            super().close()


class MemoryDisk:
    """A ``Disk`` in memory. ``hook`` sees every operation and may fail it; ``capacity_bytes`` bounds the files."""

    def __init__(self, *, capacity_bytes: int = 1 << 40, hook: Hook | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.hook = hook
        self._number = next(_numbers)
        self._lock = threading.RLock()
        self._crashed = False
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._pending: list[_NameChange] = []
        self._folders: set[str] = {""}
        self._databases: dict[str, sqlite3.Connection] = {}
        self._connections: list[sqlite3.Connection] = []

    def begin(self, operation: Operation, name: str) -> threading.RLock:
        """The lock to hold for an operation, after the hook had its say."""
        if self._crashed:
            raise OSError(errno.EIO, "the disk lost power")
        if self.hook is not None:
            self.hook(operation, name)
        if self._crashed:
            raise OSError(errno.EIO, "the disk lost power")
        return self._lock

    def open(self, name: str, *, create: bool = False) -> MemoryFile:
        _check_name(name)
        with self.begin("create" if create else "open", name):
            inode = self._names.get(name)
            if create:
                if inode is not None:
                    raise FileExistsError(errno.EEXIST, "the file exists", name)
                inode = _Inode()
                self._make_folder(_folder(name))
                self._change((name, inode))
            elif inode is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", name)
            return MemoryFile(self, name, inode)

    def list(self, folder: str) -> list[str]:
        with self.begin("list", folder):
            return sorted(name.rpartition("/")[2] for name in self._names if _folder(name) == folder)

    def rename(self, old: str, new: str) -> None:
        _check_name(old)
        _check_name(new)
        with self.begin("rename", old):
            inode = self._existing(old)
            if _folder(new) not in self._folders:
                raise FileNotFoundError(errno.ENOENT, "no such folder", new)
            self._change((old, None), (new, inode))

    def unlink(self, name: str) -> None:
        _check_name(name)
        with self.begin("unlink", name):
            self._existing(name)
            self._change((name, None))

    def sync_directory(self, folder: str) -> None:
        with self.begin("sync_directory", folder):
            if folder not in self._folders:
                raise FileNotFoundError(errno.ENOENT, "no such folder", folder)
            for change in self._pending:
                if change.touches(folder):
                    self._durable_names = _applied(self._durable_names, change)
            self._pending = [change for change in self._pending if not change.touches(folder)]

    def database(self, name: str) -> sqlite3.Connection:
        _check_name(name)
        with self.begin("database", name):
            uri = f"file:/{self._number}/{name}?vfs=memdb"
            if name not in self._databases:
                self._databases[name] = self.connect(uri, name)
            connection = self.connect(uri, name)
            self._connections.append(connection)
            return connection

    def connect(self, uri: str, name: str) -> sqlite3.Connection:
        """One more connection to the database ``name``, which SQLite knows as ``uri``."""
        del name
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=_Connection)

    def database_copy(self, name: str) -> sqlite3.Connection | None:
        with self.begin("read", name):
            if name not in self._databases:
                return None
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._databases[name].backup(copy)
            return copy

    def free_bytes(self) -> int:
        with self._lock:
            return max(0, self.capacity_bytes - sum(len(inode.data) for inode in self._names.values()))

    def crash(self, random: Random) -> "MemoryDisk":
        """Loses power. Returns the disk after it, without a hook."""
        with self._lock:
            self._crashed = True
            survivor = MemoryDisk(capacity_bytes=self.capacity_bytes)
            names = self._durable_names
            for change in self._pending:
                if random.random() < 0.5:
                    names = _applied(names, change)
            survivor._names = {name: inode.after_crash(random) for name, inode in names.items()}
            survivor._durable_names = dict(survivor._names)
            survivor._folders = set(self._folders)
            for connection in self._connections:
                connection.close()  # rolls back what was not committed
            for name, database in self._databases.items():
                with survivor.database(name) as copy:
                    database.backup(copy)
                copy.close()
                database.close()
            return survivor

    def flip(self, name: str, offset: int, mask: int = 0x01) -> None:
        """Damages one byte, durably."""
        with self._lock:
            self._existing(name).data[offset] ^= mask

    def _existing(self, name: str) -> _Inode:
        inode = self._names.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return inode

    def _make_folder(self, folder: str) -> None:
        while folder:
            self._folders.add(folder)
            folder = _folder(folder)

    def _change(self, *entries: tuple[str, _Inode | None]) -> None:
        change = _NameChange(entries)
        self._names = _applied(self._names, change)
        self._pending.append(change)


def _applied(names: dict[str, _Inode], change: _NameChange) -> dict[str, _Inode]:
    result = dict(names)
    for name, inode in change.entries:
        if inode is None:
            result.pop(name, None)
        else:
            result[name] = inode
    return result


@cache
def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"not a name below the data directory: {name!r}")
