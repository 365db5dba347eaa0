"""The audit event of a first crossing: reached only by its name, and the same one whoever writes it. Pure."""

from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import EventBatch, schema_of
from evenshard.events.limits import ORIGINAL_ID, RECORD_EVENT
from evenshard.events.remediated import plain
from evenshard.hotkeys.handover import record_insert_id
from evenshard.hotkeys.marks import HotKey, Mark

Bools = npt.NDArray[np.bool_]

_EPOCH_DAY: Final = date(1970, 1, 1)
_RECORDS: Final = pa.array([RECORD_EVENT])


def record_event(key: HotKey, mark: Mark) -> EventBatch:
    """The event, as it is stored: among the rows of the key's user, so that it is deleted and moved with them. It is
    shown as nobody's (``view``)."""
    _, distinct_id, day = key
    properties = {
        "i:count": mark.count,
        "i:threshold": mark.threshold,
        "s:date": (_EPOCH_DAY + timedelta(days=day)).isoformat(),
        "s:mode": mark.born,
        f"s:{ORIGINAL_ID}": distinct_id,
    }
    schema = schema_of(properties)
    fields = [
        pa.array([RECORD_EVENT]).dictionary_encode(),
        pa.array([distinct_id]),
        pa.array([mark.made_ms]),
        pa.array([record_insert_id(key)]),
    ]
    columns = [pa.array([properties[name]], schema.field(name).type) for name in schema.names[len(fields) :]]
    return EventBatch(pa.RecordBatch.from_arrays([*fields, *columns], schema=schema))


def is_record(events: pa.Array) -> Bools:
    """Which rows are audit events; mostly seen by the distinct names alone."""
    if pa.types.is_dictionary(events.type) and not pc.is_in(_RECORDS, value_set=events.dictionary)[0].as_py():
        return np.zeros(len(events), np.bool_)
    found: Bools = pc.equal(plain(events), RECORD_EVENT).to_numpy(zero_copy_only=False)
    return found
