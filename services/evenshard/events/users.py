"""Numbers the users of many sorted lists: equal ids get one number, in the order of (placement hash, id). Pure.

Hashes only order: two ids are one user where their bytes are equal.
"""

from collections.abc import Sequence
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
_BUCKET_BITS_MAX = 24


@kernel(inline="always")
def _order(hashes, offsets, data, i, j):  # type: ignore[no-untyped-def]
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


@kernel(f"int64({view('int32')}, {view('int32')}, {view('uint64')}, {view('int64')}, {view('uint8')}, int32[::1])")
def _merge(left, right, hashes, offsets, data, out):  # type: ignore[no-untyped-def]
    """Writes the users of two sorted lists in order, equal ones once; returns how many."""
    count, i, j = 0, 0, 0
    while i < left.size and j < right.size:
        order = _order(hashes, offsets, data, left[i], right[j])
        out[count] = left[i] if order <= 0 else right[j]
        i += order <= 0
        j += order >= 0
        count += 1
    while i < left.size:
        out[count] = left[i]
        i += 1
        count += 1
    while j < right.size:
        out[count] = right[j]
        j += 1
        count += 1
    return count


@kernel(f"void({view('int32')}, {view('uint64')}, uint64, int32[::1])")
def _fill_buckets(union, hashes, shift, out):  # type: ignore[no-untyped-def]
    """For each value of a hash's bits above ``shift`` the first place in ``union`` that has it or a higher one; then
    the size of ``union``."""
    bucket = 0
    for place in range(union.size):
        while np.uint64(bucket) <= hashes[union[place]] >> shift:
            out[bucket] = place
            bucket += 1
    out[bucket:] = union.size


@kernel(
    f"void({view('int32')}, {view('int32')}, uint64, int64, int64, {view('uint64')}, {view('int64')}, "
    f"{view('uint8')}, int32[::1])"
)
def _locate(union, buckets, shift, first, end, hashes, offsets, data, out):  # type: ignore[no-untyped-def]
    """The places in ``union`` of the users ``first`` to ``end``; all of them are there. Hashes are spread evenly, so a
    bucket has few; by halving, for ids may be chosen to have one hash."""
    for user in range(first, end):
        bucket = hashes[user] >> shift
        low, high = buckets[bucket], buckets[bucket + _1]
        while high - low > 1:
            middle = (low + high) // 2
            if _order(hashes, offsets, data, union[middle], user) <= 0:
                low = middle
            else:
                high = middle
        out[user - first] = low


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
        offsets, data = _ids_of(users, self.offsets, self.data)
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
    hashes, strings = _hashes_of(ids), string_buffers(ids)
    first = int(strings.offsets[0]) if len(ids) else 0
    offsets = strings.offsets.astype(np.int64) - first
    data = strings.data[first : int(strings.offsets[-1])]
    if _ascend(hashes, offsets, data):
        return Listed(People(hashes, offsets, data), np.arange(len(ids), dtype=np.int32))
    unique = ids.dictionary_encode()
    order = np.argsort(_hashes_of(unique.dictionary), kind="stable")
    ordered = unique.dictionary.take(pa.array(order))
    if not _ascend(*_parts_of(ordered)):  # ids of one hash
        keys = list(
            zip(_hashes_of(unique.dictionary).tolist(), map(str.encode, unique.dictionary.to_pylist()), strict=True)
        )
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
        ordered = unique.dictionary.take(pa.array(order))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return Listed(People(*_parts_of(ordered)), place[unique.indices.to_numpy()])


@kernel(f"boolean({view('uint64')}, {view('int64')}, {view('uint8')})")
def _ascend(hashes, offsets, data):  # type: ignore[no-untyped-def]
    """Whether each user comes after the one before."""
    for user in range(1, hashes.size):
        if hashes[user] < hashes[user - 1]:
            return False
        if hashes[user] == hashes[user - 1] and _order(hashes, offsets, data, user - 1, user) >= 0:
            return False
    return True


def _parts_of(ids: pa.StringArray) -> tuple[UInt64, Int64, UInt8]:
    strings = string_buffers(ids)
    return _hashes_of(ids), strings.offsets.astype(np.int64), strings.data


def _hashes_of(ids: pa.StringArray) -> UInt64:
    hashes = np.empty(len(ids), np.uint64)
    if len(ids):
        strings = string_buffers(ids)
        hash_strings(strings.offsets, strings.data, hashes)
    return hashes


@dataclass(frozen=True, slots=True, eq=False)
class United:
    """All users of some lists, and for each list its users' numbers; None: they are what they were."""

    people: People
    numbers: Sequence[Int32 | None]


def united(known: People, others: Sequence[People]) -> United:
    """The users of ``known``, whose numbers come first, and ``others``."""
    lists = [known, *others]
    sizes = np.array([len(each) for each in lists])
    ends = np.cumsum(sizes)
    hashes = np.concatenate([each.hashes for each in lists])
    bytes_before = np.cumsum([0, *(each.offsets[-1] for each in lists)])
    starts = [each.offsets[:-1] + before for each, before in zip(lists, bytes_before, strict=False)]
    offsets = np.concatenate([*starts, bytes_before[-1:]])
    data = np.concatenate([each.data for each in lists])
    waiting = [np.arange(end - size, end, dtype=np.int32) for size, end in zip(sizes, ends, strict=True)]
    while len(waiting) > 1:
        waiting.sort(key=len, reverse=True)
        left, right = waiting.pop(), waiting.pop()
        merged = np.empty(len(left) + len(right), np.int32)
        count = _merge(left, right, hashes, offsets, data, merged)
        waiting.append(merged[:count])
    union = waiting[0]
    grown = len(union) > len(known)
    bits = max(1, min(len(union).bit_length(), _BUCKET_BITS_MAX))
    shift, buckets = np.uint64(64 - bits), np.empty((1 << bits) + 1, np.int32)
    _fill_buckets(union, hashes, shift, buckets)
    numbers: list[Int32 | None] = []
    for number, (size, end) in enumerate(zip(sizes.tolist(), ends.tolist(), strict=True)):
        if number == 0 and not grown:
            numbers.append(None)
            continue
        places = np.empty(size, np.int32)
        _locate(union, buckets, shift, end - size, end, hashes, offsets, data, places)
        numbers.append(places)
    return United(_people_at(union, hashes, offsets, data) if grown else known, numbers)


def _people_at(users: Int32, hashes: UInt64, offsets: Int64, data: UInt8) -> People:
    return People(hashes[users], *_ids_of(users, offsets, data))


def _ids_of(users: Int32, offsets: Int64, data: UInt8) -> tuple[Int64, UInt8]:
    """The ids of some users, one behind the other: where each begins, and the end of all; their bytes."""
    lengths = (offsets[1:] - offsets[:-1])[users]
    new_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    new_data = np.empty(int(new_offsets[-1]), np.uint8)
    _copy_ids(users, offsets, data, new_offsets, new_data)
    return new_offsets, new_data
