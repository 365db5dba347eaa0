"""What changed a disk, in order: enough to say at every moment what a power cut may leave."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes appended to a file. ``boundaries``: where its buffers began and ended, within ``data``."""

    file: int
    data: bytes
    boundaries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file cut, or filled with zeros, to a size."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """All changes of a file so far are durable."""

    file: int


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """The kernel may have dropped what it could not write, and counts it as written from now on."""

    file: int


@dataclass(frozen=True, slots=True)
class Named:
    """One change of names: each now means this file (None: nothing), all or none of them."""

    entries: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """All changes of names in a folder so far are durable."""

    folder: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A database after a COMMIT, which is atomic, and durable when it returned."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """Nothing of the disk's: what the one who uses it did or was told at this moment."""

    what: object


Entry = Wrote | Truncated | Synced | SyncFailed | Named | FolderSynced | Committed | Noted


@dataclass(frozen=True, slots=True)
class DiskState:
    """What is on a disk that was just switched on."""

    files: Mapping[str, bytes]
    databases: Mapping[str, bytes]

    def key(self) -> bytes:
        """Equal for equal states only; short, since many are remembered."""
        digest = hashlib.blake2b(digest_size=16)
        for kind in (self.files, self.databases):
            for name in sorted(kind):
                digest.update(f"{name} ".encode())
                digest.update(_digest(kind[name]))
            digest.update(b"\0")
        return digest.digest()


@lru_cache(maxsize=1024)
def _digest(content: bytes) -> bytes:
    """Most files of a state are those of the states beside it, as the very same objects."""
    return hashlib.blake2b(content, digest_size=16).digest()


NOTHING = DiskState({}, {})
