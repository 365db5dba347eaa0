"""The compaction loop: one at a time, failures tried again later and later, the others not held up."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.priority import BACKGROUND_NICENESS
from evenshard.shard.compacting import RETRY_MS_MAX, CompactionState, Compactor
from evenshard.shard.pacing import Pace
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.indexing import Compacted
from evenshard.storage.log.files import LogUsage
from evenshard.storage.store import Store
from evenshard.storage.tenant import TenantStorage
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
        self.paces: list[Callable[[int], None]] = []
        self.niceness: set[int] = set()
        self.clock: ManualClock | None = None
        self._lock = threading.Lock()

    def due(self, now_ms: int) -> list[TenantId]:
        return self.names

    def backlog(self, tenant: TenantId) -> float:
        return 100.0 if self.urgent else 0.0

    def log_usage(self) -> LogUsage:
        return LogUsage(3, (A,))

    def storage(self, tenant: TenantId | None = None) -> list[TenantStorage]:
        return [TenantStorage(name, 10, 0, 0, 0, 0, 0) for name in (A, B)]

    def age_log(self, now_ms: int) -> list[TenantId]:
        return []

    def compact(
        self, tenant: TenantId, day: int | None, pace: Callable[[int], None], *, apart: bool = False
    ) -> Compacted:
        self.paces.append(pace)
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
    """In steps; before each the loop has done what it had to, and sleeps again."""
    for _ in range(duration_ms // 1000):
        await asleep(clock)
        await clock.advance(1000)
    await asleep(clock)


async def asleep(clock: ManualClock) -> None:
    async with asyncio.timeout(30):
        while not clock.sleepers:  # noqa: ASYNC110 - threads are waited for
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


async def test_a_pause_holds_for_those_it_is_for_until_it_is_ended() -> None:
    store = FakeStore(A, B)
    compactor, clock = compactor_of(store)

    async def compacted_meanwhile() -> set[TenantId]:
        store.tried.clear()
        await advance(clock, 4_000)
        return {tenant for tenant, _ in store.tried}

    assert await compacted_meanwhile() == {A, B}
    compactor.pause(A)
    assert await compacted_meanwhile() == {B}
    compactor.pause(None)
    assert await compacted_meanwhile() == set()
    assert compactor.state() == CompactionState(True, (A,), (), 20, 3, (A,))
    compactor.resume(A)
    assert await compacted_meanwhile() == set()
    compactor.pause(B)
    compactor.resume(None)
    assert await compacted_meanwhile() == {A, B}
    assert compactor.state() == CompactionState(False, (), (), 20, 3, (A,))
    await compactor.close()


async def test_a_pause_holds_up_neither_who_asks_nor_what_is_urgent() -> None:
    store = FakeStore(A)
    compactor, clock = compactor_of(store)
    compactor.pause(None)
    assert (await compactor.compact(A, None)).rows == 10
    compactor.ask(B, None)
    await advance(clock, 3_000)
    assert [tenant for tenant, _ in store.tried] == [A, B]
    store.urgent = True
    await advance(clock, 3_000)
    assert [tenant for tenant, _ in store.tried][2:4] == [A, A]
    await compactor.close()


async def test_who_fails_is_shown_until_it_succeeds() -> None:
    store = FakeStore(A, B)
    store.broken.add(A)
    compactor, clock = compactor_of(store)
    await advance(clock, 4_000)
    assert compactor.state().failing_tenants == (A,)
    store.broken.clear()
    await advance(clock, 20_000)
    assert compactor.state().failing_tenants == ()
    await compactor.close()


async def test_only_what_nobody_waits_for_is_held_to_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    monkeypatch.setattr(Pace, "written", lambda _, size: held.append(size))
    store = FakeStore(A)
    compactor, clock = compactor_of(store)
    await advance(clock, 2_000)
    store.paces[-1](1)
    await compactor.compact(A, None)
    store.paces[-1](2)
    store.urgent = True
    await advance(clock, 2_000)
    store.paces[-1](3)
    assert held == [1]
    await compactor.close()


@pytest.mark.parametrize("asked_for", [True, False])
async def test_what_runs_when_the_shard_stops_is_broken_off_at_its_next_write(asked_for: bool) -> None:
    store = FakeStore(A)
    compactor, clock = compactor_of(store)
    if asked_for:
        await compactor.compact(A, None)
    else:
        await advance(clock, 2_000)
    store.paces[-1](1)
    await compactor.close()
    with pytest.raises(EvenshardError) as caught:
        store.paces[-1](1)
    assert caught.value.code == "SHARD_UNAVAILABLE"


async def test_who_stops_waiting_leaves_the_compaction_in_its_place() -> None:
    store = FakeStore()
    compactor, _ = compactor_of(store)
    entered, go_on = threading.Event(), threading.Event()
    compact = store.compact

    def stuck(tenant: TenantId, day: int | None, pace: Callable[[int], None], *, apart: bool = False) -> Compacted:
        if tenant == A:
            entered.set()
            assert go_on.wait(30)
        return compact(tenant, day, pace)

    store.compact = stuck  # type: ignore[method-assign]
    impatient = asyncio.create_task(compactor.compact(A, None))
    assert await asyncio.to_thread(entered.wait, 30)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    patient = asyncio.create_task(compactor.compact(B, None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (store.tried, patient.done(), compactor.at_work) == ([], False, True)
    go_on.set()
    assert (await patient).rows == 10
    assert [tenant for tenant, _ in store.tried] == [A, B]
    await compactor.close()


def test_a_pace_waits_for_what_was_written_ahead_of_it_and_not_once_it_is_stopped() -> None:
    now_ms = [0.0]
    pace = Pace(1_000_000, lambda: now_ms[0])
    waits: list[float | None] = []
    pace._stopping.wait = lambda timeout=None: bool(waits.append(timeout))  # type: ignore[method-assign]
    for after_ms, size in ((0, 500_000), (250, 250_000), (5_000, 1_000), (0, 0), (0, 1 << 40)):
        now_ms[0] += after_ms
        pace.written(size)
    assert waits == [0.5, 0.5, 0.001, 0.001, 10.0]
    unbound = Pace(0, lambda: 0.0)
    stopped = Pace(1, time.monotonic)
    stopped.stop()
    for free in (unbound, stopped):
        free.written(1 << 40)
