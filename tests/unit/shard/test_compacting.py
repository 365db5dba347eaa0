"""The compaction loop: one at a time, failures tried again later and later, the others not held up."""

import asyncio
import os
import threading
from itertools import pairwise
from typing import Any, cast

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.priority import BACKGROUND_NICENESS
from evenshard.shard.compacting import RETRY_MS_MAX, Compactor
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.indexing import Compacted
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock

A, B = TenantId("a"), TenantId("b")


class FakeStore:
    """Everybody in ``names`` is always due."""

    def __init__(self, *names: TenantId) -> None:
        self.names = list(names)
        self.broken: set[TenantId] = set()
        self.tried: list[tuple[TenantId, float]] = []
        self.running = 0
        self.running_max = 0
        self.urgent = False
        self.niceness: set[int] = set()
        self.clock: ManualClock | None = None
        self._lock = threading.Lock()

    def due(self, now_ms: int) -> list[TenantId]:
        return self.names

    def backlog(self, tenant: TenantId) -> float:
        return 100.0 if self.urgent else 0.0

    def compact(self, tenant: TenantId, day: int | None = None) -> Compacted:
        with self._lock:
            self.running += 1
            self.running_max = max(self.running_max, self.running)
        self.niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert self.clock is not None
        self.tried.append((tenant, self.clock.monotonic_ms()))
        with self._lock:
            self.running -= 1
        if tenant in self.broken:
            raise EvenshardError("DISK_FULL", "as told")
        return Compacted(1, 10, 0, 0)


async def advance(clock: ManualClock, duration_ms: int) -> None:
    """In steps, with real time between them for the threads."""
    for _ in range(duration_ms // 1000):
        await clock.advance(1000)
        for _ in range(3):
            await asyncio.sleep(0.001)


def compactor_of(store: FakeStore) -> tuple[Compactor, ManualClock]:
    clock = ManualClock()
    store.clock = clock
    compactor = Compactor(cast(Store, cast(Any, store)), clock, ShardSpans(ShardId("shard-0")))
    compactor.start()
    return compactor, clock


@pytest.mark.parametrize("urgent", [False, True])
async def test_only_what_is_urgent_competes_with_appends(urgent: bool) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    store = FakeStore(A)
    store.urgent = urgent
    compactor, clock = compactor_of(store)
    await advance(clock, 3_000)
    await compactor.close()
    assert store.niceness == {own if urgent else min(19, BACKGROUND_NICENESS)}


async def test_whoever_is_due_is_compacted_one_at_a_time() -> None:
    store = FakeStore(A, B)
    compactor, clock = compactor_of(store)
    await advance(clock, 5_000)
    others = await asyncio.gather(*(compactor.compact(A, None) for _ in range(5)))
    await compactor.close()
    assert [done.rows for done in others] == [10] * 5
    assert {tenant for tenant, _ in store.tried} == {A, B}
    assert store.running_max == 1


async def test_a_failure_is_tried_again_ever_later_and_holds_up_nobody() -> None:
    store = FakeStore(A, B)
    store.broken.add(A)
    compactor, clock = compactor_of(store)
    await advance(clock, 300_000)
    tries = [at for tenant, at in store.tried if tenant == A]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert 5 <= len(tries) <= 12
    assert all(later >= earlier - 3_000 for earlier, later in pairwise(waits))
    assert RETRY_MS_MAX <= waits[-1] <= RETRY_MS_MAX + 3_000
    assert sum(tenant == B for tenant, _ in store.tried) > 30
    store.broken.clear()
    await advance(clock, 70_000)
    recovered = [at for tenant, at in store.tried if tenant == A]
    assert len(recovered) - len(tries) > 3
    await compactor.close()


async def test_who_asks_is_compacted_soon() -> None:
    store = FakeStore()
    compactor, clock = compactor_of(store)
    compactor.ask(B, None)
    compactor.ask(B, None)
    await advance(clock, 3_000)
    assert [tenant for tenant, _ in store.tried] == [B]
    await compactor.close()
