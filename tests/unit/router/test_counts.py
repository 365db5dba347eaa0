"""What counters are told, and that nobody waits for them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from evenshard.api.v1 import counter_pb2
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.hotkeys.marks import Mark, Rule
from evenshard.hotkeys.threshold import KeyWatch
from evenshard.ids import TenantId
from evenshard.router.counts import CALL_ROWS, JOINED_ROWS, PAUSE_MS, CountFeed
from evenshard.runtime.services import ServiceView
from evenshard.testing.clock import ManualClock
from evenshard.wire.counting import keys_of

DAY_MS = 86_400_000
RULE = Rule(100_000, "rewrite")
POOL_TURNS, LOOP_TURNS = 6, 5


class FakeCounters:
    """Peers and the view of services in one."""

    def __init__(self, count: int) -> None:
        self.told: dict[str, Counter[tuple[str, str, int]]] = {
            f"counter-{number}": Counter() for number in range(count)
        }
        self.calls: list[list[int]] = []
        """Keys that each told of, by batch."""
        self.failing = False
        self.defects = 0

    def of_kind(self, kind: str) -> list[ServiceRecord]:
        assert kind == "counter"
        return [ServiceRecord(name, "counter", name, "h", 1, 0) for name in self.told]

    async def call(self, address: str, rpc: Any, request: Any, *, timeout_s: float) -> Any:
        if self.defects:
            self.defects -= 1
            raise ZeroDivisionError("a defect")
        if self.failing:
            raise EvenshardError("UNREACHABLE", "as told")
        batches = keys_of(request.arrow_ipc)
        self.calls.append([keys.num_rows for keys in batches])
        for key in (key for keys in batches for key in keys.to_pylist()):
            self.told[address][request.tenant, key["distinct_id"], key["day"]] += key.get("count", 1)
        return counter_pb2.CountEventsResponse()


class World:
    def __init__(self, counters: int = 1, rows_max: int = 1000) -> None:
        self.counters = FakeCounters(counters)
        self.clock = ManualClock()
        self.pool = ThreadPoolExecutor(max_workers=1)
        services = cast(ServiceView, cast(Any, self.counters))
        self.watch = KeyWatch()
        self.feed = CountFeed(
            cast(Any, self.counters), services, self.clock, self.pool, rows_max, self.watch, lambda tenant: RULE
        )
        self.feed.start()

    def offer(self, tenant: str, ids: list[str], times: list[int], new: list[bool] | None = None) -> None:
        """As shards' acks do."""
        distinct_ids = pa.array(ids, pa.utf8())
        hashes = np.array([hash_of(distinct_id) for distinct_id in ids], np.uint64)
        entered, _ = self.watch.enter(TenantId(tenant), distinct_ids, np.array(times, np.int64), hashes, RULE)
        flags = np.ones(len(ids), np.bool_) if new is None else np.array(new)
        self.feed.offer(self.watch.acknowledge(entered, slice(None), distinct_ids, flags))
        self.watch.leave(entered)

    async def advance(self, duration_ms: int) -> None:
        for _ in range(duration_ms // 50):
            await self.clock.advance(50)
            for _ in range(POOL_TURNS):  # what the feed has asked of its thread is done, and what follows from it
                await asyncio.get_running_loop().run_in_executor(self.pool, int)
                for _ in range(LOOP_TURNS):
                    await asyncio.sleep(0)

    async def close(self) -> None:
        await self.feed.close()
        self.pool.shutdown()

    @property
    def told(self) -> Counter[tuple[str, str, int]]:
        return sum(self.counters.told.values(), Counter())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


async def test_new_events_of_known_users_are_counted_by_day(world: World) -> None:
    times = [500 * DAY_MS, 0, 500 * DAY_MS + 5, 501 * DAY_MS, 500 * DAY_MS]
    world.offer("t", ["a", "", "a", "b", "a"], times, [True, True, True, True, False])
    world.offer("u", ["a"], [500 * DAY_MS])
    assert world.watch.pending_rows == 4
    await world.advance(200)
    assert world.told == {("t", "a", 500): 2, ("t", "b", 501): 1, ("u", "a", 500): 1}
    assert world.watch.pending_rows == 0


async def test_a_full_queue_drops_and_says_how_much(world: World) -> None:
    for _ in range(3):
        world.offer("t", ["a"] * 600, [500 * DAY_MS] * 600)
    assert world.watch.pending_rows == 600
    assert world.feed.dropped_rows == 1200
    await world.advance(200)
    assert world.told == {("t", "a", 500): 600}


async def test_a_dead_counter_costs_counts_and_nothing_else(world: World) -> None:
    world.counters.failing = True
    world.offer("t", ["a"] * 10, [500 * DAY_MS] * 10)
    await world.advance(200)
    assert (world.feed.dropped_rows, world.watch.pending_rows) == (10, 0)
    world.counters.failing = False
    world.offer("t", ["a"] * 10, [500 * DAY_MS] * 10)
    await world.advance(PAUSE_MS + 200)
    assert world.told == {("t", "a", 500): 10}


async def test_keys_are_dealt_out_to_counters_each_to_one() -> None:
    world = World(counters=3)
    ids = [f"user-{number % 50}" for number in range(500)]
    for start in (0, 250):
        world.offer("t", ids[start : start + 250], [500 * DAY_MS] * 250)
        await world.advance(200)
    assert world.told == Counter(("t", id_, 500) for id_ in ids)
    owners = [set(told) for told in world.counters.told.values()]
    assert all(owners)
    assert sum(map(len, owners)) == 50
    await world.close()


async def test_small_imports_are_told_of_as_one_batch_and_many_in_one_call() -> None:
    world = World(rows_max=1_000_000)
    sizes = [10, 20, JOINED_ROWS, 5_000, 30, CALL_ROWS, 40]
    for size in sizes:
        world.offer("t", [f"user-{size}-{number}" for number in range(size)], [500 * DAY_MS] * size)
    await world.advance(400)
    assert world.counters.calls == [[30, JOINED_ROWS, 5_030], [CALL_ROWS], [40]]
    assert sum(world.told.values()) == sum(sizes)
    assert world.watch.pending_rows == 0
    await world.close()


async def test_a_marked_key_is_counted_by_all_counters_in_turn() -> None:
    world = World(counters=3)
    world.watch.mark((TenantId("t"), "hot", 500), Mark("rewrite", 1, 2, "nonce"))
    for _ in range(6):
        world.offer("t", ["hot"] * 100 + ["cold"], [500 * DAY_MS] * 101)
        world.offer("u", ["hot"], [500 * DAY_MS])
        await world.advance(200)
    assert world.told == {("t", "hot", 500): 600, ("t", "cold", 500): 6, ("u", "hot", 500): 6}
    counted = [told["t", "hot", 500] for told in world.counters.told.values()]
    assert min(counted) >= 100  # two tenants a turn: each counter has every third send of a tenant
    for other in (("t", "cold", 500), ("u", "hot", 500)):
        assert sum(other in told for told in world.counters.told.values()) == 1
    await world.close()


async def test_closing_sends_what_is_queued() -> None:
    world = World()
    world.offer("t", ["a"], [500 * DAY_MS])
    closing = asyncio.create_task(world.feed.close())
    await world.advance(200)
    await closing
    assert world.told == {("t", "a", 500): 1}
    await world.close()


async def test_a_defect_costs_what_was_being_sent_and_the_feed_goes_on(world: World) -> None:
    world.counters.defects = 2
    for day in (500, 501, 502):
        world.offer("t", ["a", "b"], [day * DAY_MS] * 2)
        await world.advance(1000)
    assert world.told == {("t", "a", 502): 1, ("t", "b", 502): 1}
    assert world.feed.dropped_rows == 4
    assert world.watch.pending_rows == 0
