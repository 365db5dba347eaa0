"""The audit event of a first crossing: reached only by its name, and the same one whoever writes it. Pure."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from evenshard.directory.placement import Placement
from evenshard.events.batch import EventBatch, schema_of
from evenshard.events.hashing import hash_events
from evenshard.events.limits import ORIGINAL_ID, RECORD_EVENT
from evenshard.hotkeys.handover import record_insert_id
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.router.partition import Part, deal

_EPOCH_DAY = date(1970, 1, 1)


def record_part(key: HotKey, mark: Mark, placement: Placement) -> Part:
    """The event on its way to its shard: anonymous, and flagged as hot, so that it costs a query nothing that does not
    name it."""
    tenant, distinct_id, day = key
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
        pa.array([""]),
        pa.array([mark.made_ms]),
        pa.array([record_insert_id(key)]),
    ]
    columns = [pa.array([properties[name]], schema.field(name).type) for name in schema.names[len(fields) :]]
    batch = EventBatch(pa.RecordBatch.from_arrays([*fields, *columns], schema=schema))
    hot = np.ones(1, np.bool_)
    (part,) = deal(tenant, batch, np.zeros(1, np.int64), hash_events(tenant, batch).placement, placement, hot)
    return part
