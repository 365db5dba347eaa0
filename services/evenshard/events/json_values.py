"""Rules for JSON values met one by one: depth and range of numbers. For odd lines and nested Arrow values only."""

import math
from typing import Any

from evenshard.events import limits
from evenshard.events.faults import FINE, NUMBER_NOT_FINITE, NUMBER_OUT_OF_RANGE, PROPERTIES_TOO_DEEP

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


class HugeInteger(str):
    """The text of an integer that no int64 holds."""

    __slots__ = ()


def value_fault(value: Any, depth: int = 0) -> int:
    """The lowest number of the faults of a value, ``FINE`` if there are none. ``depth``: how deep it stands already."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return FINE
    if kind is int:
        return FINE if INT64_MIN <= value <= INT64_MAX else NUMBER_OUT_OF_RANGE
    if kind is float:
        return FINE if math.isfinite(value) else NUMBER_NOT_FINITE
    if kind is HugeInteger:
        return NUMBER_OUT_OF_RANGE
    if depth >= limits.PROPERTY_DEPTH_MAX:
        return PROPERTIES_TOO_DEEP
    worst = FINE
    for inner in value.values() if kind is dict else value:
        fault = value_fault(inner, depth + 1)
        if fault < worst:
            worst = fault
    return worst
