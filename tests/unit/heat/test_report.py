"""Which keys a report is of, which values stand out, and the weeks it is named by."""

from datetime import date, timedelta

import pytest
from evenshard.errors import EvenshardError
from evenshard.hotkeys.report import KEYS_MAX, MarkedKey, day_start_ms, is_of, keys_of, largest, likely_cause
from evenshard.hotkeys.standing_out import StandOut, stand_outs
from evenshard.hotkeys.weeks import Days, days_of_week, past_days, week_of
from hypothesis import given
from hypothesis import strategies as st

MONDAY = date(2026, 11, 16)
WEEK = Days(MONDAY, date(2026, 11, 22))
HOUR_MS = 3_600_000


def mark(name: str = "u", day: date = MONDAY, made_ms: int = 0) -> MarkedKey:
    return MarkedKey(name, day, "rewrite", 100, made_ms)


@pytest.mark.parametrize(
    ("week", "first"),
    [("2026-W47", MONDAY), ("2026-W01", date(2025, 12, 29)), ("2026-W53", date(2026, 12, 28))],
)  # fmt: skip
def test_a_week_is_monday_to_sunday(week: str, first: date) -> None:
    assert days_of_week(week) == Days(first, first + timedelta(days=6))
    assert {week_of(first), week_of(first + timedelta(days=6))} == {week}


@pytest.mark.parametrize(
    "week", ["", "2026-W54", "2025-W53", "2026-W00", "2026W47", "2026-W4", "2026-W047", "W47", "2026-w47"]
)
def test_what_is_no_week_is_refused(week: str) -> None:
    with pytest.raises(EvenshardError) as refused:
        days_of_week(week)
    assert (refused.value.code, refused.value.fields[0].field) == ("RANGE_INVALID", "week")


def test_the_past_seven_days_touch_eight() -> None:
    assert past_days(date(2026, 11, 26)) == Days(date(2026, 11, 19), date(2026, 11, 26))


def test_a_key_is_of_the_week_in_which_it_crossed_and_of_its_days() -> None:
    start = day_start_ms(MONDAY)
    made = [0, start - 1, start, start + 7 * 24 * HOUR_MS - 1, start + 7 * 24 * HOUR_MS]
    old = [is_of(mark(day=date(2020, 2, 2), made_ms=each), WEEK) for each in made]
    assert old == [False, False, True, True, False]
    days = [MONDAY - timedelta(days=1), MONDAY, WEEK.last, WEEK.last + timedelta(days=1)]
    for made_ms in (0, start - HOUR_MS, start + 8 * 24 * HOUR_MS):
        assert [is_of(mark(day=each, made_ms=made_ms), WEEK) for each in days] == [False, True, True, False]


def test_keys_come_from_marks_and_from_remediated_events_that_have_none() -> None:
    other = mark("other", date(2020, 2, 2))
    keys, left_out = keys_of([mark("new"), other], [("new", MONDAY), ("moved", WEEK.last)], WEEK)
    assert (keys, left_out) == ({("new", MONDAY): mark("new"), ("moved", WEEK.last): None}, 0)


def test_many_days_are_counted_for_the_newest_forty() -> None:
    made_ms = day_start_ms(MONDAY)
    marks = [mark("u", date(2025, 1, 1) + timedelta(days=number), made_ms) for number in range(100)]
    keys, left_out = keys_of(marks, [], WEEK)
    assert (sorted(keys), left_out) == ([("u", each.day) for each in marks[60:]], 60)


def test_the_largest_hundred_are_told_of() -> None:
    keys = {(f"u{number:03}", MONDAY): number // 2 for number in range(150)}
    told = largest(keys)
    assert (len(told), told[:3]) == (KEYS_MAX, [("u148", MONDAY), ("u149", MONDAY), ("u146", MONDAY)])


def test_a_value_of_most_of_its_events_and_few_of_the_rest_stands_out() -> None:
    key = {"sdk": {'"4.2.0"': 98, '"4.1.9"': 2}, "plan": {'"pro"': 60, '"free"': 40}, "os": {"null": 100}}
    rest = {"sdk": {'"4.2.0"': 10, '"4.1.9"': 990}, "plan": {'"pro"': 500, '"free"': 500}, "os": {'"ios"': 1_000}}
    assert stand_outs(key, 100, rest, 1_000) == [
        StandOut("os", "null", 1.0, 0.0),
        StandOut("sdk", '"4.2.0"', 0.98, 0.01),
    ]


def test_without_a_rest_nothing_stands_out() -> None:
    assert stand_outs({"sdk": {'"4.2.0"': 5}}, 5, {}, 0) == []
    assert stand_outs({}, 0, {"sdk": {"1": 5}}, 5) == []


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), max_size=6)


@given(st.dictionaries(st.sampled_from(["p", "q"]), COUNTS), st.dictionaries(st.sampled_from(["p", "q"]), COUNTS))
def test_stand_outs_equal_the_definition(key: dict[str, dict[str, int]], rest: dict[str, dict[str, int]]) -> None:
    events = max((sum(counts.values()) for counts in key.values()), default=0)
    others = max((sum(counts.values()) for counts in rest.values()), default=0)
    expected = {
        (name, value)
        for name, counts in key.items()
        for value, count in counts.items()
        if others and 2 * count >= events and count * others >= 2 * rest.get(name, {}).get(value, 0) * events
    }
    found = stand_outs(key, events, rest, others)
    assert {(each.property, each.value_json) for each in found} <= expected
    assert len(found) == min(5, len(expected))
    gaps = [each.share - each.share_elsewhere for each in found]
    assert gaps == sorted(gaps, reverse=True)


def test_causes_are_told_in_words() -> None:
    assert likely_cause("u1", {"view": 50, "buy": 50}, []) == (
        "events of many kinds and of no build in particular: an id that many users share, a test or a bot"
    )
    cause = likely_cause("NULL", {"view": 90, "buy": 10}, [StandOut("sdk", '"4"', 0.98, 0.01)])
    assert cause == (
        "'NULL' is a placeholder that SDK bugs send as distinct_id: many users share it. sdk is \"4\" in 98% of its "
        "events, and in 1% of all others. 90% of its events are 'view': code that sends it in a loop, or too often"
    )
