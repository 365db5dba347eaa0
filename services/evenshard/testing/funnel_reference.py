"""A user's best attempt at an ordered funnel, found naively: every entry is followed, every choice within a ms tried.

An event is (time in ms, the set of steps it matches, anything). Steps are numbered from 0.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import median
from typing import Any

Event = tuple[int, frozenset[int], Any]


def best_attempt(events: Sequence[Event], steps: int, window_ms: int, opens: Callable[[int], bool]) -> list[Event]:
    """The events that fill steps 0, 1 …; none: no entry. ``events`` are in order; ``opens(time)``: an entry may be
    there. Of the deepest attempts the earliest."""
    moments = [list(same) for _, same in groupby(events, key=lambda event: event[0])]
    runs: dict[tuple[int, int], list[Event]] = {}
    best: list[Event] = []
    for first, moment in enumerate(moments):
        if not opens(moment[0][0]) or not any(0 in matches for _, matches, _ in moment):
            continue
        filled: list[Event] = []
        for at in range(first, len(moments)):
            if moments[at][0][0] > moment[0][0] + window_ms or len(filled) == steps:
                break
            if (at, len(filled)) not in runs:
                runs[at, len(filled)] = longest_run(moments[at], len(filled), steps)
            filled += runs[at, len(filled)]
        if len(filled) > len(best):
            best = filled
        if len(best) == steps:
            break
    return best


def longest_run(events: Sequence[Event], step: int, steps: int) -> list[Event]:
    """Different events of one ms for ``step``, the next, and so on: as many as can be; of equals the first in order."""
    best: list[Event] = []
    tried = set()
    for event in events:
        # One that matches the same steps as an earlier one leads no deeper.
        if step in event[1] and event[1] not in tried:
            tried.add(event[1])
            others = [other for other in events if other is not event]
            run = [event, *longest_run(others, step + 1, steps)]
            if len(run) > len(best):
                best = run
        if step + len(best) == steps:
            break
    return best


def funnel_steps(attempts: Sequence[Sequence[dict[str, Any]]], names: Sequence[str]) -> list[dict[str, Any]]:
    """What became of each step of these attempts, each the rows that fill its steps."""
    results = []
    for step, name in enumerate(names):
        reached = [attempt for attempt in attempts if len(attempt) > step]
        before = [attempt for attempt in attempts if len(attempt) > step - 1]
        first_ms = [attempt[step]["time"] - attempt[0]["time"] for attempt in reached]
        previous_ms = [attempt[step]["time"] - attempt[step - 1]["time"] for attempt in reached] if step else []
        results.append(
            {
                "step": step + 1,
                "name": name,
                "count": len(reached),
                "conversion_from_previous": len(reached) / len(before) if step and before else None,
                "conversion_from_first": len(reached) / len(attempts) if attempts else None,
                "avg_seconds_from_previous": sum(previous_ms) / len(previous_ms) / 1000 if previous_ms else None,
                "median_seconds_from_previous": median(previous_ms) / 1000 if previous_ms else None,
                "avg_seconds_from_first": sum(first_ms) / len(first_ms) / 1000 if first_ms else None,
                "median_seconds_from_first": median(first_ms) / 1000 if first_ms else None,
            }
        )
    return results
