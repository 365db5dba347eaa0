"""Follows a unit's attempts at an ordered funnel one after the other, or its first alone.

The next attempt opens after the event that ends one: the last of those that filled a step in the ms of a conversion,
the one that excludes (and behind those that filled a step in its ms), or the first later than the window.
"""

import numpy as np

from evenshard.kernels import kernel
from evenshard.queries.funnel_moment import (
    ROWS_AND_FUNNEL,
    SPANS,
    STEPS_MAX,
    end_of_ms,
    excluding_row,
    rows_of_ms_max,
    run_of_ms,
)


@kernel(inline=True)
def _enough(row, after, masks, steps, matches):  # type: ignore[no-untyped-def]
    """The row before which each step has as many events as there are steps, at most ``after``: an attempt that opens at
    ``row`` takes none behind it. So attempts that follow one another within one ms do not each look at all of it."""
    if after - row <= steps:
        return after
    matches[:steps] = 0
    lacking = steps
    while row < after and lacking:
        for step in range(steps):
            if masks[row] & (np.uint64(1) << np.uint64(step)):
                matches[step] += 1
                lacking -= matches[step] == steps
        row += 1
    return row


@kernel(f"int64({ROWS_AND_FUNNEL}, {SPANS}, boolean, boolean, int8[::1], int32[::1], int32[::1], boolean[::1])")
def attempts_in_turn(  # type: ignore[no-untyped-def]  # noqa: C901
    starts, times, masks, steps, window, entries, spans_after, spans_before, increase, every, levels, units, filled,
    excluded
):  # fmt: skip
    """Every attempt in turn (``every``), or each unit's first; returns how many there are.

    Rows of one ms are ordered by the first step they match. Of each attempt level and unit are written (as many as
    there are rows at most), and behind one another the rows that fill steps (as many as there are rows at most);
    excluded: for each unit, whether an exclusion ended an attempt.
    """
    event_of = np.empty(STEPS_MAX + 1, np.int64)
    queue = np.empty(STEPS_MAX + 1, np.int64)
    matches = np.empty(STEPS_MAX, np.int64)
    ties = rows_of_ms_max(starts, times)
    step_of = np.empty(ties, np.int64)
    via = np.empty(ties, np.int64)
    count, total = 0, 0
    for unit in range(starts.size - 1):
        place, end, interval = starts[unit], starts[unit + 1], 0
        excluded[unit] = False
        ms_end = place
        while place < end:
            now = times[place]
            while interval < entries.size and entries[interval + 1] <= now:
                interval += 2
            if interval == entries.size:
                break
            if not masks[place] & np.uint64(1) or now < entries[interval]:
                place += 1
                continue
            row, level = place, 0
            place = -1
            while place < 0:
                if row == end or times[row] > now + window:
                    place = row
                    break
                if row >= ms_end:
                    ms_end = end_of_ms(times, row, end)
                after = ms_end
                if level == 0:
                    after = _enough(row, ms_end, masks, steps, matches)
                deepest = run_of_ms(level, steps, increase, masks, row, after, step_of, event_of, via, queue)
                last = row
                for step in range(level + 1, deepest + 1):
                    filled[total + step - 1] = row + event_of[step]
                    last = max(last, row + event_of[step])
                if deepest == steps:
                    place = last + 1
                elif level:
                    event = excluding_row(level, deepest, masks, row, after, step_of, spans_after, spans_before)
                    if event >= 0:
                        excluded[unit] = True
                        place = max(last, event) + 1
                level, row = deepest, ms_end
            levels[count], units[count] = level, unit
            count += 1
            total += level
            if not every:
                break
    return count
