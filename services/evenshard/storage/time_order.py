"""Gives rows ordered by (time, distinct_id, event, insert_id), whatever order they are stored in, in bounded memory.

Strings are compared bytewise, a missing insert_id comes first. The time range is cut into windows of few rows, reading
only times; each window is then read whole, sorted and given out. Only a single ms with more rows makes a larger one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import FIELD_NAMES, REST, property_of
from evenshard.events.properties import canonical, concat
from evenshard.events.scan import DUPLICATE, ScannedRows
from evenshard.storage.segment.order import order_of, sort_keys

WINDOW_ROWS = 131_072
BATCH_ROWS = 16_384
_BUCKETS = 1 << 14


class Scannable(Protocol):
    """Something to read rows from, as a snapshot."""

    def scan(
        self, fields: Sequence[str], properties: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Iterable[ScannedRows]:
        """The rows with ``start_ms <= time < end_ms``, in any order; the same ones each time."""
        ...


def rows_in_time_order(
    source: Scannable,
    start_ms: int,
    end_ms: int,
    events: Sequence[str] = (),
    include_duplicates: bool = False,
    *,
    window_rows: int = WINDOW_ROWS,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The rows with ``start_ms <= time < end_ms``: canonical columns of an event batch, then ``duplicate`` (bool).

    ``events``: names wanted, none for all; duplicates only if asked for. Batches hold 1 to ``batch_rows`` rows; their
    property columns may differ.
    """
    for first, last in _windows(source, start_ms, end_ms, window_rows):
        parts = []
        for scanned in source.scan(FIELD_NAMES, None, first, last + 1):
            record = _wanted(scanned.record, events, include_duplicates)
            if record.num_rows:
                parts.append(canonical(record))
        if parts:
            ordered = _sorted(concat(parts))
            for start in range(0, ordered.num_rows, batch_rows):
                yield _without_empty_columns(ordered.slice(start, batch_rows))


def _windows(source: Scannable, start_ms: int, end_ms: int, rows_max: int) -> Iterator[tuple[int, int]]:
    """Windows (first, last ms, inclusive) with at most ``rows_max`` rows, unless it is a single ms; in order."""
    bounds = _bounds(source, start_ms, end_ms)
    if bounds is not None:
        yield from _split(source, *bounds, rows_max)


def _bounds(source: Scannable, start_ms: int, end_ms: int) -> tuple[int, int] | None:
    """The first and the last time there is."""
    low: list[int] = []
    high: list[int] = []
    for times in _times(source, start_ms, end_ms):
        low.append(int(times.min()))
        high.append(int(times.max()))
    return (min(low), max(high)) if low else None


def _split(source: Scannable, first: int, last: int, rows_max: int) -> Iterator[tuple[int, int]]:
    """Counts rows in buckets of equal width; neighbours that fit form a window, a bucket too large is split again."""
    width = (last - first) // _BUCKETS + 1
    counts = np.zeros(_BUCKETS, np.int64)
    for times in _times(source, first, last + 1):
        counts += np.bincount((times - first) // width, minlength=_BUCKETS)
    ends = np.cumsum(counts)
    before = 0
    while before < ends[-1]:
        bucket = int(np.searchsorted(ends, before, side="right"))
        until = max(bucket + 1, int(np.searchsorted(ends, before + rows_max, side="right")))
        window = first + bucket * width, min(last, first + until * width - 1)
        if int(ends[until - 1]) - before > rows_max and width > 1:
            yield from _split(source, *window, rows_max)
        else:
            yield window
        before = int(ends[until - 1])


def _times(source: Scannable, start_ms: int, end_ms: int) -> Iterator[npt.NDArray[np.int64]]:
    for scanned in source.scan(("time",), (), start_ms, end_ms):
        if scanned.record.num_rows:
            yield scanned.record.column("time").to_numpy()


def _wanted(record: pa.RecordBatch, events: Sequence[str], include_duplicates: bool) -> pa.RecordBatch:
    if not include_duplicates and record.column(DUPLICATE).true_count:
        record = record.filter(pc.invert(record.column(DUPLICATE)))
    if events:
        column = record.column("event")
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        named = pc.is_in(column.dictionary, value_set=pa.array(list(events), pa.utf8()))
        record = record.filter(named.take(column.indices))
    return record


def _sorted(record: pa.RecordBatch) -> pa.RecordBatch:
    times = record.column("time").to_numpy()
    by_user = sort_keys(pa.Table.from_batches([record]), placement=times.view(np.uint64))
    return record.take(pa.array(order_of(by_user)))


def _without_empty_columns(record: pa.RecordBatch) -> pa.RecordBatch:
    """Without property columns in which no row has a value."""
    empty = [
        name
        for name, column in zip(record.schema.names, record.columns, strict=True)
        if (property_of(name) or name == REST) and column.null_count == record.num_rows
    ]
    return record.drop_columns(empty) if empty else record
