"""What rows of a funnel hold: the values of the properties that are held constant, as one code a row."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.queries.plan import FunnelScan
from evenshard.queries.user_rows import Int32, UserRows, Valued
from evenshard.queries.values import tagged_codes

_HELD = "held_"


def held_values(record: pa.RecordBatch, hold: Sequence[str]) -> dict[str, Int32 | Valued]:
    """For each property the tag of each row's value: equal values have equal tags."""
    return {f"{_HELD}{at}": Valued(*tagged_codes(record, name)) for at, name in enumerate(hold)}


def hold_codes(plan: FunnelScan, rows: UserRows) -> npt.NDArray[np.int32] | None:
    """A code of each row's combination of values; None where nothing is held constant."""
    if not plan.hold:
        return None
    combined: npt.NDArray[np.int32] = np.zeros(len(rows.times), np.int32)
    for at in range(len(plan.hold) if len(rows.times) else 0):
        codes = rows.codes[f"{_HELD}{at}"]
        if at:
            pairs = combined.astype(np.int64) << 32 | codes
            _, inverse = np.unique(pairs, return_inverse=True)
            combined = inverse.astype(np.int32)
        else:
            combined = codes
    return combined
