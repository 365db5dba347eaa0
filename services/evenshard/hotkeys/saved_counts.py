"""A counter's counts as bytes: magic, length and checksum of a JSON header, the header, the columns it names. Pure.

Checksums are XXH64. What cannot be read, or is of another version, is ``SavedCountsError``: counts are an aid, nobody
needs to mend them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import hash_strings
from evenshard.hotkeys.count_table import Columns
from evenshard.ids import TenantId

MAGIC: Final = b"EVCOUNT2"
_READ: Final = (b"EVCOUNT1", MAGIC)
"""The first had all tables as large as they may be."""
_HEAD_BYTES: Final = len(MAGIC) + 16


class SavedCountsError(Exception):
    """The bytes are no saved counts, or damaged."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Keys were forgotten."""

    now_ms: int
    count_max: int
    """The largest count of theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedGeneration:
    """A generation as columns."""

    listed_from: int
    counts: Columns
    heavy: Columns


@dataclass(frozen=True, slots=True, eq=False)
class SavedCounts:
    """What a counter knew."""

    start_ms: int
    keys_max: int
    tenants: tuple[TenantId, ...]
    losses: tuple[Loss, ...]
    generations: tuple[SavedGeneration, ...]
    """One, or the old one and the young one."""


def encoded(saved: SavedCounts) -> list[bytes | memoryview]:
    """The bytes, in pieces."""
    generations = [
        {
            "listed_from": each.listed_from,
            "counts": [_named(name, column) for name, column in each.counts.items()],
            "heavy": [_named(name, column) for name, column in each.heavy.items()],
        }
        for each in saved.generations
    ]
    header = json.dumps(
        {
            "start_ms": saved.start_ms,
            "keys_max": saved.keys_max,
            "tenants": saved.tenants,
            "losses": [asdict(loss) for loss in saved.losses],
            "generations": generations,
        }
    ).encode()
    head = MAGIC + len(header).to_bytes(8, "little") + _checksum(header).to_bytes(8, "little")
    columns = [column for each in saved.generations for table in (each.counts, each.heavy) for column in table.values()]
    return [head, header, *(column.view(np.uint8).data for column in columns if column.size)]


def decoded(data: bytes) -> SavedCounts:
    """Raises ``SavedCountsError``."""
    if data[: len(MAGIC)] not in _READ:
        raise SavedCountsError("it is no file of counts, or of another version")
    size = int.from_bytes(data[8:16], "little")
    header = data[_HEAD_BYTES : _HEAD_BYTES + size]
    if len(header) < size or _checksum(header) != int.from_bytes(data[16:24], "little"):
        raise SavedCountsError("its header is damaged")
    said = json.loads(header)
    columns = _Columns(data, _HEAD_BYTES + size)
    generations = tuple(
        SavedGeneration(each["listed_from"], columns.table(each["counts"]), columns.table(each["heavy"]))
        for each in said["generations"]
    )
    return SavedCounts(
        said["start_ms"],
        said["keys_max"],
        tuple(TenantId(tenant) for tenant in said["tenants"]),
        tuple(Loss(**loss) for loss in said["losses"]),
        generations,
    )


class _Columns:
    """Reads columns one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def table(self, named: Sequence[tuple[str, str, int, int]]) -> Columns:
        return {name: self._column(name, dtype, size, checksum) for name, dtype, size, checksum in named}

    def _column(self, name: str, dtype: str, size: int, checksum: int) -> npt.NDArray[Any]:
        end = self._at + size * np.dtype(dtype).itemsize
        data = memoryview(self._data)[self._at : end]
        if end > len(self._data) or _checksum(data) != checksum:
            raise SavedCountsError(f"its column {name} is damaged")
        self._at = end
        return np.frombuffer(data, dtype)


def _named(name: str, column: npt.NDArray[Any]) -> tuple[str, str, int, int]:
    return name, column.dtype.str, column.size, _checksum(column)


def _checksum(data: bytes | memoryview | npt.NDArray[Any]) -> int:
    array = np.frombuffer(data, np.uint8)
    out = np.empty(1, np.uint64)
    hash_strings(np.array([0, array.size], np.int32), array, out)
    return int(out[0])
