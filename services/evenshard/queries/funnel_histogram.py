"""The histogram of times to convert: the same bars whatever the times, so that steps, groups and days compare.

Each bar is about half as long again as the one before, and ends where people cut time: 0.1, 0.25 and 0.5 s, 1 to 45 s,
1 to 45 min, 1 to 18 h, 1 to 366 days, the longest window. Equal widths would put everybody into one bar where a few are
slow, as a few are in any funnel. Counts are exact: a time on a bound is in the bar that ends there.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenshard.queries.groups import Integers

_S, _MIN, _H, _DAY = 1000, 60_000, 3_600_000, 86_400_000
BOUNDS_MS: Final = np.array(
    [100, 250, 500]
    + [seconds * _S for seconds in (1, 2, 3, 5, 10, 15, 20, 30, 45)]
    + [minutes * _MIN for minutes in (1, 2, 3, 5, 10, 15, 20, 30, 45)]
    + [hours * _H for hours in (1, 2, 3, 4, 6, 8, 12, 18)]
    + [days * _DAY for days in (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270, 366)],
    np.int64,
)
"""Where bars end, inclusive; the first begins at 0."""


@dataclass(frozen=True, slots=True)
class Bar:
    """``count`` times above the bar before, up to ``up_to_seconds``."""

    up_to_seconds: float
    count: int


def histogram(durations_ms: Integers) -> tuple[Bar, ...]:
    """The bars from that of the shortest time to that of the longest, empty ones between too; none of no times."""
    if not len(durations_ms):
        return ()
    counts = np.bincount(np.searchsorted(BOUNDS_MS, durations_ms), minlength=len(BOUNDS_MS))
    filled = np.flatnonzero(counts)
    shown = slice(filled[0], filled[-1] + 1)
    pairs = zip(BOUNDS_MS[shown].tolist(), counts[shown].tolist(), strict=True)
    return tuple(Bar(bound / 1000, count) for bound, count in pairs)
