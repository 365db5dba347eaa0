"""What happens to an attempt within one ms: which of its events fill which steps, and which exclude.

From level i an attempt reaches level j if steps i + 1 … j can be given one event of the ms each: a bipartite matching
(augmenting paths). Of several ways to the deepest level the one is taken whose steps, one after the other, have the
first event in order: what comes later does not decide.

Bits of a mask: s - 1 for step s, ``EXCLUSION_BIT`` + q for exclusion q.
"""

import numpy as np

from evenshard.kernels import kernel, view

NEVER = -(1 << 62)
"""Before every time."""
STEPS_MAX = 32
EXCLUSION_BIT = 32
EXCLUSIONS_MAX = 32
FREE = 0
"""The step of an event that fills none."""
ROWS_AND_FUNNEL = ", ".join([view("int64"), view("int64"), view("uint64"), "int64", "int64", view("int64")])
"""Types of starts, times, masks, steps, window and entries, as every kernel of funnels takes them."""
SPANS = f"{view('int64')}, {view('int64')}"
"""Types of the step each exclusion comes after, and of the one before which it is."""


@kernel(inline=True)
def augment(step, frozen, masks, first, end, step_of, event_of, via, queue):  # type: ignore[no-untyped-def]
    """Gives ``step`` an event of ``[first, end)``, moving others if need be; False (nothing changed) if there is none.

    step_of: for each event its step or FREE; event_of: for each step its event or -1; events of steps up to
    ``frozen`` stay. via and queue are scratch.
    """
    via[: end - first] = FREE
    queue[0] = step
    head, tail = 0, 1
    while head < tail:
        asking = queue[head]
        head += 1
        bit = np.uint64(1) << np.uint64(asking - 1)
        for event in range(first, end):
            at = event - first
            if not masks[event] & bit or via[at] != FREE or FREE < step_of[at] <= frozen:
                continue
            via[at] = asking
            if step_of[at] != FREE:
                queue[tail] = step_of[at]
                tail += 1
                continue
            while True:
                mine = via[at]
                before = event_of[mine]
                step_of[at] = mine
                event_of[mine] = at
                if mine == step:
                    return True
                at = before
    return False


@kernel(inline=True)
def first_in_order(level, deepest, masks, first, end, step_of, event_of, via, queue):  # type: ignore[no-untyped-def]
    """Of all ways to give steps ``level + 1 … deepest`` an event each, the first in order."""
    for step in range(level + 1, deepest + 1):
        bit = np.uint64(1) << np.uint64(step - 1)
        for event in range(first, end):
            at, held = event - first, event_of[step]
            if at == held:
                break
            other = step_of[at]
            if not masks[event] & bit or FREE < other < step:
                continue
            step_of[held] = FREE
            step_of[at] = step
            event_of[step] = at
            if other == FREE:
                break
            event_of[other] = -1
            if augment(other, step, masks, first, end, step_of, event_of, via, queue):
                break
            step_of[held] = step
            step_of[at] = other
            event_of[step] = held
            event_of[other] = at


@kernel(inline="always")
def end_of_ms(times, row, end):  # type: ignore[no-untyped-def]
    """The row after the last of the same time."""
    after = row + 1
    while after < end and times[after] == times[row]:
        after += 1
    return after


@kernel(inline=True)
def run_of_ms(  # type: ignore[no-untyped-def]
    level, deepest_max, increase, masks, row, after, step_of, event_of, via, queue
):
    """The level that an attempt at ``level`` reaches with the events of ``[row, after)``, at most ``deepest_max``.

    increase: one step a ms. step_of (for each event) and event_of (for each step, from ``row``) are written.
    """
    step_of[: after - row] = FREE
    event_of[: deepest_max + 1] = -1
    if increase or after == row + 1:
        bit = np.uint64(1) << np.uint64(level)
        for event in range(row, after):
            if level < deepest_max and masks[event] & bit:
                step_of[event - row] = level + 1
                event_of[level + 1] = event - row
                return level + 1
        return level
    deepest = level
    while deepest < deepest_max and augment(deepest + 1, level, masks, row, after, step_of, event_of, via, queue):
        deepest += 1
    first_in_order(level, deepest, masks, row, after, step_of, event_of, via, queue)
    return deepest


@kernel(inline=True)
def excluding_row(  # type: ignore[no-untyped-def]
    level, deepest, masks, row, after, step_of, spans_after, spans_before
):
    """The first row of a ms that fills no step and excludes an attempt which the ms took from ``level`` to
    ``deepest``; -1: none does. step_of: as ``run_of_ms`` left it."""
    for event in range(row, after):
        mask = masks[event] >> np.uint64(EXCLUSION_BIT)
        if not mask or step_of[event - row] != FREE:
            continue
        for number in range(spans_after.size):
            spans = spans_after[number] <= level and deepest < spans_before[number]
            if spans and mask & (np.uint64(1) << np.uint64(number)):
                return event
    return -1


@kernel(inline="always")
def fill(  # type: ignore[no-untyped-def]
    row, end, times, masks, best, increase, filled, total, step_of, event_of, via, queue
):
    """Writes the rows that fill steps 1 to ``best`` of the attempt that begins in the ms of ``row``."""
    level = 0
    while level < best:
        after = end_of_ms(times, row, end)
        if after == row + 1:
            if masks[row] & (np.uint64(1) << np.uint64(level)):
                filled[total + level] = row
                level += 1
        else:
            deepest = run_of_ms(level, best, increase, masks, row, after, step_of, event_of, via, queue)
            for step in range(level + 1, deepest + 1):
                filled[total + step - 1] = row + event_of[step]
            level = deepest
        row = after


@kernel(f"int64({view('int64')}, {view('int64')})", counted=False)
def rows_of_ms_max(starts, times):  # type: ignore[no-untyped-def]
    """How many rows of one user and ms there are at most; at least 1."""
    most = 1
    for user in range(starts.size - 1):
        row = starts[user]
        while row < starts[user + 1]:
            after = end_of_ms(times, row, starts[user + 1])
            most = max(most, after - row)
            row = after
    return most
