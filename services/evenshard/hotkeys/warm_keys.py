"""The keys that most of a shard's load of the last seconds is of, in bounded memory. Pure.

Each slice of the window keeps at most ``KEYS_MAX`` keys by the algorithm of Misra and Gries (Finding repeated elements,
1982): when there are too many, as much is taken from each as the middle one has, and those that have nothing left go.
So a weight is never too high, and too low by at most 2 / ``KEYS_MAX`` of the slice's. What is fed may be a sample
(``sampled``); a key of less than 3 % of a large batch is not seen there, and does not matter to a diagnosis.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from evenshard.hotkeys.meters import SLICES, WINDOW_MS
from evenshard.ids import TenantId

KEYS_MAX: Final = 512
"""Of one slice."""
SAMPLE_ROWS_MAX: Final = 256
"""Rows looked at of a batch."""
SAMPLE_SHARE_MIN: Final = 1 / 32
"""Of the rows looked at: a key with fewer is left out, so that no batch costs a loop over its rows."""

WarmKey = tuple[TenantId, str]
"""Tenant and distinct_id."""
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A key and what it weighs."""

    key: WarmKey
    weight: float


class WarmKeys:
    """Of the last ``window_ms``."""

    def __init__(self, window_ms: float = WINDOW_MS, slices: int = SLICES, keys_max: int = KEYS_MAX) -> None:
        self._window_ms = window_ms
        self._slice_ms = window_ms / slices
        self._keys_max = keys_max
        self._slices: deque[tuple[int, dict[WarmKey, float]]] = deque(maxlen=slices + 1)

    def add(self, now_ms: float, weighed: Iterable[tuple[WarmKey, float]]) -> None:
        number = int(now_ms // self._slice_ms)
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append((number, {}))
        number, weights = self._slices[-1]
        for key, weight in weighed:
            weights[key] = weights.get(key, 0.0) + weight
        if len(weights) > self._keys_max:
            self._slices[-1] = (number, shrunk(weights, self._keys_max // 2))

    def largest(self, now_ms: float, limit: int) -> list[Weighed]:
        """Those that weigh most within the window; ties by name."""
        first = int((now_ms - self._window_ms) // self._slice_ms)
        total: dict[WarmKey, float] = {}
        for number, weights in self._slices:
            if number >= first:
                for key, weight in weights.items():
                    total[key] = total.get(key, 0.0) + weight
        ranked = sorted(total.items(), key=lambda each: (-each[1], each[0]))
        return [Weighed(key, weight) for key, weight in ranked[:limit]]


def shrunk(weights: Mapping[WarmKey, float], keys: int) -> dict[WarmKey, float]:
    """At most ``keys`` of them, each less by the weight of the largest that goes."""
    taken = sorted(weights.values(), reverse=True)[keys]
    return {key: weight - taken for key, weight in weights.items() if weight > taken}


def sampled(placement: UInt64, start: int) -> tuple[Int64, Int64]:
    """Rows of a batch that stand for its keys, and how many rows of the batch each stands for.

    ``placement`` is the placement hash of each row: rows of one key share it. Every n-th row is looked at, from
    ``start`` on (modulo n: chance, so that no order of rows hides a key)."""
    step = max(1, -(-placement.size // SAMPLE_ROWS_MAX))
    places = np.arange(start % step, placement.size, step)
    _, first, counts = np.unique(placement[places], return_index=True, return_counts=True)
    chosen = counts >= max(1.0, SAMPLE_SHARE_MIN * places.size)
    return places[first[chosen]], np.minimum(counts[chosen] * step, placement.size)
