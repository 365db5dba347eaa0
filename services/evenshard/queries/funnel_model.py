"""A funnel as it is asked, checked: what stands in one of these can be planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

from evenshard.events.limits import DISTINCT_ID_BYTES_MAX
from evenshard.queries.expression import check_name, parse
from evenshard.queries.funnel_moment import EXCLUSIONS_MAX, STEPS_MAX
from evenshard.queries.model import LIMIT_DEFAULT, check_breakdown, check_step, choice, date_range, fail, fault
from evenshard.queries.steps import Exclusion, Step

Order = Literal["ordered", "strict", "any"]
Attempt = Literal["best", "first"]
CountMode = Literal["unique", "total", "session"]
STEPS_MIN = 2
HELD_MAX = 3
WINDOW_DEFAULT_MS: Final = 30 * 86_400_000
WINDOW_MAX_MS: Final = 366 * 86_400_000
FIRST, LAST = 0, -1
"""``by_step`` of the first and of the last step at which a value is set; else a step's number from 1."""


@dataclass(frozen=True, slots=True)
class FunnelQuery:
    """A funnel; made by ``funnel_query``."""

    from_date: date
    to_date: date
    steps: tuple[Step, ...]
    window_ms: int
    order: Order
    attempt: Attempt
    count_mode: CountMode
    strict_increase: bool
    exclusions: tuple[Exclusion, ...]
    exclude_user: bool
    hold_constant: tuple[str, ...]
    where: str
    by: tuple[str, ...]
    by_step: int
    limit: int
    include_duplicates: bool
    explain_user: str

    @property
    def names(self) -> tuple[str | None, ...]:
        """Of the steps as answers have them: with ``any`` step n is the n-th done, whichever that is."""
        return tuple(None if self.order == "any" else step.name for step in self.steps)

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """Code and message of what is valid, but perhaps not meant."""
        return tuple(
            (
                "EXCLUSION_IS_STEP",
                f"exclusions[{at}] may be step {number} of its span {each.after_step}-{each.before_step} too: an event "
                "that fills the step does not exclude, any other does",
            )
            for at, each in enumerate(self.exclusions)
            for number in range(each.after_step, each.before_step + 1)
            if _may_be_one(each.step, self.steps[number - 1])
        )


def funnel_query(
    *,
    from_date: str,
    to_date: str,
    steps: Sequence[Step],
    window_ms: int | None = None,
    order: str = "",
    attempt: str = "",
    count_mode: str = "",
    strict_increase: bool = False,
    exclusions: Sequence[Exclusion] = (),
    exclude_user: bool = False,
    hold_constant: Sequence[str] = (),
    where: str = "",
    by: Sequence[str] = (),
    by_step: str = "",
    limit: int = 0,
    include_duplicates: bool = False,
    explain_user: str = "",
) -> FunnelQuery:
    """Checks a funnel; empty, None and a limit of 0 stand for the defaults (ordered, best, unique, 30 days, first, 60).

    Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field.
    """
    first, last = date_range(from_date, to_date)
    if not STEPS_MIN <= len(steps) <= STEPS_MAX:
        fail("steps", f"a funnel has {STEPS_MIN} to {STEPS_MAX} steps, not {len(steps)}")
    plain = tuple(check_step(step, f"steps[{number}]") for number, step in enumerate(steps))
    window_ms = WINDOW_DEFAULT_MS if window_ms is None else window_ms
    if not 0 <= window_ms <= WINDOW_MAX_MS:
        fail("window_ms", f"{window_ms} ms is not between 0 and 366 days")
    chosen_order = choice("order", order or "ordered", get_args(Order))
    excluding = tuple(_check_exclusion(each, number, len(steps)) for number, each in enumerate(exclusions))
    if len(exclusions) > EXCLUSIONS_MAX:
        fail("exclusions", f"at most {EXCLUSIONS_MAX}, not {len(exclusions)}")
    if exclude_user and not exclusions:
        fail("exclude_user", "there is no exclusion that could drop a user")
    for field, given in (("exclusions", bool(exclusions)), ("strict_increase", strict_increase)):
        if chosen_order == "any" and given:
            fail(field, "with order any, steps have no order in which to be between or later")
    _check_held(hold_constant)
    check_breakdown(by, limit)
    if where.strip():
        parse(where)
    if len(explain_user.encode()) > DISTINCT_ID_BYTES_MAX:
        fail("explain_user", f"a distinct_id has at most {DISTINCT_ID_BYTES_MAX} bytes")
    return FunnelQuery(
        first,
        last,
        plain,
        window_ms,
        chosen_order,
        choice("attempt", attempt or "best", get_args(Attempt)),
        choice("count_mode", count_mode or "unique", get_args(CountMode)),
        strict_increase,
        excluding,
        exclude_user,
        tuple(hold_constant),
        where.strip(),
        tuple(by),
        _by_step(by_step, len(steps)),
        limit or LIMIT_DEFAULT,
        include_duplicates,
        explain_user,
    )


def _check_exclusion(exclusion: Exclusion, number: int, steps: int) -> Exclusion:
    field = f"exclusions[{number}]"
    step = check_step(exclusion.step, field)
    for name, given in (("after_step", exclusion.after_step), ("before_step", exclusion.before_step)):
        if not 1 <= given <= steps:
            fail(f"{field}.{name}", f"{given} is not the number of a step, 1 to {steps}")
    if exclusion.after_step >= exclusion.before_step:
        fail(f"{field}.before_step", f"{exclusion.before_step} does not come behind after_step {exclusion.after_step}")
    return Exclusion(step, exclusion.after_step, exclusion.before_step)


def _check_held(names: Sequence[str]) -> None:
    if len(names) > HELD_MAX:
        fail("hold_constant", f"at most {HELD_MAX} properties, not {len(names)}")
    for name in names:
        if not name:
            fail("hold_constant", "a property has a name")
        check_name(name, lambda problem: fail("hold_constant", problem))


def _may_be_one(exclusion: Step, step: Step) -> bool:
    """Whether an event may match both, as far as names tell, and filters that are equal or not there."""
    names = not exclusion.events or not step.events or bool({*exclusion.events} & {*step.events})
    return names and (exclusion.where == step.where or not exclusion.where or not step.where)


def _by_step(text: str, steps: int) -> int:
    if text in ("", "first"):
        return FIRST
    if text == "last":
        return LAST
    if text.isascii() and text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= steps:
        return int(text)
    raise fault("by_step", f"{text!r} is not first, last or the number of a step, 1 to {steps}")
