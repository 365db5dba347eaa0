"""Retention found naively: each user's events are walked through, every cell is asked of every user.

Rows are those of ``reference``: dicts as answers show them, duplicates marked.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from evenshard.testing.reference import Row, order_of, value_of

ROLLING_MS = {"day": 86_400_000, "week": 7 * 86_400_000, "month": 30 * 86_400_000}
Matcher = tuple[Sequence[str], Callable[[Row], bool]]
"""Names of events (none: any) and a filter."""


def in_order(rows: Sequence[Row]) -> list[Row]:
    """A user's events, as queries see them."""
    return sorted(
        rows, key=lambda row: (row["time"], row["event"].encode(), row["insert_id"] is not None, row["insert_id"] or "")
    )


def users_of(rows: Sequence[Row], where: Callable[[Row], bool], include_duplicates: bool) -> dict[str, list[Row]]:
    """Each user's events that take part, in order."""
    users: dict[str, list[Row]] = {}
    for row in in_order(rows):
        if row["distinct_id"] and where(row) and (include_duplicates or not row["duplicate"]):
            users.setdefault(row["distinct_id"], []).append(row)
    return users


def matches(row: Row, step: Matcher) -> bool:
    names, filtered = step
    return (not names or row["event"] in names) and filtered(row)


def local_date(time_ms: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone).date()


def unit_of(day: date, unit: str) -> int:
    """Days, ISO weeks or months, counted."""
    return {"day": day.toordinal(), "week": (day.toordinal() - 1) // 7, "month": day.year * 12 + day.month - 1}[unit]


def first_day(number: int, unit: str) -> date:
    """Of a unit."""
    match unit:
        case "day":
            return date.fromordinal(number)
        case "week":
            return date.fromordinal(number * 7 + 1)
    return date(number // 12, number % 12 + 1, 1)


@cache
def end_of_ms(day: date, zone: ZoneInfo) -> int:
    """When the clock shows for the last time this day, or one before; to the minute."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=52)
    for step in (timedelta(minutes=15), timedelta(minutes=1)):  # no clock shows a day for less than a quarter
        while (at - step).astimezone(zone).date() > day:
            at -= step
    return int(at.timestamp()) * 1000


@cache
def is_shown(day: date, zone: ZoneInfo) -> bool:
    """Whether the clock ever shows it."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return any((noon + timedelta(hours=hour)).astimezone(zone).date() == day for hour in range(-26, 27))


def retention(
    rows: Sequence[Row],
    from_date: str,
    to_date: str,
    birth: Matcher,
    returning: Matcher,
    *,
    now_ms: int,
    unit: str = "day",
    buckets: int = 8,
    mode: str = "on",
    align: str = "rolling",
    birth_scope: str = "range",
    timezone: str = "UTC",
    where: Callable[[Row], bool] = lambda row: True,
    by: Sequence[str] = (),
    limit: int = 60,
    include_duplicates: bool = False,
) -> dict[str, Any]:
    """``{"cohorts", "average", "groups"}`` of one tenant's rows."""
    zone = ZoneInfo(timezone)
    first, last = date.fromisoformat(from_date), date.fromisoformat(to_date)

    def bucket_of(born: Row, row: Row) -> int:
        if align == "rolling":
            return int((row["time"] - born["time"]) // ROLLING_MS[unit])
        units = [unit_of(local_date(each["time"], zone), unit) for each in (born, row)]
        return max(0, units[1] - units[0])  # a clock that is put back across midnight shows the day before again

    def is_incomplete(cohort: int, bucket: int) -> bool:
        if align == "rolling":
            last_birth = min(last, first_day(cohort + 1, unit) - timedelta(days=1))
            return end_of_ms(last_birth, zone) + (bucket + 1) * ROLLING_MS[unit] > now_ms
        return end_of_ms(first_day(cohort + bucket + 1, unit) - timedelta(days=1), zone) > now_ms

    born: list[tuple[Row, set[int]]] = []
    for events in users_of(rows, where, include_duplicates).values():
        births = [row for row in events if matches(row, birth)]
        inside = [row for row in births if first <= local_date(row["time"], zone) <= last]
        if not inside or (birth_scope == "lifetime" and births[0] is not inside[0]):
            continue
        returns = [
            bucket_of(inside[0], row)
            for row in events
            if row is not inside[0] and row["time"] >= inside[0]["time"] and matches(row, returning)
        ]
        born.append((inside[0], set(returns)))

    def table(some: Sequence[tuple[Row, set[int]]]) -> dict[str, Any]:
        cohorts = []
        for number in units:
            mine = [back for row, back in some if unit_of(local_date(row["time"], zone), unit) == number]
            incomplete = [is_incomplete(number, bucket) for bucket in range(buckets)]
            start = first_day(number, unit).isoformat()
            cohorts.append({"start": start, **returned(mine, buckets, mode), "incomplete": incomplete})
        return {"cohorts": cohorts, "average": averages(cohorts, buckets)}

    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    units = sorted({unit_of(day, unit) for day in days if is_shown(day, zone)})
    groups: dict[Any, list[tuple[Row, set[int]]]] = {}
    for one in born:
        groups.setdefault(tuple(order_of(value_of(one[0], name)) for name in by), []).append(one)
    ranked = sorted(groups, key=lambda key: (-len(groups[key]), key))
    lines = [([value_of(groups[key][0][0], name) for name in by], groups[key]) for key in ranked[:limit] if by]
    if by and ranked[limit:]:
        lines.append((["$other"] * len(by), [one for key in ranked[limit:] for one in groups[key]]))
    return {**table(born), "groups": [{"by": values, **table(some)} for values, some in lines]}


def returned(users: Sequence[set[int]], buckets: int, mode: str) -> dict[str, Any]:
    """A cohort, from the buckets in which each of its users returned."""
    if mode == "on":
        counts = [sum(bucket in back for back in users) for bucket in range(buckets)]
    else:
        counts = [sum(any(at >= bucket for at in back) for back in users) for bucket in range(buckets)]
    return {"size": len(users), "returned": counts}


def averages(cohorts: Sequence[dict[str, Any]], buckets: int) -> list[float | None]:
    """For each bucket the share of all cohorts in which it is complete."""
    shares: list[float | None] = []
    for bucket in range(buckets):
        whole = [cohort for cohort in cohorts if not cohort["incomplete"][bucket]]
        size = sum(cohort["size"] for cohort in whole)
        shares.append(sum(cohort["returned"][bucket] for cohort in whole) / size if size else None)
    return shares
