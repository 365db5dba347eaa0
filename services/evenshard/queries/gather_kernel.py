"""Kernels that pick the rows a query wants out of parts, user by user, and join what several parts have of a user."""

import numpy as np

from evenshard.events.by_time import sort_by_time
from evenshard.kernels import kernel, view

USED, DUPLICATE, LEFT_OUT = 0, 1, 2
"""What a row is: one to be picked, one that would be if it were no duplicate, another."""
ROWS, RUNS = 0, 1
"""Places in ``at``: rows and runs picked so far."""
_1 = np.uint64(1)

_STRETCH = ", ".join([view("int32")] * 4 + ["int64", "int64", "int64"])
_RUNS = f"{_STRETCH}, {view('uint8')}, boolean"
_KINDS = ("uint64", "uint8")
"""A mask has a bit for each thing a row may match; or it is the number of the only one."""


def _out(kind: str) -> str:
    return f"int64[::1], {kind}[::1], int32[::1], int32[::1], int32[::1], int64[::1]"


@kernel(inline="always")
def _pick(mask, state, time, row, every, out_times, out_masks, out_rows, rows):  # type: ignore[no-untyped-def]
    """Writes a row, which stays if it is wanted; returns how many there are then."""
    out_times[rows] = time
    out_masks[rows] = mask
    if out_rows.size > 0:
        out_rows[rows] = np.int32(row)
    return rows + np.uint64(((mask != 0) | every) & (state == np.uint8(USED)))


@kernel(
    *(
        f"void({view('int32')}, {view(kind)}, {view('uint8')}, {view('int64')}, {_RUNS}, {_out(kind)})"
        for kind in _KINDS
    ),
    counted=False,
)
def pick_coded(  # type: ignore[no-untyped-def]
    codes, bits, states, times, starts, ends, numbers, order, first, last, base, marks, every,
    out_times, out_masks, out_rows, out_users, out_counts, at,
):  # fmt: skip
    """Picks the rows of runs ``first`` to ``last`` whose state is USED and, unless ``every``, ``bits[code]`` is not 0.

    One a row: codes (int32), states (uint8; none: all USED), times. Runs: see ``UserRuns``; ``order`` may be empty.
    marks: one a user from ``base``; those with 0 are passed over; may be empty. The outs get the rows behind
    ``at[ROWS]``, with room for one more than come (out_rows, which may be empty, where they are), and for each run that
    has any its number less ``base`` and how many, behind ``at[RUNS]``.
    """
    rows, runs = np.uint64(at[ROWS]), np.uint64(at[RUNS])
    ordered, stated, marked = order.size > 0, states.size > 0, marks.size > 0
    for run in range(np.uint64(first), np.uint64(last)):
        if marked and not marks[np.uint64(numbers[run] - base)]:
            continue
        before = rows
        if ordered:
            for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
                there = np.uint64(order[place])
                mask = bits[np.uint64(codes[there])]
                state = states[there] if stated else np.uint8(USED)
                rows = _pick(mask, state, times[there], there, every, out_times, out_masks, out_rows, rows)
        elif stated:
            for row in range(np.uint64(starts[run]), np.uint64(ends[run])):
                mask = bits[np.uint64(codes[row])]
                state = states[row]
                rows = _pick(mask, state, times[row], row, every, out_times, out_masks, out_rows, rows)
        else:
            for row in range(np.uint64(starts[run]), np.uint64(ends[run])):
                mask = bits[np.uint64(codes[row])]
                rows = _pick(mask, np.uint8(USED), times[row], row, every, out_times, out_masks, out_rows, rows)
        out_users[runs] = np.int32(numbers[run] - base)
        out_counts[runs] = np.int32(rows - before)
        runs += np.uint64(rows > before)
    at[ROWS] = rows
    at[RUNS] = runs


@kernel(
    *(f"void({view(kind)}, {view('uint8')}, {view('int64')}, {_RUNS}, {_out(kind)})" for kind in _KINDS),
    counted=False,
)
def pick_masked(  # type: ignore[no-untyped-def]
    masks, states, times, starts, ends, numbers, order, first, last, base, marks, every,
    out_times, out_masks, out_rows, out_users, out_counts, at,
):  # fmt: skip
    """The same where each row has its own mask."""
    rows, runs = np.uint64(at[ROWS]), np.uint64(at[RUNS])
    ordered, stated, marked = order.size > 0, states.size > 0, marks.size > 0
    for run in range(np.uint64(first), np.uint64(last)):
        if marked and not marks[np.uint64(numbers[run] - base)]:
            continue
        before = rows
        for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
            row = np.uint64(order[place]) if ordered else place
            mask = masks[row]
            state = states[row] if stated else np.uint8(USED)
            rows = _pick(mask, state, times[row], row, every, out_times, out_masks, out_rows, rows)
        out_users[runs] = np.int32(numbers[run] - base)
        out_counts[runs] = np.int32(rows - before)
        runs += np.uint64(rows > before)
    at[ROWS] = rows
    at[RUNS] = runs


@kernel(f"void({view('int32')}, {view('uint8')}, {_STRETCH}, uint8[::1])", counted=False)
def mark_coded(codes, opens, starts, ends, numbers, order, first, last, base, marks):  # type: ignore[no-untyped-def]
    """Sets the marks of the users, from ``base``, of whom a row in the runs ``first`` to ``last`` opens; there are few.

    codes: one a row; opens: of each code whether it does (1 or 0). Runs: see ``UserRuns``; ``order`` may be empty.
    """
    ordered, run = order.size > 0, np.uint64(first)
    for place in range(np.uint64(starts[run]), np.uint64(ends[np.uint64(last) - _1])):
        if opens[np.uint64(codes[np.uint64(order[place]) if ordered else place])]:
            while np.uint64(ends[run]) <= place:
                run += _1
            if np.uint64(starts[run]) <= place:
                marks[np.uint64(numbers[run] - base)] = 1


@kernel(f"void({view('uint8')}, {_STRETCH}, uint8[::1])", counted=False)
def mark_masked(opens, starts, ends, numbers, order, first, last, base, marks):  # type: ignore[no-untyped-def]
    """The same where each row has its own ``opens``."""
    ordered, run = order.size > 0, np.uint64(first)
    for place in range(np.uint64(starts[run]), np.uint64(ends[np.uint64(last) - _1])):
        if opens[np.uint64(order[place]) if ordered else place]:
            while np.uint64(ends[run]) <= place:
                run += _1
            if np.uint64(starts[run]) <= place:
                marks[np.uint64(numbers[run] - base)] = 1


@kernel(
    *(
        f"void({view('int32')}, {view('int32')}, {view('int64')}, {view(kind)}, int64[::1], int64[::1], {kind}[::1], "
        "int32[::1])"
        for kind in _KINDS
    )
)
def join_runs(users, counts, times, masks, starts, out_times, out_masks, out_places):  # type: ignore[no-untyped-def]
    """Puts each user's rows together, by time; rows of one time stay in the order of the runs they came in.

    users, counts: of each run; its rows follow those of the run before in times and masks. starts (one more than there
    are users) and the outs are written; out_places, which may be empty, tells where rows came from.
    """
    placed = out_places.size > 0
    starts[:] = 0
    for run in range(np.uint64(users.size)):
        starts[np.uint64(users[run]) + np.uint64(1)] += counts[run]
    for user in range(np.uint64(starts.size - 1)):
        starts[user + np.uint64(1)] += starts[user]
    filled = starts[:-1].copy()
    row = np.uint64(0)
    for run in range(np.uint64(users.size)):
        whose = np.uint64(users[run])
        home = np.uint64(filled[whose])
        stop = row + np.uint64(counts[run])
        filled[whose] += counts[run]
        if placed:
            for place in range(row, stop):
                out_places[home + (place - row)] = np.int32(place)
        while row < stop:
            out_times[home] = times[row]
            out_masks[home] = masks[row]
            home += np.uint64(1)
            row += np.uint64(1)
    for user in range(starts.size - 1):
        rising = True
        for place in range(starts[user] + 1, starts[user + 1]):
            if out_times[place] < out_times[place - 1]:
                rising = False
                break
        if not rising:
            sort_by_time(starts[user], starts[user + 1], out_times, out_masks, out_places)
