"""Follows attempts at a strict funnel: a user's next event must be the next step, or the attempt is over.

Rows are all of a unit's, those of one ms ordered by the first step they match, those that match none last.
"""

import numpy as np

from evenshard.kernels import kernel, view
from evenshard.queries.funnel_moment import EXCLUSION_BIT, ROWS_AND_FUNNEL, SPANS

BEST, FIRST, TOTAL = 0, 1, 2
"""Which attempts count: of each unit the deepest, the earliest, or all, one after the other."""


@kernel(inline=True)
def _level_from(place, end, times, masks, holds, steps, window, increase):  # type: ignore[no-untyped-def]
    """The level of the attempt whose entry is ``place``."""
    level, last = 1, times[place] + window
    while level < steps and place + level < end:
        row = place + level
        if not masks[row] & (np.uint64(1) << np.uint64(level)) or holds[row] != holds[place] or times[row] > last:
            break
        if increase and times[row] == times[row - 1]:
            break
        level += 1
    return level


@kernel(inline=True)
def _excludes(place, level, end, times, masks, steps, window, spans_after, spans_before):  # type: ignore[no-untyped-def]
    """Whether what comes behind the ``level`` events from ``place`` on excludes, and does not only break."""
    row = place + level
    if level == steps or row >= end or times[row] > times[place] + window:
        return False
    mask = masks[row] >> np.uint64(EXCLUSION_BIT)
    for number in range(spans_after.size):
        spans = spans_after[number] <= level < spans_before[number]
        if spans and mask & (np.uint64(1) << np.uint64(number)) and times[place + spans_after[number] - 1] < times[row]:
            return True
    return False


@kernel(
    f"int64({ROWS_AND_FUNNEL}, {view('int32')}, {SPANS}, boolean, boolean, int64, int8[::1], int32[::1], int32[::1], "
    "boolean[::1])"
)
def strict_attempts(  # type: ignore[no-untyped-def]  # noqa: C901
    starts, times, masks, steps, window, entries, holds, spans_after, spans_before, increase, exclude_user, which,
    levels, units, filled, excluded
):  # fmt: skip
    """The attempts that count (``which``); returns how many there are.

    holds: the held value of each row, or all alike. ``TOTAL``: attempts follow one another for each held value by
    itself. The rest is as in ``funnel_in_turn.attempts_in_turn``; with ``exclude_user`` (else not all entries are
    looked at) excluded tells of every entry of ``BEST``.
    """
    count, total = 0, 0
    for unit in range(starts.size - 1):
        first, end, interval = starts[unit], starts[unit + 1], 0
        excluded[unit] = False
        best, best_place, next_place = 0, 0, first
        order = np.arange(0)
        if which == TOTAL:
            order = np.argsort(holds[first:end], kind="mergesort")
        for at in range(end - first):
            place = first + at
            if which == TOTAL:
                place = first + order[at]
                if at and holds[place] != holds[first + order[at - 1]]:
                    interval, next_place = 0, first
            if place < next_place or not masks[place] & np.uint64(1):
                continue
            while interval < entries.size and entries[interval + 1] <= times[place]:
                interval += 2
            if interval == entries.size or times[place] < entries[interval]:
                continue
            level = _level_from(place, end, times, masks, holds, steps, window, increase)
            hit = _excludes(place, level, end, times, masks, steps, window, spans_after, spans_before)
            excluded[unit] |= hit
            if level > best or which == TOTAL:
                best, best_place = level, place
            if which == TOTAL:
                next_place = place + level + (1 if hit else 0)
                levels[count], units[count] = level, unit
                for step in range(level):
                    filled[total + step] = place + step
                count += 1
                total += level
            elif which == FIRST or (best == steps and not exclude_user):
                break
        if which != TOTAL and best:
            levels[count], units[count] = best, unit
            for step in range(best):
                filled[total + step] = best_place + step
            count += 1
            total += best
    return count
