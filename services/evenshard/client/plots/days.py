"""Labels of buckets as ticks of an axis: few enough to be read, with the year or the day where it changes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

TICKS_MAX: Final = 10
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ticks(labels: Sequence[str], unit: str) -> tuple[list[int], list[str]]:
    """Which buckets to name, evenly spaced from the first, and how."""
    step = -(-len(labels) // TICKS_MAX) or 1
    places = list(range(0, len(labels), step))
    names, before = [], ""
    for place in places:
        upper, lower = _name(datetime.fromisoformat(labels[place]), unit)
        names.append(upper if lower == before else f"{upper}\n{lower}")
        before = lower
    return places, names


def _name(moment: datetime, unit: str) -> tuple[str, str]:
    month = _MONTHS[moment.month - 1]
    match unit:
        case "minute" | "hour":
            return f"{moment:%H:%M}", f"{month} {moment.day}"
        case "month":
            return month, str(moment.year)
    return f"{month} {moment.day}", str(moment.year)
