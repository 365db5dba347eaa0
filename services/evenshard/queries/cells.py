"""Counts events and distinct users by cell, over many batches; a cell is a number for a (group, bucket)."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.queries.groups import Integers, dense


class CellCounts:
    """Sums of counts by key, for many small additions: they wait, and are summed when they outweigh the sums."""

    _WAIT_MIN = 1 << 20

    def __init__(self) -> None:
        self._keys: Integers = np.zeros(0, np.int64)
        self._counts: Integers = np.zeros(0, np.int64)
        self._waiting: list[tuple[Integers, Integers]] = []
        self._waiting_rows = 0

    def add(self, keys: Integers, counts: Integers) -> None:
        self._waiting.append((keys, counts))
        self._waiting_rows += len(keys)
        if self._waiting_rows > max(self._WAIT_MIN, len(self._keys)):
            self.sums()

    def sums(self) -> tuple[Integers, Integers]:
        """Distinct keys, ascending, and their sums."""
        if self._waiting:
            keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
            counts = np.concatenate([self._counts, *(counts for _, counts in self._waiting)])
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
            self._keys, self._counts = keys[first], np.add.reduceat(counts[order], first) if len(first) else counts
            self._waiting, self._waiting_rows = [], 0
        return self._keys, self._counts


class CellUsers:
    """The distinct (cell, user) pairs of a scan, exactly: users are numbered by their ids, never by hashes."""

    USER_BITS = 30
    PAIRS_MAX = 64_000_000
    """Distinct pairs; eight bytes each."""
    _WAIT_MIN = 1 << 20

    def __init__(self) -> None:
        self._ids: pa.Array = pa.array([], pa.utf8())
        self._pairs: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._waiting: list[tuple[pa.Array, Integers, Integers]] = []
        self._waiting_rows = 0

    def add(self, cells: Integers, users: Integers, ids: pa.Array) -> None:
        """Row i is an event of user ``ids[users[i]]`` in ``cells[i]``; ``""`` is nobody. An id may occur more than once
        among ``ids``: where some rows are anonymous and others rewritten, ``""`` does."""
        somebody = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        if not somebody.all():
            known = somebody[users]
            cells, users = cells[known], users[known]
        if len(cells) == 0:
            return
        pairs = distinct((cells.astype(np.uint64) << np.uint64(self.USER_BITS)) | users.astype(np.uint64))
        cells, users = self._split(pairs)
        used, users = dense(users, len(ids))
        ids = ids.take(pa.array(used))
        self._waiting.append((ids, cells, users))
        self._waiting_rows += len(ids) + len(cells)
        if self._waiting_rows > max(self._WAIT_MIN, len(self._ids) + len(self._pairs)):
            self._merge()

    def _split(self, pairs: npt.NDArray[np.uint64]) -> tuple[Integers, Integers]:
        users = pairs & np.uint64((1 << self.USER_BITS) - 1)
        return (pairs >> np.uint64(self.USER_BITS)).astype(np.int64), users.astype(np.int32)

    def _merge(self) -> None:
        """Numbers the users of what waits after those known (one table of ids; known ones keep their number)."""
        if not self._waiting:
            return
        table = pa.chunked_array([self._ids, *(ids for ids, _, _ in self._waiting)]).dictionary_encode()
        self._ids = table.chunk(table.num_chunks - 1).dictionary
        if len(self._ids) >= 1 << self.USER_BITS:
            raise _too_many_users()
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in table.chunks])
        at = len(numbers) - sum(len(ids) for ids, _, _ in self._waiting)
        pieces = [self._pairs]
        for ids, cells, users in self._waiting:
            mine = numbers[at : at + len(ids)][users].astype(np.uint64)
            pieces.append((cells.astype(np.uint64) << np.uint64(self.USER_BITS)) | mine)
            at += len(ids)
        self._pairs = distinct(np.concatenate(pieces))
        self._waiting, self._waiting_rows = [], 0
        if len(self._pairs) > self.PAIRS_MAX:
            raise _too_many_users()

    def counts(self, cells: Integers) -> Integers:
        """How many users each of ``cells`` (ascending) has."""
        self._merge()
        found, counts = np.unique(self._split(self._pairs)[0], return_counts=True)
        return _looked_up(cells, found, counts)

    def counts_by_group(self, groups: Integers, cells_per_group: int) -> Integers:
        """How many users each of ``groups`` (ascending) has over all of its cells."""
        self._merge()
        cells, users = self._split(self._pairs)
        by_group = (cells // cells_per_group).astype(np.uint64) << np.uint64(self.USER_BITS) | users.astype(np.uint64)
        found, counts = np.unique(self._split(distinct(by_group))[0], return_counts=True)
        return _looked_up(groups, found, counts)


def distinct(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Distinct values, ascending. ``np.unique`` would hash, and take microseconds for each of our packed values."""
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def _looked_up(keys: Integers, found: Integers, counts: Integers) -> Integers:
    """The count of each of ``keys``, 0 where it was not found; both ascend."""
    result = np.zeros(len(keys), np.int64)
    result[np.searchsorted(keys, found)] = counts
    return result


def _too_many_users() -> EvenshardError:
    return EvenshardError(
        "QUERY_INVALID",
        f"unique: more than {CellUsers.PAIRS_MAX} distinct users of groups and buckets on one shard",
        hint="ask for a shorter range, a coarser unit, or break down by less",
    )
