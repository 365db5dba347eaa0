"""ISO weeks, and the days a report is of. Pure."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from evenshard.errors import EvenshardError, FieldFault

REPORT_DAYS_MAX: Final = 31
_WEEK: Final = re.compile(r"(\d{4})-W(\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Days:
    """Both inclusive, UTC."""

    first: date
    last: date

    @property
    def count(self) -> int:
        return (self.last - self.first).days + 1


def week_of(day: date) -> str:
    """``2026-W47``."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


def days_of_week(week: str) -> Days:
    """Monday to Sunday. Raises ``RANGE_INVALID``."""
    found = _WEEK.fullmatch(week)
    try:
        if found is None:
            raise ValueError(week)
        monday = date.fromisocalendar(int(found[1]), int(found[2]), 1)
    except ValueError as error:
        problem = f"{week!r} is not an ISO week (as 2026-W47)"
        raise EvenshardError("RANGE_INVALID", f"week: {problem}", fields=(FieldFault("week", problem),)) from error
    return Days(monday, monday + timedelta(days=6))


def past_days(today: date) -> Days:
    """The past 7 × 24 hours, whatever the time of day: from the day a week ago to today."""
    return Days(today - timedelta(days=7), today)
