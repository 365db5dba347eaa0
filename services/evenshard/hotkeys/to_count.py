"""What a router tells counters of a batch: its keys, each once, or where that saves nothing its rows. Pure."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import UInt64
from evenshard.hotkeys.aggregate import DAY_MS, NAME_SCHEMA, aggregate

_SAMPLE_ROWS: Final = 1_024
_FEW_ROWS: Final = 4_096
"""Not worth a look."""
_REPEATED_MAX: Final = 0.25
"""Of all rows, as far as a sample tells: of twice as many rows about twice the share comes again."""


def to_be_counted(
    distinct_ids: pa.StringArray, times: npt.NDArray[np.int64], id_hashes: UInt64, counted: npt.NDArray[np.bool_]
) -> tuple[pa.RecordBatch, UInt64]:
    """What a counter is to add, and the hashes beside. As ``aggregate`` has it, of ``KEY_SCHEMA``; but where hardly any
    key comes again, by the look of some rows, each row stands for itself, ``NAME_SCHEMA``: a table costs more than it
    would save."""
    if len(distinct_ids) <= _FEW_ROWS or _come_again(distinct_ids, times, id_hashes, counted):
        keys = aggregate(distinct_ids, times, id_hashes, counted)
        return keys.record, keys.hashes
    counts = counted & (pc.binary_length(distinct_ids).to_numpy() > 0)
    if not counts.all():
        rows = np.flatnonzero(counts)
        distinct_ids, times, id_hashes = distinct_ids.take(pa.array(rows)), times[rows], id_hashes[rows]
    days = (times // DAY_MS).astype(np.int32)
    return pa.RecordBatch.from_arrays([distinct_ids, pa.array(days)], schema=NAME_SCHEMA), id_hashes


def _come_again(
    distinct_ids: pa.StringArray, times: npt.NDArray[np.int64], id_hashes: UInt64, counted: npt.NDArray[np.bool_]
) -> bool:
    """Whether many keys do."""
    some = _SAMPLE_ROWS
    sample = aggregate(distinct_ids.slice(0, some), times[:some], id_hashes[:some], counted[:some])
    repeated = int(np.count_nonzero(sample.key_of_row >= 0)) - sample.record.num_rows
    return bool(repeated * len(distinct_ids) > _REPEATED_MAX * some * some)
