"""A folder of a disk as a disk: two shards on one disk lose power at one moment."""

import sqlite3

from evenshard.ports.disk import Disk, File


class DiskPart:
    """A ``Disk`` whose names all stand below ``folder`` of another one."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder

    def open(self, name: str, *, create: bool = False) -> File:
        return self._disk.open(self._name(name), create=create)

    def list(self, folder: str) -> list[str]:
        return self._disk.list(self._name(folder))

    def rename(self, old: str, new: str) -> None:
        self._disk.rename(self._name(old), self._name(new))

    def unlink(self, name: str) -> None:
        self._disk.unlink(self._name(name))

    def sync_directory(self, folder: str) -> None:
        self._disk.sync_directory(self._name(folder))

    def database(self, name: str) -> sqlite3.Connection:
        return self._disk.database(self._name(name))

    def database_copy(self, name: str) -> sqlite3.Connection | None:
        return self._disk.database_copy(self._name(name))

    def free_bytes(self) -> int:
        return self._disk.free_bytes()

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}" if name else self._folder
