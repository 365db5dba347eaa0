"""Counts how often each number occurs."""

import numpy as np

from evenshard.queries.groups import Integers


def counted(keys: Integers) -> tuple[Integers, Integers]:
    """Distinct keys, ascending, and how often each occurs."""
    if not len(keys):
        return keys, np.zeros(0, np.int64)
    low = int(keys.min())
    span = int(keys.max()) - low + 1
    if span > 8 * len(keys) + 1024:
        keys = np.sort(keys)  # ``np.unique`` would hash
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        return keys[first], np.diff(np.append(first, len(keys)))
    counts = np.bincount(keys - low)
    found = np.flatnonzero(counts)
    return found + low, counts[found]
