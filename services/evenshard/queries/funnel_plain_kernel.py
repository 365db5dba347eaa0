"""Finds each user's best attempt at an ordered funnel whose events match one step each, as ``funnel_kernel`` does where
they may match several; the matching that is not needed here is most of what that costs.

For every level the latest entry that has reached it within the window is kept (see there): an event of step s carries
the entry of level s − 1 on to level s, if that is recent enough. Events of one ms are taken in the order of steps.
"""

import numpy as np

from evenshard.kernels import kernel, view

NEVER = -(1 << 62)
"""Before every time."""
STEPS_MAX = 32
_ONE = np.uint64(1)
_FEW = 64
"""More rows of a user are halved to find one, fewer gone through."""


@kernel(inline="always")
def _end_of_ms(times, row, end):  # type: ignore[no-untyped-def]
    """The row after the last of the same time."""
    after = row + _ONE
    while after < end and times[after] == times[row]:
        after += _ONE
    return after


@kernel(inline="always")
def _steps_of_ms(steps, row, after):  # type: ignore[no-untyped-def]
    """The steps that rows match, bit s for step s."""
    found = np.uint64(0)
    for each in range(row, after):
        found |= _ONE << np.uint64(steps[each])
    return found


@kernel(inline="always")
def _start_of_ms(times, row, first):  # type: ignore[no-untyped-def]
    """The first row, from ``first`` on, of the same time."""
    while row > first and times[row - _ONE] == times[row]:
        row -= _ONE
    return row


@kernel(inline="always")
def _first_from(row, end, times, earliest):  # type: ignore[no-untyped-def]
    """The first row not before ``earliest``. Of few rows those before it are counted, for where they end cannot be
    foretold."""
    if end - row > np.uint64(_FEW):
        low, high = row, end
        while low < high:
            middle = (low + high) >> _ONE
            if times[middle] < earliest:
                low = middle + _ONE
            else:
                high = middle
        return low
    before = np.uint64(0)
    for each in range(row, end):
        before += np.uint64(times[each] < earliest)
    return row + before


@kernel(inline="always")
def _entry_of(row, end, times, steps, earliest, entries):  # type: ignore[no-untyped-def]
    """The row of the first entry not before ``earliest``; there is one."""
    row, interval = _first_from(row, end, times, earliest), 0
    while True:
        if steps[row] == np.uint8(1):
            while entries[interval + 1] <= times[row]:
                interval += 2
            if entries[interval] <= times[row]:
                return row
        row += _ONE


@kernel(inline="always")
def _carry(found, deepest, since, latest):  # type: ignore[no-untyped-def]
    """Takes events of one ms in the order of their steps; returns the deepest level reached, or 0."""
    reached, step = np.uint64(0), _ONE
    while step <= deepest:
        carried = latest[step - _ONE]
        if (found >> step) & _ONE and carried >= since:
            latest[step] = carried
            reached = step
        step += _ONE
    return reached


@kernel(inline="always")
def _fill(row, first, times, steps, best, best_time, out, total):  # type: ignore[no-untyped-def]
    """Writes the ms from the entry, in ``row``, to steps 2 … ``best``, each filled by the first event that can; the
    last one is at ``best_time``, which is when ``best`` was first reached. Returns how many times there are then."""
    entry, step = times[row], np.uint64(2)
    while step < best:
        row = _start_of_ms(times, row, first)  # of one ms, whatever their order
        while np.uint64(steps[row]) != step:
            row += _ONE
        out[total] = times[row] - entry
        total += _ONE
        step += _ONE
    out[total] = best_time - entry
    return total + _ONE


@kernel(inline="always")
def _fill_rows(row, end, times, steps, best, filled, total):  # type: ignore[no-untyped-def]
    """Writes the rows that fill steps 1 … ``best``, each the first that can, of the attempt that begins in the ms of
    ``row``. Returns how many rows there are then."""
    level = np.uint64(0)
    while level < best:
        after = _end_of_ms(times, row, end)
        each = row
        while each < after and level < best:
            if np.uint64(steps[each]) == level + _ONE:
                filled[total + level] = np.int32(each)
                level += _ONE
                each = row  # of one ms, whatever their order
            else:
                each += _ONE
        row = after
    return total + best


@kernel(
    f"int64({view('int64')}, {view('int64')}, {view('uint8')}, int64, int64, {view('int64')}, int64[::1], int8[::1], "
    "int64[::1], int32[::1])",
    counted=False,
)
def follow(starts, times, steps, count, window, entries, latest, levels, out, filled):  # type: ignore[no-untyped-def]
    """The level of each user (0: no entry), and of those beyond level 1, one after the other, the ms from the entry to
    steps 2 … level; or, where there is room for them, of all with an entry the rows that fill steps 1 … level.

    starts: rows of user u are starts[u] … starts[u + 1], by time. steps: of each row, 1 … ``count``. entries: ascending
    pairs, half-open: times at which an attempt may begin. latest: scratch, STEPS_MAX + 1. levels (one a user) and
    filled, or out where that is empty (at least one a row), are written. Returns how many times or rows were. Of rows
    of one ms and step the first fills the step.
    """
    total, by_rows = np.uint64(0), filled.size > 0
    last_interval = entries.size - 2
    deepest = np.uint64(count)
    for user in range(np.uint64(starts.size - 1)):
        row, end = np.uint64(starts[user]), np.uint64(starts[user + _ONE])
        first = row
        for reset in range(deepest + _ONE):
            latest[reset] = NEVER
        best, best_time, interval = np.uint64(0), 0, 0
        while row < end:
            now = times[row]
            while interval < last_interval and entries[interval + 1] <= now:
                interval += 2
            opens = entries[interval] <= now < entries[interval + 1]
            latest[np.uint64(0)] = now if opens else NEVER
            after = row + _ONE
            if after == end or times[after] != now:
                step = np.uint64(steps[row])
                carried = latest[step - _ONE]
                reaches = carried >= now - window
                latest[step] = carried if reaches else latest[step]
                if reaches and step > best:
                    best, best_time = step, now
            else:
                after = _end_of_ms(times, row, end)
                found = _steps_of_ms(steps, row, after)
                reached = _carry(found, deepest, now - window, latest)
                if reached > best:
                    best, best_time = reached, now
            row = after
            if best == deepest:
                break
        levels[user] = np.int8(best)
        if best < np.uint64(2) and not (by_rows and best):
            continue
        row = _entry_of(first, end, times, steps, best_time - window, entries)
        if by_rows:
            total = _fill_rows(_start_of_ms(times, row, first), end, times, steps, best, filled, total)
        else:
            total = _fill(row, first, times, steps, best, best_time, out, total)
    return np.int64(total)


@kernel(f"int64({view('int8')}, {view('int32')}, {view('int64')}, int64[::1])", counted=False)
def since_entry(levels, filled, times, out):  # type: ignore[no-untyped-def]
    """The times that ``follow`` gives, of the rows that fill steps as ``best_attempts`` does. Returns how many."""
    row, total = np.uint64(0), np.uint64(0)
    for user in range(np.uint64(levels.size)):
        level = np.uint64(levels[user])
        if level > np.uint64(0):
            entry = times[np.uint64(filled[row])]
            step = _ONE
            while step < level:
                out[total] = times[np.uint64(filled[row + step])] - entry
                total += _ONE
                step += _ONE
            row += level
    return np.int64(total)


@kernel(*(f"void({view('int8')}, {view('int64')}, int64[::1], {kind}[::1])" for kind in ("int64", "uint32")))
def by_level(levels, times, users, out):  # type: ignore[no-untyped-def]
    """Times of ``follow`` with those of lower levels first. users (how many have each level, none 0) and out are
    written."""
    for user in range(np.uint64(levels.size)):
        users[np.uint64(levels[user])] += 1
    users[0] = 0
    at = np.zeros(STEPS_MAX + 1, np.int64)
    for each in range(2, users.size):
        at[each] = at[each - 1] + users[each - 1] * (each - 2)
    row = np.uint64(0)
    for user in range(np.uint64(levels.size)):
        level = np.uint64(levels[user])
        if level < np.uint64(2):
            continue
        to = np.uint64(at[level])
        for _ in range(_ONE, level):
            out[to] = times[row]
            to += _ONE
            row += _ONE
        at[level] = np.int64(to)
