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

_SHIFT = 46
"""Of the 52 bits of a float's fraction six tell times apart here: as many as 64 parts of each doubling."""
_BELOW_1 = (1023 << (52 - _SHIFT)) - 1


def _parts_of(times_ms: Integers) -> Integers:
    """The part of each time; 0: it is 0."""
    found: Integers = np.maximum((times_ms.astype(np.float64).view(np.int64) >> _SHIFT) - _BELOW_1, 0)
    return found


_BOUND_PARTS: Final = _parts_of(BOUNDS_MS)
_PARTS: Final = int(_BOUND_PARTS[-1]) + 1
_LIMITS: Final = np.full(_PARTS, np.iinfo(np.int64).max)
"""Of each part the bits of the bound within it, of which there is one at most."""
_LIMITS[_BOUND_PARTS] = BOUNDS_MS.astype(np.float64).view(np.int64)
_BAR_OF: Final = np.searchsorted(_BOUND_PARTS, np.arange(_PARTS))
"""Of each part the bar of its times up to the bound."""


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


def spread(*durations_ms: Integers) -> Spread:
    """Of all of them together; in any order, whole, each from 0 to the longest window."""
    size = sum(map(len, durations_ms))
    if not size:
        return NO_TIMES
    # Floats keep the order of their bits, which tell how long a time is, about, without a search.
    bits = np.concatenate(durations_ms, dtype=np.float64, casting="unsafe").view(np.int64)
    counts, beyond = np.zeros(_PARTS, np.int64), np.zeros(_PARTS, np.int64)
    _count(bits, _LIMITS, counts, beyond)
    bars = np.zeros(len(BOUNDS_MS) + 1, np.int64)
    np.add.at(bars, _BAR_OF, counts - beyond)
    np.add.at(bars, _BAR_OF + 1, beyond)
    filled = np.flatnonzero(bars)
    shown = slice(filled[0], filled[-1] + 1)
    pairs = zip(BOUNDS_MS[shown].tolist(), bars[shown].tolist(), strict=True)
    total_ms = sum(int(each.sum()) for each in durations_ms)
    return Spread(
        total_ms / size / 1000,
        _median_ms(bits, counts) / 1000,
        tuple(Bar(bound / 1000, count) for bound, count in pairs),
    )


def _median_ms(bits: Integers, counts: Integers) -> float:
    """``counts``: of each part. Only times of the part that has it, or two, can be the median."""
    ends = np.cumsum(counts)
    ranks = ((len(bits) - 1) // 2, len(bits) // 2)
    first, last = np.searchsorted(ends, ranks, "right").tolist()
    before = int(ends[first] - counts[first])
    middle = np.empty(int(ends[last]) - before, np.int64)
    _take(bits, first, last, middle)
    places = [rank - before for rank in ranks]
    return float(np.partition(middle.view(np.float64), places)[places].mean())


@kernel(inline="always")
def _part_of(bits):  # type: ignore[no-untyped-def]
    return np.uint64(max((bits >> _SHIFT) - _BELOW_1, 0))


@kernel(f"void({view('int64')}, {view('int64')}, int64[::1], int64[::1])", counted=False)
def _count(bits, limits, counts, beyond):  # type: ignore[no-untyped-def]
    """Adds 1 to ``counts`` for the part of each time, and to ``beyond`` if it is above the limit of the part."""
    for each in range(np.uint64(bits.size)):
        part = _part_of(bits[each])
        counts[part] += 1
        beyond[part] += np.int64(bits[each] > limits[part])


@kernel(f"void({view('int64')}, int64, int64, int64[::1])", counted=False)
def _take(bits, first, last, out):  # type: ignore[no-untyped-def]
    """Writes the times of some parts, as many as ``out`` holds."""
    count, low, high = np.uint64(0), np.uint64(first), np.uint64(last)
    for each in range(np.uint64(bits.size)):
        part = _part_of(bits[each])
        if low <= part <= high:
            out[count] = bits[each]
            count += np.uint64(1)
