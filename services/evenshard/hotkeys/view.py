"""Shows hot rows as remediated events: a view, nothing that is stored changes. Pure.

A hot row's event is ``HOT_EVENT``, its distinct_id empty, and its originals are the two string properties
``ORIGINAL_EVENT`` and ``ORIGINAL_ID``; what the event itself had under these names gives way. All else is as stored.
Rows of keys that were restored are shown as themselves, and so are all to who asks for that. Audit events of keys,
which are flagged as hot too, are shown as nobody's to who names them, and to nobody else.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import PROPERTY_TYPES, REST, property_column
from evenshard.events.limits import HOT_EVENT, ORIGINAL_EVENT, ORIGINAL_ID, RECORD_EVENT
from evenshard.events.remediated import plain, without_originals
from evenshard.events.scan import DUPLICATE, HOT, SHOWN_NEEDS, ScannedRows
from evenshard.hotkeys.records import is_record
from evenshard.hotkeys.restored import NOTHING_RESTORED, Restored

Bools = npt.NDArray[np.bool_]


class View:
    """Shows what a scan reads, and counts the rewritten rows that a query would have selected by their names."""

    def __init__(
        self,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        *,
        events: Sequence[str] = (),
        ranges_ms: Sequence[tuple[int, int]] = (),
        skip_duplicates: bool = True,
        restored: Restored | None = NOTHING_RESTORED,
    ) -> None:
        """``fields`` and ``properties``: what the scan asked for, None for all. Counted are rows of any of ``events``
        (none: of any), within half-open ``ranges_ms``. ``restored``: keys whose rows are shown as themselves; None: all
        are."""
        self._fields = frozenset(fields)
        self._properties = None if properties is None else frozenset(properties)
        self._events = tuple(events)
        self._ranges_ms = tuple(ranges_ms)
        self._skip_duplicates = skip_duplicates
        self._restored = restored
        self._shows_records = RECORD_EVENT in events
        self.rewritten = 0
        """Rows counted so far."""

    def show(self, some: ScannedRows) -> ScannedRows:
        """The rows with what was asked for, as they are shown. Rows without a column ``hot`` are as they are."""
        record = some.record
        if HOT not in record.schema.names:
            return some
        hot = record.column(HOT).to_numpy(zero_copy_only=False)
        if hot.any():
            records = hot & is_record(record.column("event"))
            if records.any():
                hot = hot & ~records
                if self._shows_records:
                    record = _of_nobody(record, records)
                else:
                    record, hot = record.filter(pa.array(~records)), hot[~records]
            if self._restored is None:
                hot = np.zeros(hot.size, np.bool_)
            elif self._restored and hot.any():
                hot = hot & ~self._restored.rows(record.column("distinct_id"), record.column("time").to_numpy())
        columns = dict(zip(record.schema.names, record.columns, strict=True))
        if hot.any():
            self._count(record, hot)
            columns = self._rewritten(columns, hot)
        shown = {name: column for name, column in columns.items() if not self._is_extra(name)}
        return ScannedRows(pa.RecordBatch.from_pydict(shown), some.indexed, some.bytes_read)

    def _is_extra(self, name: str) -> bool:
        return name in SHOWN_NEEDS and name not in self._fields

    def _count(self, record: pa.RecordBatch, hot: Bools) -> None:
        counted = hot
        if self._skip_duplicates:
            counted = counted & ~record.column(DUPLICATE).to_numpy(zero_copy_only=False)
        if self._ranges_ms:
            times = record.column("time").to_numpy()
            inside = [(times >= start) & (times < end) for start, end in self._ranges_ms]
            counted = counted & np.logical_or.reduce(inside)
        if self._events:
            named = pc.is_in(plain(record.column("event")), value_set=pa.array(self._events, pa.utf8()))
            counted = counted & named.to_numpy(zero_copy_only=False)
        self.rewritten += int(np.count_nonzero(counted))

    def _rewritten(self, columns: dict[str, pa.Array], hot: Bools) -> dict[str, pa.Array]:
        events, ids = columns["event"], columns["distinct_id"]
        columns = without_originals(columns, hot)
        for name, originals in ((ORIGINAL_EVENT, events), (ORIGINAL_ID, ids)):
            if self._properties is None or name in self._properties:
                columns = _with_property(columns, name, plain(originals), pa.array(hot))
        columns["event"] = _replaced(events, hot, HOT_EVENT)
        columns["distinct_id"] = _replaced(ids, hot, "")
        return columns


def _of_nobody(record: pa.RecordBatch, rows: Bools) -> pa.RecordBatch:
    """With an empty distinct_id in some rows."""
    at = record.schema.get_field_index("distinct_id")
    return record.set_column(at, "distinct_id", _replaced(record.column(at), rows, ""))


def _with_property(
    columns: dict[str, pa.Array], name: str, values: pa.Array, hot: pa.BooleanArray
) -> dict[str, pa.Array]:
    """The columns where hot rows have the property as a text; ``rest`` and ``duplicate`` stay last."""
    column = property_column(name, "s")
    old = plain(columns[column]) if column in columns else pa.nulls(len(values), PROPERTY_TYPES["s"])
    columns = columns | {column: pc.if_else(hot, values, old)}
    for last in (REST, DUPLICATE):
        if last in columns:
            columns[last] = columns.pop(last)
    return columns


def _replaced(values: pa.Array, hot: Bools, text: str) -> pa.Array:
    """``text`` in hot rows; of the type of ``values``."""
    if not pa.types.is_dictionary(values.type):
        return pc.if_else(pa.array(hot), text, values)
    codes = np.where(hot, len(values.dictionary), values.indices.to_numpy()).astype(np.int32)
    dictionary = pa.concat_arrays([values.dictionary, pa.array([text], pa.utf8())])
    return pa.DictionaryArray.from_arrays(pa.array(codes), dictionary)
