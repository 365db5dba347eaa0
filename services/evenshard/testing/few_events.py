"""What the walk through the contract's commands imports and asks: a few events of a few users, of one day."""

from collections.abc import Callable
from typing import Any

import orjson

Call = Callable[..., Any]
"""Runs a command with ``--json``, and gives the document that it printed."""
TIME_MS = 1_767_225_600_000  # 2026-01-01
DAYS = ("--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-02")
START_END = ("--tenant", "acme", "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z")


def lines(*numbers: int, **changes: Any) -> bytes:
    """Events of these numbers, two of each user; ``changes``: of their outer fields."""
    return b"".join(
        orjson.dumps(
            {
                "event": ("view", "buy")[number % 2],
                "properties": {
                    "distinct_id": f"u{number // 2}",
                    "time": TIME_MS + number * 1000,
                    "$insert_id": f"i{number}",
                    "shop": f"s{number % 3}",
                },
            }
            | changes
        )
        + b"\n"
        for number in numbers
    )
