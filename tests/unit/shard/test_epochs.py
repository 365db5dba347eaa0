"""Epochs that come by the directory's watch are durable, and end what was planned before."""

from random import Random

import pytest
from evenshard.directory.placement import even_placement
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.shard.epochs import EpochKeeper
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of

SHARD, ACME = ShardId("shard-0"), TenantId("acme")
EVENT = Event("click", "ann", 1_700_000_000_000, "1")


def opened(disk: MemoryDisk) -> Store:
    return Store.open(disk, ManualClock(), SHARD, StorageSettings(), print)


def tenant(name: str, epoch: int) -> Tenant:
    return Tenant(TenantId(name), TenantSettings(), even_placement([SHARD], Epoch(epoch)), "n")


def appended(store: Store, epoch: int) -> str:
    (outcome,) = store.append([append_of([EVENT], "acme", epoch)])
    return "stored" if isinstance(outcome, Appended) else outcome.code


async def test_a_newer_epoch_of_the_watch_refuses_what_was_planned_before_also_after_a_crash() -> None:
    disk = MemoryDisk()
    store = opened(disk)
    keeper = EpochKeeper(store)
    assert appended(store, 1) == "stored"
    keeper.learned("acme", tenant("acme", 3))
    keeper.learned("acme", tenant("acme", 2))
    await keeper.close()
    assert [appended(store, epoch) for epoch in (1, 2, 3)] == ["STALE_EPOCH", "STALE_EPOCH", "stored"]
    again = opened(disk.crash(Random(0)))
    assert (again.epoch(ACME), appended(again, 2)) == (3, "STALE_EPOCH")


async def test_tenants_without_rows_here_cost_nothing() -> None:
    store = opened(MemoryDisk())
    keeper = EpochKeeper(store)
    keeper.learned("elsewhere", tenant("elsewhere", 7))
    keeper.learned("gone", None)
    await keeper.close()
    assert (store.epoch(TenantId("elsewhere")), store.epoch(TenantId("gone"))) == (0, 0)


async def test_one_that_cannot_be_persisted_does_not_keep_others(monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(MemoryDisk())
    for name in ("acme", "bolt"):
        store.append([append_of([EVENT], name, 1)])
    keeper = EpochKeeper(store)
    learn = store.learn_epoch

    def failing(name: TenantId, epoch: Epoch) -> None:
        if name == "bolt":
            raise EvenshardError("DISK_FULL", "made to fail")
        learn(name, epoch)

    monkeypatch.setattr(store, "learn_epoch", failing)
    for name in ("acme", "bolt"):
        keeper.learned(name, tenant(name, 2))
    await keeper.close()
    assert (store.epoch(ACME), store.epoch(TenantId("bolt"))) == (2, 1)
