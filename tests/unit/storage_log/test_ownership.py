"""A scan shows the rows of owned slots, wherever they lie, and only those."""

from random import Random

import numpy as np
import pytest
from evenshard.directory.placement import even_placement
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT, hash_events, slots_of
from evenshard.ids import ShardId, TenantId
from evenshard.shard.placements import owned_slots
from evenshard.storage.segment import writer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
EVENTS = [Event("click", f"u{number}", 1_700_000_000_000 + number, f"{number}") for number in range(300)]


def slot_of(event: Event) -> int:
    return int(slots_of(hash_events(ACME, append_of([event], "acme", 1).batch).placement)[0])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("where", ["log", "runs", "segments", "all"])
def test_rows_of_other_slots_are_not_shown(where: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 50)  # so that some hold no owned row, and are not read
    store = Store.open(MemoryDisk(), ManualClock(), SHARD, StorageSettings(), print)
    for start in range(0, 300, 4):
        store.append([append_of(EVENTS[start : start + 4], "acme", 1)])
        if where == "all" and start == 100:
            store.compact(ACME)
    if where == "segments":
        store.compact(ACME)
    if where in ("runs", "all"):
        while store.sort_tail(ACME):
            pass
    owned = np.zeros(SLOT_COUNT, np.bool_)
    random = Random(seed)
    first = random.randrange(SLOT_COUNT // 2)
    owned[first : first + random.randrange(1, SLOT_COUNT // 2)] = True
    wanted = [event for event in EVENTS if owned[slot_of(event)]]
    assert 0 < len(wanted) < 300, seed
    with store.snapshot(ACME, owned) as snapshot:
        shown = all_events(snapshot)
        times = [
            time for rows in snapshot.scan(("time",), (), 0, 1 << 62) for time in rows.record.column("time").to_pylist()
        ]
    assert sorted(shown, key=str) == sorted(((event, False) for event in wanted), key=str)
    assert sorted(times) == [event.time for event in wanted]
    with store.snapshot(ACME, np.ones(SLOT_COUNT, np.bool_)) as snapshot:
        assert len(all_events(snapshot)) == 300
    with store.snapshot(ACME, np.zeros(SLOT_COUNT, np.bool_)) as snapshot:
        assert all_events(snapshot) == []


def test_a_shard_without_a_slot_of_the_tenant_answers_no_scan() -> None:
    tenant = Tenant(ACME, TenantSettings(), even_placement([ShardId("shard-1"), ShardId("shard-2")]), "n")
    assert owned_slots(tenant, ShardId("shard-1")).home.sum() == SLOT_COUNT // 2
    with pytest.raises(EvenshardError) as caught:
        owned_slots(tenant, SHARD)
    assert caught.value.code == "STALE_EPOCH"
