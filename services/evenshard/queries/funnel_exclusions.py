"""Finds each unit's best attempt at an ordered funnel with exclusions, or whose steps are strictly later than another.

One pass follows every entry at once. Of two attempts that go on the earlier is never behind the later, so those at one
level stand side by side in the order of entries: a level is an interval of them, and a ms moves whole intervals up. An
exclusion ends all attempts of a level, but those that came to it within that very ms. So each event costs the levels
it concerns, whatever the number of entries; an entry is marked as ended once for each level at most.

Which events fill the steps does not depend on exclusions: an attempt that is ended keeps the level it has, and the ms
of the exclusion still counts.
"""

import numpy as np

from evenshard.kernels import kernel
from evenshard.queries.funnel_kernel import Int8
from evenshard.queries.funnel_moment import (
    EXCLUSION_BIT,
    NEVER,
    ROWS_AND_FUNNEL,
    SPANS,
    STEPS_MAX,
    end_of_ms,
    excluding_row,
    fill,
    rows_of_ms_max,
    run_of_ms,
)
from evenshard.queries.user_rows import AnyMasks, Int32, Int64

DROPPED = -1
"""The level of a unit that an exclusion drops."""


def best_attempts_excluding(
    starts: Int64, times: Int64, masks: AnyMasks, steps: int, window: int, entries: Int64, spans_after: Int64,
    spans_before: Int64, increase: bool, exclude_user: bool, levels: Int8, filled: Int32,
) -> int:  # fmt: skip
    """As ``funnel_kernel.best_attempts``, with exclusions.

    masks: bits as in ``funnel_moment``. increase: each step is later than the one before. exclude_user: the level of a
    unit with an exclusion in any attempt is ``DROPPED``.
    """
    of_steps = np.empty((5, STEPS_MAX + 1), np.int64)
    of_ms = np.empty((2, rows_of_ms_max(starts, times)), np.int64)
    rows_max = int(np.diff(starts).max(initial=1))
    entry_row, ended = np.empty(rows_max, np.int64), np.empty(rows_max, np.bool_)
    total: int = _best_attempts_excluding(
        starts, times, masks, steps, window, entries, spans_after, spans_before, increase, exclude_user, of_steps,
        of_ms, entry_row, ended, levels, filled,
    )  # fmt: skip
    return total


@kernel(
    f"int64({ROWS_AND_FUNNEL}, {SPANS}, boolean, boolean, int64[:, ::1], int64[:, ::1], int64[::1], boolean[::1], "
    "int8[::1], int32[::1])",
    counted=False,
)
def _best_attempts_excluding(  # type: ignore[no-untyped-def]  # noqa: C901
    starts, times, masks, steps, window, entries, spans_after, spans_before, increase, exclude_user, of_steps, of_ms,
    entry_row, ended, levels, filled
):  # fmt: skip
    """of_steps, of_ms, entry_row and ended: scratch, see ``funnel_kernel.best_attempts``."""
    low, high, latest, event_of, queue = of_steps[0], of_steps[1], of_steps[2], of_steps[3], of_steps[4]
    step_of, via = of_ms[0], of_ms[1]
    total = 0
    for unit in range(starts.size - 1):
        row, end = starts[unit], starts[unit + 1]
        low[:] = 0
        high[:] = 0
        latest[:] = NEVER
        best, best_row, interval, count = 0, 0, 0, 0
        dropped = False
        while row < end and not dropped:
            after = end_of_ms(times, row, end)
            now = times[row]
            union = np.uint64(0)
            for event in range(row, after):
                union |= masks[event]
            while interval < entries.size and entries[interval + 1] <= now:
                interval += 2
            opens = interval < entries.size and entries[interval] <= now and union & np.uint64(1)
            excluding = union >> np.uint64(EXCLUSION_BIT)
            for level in range(steps - 1, -1, -1):
                if level:
                    if low[level] == high[level]:
                        continue
                    if latest[level] < now - window:
                        low[level] = high[level]
                        continue
                    if not excluding and not union & (np.uint64(1) << np.uint64(level)):
                        continue
                    while ended[low[level]] or times[entry_row[low[level]]] < now - window:
                        low[level] += 1
                else:
                    if not opens:
                        continue
                    entry_row[count] = row
                    ended[count] = False
                    low[0], high[0], latest[0] = count, count + 1, now
                    count += 1
                deepest = run_of_ms(level, steps, increase, masks, row, after, step_of, event_of, via, queue)
                if deepest > best:
                    best, best_row = deepest, entry_row[low[level]]
                hit = False
                if level and excluding:
                    hit = excluding_row(level, deepest, masks, row, after, step_of, spans_after, spans_before) >= 0
                if hit:
                    dropped |= exclude_user
                    for entry in range(low[level], high[level]):
                        ended[entry] = True
                elif deepest == level:
                    continue
                elif deepest < steps:
                    if low[deepest] == high[deepest]:
                        low[deepest] = low[level]
                    high[deepest], latest[deepest] = high[level], latest[level]
                low[level] = high[level]
            if best == steps and not exclude_user:
                break
            row = after
        levels[unit] = DROPPED if dropped else best
        if best and not dropped:
            fill(best_row, end, times, masks, best, increase, filled, total, step_of, event_of, via, queue)
            total += best
    return total
