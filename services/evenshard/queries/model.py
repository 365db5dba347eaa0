"""Questions as they are asked, checked: what stands in one of these can be planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NoReturn, TypeVar

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.buckets import UNITS, Unit
from evenshard.queries.expression import COHORT_PREFIX, check_name, parse
from evenshard.queries.measures import MEASURES, OF_EVENTS, Measure
from evenshard.queries.steps import Step

Choice = TypeVar("Choice")
BY_MAX = 3
LIMIT_DEFAULT = 60
LIMIT_MAX = 10_000
EVENTS_MAX = 1_000
FIRST_DATE, LAST_DATE = date(1970, 1, 1), date(2999, 12, 31)
"""Dates outside of these hold no events."""


@dataclass(frozen=True, slots=True)
class SegmentationQuery:
    """A segmentation; made by ``segmentation_query``."""

    from_date: date
    to_date: date
    events: tuple[str, ...]
    unit: Unit
    measure: Measure
    where: str
    by: tuple[str, ...]
    limit: int
    include_duplicates: bool
    measured_property: str = ""
    """Whose numbers are measured; empty for measures of events."""


def segmentation_query(
    *,
    from_date: str,
    to_date: str,
    events: Sequence[str] = (),
    unit: str = "",
    measure: str = "",
    property: str = "",  # noqa: A002 - as the request's field
    where: str = "",
    by: Sequence[str] = (),
    limit: int = 0,
    include_duplicates: bool = False,
) -> SegmentationQuery:
    """Checks a segmentation; empty and 0 stand for the defaults (day, total, 60).

    Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field.
    """
    first, last = date_range(from_date, to_date)
    check_breakdown(by, limit)
    if len(events) > EVENTS_MAX:
        fail("events", f"at most {EVENTS_MAX} names, not {len(events)}")
    if where.strip():
        parse(where)
    chosen = choice("measure", measure or "total", MEASURES)
    _check_property(chosen, property)
    return SegmentationQuery(
        first,
        last,
        tuple(dict.fromkeys(events)),
        choice("unit", unit or "day", UNITS),
        chosen,
        where.strip(),
        tuple(by),
        limit or LIMIT_DEFAULT,
        include_duplicates,
        property,
    )


def _check_property(measure: Measure, name: str) -> None:
    if measure in OF_EVENTS:
        if name:
            fail("property", f"{measure} is of events, not of a property: leave it out, or ask for sum, avg, p50 …")
        return
    if not name:
        fail("property", f"{measure} is of a property's numbers: name the property")
    if name.startswith(COHORT_PREFIX):
        fail("property", "whether users belong to a cohort is no number")
    check_name(name, lambda problem: fail("property", problem))


def date_range(from_date: str, to_date: str) -> tuple[date, date]:
    """Both days. Raises ``RANGE_INVALID``."""
    first, last = _date("from_date", from_date), _date("to_date", to_date)
    if first > last:
        raise fault("from_date", f"{first} is after to_date {last}", code="RANGE_INVALID")
    return first, last


def check_breakdown(by: Sequence[str], limit: int) -> None:
    """Raises ``QUERY_INVALID`` for properties or a limit that cannot be."""
    for name in by:
        if not name:
            fail("by", "a property has a name")
        check_name(name, lambda problem: fail("by", problem))
    if len(by) > BY_MAX:
        fail("by", f"at most {BY_MAX} properties, not {len(by)}")
    if not 0 <= limit <= LIMIT_MAX:
        fail("limit", f"{limit} is not between 1 and {LIMIT_MAX}")


def check_step(step: Step, field: str) -> Step:
    """The step without names that repeat. Raises ``QUERY_INVALID`` for one that cannot be."""
    if len(step.events) > EVENTS_MAX:
        fail(f"{field}.events", f"at most {EVENTS_MAX} names, not {len(step.events)}")
    if step.where.strip():
        parse(step.where, f"{field}.where")
    return Step(tuple(dict.fromkeys(step.events)), step.where.strip())


def fail(field: str, problem: str) -> NoReturn:
    """Raises ``QUERY_INVALID`` naming the field."""
    raise fault(field, problem)


def fault(field: str, problem: str, code: str = "QUERY_INVALID") -> EvenshardError:
    """The error of a field."""
    return EvenshardError(code, f"{field}: {problem}", fields=(FieldFault(field, problem),))


def choice(field: str, value: str, allowed: Sequence[Choice]) -> Choice:
    """The one of ``allowed`` that ``value`` is. Raises ``QUERY_INVALID`` naming the field."""
    for one in allowed:
        if value == one:
            return one
    raise fault(field, f"{value!r} is none of {', '.join(map(str, allowed))}")


def _date(field: str, text: str) -> date:
    try:
        if len(text) != len("YYYY-MM-DD"):
            raise ValueError(text)
        day = date.fromisoformat(text)
    except ValueError as error:
        raise fault(field, f"{text!r} is not a date (YYYY-MM-DD)", code="RANGE_INVALID") from error
    if not FIRST_DATE <= day <= LAST_DATE:
        raise fault(field, f"{text} is not between {FIRST_DATE} and {LAST_DATE}", code="RANGE_INVALID")
    return day
