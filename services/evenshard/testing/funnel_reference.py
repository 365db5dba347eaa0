"""A user's attempts at a funnel, found naively: every entry is followed, every choice within a ms tried.

``attempts`` is the whole of it: a user's events in, the events that fill steps out. Steps are numbered from 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median
from typing import Any


@dataclass(frozen=True, eq=False)
class Event:
    """``steps``: those it matches; ``excluded``: the numbers (from 0) of the exclusions it matches."""

    time: int
    steps: frozenset[int]
    excluded: frozenset[int] = frozenset()
    held: Any = None
    session: int = 0
    row: Any = None


@dataclass(frozen=True)
class Ask:
    """``opens(time)``: an attempt may begin there. ``exclusions``: (after_step, before_step)."""

    steps: int
    window_ms: int
    opens: Callable[[int], bool]
    order: str = "ordered"
    attempt: str = "best"
    count: str = "unique"
    strict_increase: bool = False
    exclusions: Sequence[tuple[int, int]] = ()
    exclude_user: bool = False

    def enters(self, event: Event) -> bool:
        return self.opens(event.time) and (1 in event.steps or (self.order == "any" and bool(event.steps)))


@dataclass(frozen=True)
class Attempt:
    """Places of events in the list: those that fill steps 1, 2 …; and where the next attempt may begin."""

    filled: list[int]
    excluded: bool
    next_place: int


def attempts(events: Sequence[Event], ask: Ask) -> list[list[Event]]:
    """The attempts that count, each the events that fill steps 1, 2 … ``events``: of one user, in time; those of one
    ms by (name, insert_id)."""
    events = sorted(events, key=lambda event: (event.time, min(event.steps, default=99)))
    found: list[list[Event]] = []
    dropped = False
    for _, mine in groupby(events, key=lambda event: event.session if ask.count == "session" else 0):
        candidates: list[tuple[list[Event], Attempt]] = []
        same_session = list(mine)
        for held in dict.fromkeys(event.held for event in same_session):
            # Events of another value fill no step, but exclude, and break what is strict.
            stream = [each if each.held == held else replace(each, steps=frozenset()) for each in same_session]
            candidates += [(stream, each) for each in in_turn(stream, ask, all_entries=ask.attempt == "best")]
        if not candidates:
            continue
        if ask.count == "total":
            chosen = candidates
        elif ask.attempt == "first":
            chosen = [min(candidates, key=lambda one: same_session.index(one[0][one[1].filled[0]]))]
        else:
            chosen = [
                min(candidates, key=lambda one: (-len(one[1].filled), same_session.index(one[0][one[1].filled[0]])))
            ]
        looked_at = candidates if ask.attempt == "best" or ask.count == "total" else chosen
        dropped |= ask.exclude_user and any(each.excluded for _, each in looked_at)
        found += [[stream[place] for place in each.filled] for stream, each in chosen]
    return [] if dropped else found


def in_turn(events: Sequence[Event], ask: Ask, *, all_entries: bool) -> list[Attempt]:
    """Attempts one after the other (``total``), one from each entry (``best``), or the first alone."""
    found: list[Attempt] = []
    next_place = 0
    for place, event in enumerate(events):
        if place < next_place or not ask.enters(event):
            continue
        if ask.count != "total" and found and not all_entries:
            break
        found.append(follow(events, place, ask))
        if ask.count == "total":
            next_place = found[-1].next_place
        elif ask.order == "ordered":
            # One entry a ms: all of its events are tried.
            next_place = next((at for at in range(place, len(events)) if events[at].time > event.time), len(events))
    return found


def follow(events: Sequence[Event], first: int, ask: Ask) -> Attempt:
    """The attempt whose entry is at ``first``, or in its ms from there on."""
    last_ms = events[first].time + ask.window_ms
    timed_out = next((at for at in range(first, len(events)) if events[at].time > last_ms), len(events))
    match ask.order:
        case "strict":
            filled, stop = follow_strict(events, first, timed_out, ask)
        case "any":
            filled, stop = follow_any(events, first, timed_out, ask), timed_out
        case _:
            filled, stop = follow_ordered(events, first, timed_out, ask), timed_out
    for at in range(first, min(stop + 1, timed_out)):
        if at not in filled and excludes(events, filled, at, ask):
            before = [place for place in filled if events[place].time <= events[at].time]
            same_ms = [place for place in before if events[place].time == events[at].time]
            return Attempt(before, True, max([at, *same_ms]) + 1)
    return Attempt(filled, False, max(filled) + 1 if len(filled) == ask.steps else stop)


def excludes(events: Sequence[Event], filled: Sequence[int], at: int, ask: Ask) -> bool:
    """Whether an event that fills no step lies between two steps that it must not lie between."""
    for number in events[at].excluded:
        after, before = ask.exclusions[number]
        behind = len(filled) >= after and events[filled[after - 1]].time < events[at].time
        if behind and (len(filled) < before or events[at].time < events[filled[before - 1]].time):
            return True
    return False


def follow_ordered(events: Sequence[Event], first: int, end: int, ask: Ask) -> list[int]:
    filled: list[int] = []
    for _, same in groupby(range(first, end), key=lambda at: events[at].time):
        longest = 1 if ask.strict_increase else ask.steps - len(filled)
        filled += longest_run(events, list(same), len(filled) + 1, min(longest, ask.steps - len(filled)))
    return filled


def longest_run(events: Sequence[Event], places: Sequence[int], step: int, most: int) -> list[int]:
    """Different events of one ms for ``step``, the next, and so on: as many as can be, at most ``most``; of equals the
    first in order."""
    best: list[int] = []
    tried = set()
    for place in places if most else ():
        # One that matches the same steps as an earlier one leads no deeper.
        if step in events[place].steps and events[place].steps not in tried:
            tried.add(events[place].steps)
            others = [other for other in places if other != place]
            run = [place, *longest_run(events, others, step + 1, most - 1)]
            if len(run) > len(best):
                best = run
        if len(best) == most:
            break
    return best


def follow_strict(events: Sequence[Event], first: int, end: int, ask: Ask) -> tuple[list[int], int]:
    """And the place of the event that is not the next step."""
    filled = [first]
    while len(filled) < ask.steps and filled[-1] + 1 < end:
        at = filled[-1] + 1
        later = events[at].time > events[at - 1].time or not ask.strict_increase
        if len(filled) + 1 not in events[at].steps or not later:
            break
        filled.append(at)
    return filled, filled[-1] + 1


def follow_any(events: Sequence[Event], first: int, end: int, ask: Ask) -> list[int]:
    """Each event that lets one more step be filled."""
    filled: list[int] = []
    for at in range(first, end):
        if len(filled) < ask.steps and can_all_fill([events[each].steps for each in [*filled, at]]):
            filled.append(at)
    return filled


def can_all_fill(wanted: Sequence[frozenset[int]]) -> bool:
    """Whether each of ``wanted`` can have a step of its own (Kuhn's matching)."""
    owner: dict[int, int] = {}

    def settle(one: int, asked: set[int]) -> bool:
        for step in wanted[one] - asked:
            asked.add(step)
            if step not in owner or settle(owner[step], asked):
                owner[step] = one
                return True
        return False

    return all(settle(one, set()) for one in range(len(wanted)))


BARS_S = (
    *(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 30, 45),
    *(60 * minutes for minutes in (1, 2, 3, 5, 10, 15, 20, 30, 45)),
    *(3600 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 18)),
    *(86_400 * days for days in (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270, 366)),
)


def histogram(durations_ms: Sequence[int]) -> list[dict[str, Any]]:
    """Bars from that of the shortest to that of the longest."""
    bars = [
        {"up_to_seconds": upper, "count": sum(lower * 1000 < each <= upper * 1000 for each in durations_ms)}
        for lower, upper in pairwise((-1.0, *BARS_S))
    ]
    while bars and not bars[-1]["count"]:
        bars.pop()
    while bars and not bars[0]["count"]:
        bars.pop(0)
    return bars


def funnel_steps(attempts: Sequence[Sequence[dict[str, Any]]], names: Sequence[str | None]) -> list[dict[str, Any]]:
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
                "histogram": histogram(first_ms) if step else [],
            }
        )
    return results
