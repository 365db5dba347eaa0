"""What pyarrow needs to read and write a ``File`` of a ``Disk``, with a checksum over every block of the file.

Parquet's own page checksums leave the page headers out, and a damaged header can crash the reader or change an answer.
So bytes are verified here, block by block, before pyarrow sees them.
"""

import io

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_strings
from evenshard.ports.disk import File

BLOCK_BYTES = 16 << 10

UInt64 = npt.NDArray[np.uint64]


def block_checksums(data: bytes | memoryview) -> UInt64:
    """XXH64 of each block of ``BLOCK_BYTES``, the last one perhaps shorter; data of up to 2 GiB."""
    bounds = np.minimum(np.arange(-(-len(data) // BLOCK_BYTES) + 1) * BLOCK_BYTES, len(data)).astype(np.int32)
    out = np.empty(bounds.size - 1, np.uint64)
    hash_strings(bounds, np.frombuffer(data, np.uint8), out)
    return out


class ReadStream(io.RawIOBase):
    """The first ``checksums.size`` blocks of a ``File``, ``size`` bytes, each verified when it is read.

    ``failure`` is the first error met, the disk's or ``DATA_DAMAGED``: pyarrow loses its type.
    """

    def __init__(self, file: File, name: str, size: int, checksums: UInt64) -> None:
        super().__init__()
        self._file = file
        self._name = name
        self._size = size
        self._checksums = checksums
        self._at = 0
        self.failure: OSError | EvenshardError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        return self._size

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> memoryview:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        try:
            data = self._verified(self._at, max(self._at, end))
        except (OSError, EvenshardError) as error:
            self.failure = self.failure or error
            raise
        self._at += len(data)
        return data

    def _verified(self, start: int, end: int) -> memoryview:
        first = start // BLOCK_BYTES
        last = -(-end // BLOCK_BYTES)
        block_end = min(last * BLOCK_BYTES, self._size)
        data = self._file.read(first * BLOCK_BYTES, block_end - first * BLOCK_BYTES)
        if len(data) != block_end - first * BLOCK_BYTES:
            raise EvenshardError("DATA_DAMAGED", f"{self._name}: it is cut short", details={"file": self._name})
        wrong = np.flatnonzero(block_checksums(data) != self._checksums[first:last])
        if wrong.size:
            at = (first + int(wrong[0])) * BLOCK_BYTES
            raise EvenshardError(
                "DATA_DAMAGED",
                f"{self._name}: the checksum of the block at byte {at} does not match",
                details={"file": self._name, "offset": str(at)},
            )
        return memoryview(data)[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]


class WriteStream(io.RawIOBase):
    """A ``File`` to append to from its beginning. ``abandon``: what comes after is dropped."""

    def __init__(self, file: File) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._open_block = b""
        self._checksums: list[UInt64] = []
        self._abandoned = False

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        if self._abandoned:
            return len(data)
        count = self._file.write([data])
        self._at += count
        held = self._open_block + bytes(data)
        whole = len(held) // BLOCK_BYTES * BLOCK_BYTES
        if whole:
            self._checksums.append(block_checksums(memoryview(held)[:whole]))
        self._open_block = held[whole:]
        return count

    def abandon(self) -> None:
        self._abandoned = True

    def checksums(self) -> UInt64:
        """Of all blocks of what was written so far."""
        return np.concatenate([*self._checksums, block_checksums(self._open_block)])
