"""A funnel as it is asked, checked: what stands in one of these can be planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from evenshard.queries.expression import parse
from evenshard.queries.model import EVENTS_MAX, LIMIT_DEFAULT, check_breakdown, date_range, fail, fault
from evenshard.queries.steps import Step

STEPS_MIN, STEPS_MAX = 2, 32
WINDOW_DEFAULT_MS: Final = 30 * 86_400_000
WINDOW_MAX_MS: Final = 366 * 86_400_000
FIRST, LAST = 0, -1
"""``by_step`` of the first and of the last step at which a value is set; else a step's number from 1."""


@dataclass(frozen=True, slots=True)
class FunnelQuery:
    """An ordered funnel of each user's best attempt; made by ``funnel_query``."""

    from_date: date
    to_date: date
    steps: tuple[Step, ...]
    window_ms: int
    where: str
    by: tuple[str, ...]
    by_step: int
    limit: int
    include_duplicates: bool


def funnel_query(
    *,
    from_date: str,
    to_date: str,
    steps: Sequence[Step],
    window_ms: int = 0,
    order: str = "",
    attempt: str = "",
    count_mode: str = "",
    where: str = "",
    by: Sequence[str] = (),
    by_step: str = "",
    limit: int = 0,
    include_duplicates: bool = False,
) -> FunnelQuery:
    """Checks a funnel; empty and 0 stand for the defaults (ordered, best, unique, 30 days, first, 60).

    Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field.
    """
    first, last = date_range(from_date, to_date)
    for field, value, only in (
        ("order", order, "ordered"),
        ("attempt", attempt, "best"),
        ("count_mode", count_mode, "unique"),
    ):
        if value not in ("", only):
            fail(field, f"{value!r} is not delivered; there is {only!r}")
    if not STEPS_MIN <= len(steps) <= STEPS_MAX:
        fail("steps", f"a funnel has {STEPS_MIN} to {STEPS_MAX} steps, not {len(steps)}")
    for number, step in enumerate(steps):
        if len(step.events) > EVENTS_MAX:
            fail(f"steps[{number}].events", f"at most {EVENTS_MAX} names, not {len(step.events)}")
        if step.where.strip():
            parse(step.where, f"steps[{number}].where")
    if not 0 <= window_ms <= WINDOW_MAX_MS:
        fail("window_ms", f"{window_ms} ms is not between 1 ms and 366 days")
    check_breakdown(by, limit)
    if where.strip():
        parse(where)
    return FunnelQuery(
        first,
        last,
        tuple(Step(tuple(dict.fromkeys(step.events)), step.where.strip()) for step in steps),
        window_ms or WINDOW_DEFAULT_MS,
        where.strip(),
        tuple(by),
        _by_step(by_step, len(steps)),
        limit or LIMIT_DEFAULT,
        include_duplicates,
    )


def _by_step(text: str, steps: int) -> int:
    if text in ("", "first"):
        return FIRST
    if text == "last":
        return LAST
    if text.isascii() and text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= steps:
        return int(text)
    raise fault("by_step", f"{text!r} is not first, last or the number of a step, 1 to {steps}")
