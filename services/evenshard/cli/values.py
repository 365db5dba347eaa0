"""Values of flags as the contract writes them, and tables for people."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from evenshard.errors import EvenshardError
from evenshard.text.paint import paint
from evenshard.text.table import table_of

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)", re.ASCII)


def duration_s(text: str) -> float:
    """``<integer><ms|s|m|h|d|w>``, more than nothing, in seconds. Raises ``USAGE``."""
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise EvenshardError("USAGE", f"{text!r} is not a duration", hint="write it as 500ms, 30s, 5m, 1h, 30d or 2w")
    return int(found[1]) * _UNIT_MS[found[2]] / 1000


def day_of_ms(time_ms: int) -> str:
    """As ``2026-01-08 14:00 UTC``."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns side by side; numbers to the right."""
    return paint([table_of(header, rows)])
