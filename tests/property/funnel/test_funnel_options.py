"""The attempts that count equal the naive ones for every option of a funnel, and every way to combine them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evenshard.queries.funnel_attempts import attempts_that_count
from evenshard.queries.plan import FunnelScan
from evenshard.queries.steps import Exclusion, Step
from evenshard.queries.user_rows import UserRows
from evenshard.testing.funnel_reference import Ask, Event, attempts
from hypothesis import given, settings
from hypothesis import strategies as st

HOUR_MS = 3_600_000
Case = tuple[list[list[Event]], FunnelScan]
EVERYTHING = (0, 1 << 60)


def plan_of(steps: int, window_ms: int, **options: Any) -> FunnelScan:
    spans = options.pop("spans", ())
    return FunnelScan(
        entries_ms=options.pop("entries_ms", EVERYTHING), window_ms=window_ms, steps=(Step(()),) * steps, where="",
        by=(), by_step=0, skip_duplicates=True,
        exclusions=tuple(Exclusion(Step(()), after, before) for after, before in spans), **options,
    )  # fmt: skip


def kernel_attempts(users: list[list[Event]], plan: FunnelScan) -> list[list[Event]]:
    """The events that fill the steps of each attempt."""
    ordered = [sorted(events, key=lambda event: (event.time, min(event.steps, default=99))) for events in users]
    flat = [event for events in ordered for event in events]
    masks = [
        sum(1 << (step - 1) for step in event.steps) | sum(1 << (32 + number) for number in event.excluded)
        for event in flat
    ]
    held = {value: code for code, value in enumerate(dict.fromkeys(event.held for event in flat))}
    rows = UserRows(
        np.append(0, np.cumsum([len(events) for events in ordered])).astype(np.int64),
        np.array([event.time for event in flat], np.int64),
        np.array(masks, np.uint64),
        sessions=np.array([event.session for event in flat], np.int32),
    )
    holds = np.array([held[event.held] for event in flat], np.int32) if plan.hold else None
    found = attempts_that_count(plan, rows, holds)
    firsts = [flat[place].row[0] for place in found.filled[found.starts].tolist()]
    assert [users[number][0].row[0] for number in found.users.tolist()] == firsts
    return [
        [flat[place] for place in found.filled[start : start + level].tolist()]
        for start, level in zip(found.starts.tolist(), found.levels.tolist(), strict=True)
    ]


def naive_attempts(users: list[list[Event]], plan: FunnelScan) -> list[list[Event]]:
    def opens(time: int) -> bool:
        return any(start <= time < end for start, end in zip(plan.entries_ms[::2], plan.entries_ms[1::2], strict=True))

    ask = Ask(
        len(plan.steps), plan.window_ms, opens, plan.order, plan.attempt, plan.count_mode, plan.strict_increase,
        [(each.after_step, each.before_step) for each in plan.exclusions], plan.exclude_user,
    )  # fmt: skip
    return [attempt for events in users for attempt in attempts(events, ask)]


def in_order(found: list[list[Event]]) -> list[list[Any]]:
    """Attempts by their rows, whatever order they were found in."""
    return sorted([event.row for event in attempt] for attempt in found)


def stream(text: str) -> list[Event]:
    """Events like ``A5x!``: step 1 at 5 ms, of value x, excluded; Z matches nothing, X only excludes."""
    events = []
    for place, word in enumerate(text.split()):
        time = int("".join(filter(str.isdigit, word)))
        excluded = frozenset((0,)) if word[0] == "X" or word.endswith("!") else frozenset()
        steps = frozenset(("ABC".index(word[0]) + 1,)) if word[0] in "ABC" else frozenset()
        events.append(Event(time, steps, excluded, word.strip("ABCXZ0123456789!"), 0, (0, place, word)))
    return events


@st.composite
def cases(draw: st.DrawFn, steps_max: int = 5, rows_max: int = 12) -> Case:
    steps = draw(st.integers(2, steps_max))
    order = draw(st.sampled_from(["ordered", "ordered", "strict", "any"]))
    last_ms = draw(st.sampled_from([0, 2, 6, 15]))
    spans: list[tuple[int, int]] = []
    if order != "any":
        span = st.lists(st.integers(1, steps), min_size=2, max_size=2, unique=True).map(sorted).map(tuple)
        spans = draw(st.lists(span, max_size=draw(st.sampled_from([0, 1, 3]))))
    one = st.integers(1, steps).map(lambda step: frozenset((step,)))
    several = st.frozensets(st.integers(1, steps), min_size=1)
    matched = draw(st.sampled_from([one, st.one_of(one, several), several]))
    if order == "strict" or spans:
        matched = st.one_of(matched, matched, st.just(frozenset()))
    excluded = st.sampled_from([frozenset(), frozenset(), *(frozenset((number,)) for number in range(len(spans)))])
    values = draw(st.sampled_from([1, 1, 2, 3]))
    count_mode = draw(st.sampled_from(["unique", "unique", "total", "session"]))
    users = []
    for user in range(draw(st.integers(0, 3))):
        times = sorted(draw(st.lists(st.integers(0, last_ms), max_size=rows_max)))
        session, events = 0, []
        for time in times:
            new_session = bool(events) and time > events[-1].time and draw(st.integers(0, 3)) == 0
            session += new_session
            event = (draw(matched), draw(excluded), draw(st.integers(1, values)), session, (user, len(events)))
            events.append(Event(time, *event))
        # What matches nothing is not there, but for a strict funnel.
        users.append([event for event in events if event.steps or event.excluded or order == "strict"])
    plan = plan_of(
        steps, draw(st.integers(0, last_ms + 1)), spans=spans, order=order, count_mode=count_mode,
        entries_ms=draw(st.sampled_from([EVERYTHING, EVERYTHING, (2, 5), (0, 1, 3, 4), (5, 5)])),
        attempt=draw(st.sampled_from(["best", "best", "first"])), exclude_user=bool(spans) and draw(st.booleans()),
        strict_increase=order != "any" and draw(st.integers(0, 3)) == 0, hold=("plan",) if values > 1 else (),
    )  # fmt: skip
    return users, plan


@settings(max_examples=500, deadline=None, print_blob=True)
@given(cases())
def test_attempts_equal_the_naive_ones(case: Case) -> None:
    users, plan = case
    assert in_order(kernel_attempts(users, plan)) == in_order(naive_attempts(users, plan))


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=20_000, deadline=None, print_blob=True)
@given(cases(steps_max=7, rows_max=16))
def test_many_attempts_equal_the_naive_ones(case: Case) -> None:
    users, plan = case
    assert in_order(kernel_attempts(users, plan)) == in_order(naive_attempts(users, plan))


NAMED: dict[str, tuple[list[Event], FunnelScan, list[str]]] = {
    "an entry that was ended is not taken for one that leads on": (
        stream("A0 B1 A2 X3 A4 B5 C11"), plan_of(3, 10, spans=[(1, 2)]), ["A4 B5 C11"],
    ),
    "attempts that catch up bring their entry": (
        stream("A0 B1 A9 B10 C15"), plan_of(3, 10, spans=[(1, 2)]), ["A9 B10 C15"],
    ),
    "an exclusion in the ms of the step it follows does not count": (
        stream("A0 B5 X5 C6"), plan_of(3, 10, spans=[(2, 3)]), ["A0 B5 C6"],
    ),
    "an exclusion in the ms of a step between comes after it": (
        stream("A0 B5 X5 C6"), plan_of(3, 10, spans=[(1, 3)]), ["A0 B5"],
    ),
    "what opens again comes behind the steps of that ms": (
        stream("A0 A5! A5 B5"), plan_of(3, 10, spans=[(1, 3)], count_mode="total"), ["A0 B5"],
    ),
    "in one ms attempts follow one another": (
        [replace(each, steps=frozenset((1, 2))) for each in stream("A0 A0 A0 A0")], plan_of(2, 10, count_mode="total"),
        ["A0 A0", "A0 A0"],
    ),
    "what excludes from a strict attempt opens none": (
        stream("A0 A1! B2"), plan_of(2, 10, spans=[(1, 2)], count_mode="total", order="strict"), ["A0"],
    ),
    "what breaks a strict attempt may open one": (
        stream("A0 A1 B2"), plan_of(2, 10, count_mode="total", order="strict"), ["A0", "A1 B2"],
    ),
    "strict attempts follow one another for each value by itself": (
        stream("A0x Z1x A2y B3y A4x B5x"), plan_of(2, 10, count_mode="total", order="strict", hold=("plan",)),
        ["A0x", "A2y B3y", "A4x B5x"],
    ),
    "in any order too": (
        stream("A0 B1 B2"), plan_of(2, 10, count_mode="total", order="any"), ["A0 B1", "B2"],
    ),
    "an event of another value excludes, and fills no step": (
        stream("A0x B1y! B2x"), plan_of(2, 10, spans=[(1, 2)], hold=("plan",)), ["A0x"],
    ),
    "with first the first entry decides which value is held": (
        stream("A0x A1y B2y"), plan_of(2, 10, attempt="first", hold=("plan",)), ["A0x"],
    ),
    "an exclusion in the attempt of one value drops the user": (
        stream("A0x B1x A2y X3y B4y"), plan_of(2, 10, spans=[(1, 2)], exclude_user=True, hold=("plan",)), [],
    ),
    "with first only the first attempt drops the user": (
        stream("A0x B1x A2y X3y B4y"),
        plan_of(2, 10, spans=[(1, 2)], exclude_user=True, attempt="first", hold=("plan",)), ["A0x B1x"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_cases(name: str) -> None:
    events, plan, expected = NAMED[name]
    found = in_order(kernel_attempts([events], plan))
    assert found == in_order(naive_attempts([events], plan))
    assert [" ".join(word for _, _, word in attempt) for attempt in found] == expected


def rows_of_one_user(times: Any, masks: Any) -> UserRows:
    return UserRows(np.array([0, len(times)]), times, masks)


@pytest.mark.parametrize("order", ["ordered", "strict", "any"])
@pytest.mark.parametrize("count_mode", ["unique", "total"])
@pytest.mark.parametrize("ms", [1, 1000])
def test_many_events_of_one_user_in_few_ms_take_no_time(order: str, count_mode: str, ms: int) -> None:
    """Were each attempt to look at all of its ms, it would be minutes."""
    rows = 200_000
    masks = np.full(rows, 7, np.uint64)
    spans = [(1, 3)] if order != "any" else []
    plan = plan_of(3, 10, spans=spans, order=order, count_mode=count_mode)
    found = attempts_that_count(plan, rows_of_one_user(np.arange(rows) // (rows // ms), masks), None)
    assert found.levels.max() == 3
    if ms == 1 and count_mode == "total":
        assert len(found.levels) == rows // 3 + 1
