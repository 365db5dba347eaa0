"""The purge loop: asked once it goes on step by step, one tenant does not hold up another, failures are told."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.shard.compacting import Compactor
from evenshard.shard.purging import Purger
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.purging import PURGED, Purge
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock

A, B = TenantId("a"), TenantId("b")
TOLD = "DISK_FULL: as told (free disk space on the shard; reads go on)"


class FakeStore:
    """Tenants with so many steps left; ``broken`` ones fail."""

    def __init__(self, **steps: int) -> None:
        self.left = {TenantId(name): count for name, count in steps.items()}
        self.broken: set[TenantId] = set()
        self.done: list[TenantId] = []

    def purge_status(self, tenant: TenantId, operation: str) -> Purge:
        left = self.left[tenant]
        return Purge(False, left, 0, "steps") if left else PURGED

    def purge_step(self, tenant: TenantId, pace: Callable[[int], None]) -> bool:
        if tenant in self.broken:
            raise EvenshardError("DISK_FULL", "as told")
        self.done.append(tenant)
        self.left[tenant] -= 1
        return self.left[tenant] > 0


def purger_of(store: FakeStore) -> tuple[Purger, Compactor]:
    stored = cast(Store, cast(Any, store))
    compactor = Compactor(stored, ManualClock(), ShardSpans(ShardId("shard-0")))
    purger = Purger(stored, compactor)
    return purger, compactor


async def purged(purger: Purger, tenant: TenantId) -> Purge:
    async with asyncio.timeout(5):
        while not (status := await purger.purge(tenant, "")).purged:
            continue
    return status


async def test_tenants_take_turns_step_by_step() -> None:
    store = FakeStore(a=3, b=3)
    purger, compactor = purger_of(store)
    assert await purger.purge(A, "") == Purge(False, 3, 0, "steps")
    await purger.purge(B, "")
    purger.start()
    await purged(purger, A)
    await purged(purger, B)
    await purger.close()
    await compactor.close()
    assert store.done == [A, B, A, B, A, B]


async def test_a_failure_is_told_and_tried_again_when_it_is_asked_for_again() -> None:
    store = FakeStore(a=1, b=1)
    store.broken.add(A)
    purger, compactor = purger_of(store)
    await purger.purge(A, "")
    purger.start()
    await purged(purger, B)
    async with asyncio.timeout(5):
        while (status := await purger.purge(A, "")).waits_for != TOLD:
            continue
    assert status == Purge(False, 1, 0, TOLD)
    store.broken.clear()
    assert await purged(purger, A) == PURGED
    await purger.close()
    await compactor.close()
