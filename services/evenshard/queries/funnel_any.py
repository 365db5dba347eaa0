"""Follows attempts at a funnel whose steps may be done in any order.

An attempt takes each event, as they come, that lets one more step be filled (a matching grows by an augmenting path):
the earliest events there are, and as many as can be. Where an event is refused, its steps and all that their events
could do instead are full for good, so an attempt looks at two events a step, found by the places of each step.
"""

import numpy as np

from evenshard.kernels import kernel
from evenshard.queries.funnel_moment import ROWS_AND_FUNNEL, STEPS_MAX
from evenshard.queries.funnel_strict import BEST, TOTAL

_NEW = -2
"""Whence a step is asked for that the new event matches."""


@kernel(inline=True)
def _settle(rows, taken, masks, steps, owner, via, queue):  # type: ignore[no-untyped-def]
    """Gives the event ``rows[taken]`` a step, moving others if need be; else the steps that are full (bits), or 0.

    owner: for each step the number of the event that has it, or -1; via and queue are scratch.
    """
    asked = np.uint64(0)
    head, tail = 0, 0
    mask, source = masks[rows[taken]], _NEW
    while True:
        for step in range(steps):
            bit = np.uint64(1) << np.uint64(step)
            if mask & bit and not asked & bit:
                asked |= bit
                via[step] = source
                queue[tail] = step
                tail += 1
        if head == tail:
            return asked
        step = queue[head]
        head += 1
        if owner[step] < 0:
            while via[step] != _NEW:
                owner[step] = owner[via[step]]
                step = via[step]
            owner[step] = taken
            return np.uint64(0)
        mask, source = masks[rows[owner[step]]], step


@kernel(inline=True)
def _follow(  # type: ignore[no-untyped-def]
    last, times, masks, steps, places, place_end, pointer, next_of, rows, owner, via, queue
):
    """How many steps an attempt fills up to the time ``last``; ``rows`` of them are written, in order.

    places: behind one another the rows of each step, up to place_end; pointer: for each step its first to look at.
    """
    next_of[:steps] = pointer[:steps]
    owner[:steps] = -1
    full = np.uint64(0)
    taken = 0
    while taken < steps:
        row = -1
        for step in range(steps):
            if full & (np.uint64(1) << np.uint64(step)) or next_of[step] == place_end[step]:
                continue
            candidate = places[next_of[step]]
            if times[candidate] <= last and (row < 0 or candidate < row):
                row = candidate
        if row < 0:
            break
        for step in range(steps):
            if next_of[step] < place_end[step] and places[next_of[step]] == row:
                next_of[step] += 1
        rows[taken] = row
        refused = _settle(rows, taken, masks, steps, owner, via, queue)
        full |= refused
        if not refused:
            taken += 1
    return taken


@kernel(inline=True)
def _find_places(first, end, masks, steps, places, pointer, place_end):  # type: ignore[no-untyped-def]
    """The rows of each step, behind one another: step s has ``places[pointer[s]:place_end[s]]``."""
    place_end[:steps] = 0
    for row in range(first, end):
        for step in range(steps):
            place_end[step] += (masks[row] >> np.uint64(step)) & np.uint64(1)
    before = 0
    for step in range(steps):
        pointer[step] = before
        before += place_end[step]
        place_end[step] = pointer[step]
    for row in range(first, end):
        for step in range(steps):
            if masks[row] & (np.uint64(1) << np.uint64(step)):
                places[place_end[step]] = row
                place_end[step] += 1


@kernel(f"int64({ROWS_AND_FUNNEL}, int64, int8[::1], int32[::1], int32[::1])")
def any_order_attempts(  # type: ignore[no-untyped-def]  # noqa: C901
    starts, times, masks, steps, window, entries, which, levels, units, filled
):
    """The attempts that count (``funnel_strict``'s ``which``); returns how many there are. Arguments as in
    ``funnel_in_turn.attempts_in_turn``; every row matches a step."""
    pointer = np.empty(STEPS_MAX, np.int64)
    place_end = np.empty(STEPS_MAX, np.int64)
    next_of = np.empty(STEPS_MAX, np.int64)
    owner = np.empty(STEPS_MAX, np.int64)
    via = np.empty(STEPS_MAX, np.int64)
    queue = np.empty(STEPS_MAX, np.int64)
    rows = np.empty(STEPS_MAX, np.int64)
    places_max = 1
    for unit in range(starts.size - 1):
        size = 0
        for row in range(starts[unit], starts[unit + 1]):
            mask = masks[row]
            while mask:
                mask &= mask - np.uint64(1)
                size += 1
        places_max = max(places_max, size)
    places = np.empty(places_max, np.int64)
    count, total = 0, 0
    for unit in range(starts.size - 1):
        place, end, interval, best = starts[unit], starts[unit + 1], 0, 0
        _find_places(place, end, masks, steps, places, pointer, place_end)
        while place < end:
            now = times[place]
            while interval < entries.size and entries[interval + 1] <= now:
                interval += 2
            if interval == entries.size:
                break
            within = 0
            for step in range(steps):
                while pointer[step] < place_end[step] and places[pointer[step]] < place:
                    pointer[step] += 1
                within += pointer[step] < place_end[step] and times[places[pointer[step]]] <= now + window
            if now < entries[interval] or (which == BEST and within <= best):
                place += 1
                continue
            level = _follow(
                now + window, times, masks, steps, places, place_end, pointer, next_of, rows, owner, via, queue
            )
            if which == BEST and level <= best:
                place += 1
                continue
            best = level
            for step in range(level):
                filled[total + step] = rows[step]
            if which == BEST and level < steps:
                place += 1
                continue
            if which != TOTAL:
                break
            levels[count], units[count] = level, unit
            count += 1
            total += level
            if level == steps:
                place = rows[level - 1] + 1
            else:
                while place < end and times[place] <= now + window:
                    place += 1
        if which != TOTAL and best:
            levels[count], units[count] = best, unit
            count += 1
            total += best
    return count
