"""Lists of users, each once, in the order of (placement hash, id). Pure.

Hashes only order: two ids are one user where their bytes are equal.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import UInt8, UInt64, hash_strings, load64, string_buffers
from evenshard.kernels import kernel, view

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

UNKNOWN = -1
_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)


@kernel(inline="always")
def order_of(hashes, offsets, data, i, j):  # type: ignore[no-untyped-def]
    """-1, 0 or 1: user i before, equal to or after user j, by (hash, id bytewise)."""
    if hashes[i] != hashes[j]:
        return -1 if hashes[i] < hashes[j] else 1
    at, stop = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
    other, other_stop = np.uint64(offsets[j]), np.uint64(offsets[j + 1])
    while at + _8 <= stop and other + _8 <= other_stop and load64(data, at) == load64(data, other):
        at += _8
        other += _8
    while at < stop and other < other_stop:
        if data[at] != data[other]:
            return -1 if data[at] < data[other] else 1
        at += _1
        other += _1
    if at == stop:
        return 0 if other == other_stop else -1
    return 1


@kernel(f"void({view('int32')}, {view('int64')}, {view('uint8')}, int64[::1], uint8[::1])")
def _copy_ids(users, offsets, data, out_offsets, out_data):  # type: ignore[no-untyped-def]
    """The ids of some users, one behind the other; ``out_offsets`` are written before."""
    for place in range(users.size):
        start = offsets[users[place]]
        to = out_offsets[place]
        for at in range(offsets[users[place] + 1] - start):
            out_data[to + at] = data[start + at]


@kernel(
    f"void({view('uint64')}, {view('int64')}, {view('uint8')}, {view('uint64')}, {view('int32')}, {view('uint8')}, "
    "int32[::1])"
)
def _find(hashes, offsets, data, wanted, wanted_offsets, wanted_data, out):  # type: ignore[no-untyped-def]
    """For each id wanted its user, or UNKNOWN."""
    for each in range(wanted.size):
        low, high = 0, hashes.size
        while low < high:
            middle = (low + high) // 2
            if hashes[middle] < wanted[each]:
                low = middle + 1
            else:
                high = middle
        out[each] = UNKNOWN
        start, size = wanted_offsets[each], wanted_offsets[each + 1] - wanted_offsets[each]
        while low < hashes.size and hashes[low] == wanted[each] and out[each] == UNKNOWN:
            if offsets[low + 1] - offsets[low] == size:
                at = 0
                while at < size and data[offsets[low] + at] == wanted_data[start + at]:
                    at += 1
                if at == size:
                    out[each] = low
            low += 1


@kernel(f"int64({view('int32')}, {view('uint8')}, int32[::1])")
def _first_of_runs(offsets, data, firsts):  # type: ignore[no-untyped-def]
    """Writes the first of each run of equal neighbours; returns how many."""
    runs = 0
    before, before_stop = _0, _0
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        same = row > 0 and stop - start == before_stop - before
        if same:
            at, other = start, before
            while at + _8 <= stop and load64(data, at) == load64(data, other):
                at += _8
                other += _8
            while at < stop and data[at] == data[other]:
                at += _1
                other += _1
            same = at == stop
        if not same:
            firsts[runs] = row
            runs += 1
        before, before_stop = start, stop
    return runs


def first_of_runs(ids: pa.StringArray) -> Int32:
    """The first row of each run of equal ids."""
    strings = string_buffers(ids)
    firsts = np.empty(len(ids), np.int32)
    return firsts[: _first_of_runs(strings.offsets, strings.data, firsts)].copy()


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Users by (hash, id), each once: user i is ``data[offsets[i]:offsets[i + 1]]`` (uint8; int64)."""

    hashes: UInt64
    offsets: Int64
    data: UInt8

    def __len__(self) -> int:
        return int(self.hashes.size)

    @property
    def bytes(self) -> int:
        """Memory."""
        return int(self.hashes.nbytes + self.offsets.nbytes + self.data.nbytes)

    def ids(self, users: Int32) -> pa.StringArray:
        """The ids of some users."""
        offsets, data = ids_of(users, self.offsets, self.data)
        found = pa.LargeStringArray.from_buffers(len(users), pa.py_buffer(offsets), pa.py_buffer(data))
        return found.cast(pa.utf8())

    def find(self, ids: pa.StringArray) -> Int32:
        """The number of each of ``ids``, or ``UNKNOWN``."""
        strings = string_buffers(ids)
        found = np.empty(len(ids), np.int32)
        _find(self.hashes, self.offsets, self.data, _hashes_of(ids), strings.offsets, strings.data, found)
        return found


NO_PEOPLE = People(np.zeros(0, np.uint64), np.zeros(1, np.int64), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A list of ids without "" as ``People``, and the place of each id in it."""

    people: People
    places: Int32


def listed(ids: pa.StringArray) -> Listed:
    """``ids`` may repeat and come in any order; where they come in that of users, which is seen, nothing is sorted."""
    hashes, offsets, data = _parts_of(ids)
    if _ascend(hashes, offsets, data):
        return Listed(People(hashes, offsets, data), np.arange(len(ids), dtype=np.int32))
    places, firsts = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
    count = _group(np.argsort(hashes), hashes, offsets, data, places, firsts)
    if count < 0:
        return _listed_by_hash_and_id(ids)
    firsts = firsts[:count]
    return Listed(People(hashes[firsts], *ids_of(firsts, offsets, data)), places)


@kernel(
    f"int64({view('int64')}, {view('uint64')}, {view('int64')}, {view('uint8')}, int32[::1], int32[::1])", counted=False
)
def _group(order, hashes, offsets, data, places, firsts):  # type: ignore[no-untyped-def]
    """Numbers ids that come, by ``order``, with equal ones together; returns how many users there are, or -1 where two
    ids have one hash. Writes the place of each id, and of each place one that has it."""
    count = np.uint64(0)
    for each in range(np.uint64(order.size)):
        mine = order[each]
        if count == _0 or hashes[np.uint64(mine)] != hashes[np.uint64(firsts[count - _1])]:
            firsts[count] = np.int32(mine)
            count += _1
        elif order_of(hashes, offsets, data, mine, np.int64(firsts[count - _1])) != 0:
            return -1
        places[np.uint64(mine)] = np.int32(count - _1)
    return np.int64(count)


def _listed_by_hash_and_id(ids: pa.StringArray) -> Listed:
    """Where ids may have one hash, which does not come by chance."""
    unique = ids.dictionary_encode()
    names = list(map(str.encode, unique.dictionary.to_pylist()))
    keys = list(zip(_hashes_of(unique.dictionary).tolist(), names, strict=True))
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Listed(People(*_parts_of(unique.dictionary.take(pa.array(order)))), place[unique.indices.to_numpy()])


@kernel(f"boolean({view('uint64')}, {view('int64')}, {view('uint8')})")
def _ascend(hashes, offsets, data):  # type: ignore[no-untyped-def]
    """Whether each user comes after the one before."""
    for user in range(1, hashes.size):
        if hashes[user] < hashes[user - 1]:
            return False
        if hashes[user] == hashes[user - 1] and order_of(hashes, offsets, data, user - 1, user) >= 0:
            return False
    return True


def _parts_of(ids: pa.StringArray) -> tuple[UInt64, Int64, UInt8]:
    strings = string_buffers(ids)
    first = int(strings.offsets[0]) if len(ids) else 0
    return _hashes_of(ids), strings.offsets.astype(np.int64) - first, strings.data[first : int(strings.offsets[-1])]


def _hashes_of(ids: pa.StringArray) -> UInt64:
    hashes = np.empty(len(ids), np.uint64)
    if len(ids):
        strings = string_buffers(ids)
        hash_strings(strings.offsets, strings.data, hashes)
    return hashes


def ids_of(users: Int32, offsets: Int64, data: UInt8) -> tuple[Int64, UInt8]:
    """The ids of some users, one behind the other: where each begins, and the end of all; their bytes."""
    lengths = (offsets[1:] - offsets[:-1])[users]
    new_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    new_data = np.empty(int(new_offsets[-1]), np.uint8)
    _copy_ids(users, offsets, data, new_offsets, new_data)
    return new_offsets, new_data
