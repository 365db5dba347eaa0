"""Flows as they are asked, checked: what stands in one of these can be planned."""

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

from evenshard.queries.expression import parse
from evenshard.queries.funnel_model import WINDOW_DEFAULT_MS, WINDOW_MAX_MS
from evenshard.queries.model import check_step, choice, date_range, fail
from evenshard.queries.steps import Step

Direction = Literal["forward", "backward"]
FLOW_STEPS_DEFAULT, FLOW_STEPS_MAX = 3, 10
TOP_DEFAULT, TOP_MAX = 10, 1_000
SESSION: Final = -1
"""``window_ms`` of flows within the anchor's session."""


@dataclass(frozen=True, slots=True)
class FlowsQuery:
    """What follows an event, or leads to it; made by ``flows_query``."""

    from_date: date
    to_date: date
    anchor: Step
    direction: Direction
    steps: int
    window_ms: int
    """``SESSION``: within the anchor's session."""
    top: int
    collapse_repeats: bool
    where: str
    include_duplicates: bool


def flows_query(
    *,
    from_date: str,
    to_date: str,
    anchor: Step | None,
    direction: str = "",
    steps: int = 0,
    window_ms: int | None = None,
    session: bool = False,
    top: int = 0,
    collapse_repeats: bool = False,
    where: str = "",
    include_duplicates: bool = False,
) -> FlowsQuery:
    """Checks flows; empty, None and 0 (of the window: an instant) stand for the defaults: forward, 3 steps, 30 days, 10
    names a step.

    Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else, naming the field.
    """
    first, last = date_range(from_date, to_date)
    if anchor is None:
        fail("anchor", "the anchor event is missing")
    if not 0 <= steps <= FLOW_STEPS_MAX:
        fail("steps", f"{steps} is not between 1 and {FLOW_STEPS_MAX}")
    if window_ms is not None and not 0 <= window_ms <= WINDOW_MAX_MS:
        fail("window_ms", f"{window_ms} ms is not between 0 and 366 days")
    if session and window_ms is not None:
        fail("window_ms", "flows are within a session or within a window, not both")
    if not 0 <= top <= TOP_MAX:
        fail("top", f"{top} is not between 1 and {TOP_MAX}")
    if where.strip():
        parse(where)
    return FlowsQuery(
        first,
        last,
        check_step(anchor, "anchor"),
        choice("direction", direction or "forward", get_args(Direction)),
        steps or FLOW_STEPS_DEFAULT,
        SESSION if session else WINDOW_DEFAULT_MS if window_ms is None else window_ms,
        top or TOP_DEFAULT,
        collapse_repeats,
        where.strip(),
        include_duplicates,
    )
