"""Buckets equal a walk through time, minute by minute, also where clocks change."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from evenshard.errors import EvenshardError
from evenshard.queries.buckets import OUTSIDE, UNITS, Unit, buckets
from evenshard.testing.reference import bucket_label
from hypothesis import given, settings
from hypothesis import strategies as st

# Days around which clocks change: by an hour, by half an hour, by a quarter for good, at one minute past midnight,
# and by a whole day.
CHANGES = {
    "Europe/Berlin": ["2024-03-31", "2024-10-27"],
    "America/St_Johns": ["2006-04-02", "2006-10-29", "1988-04-03", "1988-10-30"],
    "Australia/Lord_Howe": ["2024-04-07", "2024-10-06"],
    "Asia/Kathmandu": ["1986-01-01"],
    "Pacific/Apia": ["2011-12-30"],
    "America/Sao_Paulo": ["2018-02-18", "2018-11-04"],
    "Africa/Casablanca": ["2024-03-10", "2024-04-14"],
    "UTC": ["2024-02-29"],
}
MINUTE_MS = 60_000
DAY_MS = 86_400_000


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    st.sampled_from([(zone, day) for zone, days in sorted(CHANGES.items()) for day in days]),
    st.integers(-2, 1),
    st.integers(0, 2),
    st.sampled_from(UNITS),
)
def test_buckets_equal_a_walk_through_time(change: tuple[str, str], before: int, days: int, unit: Unit) -> None:
    zone = ZoneInfo(change[0])
    first = date.fromisoformat(change[1]) + timedelta(days=before)
    last = first + timedelta(days=days)
    made = buckets(first, last, unit, zone)

    start_ms = ((first - date(1970, 1, 1)).days - 2) * DAY_MS
    walked: dict[str, None] = {}
    for time_ms in range(start_ms, start_ms + (days + 5) * DAY_MS, MINUTE_MS):
        day = bucket_label(time_ms, "day", zone)
        inside = first.isoformat() <= day <= last.isoformat()
        label = bucket_label(time_ms, unit, zone) if inside else None
        at = int(made.bounds_ms.searchsorted(time_ms, "right")) - 1
        number = made.bucket_of[at] if 0 <= at < len(made.bucket_of) else OUTSIDE
        assert (made.labels[number] if number >= 0 else None) == label, (time_ms, label)
        if label is not None:
            walked[label] = None
    assert list(made.labels) == (list(walked) if unit in ("minute", "hour") else sorted(walked))


def test_a_repeated_hour_is_two_buckets_with_their_offsets() -> None:
    made = buckets(date(2024, 10, 27), date(2024, 10, 27), "hour", ZoneInfo("Europe/Berlin"))
    assert len(made.labels) == 25
    assert made.labels[1:5] == (
        "2024-10-27T01:00:00+02:00", "2024-10-27T02:00:00+02:00",
        "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00",
    )  # fmt: skip


def test_a_skipped_hour_has_no_bucket() -> None:
    made = buckets(date(2024, 3, 31), date(2024, 3, 31), "hour", ZoneInfo("Europe/Berlin"))
    assert len(made.labels) == 23
    assert made.labels[1:3] == ("2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00")


def test_weeks_and_months_are_named_by_their_first_day() -> None:
    week = buckets(date(2024, 1, 3), date(2024, 1, 8), "week", ZoneInfo("Asia/Tokyo"))
    assert week.labels == ("2024-01-01", "2024-01-08")
    assert week.bounds_ms.tolist() == [1_704_207_600_000, 1_704_639_600_000, 1_704_726_000_000]
    month = buckets(date(2023, 12, 31), date(2024, 2, 1), "month", ZoneInfo("UTC"))
    assert month.labels == ("2023-12-01", "2024-01-01", "2024-02-01")


def test_a_day_with_a_change_of_the_clock_is_one_interval() -> None:
    made = buckets(date(2024, 10, 26), date(2024, 10, 28), "day", ZoneInfo("Europe/Berlin"))
    assert made.bucket_of.tolist() == [0, 1, 2]
    assert [int(end - start) // 3_600_000 for start, end in zip(made.bounds_ms, made.bounds_ms[1:], strict=False)] == [
        24, 25, 24,
    ]  # fmt: skip


def test_too_many_buckets_are_refused() -> None:
    with pytest.raises(EvenshardError) as failed:
        buckets(date(2024, 1, 1), date(2024, 3, 11), "minute", ZoneInfo("UTC"))
    assert failed.value.code == "RANGE_INVALID"
    made = buckets(date(2000, 1, 1), date(2000, 3, 9), "minute", ZoneInfo("UTC"))
    assert len(made.labels) == 69 * 1440
