"""Weaves sorted parts into one order, and numbers the users of sorted rows. Pure.

Parts hold long runs of one user each, so most rows are copied after one comparison of placement hashes; fields are
compared only where parts share a placement hash.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import StringBuffers
from evenshard.kernels import kernel, prefetch, view
from evenshard.storage.segment.order import Int64, SortKeys, UInt64, compare_rows, equal_bytes, same_event

Int32 = npt.NDArray[np.int32]

_KEYS = (
    f"{view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')},"
    f"{view('uint8')}, {view('boolean')}"
)


@kernel(inline=True)
def _end_of_group(order, start, end, placement):  # type: ignore[no-untyped-def]
    """Where the rows with the placement hash of ``order[start]`` end."""
    value = placement[order[start]]
    at = start + 1
    while at < end and placement[order[at]] == value:
        at += 1
    return at


@kernel(inline=True)
def _copy_rows(order, start, end, out, to):  # type: ignore[no-untyped-def]
    """Returns where the next row goes."""
    for at in range(start, end):
        out[to] = order[at]
        to += 1
    return to


@kernel(inline=True)
def _of_one_user(order, left, left_end, right, right_end, ids, id_data):  # type: ignore[no-untyped-def]
    """Whether all rows of two groups are of one user. Both are sorted by id: one whose first and last are equal is."""
    first, last = order[left], order[left_end - 1]
    other, other_last = order[right], order[right_end - 1]
    return (
        equal_bytes(id_data, ids[first], ids[first + 1], id_data, ids[last], ids[last + 1])
        and equal_bytes(id_data, ids[other], ids[other + 1], id_data, ids[other_last], ids[other_last + 1])
        and equal_bytes(id_data, ids[first], ids[first + 1], id_data, ids[other], ids[other + 1])
    )


@kernel(inline=True)
def _weave_groups(  # type: ignore[no-untyped-def]
    order, left, left_end, right, right_end, out, to, ids, id_data, times, ranks, inserts, insert_data, has_insert
):
    """Merges two groups of equal placement hash; returns where the next row goes."""
    with_ids = not _of_one_user(order, left, left_end, right, right_end, ids, id_data)
    if with_ids or times[order[left_end - 1]] >= times[order[right]]:
        while left < left_end and right < right_end:
            verdict = compare_rows(
                order[left], order[right], with_ids, ids, id_data, times, ranks, inserts, insert_data, has_insert
            )
            if verdict <= 0:
                out[to] = order[left]
                left += 1
            else:
                out[to] = order[right]
                right += 1
            to += 1
    return _copy_rows(order, right, right_end, out, _copy_rows(order, left, left_end, out, to))


@kernel(f"void(int64[::1], int64, int64, int64, int64[::1], {_KEYS})")
def _weave_two(  # type: ignore[no-untyped-def]
    order, start, middle, end, out, placement, ids, id_data, times, ranks, inserts, insert_data, has_insert
):
    """Merges ``order[start:middle]`` and ``order[middle:end]``, both sorted, into ``out[start:end]``; of equal rows
    those on the left go first."""
    left, right, to = start, middle, start
    while left < middle and right < end:
        a, b = placement[order[left]], placement[order[right]]
        if a == b:
            left_end = _end_of_group(order, left, middle, placement)
            right_end = _end_of_group(order, right, end, placement)
            to = _weave_groups(
                order,
                left,
                left_end,
                right,
                right_end,
                out,
                to,
                ids,
                id_data,
                times,
                ranks,
                inserts,
                insert_data,
                has_insert,
            )
            left, right = left_end, right_end
        elif a < b:
            while left < middle and placement[order[left]] < b:
                out[to] = order[left]
                to += 1
                left += 1
        else:
            while right < end and placement[order[right]] < a:
                out[to] = order[right]
                to += 1
                right += 1
    _copy_rows(order, right, end, out, _copy_rows(order, left, middle, out, to))


def weave(keys: SortKeys, lengths: Sequence[int]) -> Int64:
    """The row numbers in segment order of sorted parts, ``lengths`` rows each, that stand one after another in
    ``keys``; of equal rows those of the earlier part first."""
    order = np.arange(keys.placement.size, dtype=np.int64)
    bounds = [0, *np.cumsum(lengths).tolist()]
    out = np.empty_like(order)
    while len(bounds) > 2:
        for at in range(0, len(bounds) - 1, 2):
            start, middle = bounds[at], bounds[at + 1]
            end = bounds[min(at + 2, len(bounds) - 1)]
            _weave_two(
                order,
                start,
                middle,
                end,
                out,
                keys.placement,
                keys.ids.offsets,
                keys.ids.data,
                keys.times,
                keys.ranks,
                keys.inserts.offsets,
                keys.inserts.data,
                keys.inserts.valid,
            )
        order, out = out, order
        bounds = [*bounds[:-1:2], bounds[-1]]
    return order


@kernel(f"int64(int64[::1], {view('uint64')}, {view('int32')}, {view('uint8')}, int32[::1], int64[::1])")
def _number_users(order, placement, ids, id_data, codes, firsts):  # type: ignore[no-untyped-def]
    """``codes[i]``: number of the user of the i-th row in order; ``firsts``: each user's first row. Returns how many
    users there are."""
    users = 0
    anonymous = np.int32(-1)  # one user, wherever they are placed: a dictionary holds no value twice
    start = 0
    while start < order.size:
        end = _end_of_group(order, start, order.size, placement)
        first, last = order[start], order[end - 1]
        of_one = equal_bytes(id_data, ids[first], ids[first + 1], id_data, ids[last], ids[last + 1])
        for at in range(start, end):
            row, before = order[at], order[max(start, at - 1)]
            if at > start and (
                of_one or equal_bytes(id_data, ids[row], ids[row + 1], id_data, ids[before], ids[before + 1])
            ):
                codes[at] = codes[at - 1]
                continue
            is_anonymous = ids[row] == ids[row + 1]
            if is_anonymous and anonymous >= 0:
                codes[at] = anonymous
                continue
            if is_anonymous:
                anonymous = np.int32(users)
            firsts[users] = row
            codes[at] = users
            users += 1
        start = end
    return users


def number_users(order: Int64, placement: UInt64, ids: StringBuffers) -> tuple[Int32, Int64]:
    """The users of rows in segment order, numbered as they come: each row's number, and each user's first row."""
    codes = np.empty(order.size, np.int32)
    firsts = np.empty(order.size, np.int64)
    users = _number_users(order, placement, ids.offsets, ids.data, codes, firsts)
    return codes, firsts[:users]


@kernel(inline=True)
def _is_set(bits, at):  # type: ignore[no-untyped-def]
    return (bits[at >> np.uint64(3)] >> (at & np.uint64(7))) & 1


@kernel(f"int64({view('int32')}, {view('int64')}, {view('int32')}, {view('uint8')}, int64, int64[::1])")
def originals_alike(users, times, events, duplicate, first_bit, rows):  # type: ignore[no-untyped-def]
    """Fills ``rows`` with the originals that have user, time and event of the row before them; returns how many.
    ``duplicate``: bits, the first row's at ``first_bit``."""
    count = np.uint64(0)
    for row in range(np.uint64(1), np.uint64(users.size)):
        prefetch(times, row + np.uint64(512))
        before = row - np.uint64(1)
        if times[row] == times[before] and users[row] == users[before] and events[row] == events[before]:
            rows[count] = row
            count += np.uint64(1 - _is_set(duplicate, row + np.uint64(first_bit)))
    return np.int64(count)


@kernel(
    f"int64({view('int64')}, {view('int32')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('uint8')},"
    f"{view('boolean')}, {view('uint8')}, int64)"
)
def second_original(  # type: ignore[no-untyped-def]
    originals, users, times, events, inserts, insert_data, has_insert, duplicate, first_bit
):
    """Of sorted rows: the first of some originals before which an equal event is an original too; -1: none. Equal
    events follow one another. ``duplicate``: as of ``originals_alike``."""
    for row in originals:
        before = row - 1
        while before >= 0 and same_event(before, row, users, times, events, inserts, insert_data, has_insert):
            if not _is_set(duplicate, np.uint64(before + first_bit)):
                return row
            before -= 1
    return -1
