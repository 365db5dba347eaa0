"""Meters over the last seconds, in slices: each knows a fixed number of slices and forgets the oldest. Pure.

A window of W ms in n slices holds what came within the last W to W + W/n ms; what a meter says is divided by the time
it has really watched, so that one that has just begun is not too low. Times are those of one clock that never goes
back.
"""

import math
from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

WINDOW_MS: Final = 30_000
"""Long enough for a batch import's pauses, short enough for what is hot now."""
SLICES: Final = 15
WATCHED_MS_MIN: Final = 1_000.0
"""A meter that began later is read as if it had watched so long."""

BUCKETS_PER_DOUBLING: Final = 8
LATENCY_MS_MIN: Final = 1 / 64
"""Shorter ones count as this."""
LATENCY_BUCKETS: Final = 8 * 27 + 1
"""Up to 2^27 / 64 ms, some 35 minutes; longer ones count as that."""

Int64 = npt.NDArray[np.int64]


class SlidingSum:
    """What was added within the window."""

    def __init__(self, now_ms: float, window_ms: float = WINDOW_MS, slices: int = SLICES) -> None:
        self._began_ms = now_ms
        self._window_ms = window_ms
        self._slice_ms = window_ms / slices
        self._sums: deque[tuple[int, float]] = deque(maxlen=slices + 1)
        """Number of the slice and its sum, ascending; slices without anything are left out."""

    def add(self, now_ms: float, amount: float) -> None:
        number = int(now_ms // self._slice_ms)
        if self._sums and self._sums[-1][0] >= number:
            last, total = self._sums[-1]
            self._sums[-1] = (last, total + amount)
        else:
            self._sums.append((number, amount))

    def total(self, now_ms: float) -> float:
        """Within the window."""
        first = self._first_slice(now_ms)
        return sum(amount for number, amount in self._sums if number >= first)

    def per_second(self, now_ms: float) -> float:
        return 1000 * self.total(now_ms) / self.watched_ms(now_ms)

    def watched_ms(self, now_ms: float) -> float:
        """The time that ``total`` is of."""
        first_ms = max(self._began_ms, self._first_slice(now_ms) * self._slice_ms)
        return max(WATCHED_MS_MIN, now_ms - first_ms)

    def _first_slice(self, now_ms: float) -> int:
        return int((now_ms - self._window_ms) // self._slice_ms)


class SlidingLatencies:
    """Quantiles of what was noted within the window, from a histogram a slice: an answer is at most a bucket, 9 %, too
    high."""

    def __init__(self, window_ms: float = WINDOW_MS, slices: int = SLICES) -> None:
        self._window_ms = window_ms
        self._slice_ms = window_ms / slices
        self._slices: deque[tuple[int, Int64]] = deque(maxlen=slices + 1)

    def note(self, now_ms: float, latency_ms: float) -> None:
        number = int(now_ms // self._slice_ms)
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append((number, np.zeros(LATENCY_BUCKETS, np.int64)))
        self._slices[-1][1][bucket_of(latency_ms)] += 1

    def quantile(self, now_ms: float, share: float) -> float | None:
        """The upper edge of the bucket of the one at ``share``; None: nothing was noted."""
        first = int((now_ms - self._window_ms) // self._slice_ms)
        counts = np.zeros(LATENCY_BUCKETS, np.int64)
        for number, histogram in self._slices:
            if number >= first:
                counts += histogram
        total = int(counts.sum())
        if not total:
            return None
        rank = max(1, math.ceil(share * total))
        return upper_edge_ms(int(np.searchsorted(np.cumsum(counts), rank)))


def bucket_of(latency_ms: float) -> int:
    """The number of the bucket that a latency falls into: above the edge of the one before, up to its own."""
    if latency_ms <= LATENCY_MS_MIN:
        return 0
    number = math.ceil(BUCKETS_PER_DOUBLING * math.log2(latency_ms / LATENCY_MS_MIN))
    return min(LATENCY_BUCKETS - 1, number)


def upper_edge_ms(bucket: int) -> float:
    return float(LATENCY_MS_MIN * 2.0 ** (bucket / BUCKETS_PER_DOUBLING))
