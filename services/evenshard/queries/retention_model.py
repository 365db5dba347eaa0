"""A retention as it is asked, checked: what stands in one of these can be planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

from evenshard.queries.expression import parse
from evenshard.queries.model import LIMIT_DEFAULT, check_breakdown, check_step, choice, date_range, fail
from evenshard.queries.steps import Step

RetentionUnit = Literal["day", "week", "month"]
Mode = Literal["on", "on_or_after"]
Align = Literal["rolling", "calendar"]
BirthScope = Literal["range", "lifetime"]
BUCKETS_DEFAULT, RETENTION_BUCKETS_MAX = 8, 366
ROLLING_MS: Final[dict[RetentionUnit, int]] = {"day": 86_400_000, "week": 7 * 86_400_000, "month": 30 * 86_400_000}
"""How long a unit is that begins at a birth."""


@dataclass(frozen=True, slots=True)
class RetentionQuery:
    """Who returns; made by ``retention_query``."""

    from_date: date
    to_date: date
    birth: Step
    returning: Step
    unit: RetentionUnit
    buckets: int
    mode: Mode
    align: Align
    birth_scope: BirthScope
    where: str
    by: tuple[str, ...]
    limit: int
    include_duplicates: bool


def retention_query(
    *,
    from_date: str,
    to_date: str,
    birth: Step | None,
    returning: Step | None = None,
    unit: str = "",
    buckets: int = 0,
    mode: str = "",
    align: str = "",
    birth_scope: str = "",
    where: str = "",
    by: Sequence[str] = (),
    limit: int = 0,
    include_duplicates: bool = False,
) -> RetentionQuery:
    """Checks a retention; empty, 0 and None stand for the defaults (any event returns, day, 8, on, rolling, range, 60).

    Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field.
    """
    first, last = date_range(from_date, to_date)
    if birth is None:
        fail("birth", "the birth event is missing")
    if not 0 <= buckets <= RETENTION_BUCKETS_MAX:
        fail("buckets", f"{buckets} is not between 1 and {RETENTION_BUCKETS_MAX}")
    check_breakdown(by, limit)
    if where.strip():
        parse(where)
    return RetentionQuery(
        first,
        last,
        check_step(birth, "birth"),
        check_step(returning or Step(()), "return"),
        choice("unit", unit or "day", get_args(RetentionUnit)),
        buckets or BUCKETS_DEFAULT,
        choice("mode", mode or "on", get_args(Mode)),
        choice("align", align or "rolling", get_args(Align)),
        choice("birth_scope", birth_scope or "range", get_args(BirthScope)),
        where.strip(),
        tuple(by),
        limit or LIMIT_DEFAULT,
        include_duplicates,
    )
