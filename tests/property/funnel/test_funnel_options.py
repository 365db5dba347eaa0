"""The attempts that count equal the naive ones for every option of a funnel, and every way to combine them."""

from typing import Any

import numpy as np
import pyarrow as pa
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
        {},
        {},
        np.array([event.session for event in flat], np.int32),
        pa.array([str(number) for number in range(len(users))]),
    )
    holds = np.array([held[event.held] for event in flat], np.int32) if plan.hold else None
    found = attempts_that_count(plan, rows, holds)
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


@settings(max_examples=1500, deadline=None, print_blob=True)
@given(cases())
def test_attempts_equal_the_naive_ones(case: Case) -> None:
    users, plan = case
    assert in_order(kernel_attempts(users, plan)) == in_order(naive_attempts(users, plan))
