"""Schema and timeline as they are asked, checked; dates that are not given leave the range open."""

from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from evenshard.events.limits import DISTINCT_ID_BYTES_MAX
from evenshard.queries.buckets import OUTSIDE, buckets
from evenshard.queries.expression import parse
from evenshard.queries.model import FIRST_DATE, LAST_DATE, date_range, fail

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 10_000
"""Rows."""
_ALWAYS_MS: Final = (0, 1 << 48)
"""Before and behind every event."""


@dataclass(frozen=True, slots=True)
class SchemaQuery:
    """What there is to ask about; made by ``schema_query``."""

    from_date: date
    to_date: date
    include_hidden: bool
    include_duplicates: bool


@dataclass(frozen=True, slots=True)
class TimelineQuery:
    """One user's events; made by ``timeline_query``."""

    from_date: date
    to_date: date
    user: str
    where: str
    page_size: int
    page_token: str
    include_duplicates: bool


def schema_query(
    *, from_date: str = "", to_date: str = "", include_hidden: bool = False, include_duplicates: bool = False
) -> SchemaQuery:
    """Raises ``RANGE_INVALID`` for the dates."""
    return SchemaQuery(*_dates(from_date, to_date), include_hidden, include_duplicates)


def timeline_query(
    *,
    from_date: str = "",
    to_date: str = "",
    user: str,
    where: str = "",
    page_size: int = 0,
    page_token: str = "",
    include_duplicates: bool = False,
) -> TimelineQuery:
    """Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field."""
    first, last = _dates(from_date, to_date)
    if not user:
        fail("user", "name the distinct_id of a user: anonymous events are nobody's")
    if len(user.encode()) > DISTINCT_ID_BYTES_MAX:
        fail("user", f"a distinct_id has at most {DISTINCT_ID_BYTES_MAX} bytes")
    if not 0 <= page_size <= PAGE_MAX:
        fail("page_size", f"{page_size} is not between 1 and {PAGE_MAX}")
    if where.strip():
        parse(where)
    return TimelineQuery(first, last, user, where.strip(), page_size or PAGE_DEFAULT, page_token, include_duplicates)


def ranges_ms(from_date: date, to_date: date, zone: ZoneInfo) -> tuple[int, ...]:
    """The instants of some days of a zone: half-open intervals in pairs, ascending. Usually there is one; where clocks
    were put back across midnight, a day's instants are not in one piece."""
    if (from_date, to_date) == (FIRST_DATE, LAST_DATE):
        return _ALWAYS_MS
    made = buckets(from_date, to_date, "month", zone)
    found: list[int] = []
    for at, bucket in enumerate(made.bucket_of.tolist()):
        if bucket == OUTSIDE:
            continue
        start, end = made.bounds_ms[at : at + 2].tolist()
        if found and found[-1] == start:
            found[-1] = end
        else:
            found += [start, end]
    return tuple(found) or tuple(made.bounds_ms[[0, 0]].tolist())


def _dates(from_date: str, to_date: str) -> tuple[date, date]:
    return date_range(from_date or FIRST_DATE.isoformat(), to_date or LAST_DATE.isoformat())
