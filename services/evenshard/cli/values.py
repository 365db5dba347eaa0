"""Values of flags as the contract writes them, and tables for people."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from evenshard.errors import EvenshardError

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)", re.ASCII)
NOT_SET: Final = "(not set)"
UNDEFINED: Final = "–"
"""A number that is none, as an average of nothing."""


def duration_s(text: str) -> float:
    """``<integer><ms|s|m|h|d|w>``, more than nothing, in seconds. Raises ``USAGE``."""
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise EvenshardError("USAGE", f"{text!r} is not a duration", hint="write it as 500ms, 30s, 5m, 1h, 30d or 2w")
    return int(found[1]) * _UNIT_MS[found[2]] / 1000


def shown(value: Any) -> str:
    """A value of a breakdown for people."""
    match value:
        case None:
            return NOT_SET
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}" if abs(value) >= 100 or value == round(value, 2) else f"{value:.5g}"
    return str(value)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns side by side; numbers to the right."""
    body = [list(row) for row in rows]
    texts = [list(header), *([shown(value) for value in row] for row in body)]
    widths = [max(len(line[at]) for line in texts) for at in range(len(header))]
    right = [bool(body) and all(_is_number(row[at]) for row in body) for at in range(len(header))]
    lines = []
    for line in texts:
        cells = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or value == UNDEFINED
