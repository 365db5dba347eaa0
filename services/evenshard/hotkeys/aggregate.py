"""Counts a batch's new events by key, so that a counter hears of a key once for each batch. Pure.

A key is (distinct_id, UTC day). Anonymous events and duplicates do not count.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import UInt64, string_buffers
from evenshard.kernels import kernel, view

DAY_MS: Final = 86_400_000
MIX = np.uint64(0x9E3779B185EBCA87)

KEY_SCHEMA = pa.schema(
    [
        pa.field("distinct_id", pa.utf8(), nullable=False),
        pa.field("day", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""Counted keys: days since the epoch, UTC."""
NAME_SCHEMA = pa.schema([KEY_SCHEMA.field("distinct_id"), KEY_SCHEMA.field("day")])
"""Keys to look up, or events to count."""


@kernel(inline=True)
def same_bytes(left, left_start, left_end, right, right_start, right_end):  # type: ignore[no-untyped-def]
    """Whether two stretches of bytes are equal. To be called from kernels."""
    length = left_end - left_start
    if length != right_end - right_start:
        return False
    for i in range(length):  # noqa: SIM110
        if left[left_start + i] != right[right_start + i]:
            return False
    return True


@kernel(inline=True)
def key_hash(id_hash, tenant, day):  # type: ignore[no-untyped-def]
    """A well-mixed hash of a key, uint64. To be called from kernels."""
    value = (id_hash ^ (np.uint64(tenant) << np.uint64(32)) ^ np.uint64(day)) * MIX
    return value ^ (value >> np.uint64(29))


@kernel(
    f"int64({view('uint64')}, {view('int64')}, {view('int32')}, {view('uint8')}, {view('boolean')},"
    "int32[::1], int32[::1], int32[::1], int64[::1], int32[::1])"
)
def _aggregate(id_hashes, times, id_offsets, id_data, counted, slots, rows, days, counts, key_of_row):  # type: ignore[no-untyped-def]
    """Fills ``rows`` (one row that bears the key), ``days`` and ``counts``; returns how many keys there are.
    ``key_of_row`` gets each row's key, -1 where it does not count.

    ``slots`` is an open-addressing table, all -1, of a power of two above the number of rows.
    """
    used = 0
    mask = np.uint64(slots.size - 1)
    for row in range(times.size):
        start, end = id_offsets[row], id_offsets[row + 1]
        if start == end or not counted[row]:
            key_of_row[row] = -1
            continue
        day = np.int32(times[row] // DAY_MS)
        at = key_hash(id_hashes[row], 0, day) & mask
        while True:
            key = slots[at]
            if key < 0:
                slots[at] = used
                rows[used] = row
                days[used] = day
                counts[used] = 1
                key_of_row[row] = used
                used += 1
                break
            other = rows[key]
            if (
                days[key] == day
                and id_hashes[other] == id_hashes[row]
                and same_bytes(id_data, start, end, id_data, id_offsets[other], id_offsets[other + 1])
            ):
                counts[key] += 1
                key_of_row[row] = key
                break
            at = (at + np.uint64(1)) & mask
    return used


@dataclass(frozen=True, slots=True, eq=False)
class CountedKeys:
    """Keys in order of first appearance."""

    record: pa.RecordBatch
    """``KEY_SCHEMA``."""
    hashes: UInt64
    """The placement hash of each key's distinct_id."""
    key_of_row: npt.NDArray[np.int32]
    """The number of each row's key; -1: it does not count."""


def slots_for(keys: int) -> npt.NDArray[np.int32]:
    """An empty table that holds ``keys`` at most half full."""
    return np.full(1 << max(4, (2 * keys - 1).bit_length()), -1, np.int32)


def aggregate(
    distinct_ids: pa.StringArray, times: npt.NDArray[np.int64], id_hashes: UInt64, counted: npt.NDArray[np.bool_]
) -> CountedKeys:
    """Counts the rows for which ``counted`` is true; all four have one entry a row."""
    total = len(distinct_ids)
    ids = string_buffers(distinct_ids)
    rows, days, counts = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.int64)
    key_of_row = np.empty(total, np.int32)
    used = _aggregate(
        id_hashes, times, ids.offsets, ids.data, counted, slots_for(total), rows, days, counts, key_of_row
    )
    keys = distinct_ids.take(pa.array(rows[:used]))
    record = pa.RecordBatch.from_arrays([keys, pa.array(days[:used]), pa.array(counts[:used])], schema=KEY_SCHEMA)
    return CountedKeys(record, id_hashes[rows[:used]], key_of_row)
