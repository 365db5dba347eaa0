"""The real disk: one directory of the local file system, locked while this process uses it."""

import errno
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.kernels.pieces import read_pieces

_BUFFERS_PER_WRITE = 1024  # IOV_MAX of Linux
_DATABASE_BUSY_TIMEOUT_S = 5.0
_WAL_MODE_AT, _WAL, _NO_WAL = 18, b"\x02\x02", b"\x01\x01"
"""A database in memory has no write-ahead log: its header must not ask for one. With any other bytes there SQLite opens
it, but says at the first change that it cannot be written."""


class LocalFile:
    """A file opened for reading and appending."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, buffers: Sequence[bytes | memoryview]) -> int:
        pending = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        total = 0
        first = 0
        while first < len(pending):
            count = os.writev(self._descriptor, pending[first : first + _BUFFERS_PER_WRITE])
            if count <= 0:
                raise OSError(errno.EIO, "the disk takes no bytes")
            total += count
            while first < len(pending) and count >= len(pending[first]):
                count -= len(pending[first])
                first += 1
            if count:
                pending[first] = pending[first][count:]
        return total

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        pieces = [data]
        have = len(data)
        while have < length:
            data = os.pread(self._descriptor, length - have, offset + have)
            if not data:
                break
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def read_pieces(self, offsets: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        out = np.empty(int(lengths.sum()), np.uint8)
        failed = read_pieces(self._descriptor, offsets, lengths, out)
        if failed >= 0:
            offset, length = int(offsets[failed]), int(lengths[failed])
            os.pread(self._descriptor, length, offset)  # says why, where it is the disk
            raise OSError(errno.EIO, f"{length} bytes from {offset} on cannot be read")
        return out

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LocalDisk:
    """A ``Disk`` below ``root``, which is made if absent. Raises ``DATA_DIR_LOCKED`` while another process has it."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        """``read_only``: nothing can be changed through it."""
        self._root = root.resolve()
        self._read_only = read_only
        made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for folder in made:
            _sync_folder(folder.parent)
        self._lock = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise EvenshardError("DATA_DIR_LOCKED", f"{self._root} is in use by another process") from None

    def close(self) -> None:
        """Lets another process have the directory. Open files stay open."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def open(self, name: str, *, create: bool = False) -> LocalFile:
        path = self._path(name)
        if create:
            self._check_changes()
            path.parent.mkdir(parents=True, exist_ok=True)
        if self._read_only:
            return LocalFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return LocalFile(os.open(path, flags, 0o644))

    def list(self, folder: str) -> list[str]:
        path = self._path(folder) if folder else self._root
        if not path.is_dir():
            return []
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def rename(self, old: str, new: str) -> None:
        self._check_changes()
        self._path(old).rename(self._path(new))

    def unlink(self, name: str) -> None:
        self._check_changes()
        self._path(name).unlink()

    def sync_directory(self, folder: str) -> None:
        path = self._path(folder) if folder else self._root
        _sync_folder(path)
        while path != self._root:
            path = path.parent
            _sync_folder(path)

    def database(self, name: str) -> sqlite3.Connection:
        self._check_changes()
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=_DATABASE_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        self.sync_directory(str(PurePosixPath(name).parent).removeprefix("."))
        return connection

    def database_copy(self, name: str) -> sqlite3.Connection | None:
        path = self._path(name)
        log = path.with_name(path.name + "-wal")
        if not path.is_file():
            return None
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        content = path.read_bytes()
        if content and content[_WAL_MODE_AT : _WAL_MODE_AT + len(_WAL)] not in (_WAL, _NO_WAL):
            raise sqlite3.DatabaseError(f"its header is damaged at byte {_WAL_MODE_AT}")
        if log.is_file() and log.stat().st_size:  # the process before this one was killed in a change
            with tempfile.TemporaryDirectory() as folder:
                twin = Path(folder, path.name)
                twin.write_bytes(content)
                twin.with_name(log.name).write_bytes(log.read_bytes())
                source = sqlite3.connect(twin)
                try:
                    source.backup(copy)
                finally:
                    source.close()
        elif content:
            header = content[:_WAL_MODE_AT]
            copy.deserialize(header + _NO_WAL + content[_WAL_MODE_AT + len(_NO_WAL) :])
        return copy

    def check_writable(self) -> None:
        """Raises ``OSError`` where the directory, or what is in it, could not be written. Changes nothing."""
        inside = [path for path in self._root.rglob("*") if path.is_dir() or path.parent == self._root]
        for path in (self._root, *inside):
            if not os.access(path, os.W_OK):
                raise OSError(errno.EROFS, f"{path} cannot be written", str(path))

    def free_bytes(self) -> int:
        usage = os.statvfs(self._root)
        return usage.f_bavail * usage.f_frsize

    def _check_changes(self) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, "opened for reading alone")

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise ValueError(f"not a name below the data directory: {name!r}")
        return self._root.joinpath(*parts)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
