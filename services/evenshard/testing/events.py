"""Event batches from tuples, and what storage holds as tuples again, for tests of storage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES, FIELDS, EventBatch, schema_of
from evenshard.events.hashing import SLOT_COUNT
from evenshard.events.scan import DUPLICATE, HOT, Part, ScannedRows
from evenshard.events.users import People
from evenshard.ids import Epoch, TenantId
from evenshard.storage.append import Append
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store

ALL_SLOTS = np.ones(SLOT_COUNT, np.bool_)
NO_SLOTS = np.zeros(SLOT_COUNT, np.bool_)
FOR_EVER = (-(1 << 62), 1 << 62)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a value. ``properties`` by column name (``i:n``)."""

    event: str
    distinct_id: str
    time: int
    insert_id: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> tuple[str, str, int, str] | None:
        """What makes two events one; None: nothing does."""
        return None if self.insert_id is None else (self.event, self.distinct_id, self.time, self.insert_id)


def event_batch(events: Sequence[Event]) -> EventBatch:
    """In canonical form."""
    columns = sorted({name for event in events for name in event.properties})
    schema = schema_of(columns)
    arrays = [
        pa.array([event.event for event in events], pa.utf8()).dictionary_encode().cast(FIELDS[0].type),
        pa.array([event.distinct_id for event in events], pa.utf8()),
        pa.array([event.time for event in events], pa.int64()),
        pa.array([event.insert_id for event in events], pa.utf8()),
        *(pa.array([event.properties.get(name) for event in events], schema.field(name).type) for name in columns),
    ]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def append_of(events: Sequence[Event], tenant: str = "acme", epoch: int = 1, *, owned: bool = True) -> Append:
    """To be appended by a shard that owns all slots (or none)."""
    payload = event_batch(events).to_ipc()
    slots = ALL_SLOTS if owned else NO_SLOTS
    return Append(TenantId(tenant), Epoch(epoch), slots, EventBatch.from_ipc(payload), payload)


Act = tuple[Any, ...]
"""``("append", events, hot)``, where bob's are flagged if ``hot``, ``("compact",)``, ``("sort",)`` or
``("delete", user)``."""


def act_on(store: Store, tenant: TenantId, number: int, act: Act) -> None:
    """Does one thing to a shard's storage, the ``number``-th."""
    match act:
        case ("append", batch, hot):
            bits = np.array([hot and event.distinct_id == "bob" for event in batch])
            store.append([replace(append_of(batch, tenant), hot=bits if bits.any() else None)])
        case ("compact",):
            store.compact(tenant)
        case ("sort",):
            store.sort_tail(tenant)
        case ("delete", user):
            store.hide_users(tenant, Epoch(1), f"op-{number}", [user])
        case _:
            raise ValueError(f"no act: {act}")


def stored_events(scans: Iterable[ScannedRows]) -> list[tuple[Event, bool]]:
    """Events and their duplicate bits, sorted."""
    found = []
    for scanned in scans:
        for row in scanned.record.to_pylist():
            duplicate = row.pop(DUPLICATE)
            event, distinct_id, time, insert_id = (row.pop(field.name) for field in FIELDS)
            properties = {name: value for name, value in row.items() if value is not None}
            found.append((Event(event, distinct_id, time, insert_id, properties), duplicate))
    return sorted(found, key=lambda item: (*_order(item[0]), item[1]))


def all_events(snapshot: Snapshot) -> list[tuple[Event, bool]]:
    """Everything in a snapshot."""
    return stored_events(snapshot.scan(FIELD_NAMES, None, *FOR_EVER))


def events_of_parts(
    snapshot: Snapshot, start_ms: int = FOR_EVER[0], end_ms: int = FOR_EVER[1]
) -> list[tuple[Event, bool]]:
    """Everything in a snapshot within these times, by parts. Asserts that each row is whose it is said to be, and that
    those of a user come by time."""
    found = snapshot.parts(Wanted(FIELD_NAMES, None, start_ms, end_ms, users=True))
    names = names_of(found.people)
    rows = []
    for part in found.parts:
        if part.users is not None:
            assert_users(part, names)
        kept = part.read().kept()
        assert kept.record.num_rows <= part.rows
        shown = [name for name in kept.record.schema.names if name != HOT]
        rows.append(ScannedRows(kept.record.select(shown), kept.indexed, 0))
    return stored_events(rows)


def names_of(people: People) -> list[str]:
    """The ids of users, in order."""
    text, ends = people.data.tobytes(), people.offsets.tolist()
    names = [text[start:end].decode() for start, end in pairwise(ends)]
    assert len(set(names)) == len(names)
    return names


def assert_users(part: Part, names: Sequence[str]) -> None:
    """Each row of somebody is in one run, that of its user."""
    record, users = part.read().record, part.users
    assert users is not None
    ids, times = record.column("distinct_id").to_pylist(), record.column("time").to_pylist()
    order = list(range(len(ids))) if users.order is None else users.order.tolist()
    owners: dict[int, str] = {}
    numbers = users.numbers.tolist()
    assert numbers == sorted(set(numbers))
    for start, end, number in zip(users.starts.tolist(), users.ends.tolist(), numbers, strict=True):
        rows = order[start:end]
        assert rows
        assert [times[row] for row in rows] == sorted(times[row] for row in rows)
        assert not owners.keys() & set(rows)
        owners.update(dict.fromkeys(rows, names[number]))
    assert owners == {row: name for row, name in enumerate(ids) if name}


def _order(event: Event) -> tuple[str, str, int, str, str]:
    return (event.event, event.distinct_id, event.time, event.insert_id or "", repr(sorted(event.properties.items())))
