"""Kernels that count rows by cell: the number of a (group, bucket)."""

import numpy as np

from evenshard.kernels import kernel, view
from evenshard.queries.gather_kernel import DUPLICATE, USED

NO_BUCKET = -1
CLOCK = ", ".join(["int64", "int64", view("int32"), view("int64"), view("int32")])
FOR_EVER = np.int64((1 << 63) - 1)
"""Until when a time is of no bucket, behind the last one."""


@kernel(inline="always")
def bucket_at(time, start, shift, first, bounds, bucket_of):  # type: ignore[no-untyped-def]
    """The bucket of a time, or NO_BUCKET, and from when until when it is of one interval; see ``Clock``."""
    end = bounds[bounds.size - 1]
    if time < start:
        return np.int32(NO_BUCKET), -FOR_EVER, start
    if time >= end:
        return np.int32(NO_BUCKET), end, FOR_EVER
    interval = np.int64(first[np.uint64((time - start) >> shift)])
    interval += np.int64(time >= bounds[np.uint64(interval + 1)])
    return bucket_of[np.uint64(interval)], bounds[np.uint64(interval)], bounds[np.uint64(interval + 1)]


@kernel(
    f"int64({view('int32')}, {view('int32')}, {view('uint8')}, {view('uint8')}, {view('int64')}, {CLOCK}, int64, "
    "int64[::1])",
    counted=False,
)
def count_cells(codes, events, wanted, states, times, start, shift, first, bounds, bucket_of, buckets, counts):  # type: ignore[no-untyped-def]
    """Adds the rows that are USED, wanted and in a bucket to ``counts[code * buckets + bucket]`` or the same place of
    the second half, which is to be added to the first; returns how many DUPLICATES would have been.

    One a row: codes (none: all 0), events (none: all wanted; wanted: one a code of these), states (none: all USED).
    """
    coded, named, stated = codes.size > 0, events.size > 0, states.size > 0
    skipped, half = np.int64(0), np.uint64(counts.size // 2)
    bucket, since, until = np.int32(NO_BUCKET), FOR_EVER, -FOR_EVER
    for row in range(np.uint64(times.size)):
        if named and not wanted[np.uint64(events[row])]:
            continue
        state = states[row] if stated else np.uint8(USED)
        time = times[row]
        if time < since or time >= until:  # neighbours are mostly of one interval
            bucket, since, until = bucket_at(time, start, shift, first, bounds, bucket_of)
        if bucket == np.int32(NO_BUCKET):
            continue
        cell = np.uint64(bucket)
        if coded:
            cell += np.uint64(codes[row]) * np.uint64(buckets)
        # Neighbours are mostly of one cell: with one counter each would wait for the one before.
        counts[(row & np.uint64(1)) * half + cell] += np.int64(state == np.uint8(USED))
        skipped += np.int64(state == np.uint8(DUPLICATE))
    return skipped


@kernel(
    f"void({view('int32')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('uint8')}, {view('int64')}, "
    f"{CLOCK}, int64, uint64[::1])",
    counted=False,
)
def cells_of(codes, groups, events, wanted, states, times, start, shift, first, bounds, bucket_of, buckets, out):  # type: ignore[no-untyped-def]
    """Writes the cell of each row that counts, plus 1; 0 for the others. groups: of each code; else as above."""
    coded, named, stated = codes.size > 0, events.size > 0, states.size > 0
    bucket, since, until = np.int32(NO_BUCKET), FOR_EVER, -FOR_EVER
    for row in range(np.uint64(times.size)):
        out[row] = 0
        if (named and not wanted[np.uint64(events[row])]) or (stated and states[row] != np.uint8(USED)):
            continue
        time = times[row]
        if time < since or time >= until:  # neighbours are mostly of one interval
            bucket, since, until = bucket_at(time, start, shift, first, bounds, bucket_of)
        if bucket != np.int32(NO_BUCKET):
            group = groups[np.uint64(codes[row])] if coded else groups[0]
            out[row] = np.uint64(group) * np.uint64(buckets) + np.uint64(bucket) + np.uint64(1)


@kernel(
    f"void({view('int64')}, {view('uint64')}, int64, int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64)"
)
def count_users(  # type: ignore[no-untyped-def]
    starts, cells, buckets, last_in_cell, last_in_group, cell_users, group_users, cell_events, first_user
):
    """Counts each user once in each of its cells, and in each of its groups; and their events in each cell.

    starts, cells (plus 1): rows by user, as ``UserRows`` has them. last_in_cell, last_in_group: the last user counted
    there; users are numbered from ``first_user``. cell_events: may be empty.
    """
    counting = cell_events.size > 0
    for user in range(starts.size - 1):
        number = first_user + user
        for row in range(starts[user], starts[user + 1]):
            cell = np.uint64(cells[row] - np.uint64(1))
            if counting:
                cell_events[cell] += 1
            if last_in_cell[cell] != number:
                last_in_cell[cell] = number
                cell_users[cell] += 1
                group = cell // np.uint64(buckets)
                if last_in_group[group] != number:
                    last_in_group[group] = number
                    group_users[group] += 1
