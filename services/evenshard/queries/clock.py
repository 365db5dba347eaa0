"""Finds the bucket of a time by a table instead of a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_TABLE_MAX: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Clock:
    """Interval i is ``bounds[i]`` to ``bounds[i + 1]`` (half-open) and of bucket ``bucket_of[i]``; -1: of none. A time
    t is in interval ``first[(t - start) >> shift]``, or in the one after it."""

    start: int
    shift: int
    first: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    bucket_of: npt.NDArray[np.int32]

    @staticmethod
    def of(bounds_ms: Sequence[int], bucket_of: Sequence[int]) -> "Clock | None":
        """None: an interval is too short, or empty, for a table of this size."""
        bounds = np.array(bounds_ms, np.int64)
        shortest, span = int(np.diff(bounds).min()), int(bounds[-1] - bounds[0])
        shift = shortest.bit_length() - 1
        if shortest < 1 or span >> shift >= _TABLE_MAX:
            return None
        begins = bounds[0] + (np.arange((span >> shift) + 1, dtype=np.int64) << shift)
        first = np.searchsorted(bounds, begins, "right") - 1
        return Clock(
            int(bounds[0]), shift, np.minimum(first, len(bucket_of) - 1).astype(np.int32), bounds,
            np.array(bucket_of, np.int32),
        )  # fmt: skip

    @property
    def arguments(self) -> tuple[Any, ...]:
        """For kernels."""
        return self.start, self.shift, self.first, self.bounds, self.bucket_of
