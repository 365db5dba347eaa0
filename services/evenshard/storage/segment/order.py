"""The order of rows in a segment: (placement hash, distinct_id, time, event, insert_id), strings bytewise.

A missing insert_id comes first. Stable: rows that agree in all of these keep the order they came in, so the first
stored copy of an event stands first.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import StringBuffers, load64, string_buffers
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.kernels import kernel, view

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

_INSERTION_ROWS = 16
_BUCKET_ROWS = 64
_BUCKET_BITS_MAX = 18
_ONE, _EIGHT = np.uint64(1), np.uint64(8)


@kernel(inline=True)
def compare_bytes(left, left_start, left_end, right, right_start, right_end):  # type: ignore[no-untyped-def]
    """-1, 0 or 1: bytewise, a prefix first."""
    length = min(left_end - left_start, right_end - right_start)
    for at in range(length):
        a, b = left[left_start + at], right[right_start + at]
        if a != b:
            return -1 if a < b else 1
    if left_end - left_start == right_end - right_start:
        return 0
    return -1 if left_end - left_start < right_end - right_start else 1


@kernel(inline=True)
def compare_rows(i, j, with_ids, id_offsets, id_data, times, ranks, insert_offsets, insert_data, has_insert):  # type: ignore[no-untyped-def]
    if with_ids:
        verdict = compare_bytes(id_data, id_offsets[i], id_offsets[i + 1], id_data, id_offsets[j], id_offsets[j + 1])
        if verdict != 0:
            return verdict
    if times[i] != times[j]:
        return -1 if times[i] < times[j] else 1
    if ranks[i] != ranks[j]:
        return -1 if ranks[i] < ranks[j] else 1
    if has_insert[i] != has_insert[j]:
        return 1 if has_insert[i] else -1
    if not has_insert[i]:
        return 0
    return compare_bytes(
        insert_data, insert_offsets[i], insert_offsets[i + 1], insert_data, insert_offsets[j], insert_offsets[j + 1]
    )


@kernel(inline=True)
def _sort_group(order, start, end, scratch, with_ids, ids, id_data, times, ranks, inserts, insert_data, has_insert):  # type: ignore[no-untyped-def]
    """Stable merge sort of ``order[start:end]``: insertion in pieces of 16, then merging what is not in order."""
    for first in range(start, end, _INSERTION_ROWS):
        for at in range(first + 1, min(end, first + _INSERTION_ROWS)):
            row = order[at]
            to = at
            while (
                to > first
                and compare_rows(
                    order[to - 1], row, with_ids, ids, id_data, times, ranks, inserts, insert_data, has_insert
                )
                > 0
            ):
                order[to] = order[to - 1]
                to -= 1
            order[to] = row
    width = _INSERTION_ROWS
    while width < end - start:
        for first in range(start, end - width, 2 * width):
            middle, last = first + width, min(end, first + 2 * width)
            if (
                compare_rows(
                    order[middle - 1],
                    order[middle],
                    with_ids,
                    ids,
                    id_data,
                    times,
                    ranks,
                    inserts,
                    insert_data,
                    has_insert,
                )
                <= 0
            ):
                continue
            scratch[:width] = order[first:middle]
            left, right, to = 0, middle, first
            while left < width and right < last:
                if (
                    compare_rows(
                        scratch[left],
                        order[right],
                        with_ids,
                        ids,
                        id_data,
                        times,
                        ranks,
                        inserts,
                        insert_data,
                        has_insert,
                    )
                    <= 0
                ):
                    order[to] = scratch[left]
                    left += 1
                else:
                    order[to] = order[right]
                    right += 1
                to += 1
            while left < width:
                order[to] = scratch[left]
                left += 1
                to += 1
        width *= 2


@kernel(inline=True)
def equal_bytes(left, left_start, left_end, right, right_start, right_end):  # type: ignore[no-untyped-def]
    """Whether two strings are equal; eight bytes at a time."""
    if left_end - left_start != right_end - right_start:
        return False
    at, other, end = np.uint64(left_start), np.uint64(right_start), np.uint64(left_end)
    while at + _EIGHT <= end:
        if load64(left, at) != load64(right, other):
            return False
        at += _EIGHT
        other += _EIGHT
    while at < end:
        if left[at] != right[other]:
            return False
        at += _ONE
        other += _ONE
    return True


@kernel(inline="always")
def same_event(row, other, users, times, events, inserts, insert_data, has_insert):  # type: ignore[no-untyped-def]
    """Whether two rows, told apart by numbers of users and events, have one identity. To be called from kernels."""
    return (
        users[row] == users[other]
        and times[row] == times[other]
        and events[row] == events[other]
        and has_insert[row]
        and has_insert[other]
        and equal_bytes(insert_data, inserts[row], inserts[row + 1], insert_data, inserts[other], inserts[other + 1])
    )


@kernel(inline=True)
def _sort_by_placement(placement, bits, order, sorted_placement):  # type: ignore[no-untyped-def]
    """Stable. Hashes are spread evenly, so rows are dealt into buckets by their top ``bits``, which leaves few to sort
    in each; where there are many (of a user with many events), by merging."""
    rows = placement.size
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int64)
    for row in range(rows):
        ends[np.int64(placement[row] >> shift) + 1] += 1
    for bucket in range(1, ends.size):
        ends[bucket] += ends[bucket - 1]
    for row in range(rows):
        home = np.int64(placement[row] >> shift)
        order[ends[home]] = row
        sorted_placement[ends[home]] = placement[row]
        ends[home] += 1
    start = np.int64(0)
    for bucket in range(ends.size - 1):
        end = ends[bucket]
        if end - start > _BUCKET_ROWS:
            places = np.argsort(sorted_placement[start:end], kind="mergesort")
            order[start:end] = order[start:end][places]
            sorted_placement[start:end] = sorted_placement[start:end][places]
        else:
            for at in range(start + 1, end):
                value, moved, to = sorted_placement[at], order[at], at
                while to > start and sorted_placement[to - 1] > value:
                    sorted_placement[to], order[to] = sorted_placement[to - 1], order[to - 1]
                    to -= 1
                sorted_placement[to], order[to] = value, moved
        start = end


@kernel(
    f"void(int64[::1], int64, {view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')},"
    f"{view('int32')}, {view('uint8')}, {view('boolean')})"
)
def _sort(order, bits, placement, ids, id_data, times, ranks, inserts, insert_data, has_insert):  # type: ignore[no-untyped-def]
    """Writes the row numbers in order. Most groups of equal placement hash are of one user and in order of time
    already; the others are sorted."""
    rows = order.size
    sorted_placement = np.empty(rows, np.uint64)
    _sort_by_placement(placement, bits, order, sorted_placement)
    scratch = np.empty(0, np.int64)
    start = 0
    while start < rows:
        value = sorted_placement[start]
        end = start + 1
        with_ids, ordered = False, True
        first = order[start]
        before = times[first]
        while end < rows and sorted_placement[end] == value:
            row = order[end]
            if not equal_bytes(id_data, ids[first], ids[first + 1], id_data, ids[row], ids[row + 1]):
                with_ids = True
            if times[row] <= before:
                ordered = False
            before = times[row]
            end += 1
        if with_ids or not ordered:
            if scratch.size < end - start:
                scratch = np.empty(2 * (end - start), np.int64)
            _sort_group(
                order, start, end, scratch, with_ids, ids, id_data, times, ranks, inserts, insert_data, has_insert
            )
        start = end


@kernel(
    f"boolean({view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')},"
    f"{view('uint8')}, {view('boolean')})"
)
def _in_order(placement, ids, id_data, times, ranks, inserts, insert_data, has_insert):  # type: ignore[no-untyped-def]
    for row in range(1, placement.size):
        if placement[row] < placement[row - 1]:
            return False
        if (
            placement[row] == placement[row - 1]
            and compare_rows(row - 1, row, True, ids, id_data, times, ranks, inserts, insert_data, has_insert) > 0
        ):
            return False
    return True


@dataclass(frozen=True, slots=True)
class SortKeys:
    """The columns that decide the order, as numpy views. ``ranks``: int32, the bytewise rank of each row's event."""

    placement: UInt64
    ids: StringBuffers
    times: Int64
    ranks: npt.NDArray[np.int32]
    inserts: StringBuffers


def only_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def plain_strings(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    """A string column as one utf8 array, decoded where it is dictionary-encoded."""
    array = only_chunk(column)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def name_ranks(dictionary: pa.StringArray) -> npt.NDArray[np.int32]:
    """For each name of a dictionary its rank among them, bytewise; equal names rank equal."""
    names = dictionary.to_pylist()
    rank_of = {name: rank for rank, name in enumerate(sorted(set(names), key=str.encode))}
    return np.array([rank_of[name] for name in names] or [0], np.int32)


def event_ranks(events: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """For each row the rank of its event name among the names of the dictionary."""
    result: npt.NDArray[np.int32] = name_ranks(events.dictionary)[events.indices.to_numpy()]
    return result


def sort_keys(table: pa.Table, placement: UInt64 | None = None) -> SortKeys:
    """The keys of a table with canonical columns and ``placement_hash``, or with other numbers in place of that."""
    return SortKeys(
        only_chunk(table.column(PLACEMENT_HASH)).to_numpy() if placement is None else placement,
        string_buffers(plain_strings(table.column("distinct_id"))),
        only_chunk(table.column("time")).to_numpy(),
        event_ranks(only_chunk(table.column("event").unify_dictionaries())),
        string_buffers(plain_strings(table.column("insert_id"))),
    )


def in_order(keys: SortKeys) -> bool:
    """Whether the rows stand in segment order already."""
    ids, inserts = keys.ids, keys.inserts
    return bool(
        _in_order(
            keys.placement,
            ids.offsets,
            ids.data,
            keys.times,
            keys.ranks,
            inserts.offsets,
            inserts.data,
            inserts.valid,
        )
    )


def order_of(keys: SortKeys) -> Int64:
    """The row numbers in segment order."""
    rows = keys.placement.size
    order = np.empty(rows, np.int64)
    ids, inserts = keys.ids, keys.inserts
    _sort(
        order,
        max(1, min(_BUCKET_BITS_MAX, rows.bit_length() - 2)),
        keys.placement,
        ids.offsets,
        ids.data,
        keys.times,
        keys.ranks,
        inserts.offsets,
        inserts.data,
        inserts.valid,
    )
    return order
