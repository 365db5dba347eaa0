"""Slows appends of a tenant whose unindexed rows grow faster than they are indexed. Pure."""

from typing import Final

from evenshard.storage.memory import BACKLOG_FULL

DELAY_MS_MAX: Final = 1500.0
SOFT_BACKLOG: Final = BACKLOG_FULL / 2
"""Backlogs are multiples of what makes a tenant due for compaction. From here on appends wait."""
HARD_BACKLOG: Final = BACKLOG_FULL
"""From here on they are refused."""


def append_delay_ms(backlog: float) -> float | None:
    """How long an append of the tenant waits before it is taken; None: it is refused. Rising evenly, so that what is
    appended settles at what can be indexed, without stops."""
    if backlog >= HARD_BACKLOG:
        return None
    return DELAY_MS_MAX * max(0.0, backlog - SOFT_BACKLOG) / (HARD_BACKLOG - SOFT_BACKLOG)
