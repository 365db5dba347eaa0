"""Times to convert: average, median and histogram, whose bars are the same whatever the times, so that steps, groups
and days compare.

Each bar is about half as long again as the one before, and ends where people cut time: 0.1, 0.25 and 0.5 s, 1 to 45 s,
1 to 45 min, 1 to 18 h, 1 to 366 days, the longest window. Equal widths would put everybody into one bar where a few are
slow, as a few are in any funnel. Counts are exact: a time on a bound is in the bar that ends there.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from evenshard.kernels import kernel, view
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
_PADDED: Final = np.append(BOUNDS_MS, np.full(64 - len(BOUNDS_MS), np.iinfo(np.int64).max))


@dataclass(frozen=True, slots=True)
class Bar:
    """``count`` times above the bar before, up to ``up_to_seconds``."""

    up_to_seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class Spread:
    """What is told of some times; None of no times."""

    average_s: float | None
    median_s: float | None
    bars: tuple[Bar, ...]
    """From that of the shortest time to that of the longest, empty ones between too."""


NO_TIMES: Final = Spread(None, None, ())


def spread(durations_ms: Integers) -> Spread:
    """``durations_ms``: int64, in any order, each from 0 to the longest window."""
    size = len(durations_ms)
    if not size:
        return NO_TIMES
    bar_of, counts = np.empty(size, np.uint8), np.zeros(len(_PADDED), np.int64)
    _find_bars(durations_ms, _PADDED, bar_of, counts)
    ends = np.cumsum(counts)
    ranks = ((size - 1) // 2, size // 2)
    first, last = np.searchsorted(ends, ranks, "right").tolist()
    middle = durations_ms[(bar_of >= first) & (bar_of <= last)]  # no other time can be the median
    places = [rank - int(ends[first] - counts[first]) for rank in ranks]
    median_ms = float(np.partition(middle, places)[places].mean())
    filled = np.flatnonzero(counts)
    shown = slice(filled[0], filled[-1] + 1)
    pairs = zip(_PADDED[shown].tolist(), counts[shown].tolist(), strict=True)
    bars = tuple(Bar(bound / 1000, count) for bound, count in pairs)
    return Spread(int(durations_ms.sum()) / size / 1000, median_ms / 1000, bars)


@kernel(f"void({view('int64')}, {view('int64')}, uint8[::1], int64[::1])", counted=False)
def _find_bars(durations, bounds, bar_of, counts):  # type: ignore[no-untyped-def]
    """The bar of each time, by halving without a branch; ``counts`` (zeros) of each bar. Bounds: 64, ascending."""
    for each in range(np.uint64(durations.size)):
        duration = durations[each]
        bar = np.uint64(0)
        for shift in range(5, -1, -1):
            half = np.uint64(1 << shift)
            bar += half * np.uint64(bounds[bar + half - np.uint64(1)] < duration)
        bar_of[each] = np.uint8(bar)
        counts[bar] += 1
