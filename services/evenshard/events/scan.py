"""Rows as storage gives them to queries: Arrow columns, with what storage knows of them beside."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DUPLICATE = "duplicate"
"""bool, never null: a copy of an event stored before."""
HOT = "hot"
"""bool, never null: stored after its key became hot; it is shown rewritten."""
PLACEMENT_HASH = "placement_hash"
"""uint64, never null."""
SHOWN_NEEDS = ("event", "distinct_id", HOT)
"""What showing hot rows needs of them, besides what is asked for."""


@dataclass(frozen=True, slots=True)
class ScannedRows:
    """Some rows of one tenant.

    ``record`` has the fields that were asked for (``EventBatch`` types; strings may be dictionary-encoded, with int32
    indices), every typed column that exists here of the properties asked for, ``rest`` where it exists and any
    property was asked for, and always ``duplicate``. Its rows lie within the time range asked for, in any order.
    """

    record: pa.RecordBatch
    indexed: bool
    """From a segment; else from the log."""
    bytes_read: int
    """Bytes of columns read for it."""


def duplicates_of(record: pa.RecordBatch) -> npt.NDArray[np.bool_] | None:
    """Which rows are duplicates; None: none is, which costs nothing to see."""
    column = record.column(DUPLICATE)
    if not column.true_count:
        return None
    first, last = column.offset // 8, (column.offset + len(column) + 7) // 8
    bits = np.frombuffer(column.buffers()[1], np.uint8)[first:last]
    start = column.offset % 8
    return np.unpackbits(bits, bitorder="little")[start : start + len(column)].view(np.bool_)
