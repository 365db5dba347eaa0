"""Finds each user's best attempt at an ordered funnel: the deepest level that any entry reaches, the earliest such.

Two passes over a user's events in time order. The first keeps for every level the latest entry that has reached it
within the window (a later one can do whatever an earlier one can), so one look at each event gives the best level and
the ms at which it is first reached. Every entry not more than the window before that ms, up to the one found, reaches
it in that very ms; so the attempt that counts begins at the first of them, and the second pass fills its steps.

All events of one ms are taken together (``funnel_moment``). Where they match one step each, that is plain; else the
matching grows with the level it leads to, and is taken up again where the level it starts from grows.

Levels equal those of ClickHouse's ``windowFunnel(window, 'strict_once')``.
"""

import numpy as np
import numpy.typing as npt

from evenshard.kernels import kernel
from evenshard.queries.funnel_moment import (
    FREE,
    NEVER,
    ROWS_AND_FUNNEL,
    STEPS_MAX,
    augment,
    end_of_ms,
    fill,
    rows_of_ms_max,
)
from evenshard.queries.user_rows import AnyMasks, Int32, Int64

Int8 = npt.NDArray[np.int8]


@kernel(inline="always")
def _take_one(mask, opens, now, window, steps, latest):  # type: ignore[no-untyped-def]
    """One event: it fills one step, so the deepest comes first. Returns the deepest level it reaches, or 0."""
    reached, step = 0, steps
    while mask:
        if mask >> np.uint64(step - 1):
            if step == 1:
                if opens:
                    latest[1] = now
                    reached = max(reached, 1)
            elif latest[step - 1] >= now - window:
                latest[step] = latest[step - 1]
                reached = max(reached, step)
            mask ^= np.uint64(1) << np.uint64(step - 1)
        step -= 1
    return reached


@kernel(inline="always")
def _take_apart(union, opens, now, window, steps, latest):  # type: ignore[no-untyped-def]
    """Events of one ms that match one step each: they are taken in step order."""
    reached = 0
    if union & np.uint64(1) and opens:
        latest[1] = now
        reached = 1
    for step in range(2, steps + 1):
        if union & (np.uint64(1) << np.uint64(step - 1)) and latest[step - 1] >= now - window:
            latest[step] = latest[step - 1]
            reached = step
    return reached


@kernel(inline=True)
def _take_shared(  # type: ignore[no-untyped-def]
    opens, now, window, steps, latest, before, masks, row, after, step_of, event_of, via, queue
):
    """Events of one ms that match several steps: for each level the deepest one that a matching leads to."""
    step_of[: after - row] = FREE
    event_of[: steps + 1] = -1
    for level in range(1, steps + 1):
        before[level] = latest[level]
    before[0] = now if opens else NEVER
    reached, deepest = 0, 0
    for level in range(steps):
        if level and event_of[level] >= 0:
            step_of[event_of[level]] = FREE
            event_of[level] = -1
        deepest = max(deepest, level)
        if before[level] < now - window:
            if level:
                break
            continue
        while deepest < steps and augment(deepest + 1, level, masks, row, after, step_of, event_of, via, queue):
            deepest += 1
        for step in range(max(reached, level) + 1, deepest + 1):
            latest[step] = before[level]
            reached = step
    return reached


@kernel(inline="always")
def _find_best(  # type: ignore[no-untyped-def]
    first, end, times, masks, steps, window, entries, latest, before, step_of, event_of, via, queue
):
    """The deepest level of a user, the ms at which it is first reached, and the latest entry that reaches it there."""
    latest[: steps + 1] = NEVER
    best, best_time, best_entry, interval = 0, 0, 0, 0
    row = first
    while row < end and best < steps:
        now = times[row]
        union, shared = np.uint64(0), np.uint64(0)
        after = end_of_ms(times, row, end)
        for event in range(row, after):
            union |= masks[event]
            shared |= masks[event] & (masks[event] - np.uint64(1))
        while interval < entries.size and entries[interval + 1] <= now:
            interval += 2
        opens = interval < entries.size and entries[interval] <= now
        if after == row + 1:
            reached = _take_one(union, opens, now, window, steps, latest)
        elif not shared:
            reached = _take_apart(union, opens, now, window, steps, latest)
        else:
            reached = _take_shared(
                opens, now, window, steps, latest, before, masks, row, after, step_of, event_of, via, queue
            )
        if reached > best:
            best, best_time, best_entry = reached, now, latest[reached]
        row = after
    return best, best_time, best_entry


@kernel(inline="always")
def _first_entry(first, end, times, masks, earliest, last, entries):  # type: ignore[no-untyped-def]
    """The first row of the ms of the first entry between ``earliest`` and ``last``, which is one."""
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        if times[middle] < earliest:
            low = middle + 1
        else:
            high = middle
    interval = 0
    while times[low] < last:
        while entries[interval + 1] <= times[low]:
            interval += 2
        if masks[low] & np.uint64(1) and entries[interval] <= times[low]:
            break
        low += 1
    while low > first and times[low - 1] == times[low]:
        low -= 1
    return low


def best_attempts(
    starts: Int64, times: Int64, masks: AnyMasks, steps: int, window: int, entries: Int64, levels: Int8, filled: Int32
) -> int:
    """The level of each user (0: no entry), and behind one another the rows that fill the steps, user after user.

    starts: rows of user u are starts[u] … starts[u + 1], by (time, order within a ms). masks: bit s - 1 is set where
    the row matches step s; at least one is, and no other bit. entries: ascending pairs, half-open: times at which an
    attempt may begin. levels (one a user) and filled (one a row) are written. Returns how many rows fill steps.
    """
    of_steps = np.empty((4, STEPS_MAX + 1), np.int64)
    of_ms = np.empty((2, rows_of_ms_max(starts, times)), np.int64)
    total: int = _best_attempts(starts, times, masks, steps, window, entries, of_steps, of_ms, levels, filled)
    return total


@kernel(f"int64({ROWS_AND_FUNNEL}, int64[:, ::1], int64[:, ::1], int8[::1], int32[::1])", counted=False)
def _best_attempts(  # type: ignore[no-untyped-def]
    starts, times, masks, steps, window, entries, of_steps, of_ms, levels, filled
):
    """of_steps and of_ms: scratch. It makes no arrays, so none is counted, which would be most of what it costs."""
    latest, before, event_of, queue = of_steps[0], of_steps[1], of_steps[2], of_steps[3]
    step_of, via = of_ms[0], of_ms[1]
    total = 0
    for user in range(starts.size - 1):
        first, end = starts[user], starts[user + 1]
        best, best_time, best_entry = _find_best(
            first, end, times, masks, steps, window, entries, latest, before, step_of, event_of, via, queue
        )
        levels[user] = best
        if best:
            entry = _first_entry(first, end, times, masks, best_time - window, best_entry, entries)
            fill(entry, end, times, masks, best, False, filled, total, step_of, event_of, via, queue)
            total += best
    return total
