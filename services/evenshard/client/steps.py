"""Steps and windows as people write them, as protobuf."""

import re
from typing import Final

from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.steps import parse_step

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)", re.ASCII)


def step_message(text: str, field: str) -> query_pb2.FunnelStep:
    """``NAME``, ``NAME|NAME`` or ``*``, perhaps with `` where EXPR``. Raises ``QUERY_INVALID`` naming the field."""
    step = parse_step(text, field)
    return query_pb2.FunnelStep(events=step.events, where=step.where)


def at_least_one(field: str, number: int) -> int:
    """On the wire 0 stands for the default. Raises ``QUERY_INVALID``."""
    if number < 1:
        problem = f"{number} is less than 1"
        raise EvenshardError("QUERY_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
    return number


def window_ms(text: str) -> int:
    """``<integer><ms|s|m|h|d|w>``. Raises ``QUERY_INVALID``."""
    found = _DURATION.fullmatch(text)
    if found is None:
        problem = f"{text!r} is not a duration"
        raise EvenshardError(
            "QUERY_INVALID",
            f"window: {problem}",
            hint="write it as 500ms, 30s, 5m, 1h, 30d or 2w; at most 366d",
            fields=(FieldFault("window", problem),),
        )
    return min(int(found[1]) * _UNIT_MS[found[2]], 2**63 - 1)
