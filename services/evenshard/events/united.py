"""Numbers the users of many sorted lists: equal ids get one number, in the order of (placement hash, id). Pure.

Hashes only order: two ids are one user where their bytes are equal. Two ids of one hash do not come by chance; whether
there are any is seen when ids are compared, and then lists are merged by hash and id. Else their hashes are merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenshard.events.hashing import UInt8, load64
from evenshard.events.users import Int32, Int64, People, ids_of, order_of
from evenshard.kernels import kernel, view

_1, _8 = np.uint64(1), np.uint64(8)
_BUCKET_BITS_MAX = 24


@dataclass(frozen=True, slots=True, eq=False)
class United:
    """All users of some lists, and for each list its users' numbers; None: they are what they were."""

    people: People
    numbers: Sequence[Int32 | None]


def united(known: People, others: Sequence[People]) -> United:
    """The users of ``known``, whose numbers come first, and ``others``."""
    lists = [known, *others]
    return _by_hash(lists) or _by_hash_and_id(lists)


def _by_hash(lists: Sequence[People]) -> United | None:
    """None: there are two ids of one hash."""
    hashes = np.sort(np.concatenate([each.hashes for each in lists]))
    union = hashes[: _distinct(hashes)].copy()
    bits = max(1, min(len(union).bit_length(), _BUCKET_BITS_MAX))
    shift, buckets = np.uint64(64 - bits), np.empty((1 << bits) + 1, np.int32)
    _fill_buckets(union, shift, buckets)
    owners = np.full(len(union), -1, np.int32)
    numbers = [np.empty(len(each), np.int32) for each in lists]
    first = 0
    for each, places in zip(lists, numbers, strict=True):
        _locate(union, buckets, shift, each.hashes, first, places, owners)
        first += len(each)
    people = lists[0]
    if len(union) > len(people):
        people = People(union, *ids_of(owners, *_ids_together(lists)))
    for each, places in zip(lists, numbers, strict=True):
        if not _are(places, each.offsets, each.data, people.offsets, people.data):
            return None
    return United(people, [None, *numbers[1:]] if people is lists[0] else numbers)


@kernel("int64(uint64[::1])", counted=False)
def _distinct(hashes):  # type: ignore[no-untyped-def]
    """Puts each of ascending hashes in front, once; returns how many."""
    count = np.uint64(0)
    for each in range(np.uint64(hashes.size)):
        if count == np.uint64(0) or hashes[each] != hashes[count - _1]:
            hashes[count] = hashes[each]
            count += _1
    return np.int64(count)


@kernel(f"void({view('uint64')}, uint64, int32[::1])", counted=False)
def _fill_buckets(union, shift, out):  # type: ignore[no-untyped-def]
    """For each value of a hash's bits above ``shift`` the first place in ``union`` that has it or a higher one; then
    the size of ``union``."""
    bucket = np.uint64(0)
    for place in range(np.uint64(union.size)):
        while bucket <= union[place] >> shift:
            out[bucket] = np.int32(place)
            bucket += _1
    while bucket < np.uint64(out.size):
        out[bucket] = np.int32(union.size)
        bucket += _1


@kernel(
    f"void({view('uint64')}, {view('int32')}, uint64, {view('uint64')}, int64, int32[::1], int32[::1])", counted=False
)
def _locate(union, buckets, shift, hashes, first, places, owners):  # type: ignore[no-untyped-def]
    """The place in ``union`` of each of ``hashes``; all of them are there. Hashes are spread evenly, so a bucket has
    few; by halving, for ids may be chosen to have near ones. A place without owner (-1) gets the user, counted from
    ``first``."""
    for user in range(np.uint64(hashes.size)):
        bucket = hashes[user] >> shift
        low, high = np.uint64(buckets[bucket]), np.uint64(buckets[bucket + _1])
        while high - low > _1:
            middle = (low + high) >> _1
            if union[middle] <= hashes[user]:
                low = middle
            else:
                high = middle
        places[user] = np.int32(low)
        if owners[low] < 0:
            owners[low] = np.int32(first + np.int64(user))


@kernel(f"boolean({view('int32')}, {view('int64')}, {view('uint8')}, {view('int64')}, {view('uint8')})", counted=False)
def _are(places, offsets, data, their_offsets, their_data):  # type: ignore[no-untyped-def]
    """Whether each id is the one at its place among theirs."""
    for user in range(np.uint64(places.size)):
        place = np.uint64(places[user])
        at, stop, other = np.uint64(offsets[user]), np.uint64(offsets[user + _1]), np.uint64(their_offsets[place])
        if stop - at != np.uint64(their_offsets[place + _1]) - other:
            return False
        while at + _8 <= stop:
            if load64(data, at) != load64(their_data, other):
                return False
            at += _8
            other += _8
        while at < stop:
            if data[at] != their_data[other]:
                return False
            at += _1
            other += _1
    return True


def _ids_together(lists: Sequence[People]) -> tuple[Int64, UInt8]:
    """The ids of all lists, one behind the other: where each begins, and the end of all; their bytes."""
    bytes_before = np.cumsum([0, *(each.offsets[-1] for each in lists)])
    starts = [each.offsets[:-1] + before for each, before in zip(lists, bytes_before, strict=False)]
    return np.concatenate([*starts, bytes_before[-1:]]), np.concatenate([each.data for each in lists])


def _by_hash_and_id(lists: Sequence[People]) -> United:
    ends = np.cumsum([len(each) for each in lists]).tolist()
    hashes = np.concatenate([each.hashes for each in lists])
    offsets, data = _ids_together(lists)
    pieces = [np.arange(end - len(each), end, dtype=np.int32) for each, end in zip(lists, ends, strict=True)]
    waiting = pieces.copy()
    while len(waiting) > 1:
        waiting.sort(key=len, reverse=True)
        left, right = waiting.pop(), waiting.pop()
        merged = np.empty(len(left) + len(right), np.int32)
        count = _merge(left, right, hashes, offsets, data, merged)
        waiting.append(merged[:count])
    union = waiting[0]
    numbers: list[Int32 | None] = []
    for piece in pieces:
        places = np.empty(len(piece), np.int32)
        _walk(union, piece, hashes, offsets, data, places)
        numbers.append(places)
    if len(union) == len(lists[0]):
        return United(lists[0], [None, *numbers[1:]])
    return United(People(hashes[union], *ids_of(union, offsets, data)), numbers)


@kernel(f"int64({view('int32')}, {view('int32')}, {view('uint64')}, {view('int64')}, {view('uint8')}, int32[::1])")
def _merge(left, right, hashes, offsets, data, out):  # type: ignore[no-untyped-def]
    """Writes the users of two sorted lists in order, equal ones once; returns how many."""
    count, i, j = 0, 0, 0
    while i < left.size and j < right.size:
        order = order_of(hashes, offsets, data, left[i], right[j])
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


@kernel(f"void({view('int32')}, {view('int32')}, {view('uint64')}, {view('int64')}, {view('uint8')}, int32[::1])")
def _walk(union, some, hashes, offsets, data, out):  # type: ignore[no-untyped-def]
    """The place in ``union`` of each of some users, in order; all of them are there."""
    place = 0
    for each in range(some.size):
        while order_of(hashes, offsets, data, union[place], some[each]) < 0:
            place += 1
        out[each] = place
