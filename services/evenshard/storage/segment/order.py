"""The order of rows in a segment: (placement hash, distinct_id, time, event, insert_id), strings bytewise.

A missing insert_id comes first. Stable: rows that agree in all of these keep the order they came in, so the first
stored copy of an event stands first.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import StringBuffers, string_buffers
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.kernels import kernel, view

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

_INSERTION_ROWS = 16


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
def _compare_rows(i, j, with_ids, id_offsets, id_data, times, ranks, insert_offsets, insert_data, has_insert):  # type: ignore[no-untyped-def]
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
                and _compare_rows(
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
                _compare_rows(
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
                    _compare_rows(
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


@kernel(
    f"void(int64[::1], {view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')},"
    f"{view('int32')}, {view('uint8')}, {view('boolean')})"
)
def _refine(order, placement, ids, id_data, times, ranks, inserts, insert_data, has_insert):  # type: ignore[no-untyped-def]
    """Sorts each group of equal placement hash in ``order``, which is sorted by placement hash alone."""
    rows = order.size
    scratch = np.empty(0, np.int64)
    start = 0
    while start < rows:
        value = placement[order[start]]
        end = start + 1
        while end < rows and placement[order[end]] == value:
            end += 1
        if end - start > 1:
            order[start:end] = np.sort(order[start:end])
            if scratch.size < end - start:
                scratch = np.empty(2 * (end - start), np.int64)
            first = order[start]
            with_ids = False
            for at in range(start + 1, end):
                row = order[at]
                if compare_bytes(id_data, ids[first], ids[first + 1], id_data, ids[row], ids[row + 1]) != 0:
                    with_ids = True
                    break
            _sort_group(
                order, start, end, scratch, with_ids, ids, id_data, times, ranks, inserts, insert_data, has_insert
            )
        start = end


@kernel(
    f"int64({view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')},"
    f"{view('uint8')}, {view('boolean')}, {view('boolean')})"
)
def _second_original(placement, ids, id_data, times, ranks, inserts, insert_data, has_insert, duplicate):  # type: ignore[no-untyped-def]
    """In sorted rows: the first row that is an original although an equal event before it is one too; -1: none."""
    original_before = False
    for row in range(1, placement.size):
        equal = (
            has_insert[row]
            and placement[row] == placement[row - 1]
            and _compare_rows(row - 1, row, True, ids, id_data, times, ranks, inserts, insert_data, has_insert) == 0
        )
        original_before = equal and (original_before or not duplicate[row - 1])
        if original_before and not duplicate[row]:
            return row
    return -1


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
            and _compare_rows(row - 1, row, True, ids, id_data, times, ranks, inserts, insert_data, has_insert) > 0
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


def event_ranks(events: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """For each row the rank of its event name among the names of the dictionary, bytewise; equal names rank equal."""
    names = events.dictionary.to_pylist()
    rank_of = {name: rank for rank, name in enumerate(sorted(set(names), key=str.encode))}
    ranks = np.array([rank_of[name] for name in names] or [0], np.int32)
    return ranks[events.indices.to_numpy()]


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
    order = np.argsort(keys.placement).astype(np.int64, copy=False)
    ids, inserts = keys.ids, keys.inserts
    _refine(
        order,
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


def second_original(keys: SortKeys, duplicate: npt.NDArray[np.bool_]) -> int:
    """The first row of sorted ``keys`` that is marked original although an equal event before it is; -1: none."""
    ids, inserts = keys.ids, keys.inserts
    return int(
        _second_original(
            keys.placement,
            ids.offsets,
            ids.data,
            keys.times,
            keys.ranks,
            inserts.offsets,
            inserts.data,
            inserts.valid,
            duplicate,
        )
    )
