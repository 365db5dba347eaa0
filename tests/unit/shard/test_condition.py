"""What a shard says of itself after a failed sync, and with something in quarantine."""

import errno

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.shard.condition import LOOK_EVERY_MS, Condition
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

SHARD = ShardId("shard-0")


async def test_after_a_failed_sync_it_is_said_until_a_restart_that_reads_go_on() -> None:
    disk, clock, told = MemoryDisk(), ManualClock(), list[str]()
    store = Store.open(disk, clock, SHARD, StorageSettings(), print)
    store.append([append_of([Event("click", "u1", 1, "x")])])
    condition = Condition(store, clock, told.append)
    condition.start()

    async def look() -> str:
        told.clear()
        await clock.advance(LOOK_EVERY_MS)
        return told[-1]

    assert await look() == ""

    def hook(operation: str, name: str) -> None:
        if operation == "sync":
            raise OSError(errno.EIO, "made to fail")

    disk.hook = hook
    (outcome,) = store.append([append_of([Event("click", "u2", 2, "x")])])
    assert isinstance(outcome, EvenshardError)
    assert outcome.code == "SHARD_UNAVAILABLE"
    disk.hook = None
    said = await look()
    assert "shard-0 takes no events: a sync of log/0000000001.log failed" in said
    assert "reads go on" in said
    assert "restart the shard" in said
    with store.snapshot(TenantId("acme")) as snapshot:
        assert len(all_events(snapshot)) == 1
    await condition.close()
    store.close()
    store = Store.open(disk, clock, SHARD, StorageSettings(), print)
    assert store.refuses_changes is None
    store.close()


async def test_damage_that_a_compaction_finds_is_named_although_the_shard_serves() -> None:
    disk, clock, noted, told = MemoryDisk(), ManualClock(), list[str](), list[str]()
    store = Store.open(disk, clock, SHARD, StorageSettings(), print)
    condition = Condition(store, clock, told.append, noted.append)
    condition.start()
    tenant = TenantId("acme")
    store.append([append_of([Event("click", "u1", 1, "x")])])
    store.compact(tenant)
    await clock.advance(LOOK_EVERY_MS)
    assert (told[-1], noted[-1]) == ("", "")
    disk.flip("segments/0000000001.parquet", 10)
    store.append([append_of([Event("click", "u2", 2, "y")])])
    assert store.compact(tenant).rows == 1
    await clock.advance(LOOK_EVERY_MS)
    assert told[-1] == ""
    assert noted[-1] == (
        "in quarantine: segments/0000000001.parquet (acme, 1970-01-01); see docs/operations.md, or evenshard fsck"
    )
    await condition.close()
    store.close()
