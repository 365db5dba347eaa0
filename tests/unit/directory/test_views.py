"""The tenants and services a process holds in memory follow the directory, whatever happens to their watch."""

import asyncio
import random
import time

import pytest
from evenshard.directory.keys import service_key, tenant_key
from evenshard.directory.placement import even_placement
from evenshard.directory.service import ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, Revision, ShardId
from evenshard.ports.directory import Changes, Delete, Entry, Put
from evenshard.runtime.mirror import RELIST_EVERY_MS, Mirror
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory

SHARDS = [ShardId("shard-0"), ShardId("shard-1")]


def tenant(name: str, epoch: int = 1, nonce: str = "n") -> Tenant:
    return Tenant(tenant_id(name), TenantSettings(), even_placement(SHARDS, Epoch(epoch)), nonce)


async def put(directory: MemoryDirectory, *tenants: Tenant) -> Revision:
    return (await directory.swap([], [Put(tenant_key(each.name), each.to_json()) for each in tenants])).revision


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Cluster:
    """A directory, a clock that stands still, and a view that has started."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.directory = MemoryDirectory(self.clock)
        self.view = TenantView(self.directory, self.clock)


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


async def test_view_shows_what_was_there_and_what_comes(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("b"), tenant("a"))
    await cluster.view.start()
    assert cluster.view.all() == [tenant("a"), tenant("b")]
    revision = await put(cluster.directory, tenant("c"), tenant("a", 2))
    await cluster.directory.swap([], [Delete(tenant_key(tenant_id("b")))])
    await settle()
    assert cluster.view.all() == [tenant("a", 2), tenant("c")]
    assert (cluster.view.get("b"), cluster.view.get("c")) == (None, tenant("c"))
    assert (cluster.view.revision_of("c"), cluster.view.revision_of("b")) == (revision, 0)
    assert cluster.view.revision == revision + 1
    await cluster.view.close()


async def test_view_serves_what_it_knows_while_the_directory_is_away_and_says_since_when(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a"))
    await cluster.view.start()
    await settle()
    assert cluster.view.stale_since_ms is None
    await cluster.clock.advance(1_000)
    cluster.directory.go_away()
    await settle()
    since_ms = cluster.clock.monotonic_ms()
    await cluster.clock.advance(60_000)
    assert (cluster.view.get("a"), cluster.view.stale_since_ms) == (tenant("a"), since_ms)
    cluster.directory.come_back()
    await put(cluster.directory, tenant("a", 2))
    await cluster.clock.advance(2_000)  # the longest pause between two tries
    assert (cluster.view.get("a"), cluster.view.stale_since_ms) == (tenant("a", 2), None)
    await cluster.view.close()


async def test_view_reloads_after_a_compaction(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a"), tenant("b"))
    await cluster.view.start()
    await settle()
    cluster.directory.pause_watches()
    await cluster.directory.swap([], [Delete(tenant_key(tenant_id("a")))])
    await put(cluster.directory, tenant("c"))
    cluster.directory.compact()
    cluster.directory.resume_watches()
    await settle()
    assert cluster.view.all() == [tenant("b"), tenant("c")]
    await cluster.view.close()


async def test_what_a_watch_fails_to_tell_is_seen_when_everything_is_listed_again(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a"), tenant("b"))
    await cluster.view.start()
    cluster.directory.pause_watches()
    await put(cluster.directory, tenant("a", 2))
    await cluster.directory.swap([], [Delete(tenant_key(tenant_id("b")))])
    await cluster.clock.advance(RELIST_EVERY_MS - 1)
    assert cluster.view.all() == [tenant("a"), tenant("b")]
    await cluster.clock.advance(1)
    assert cluster.view.all() == [tenant("a", 2)]
    cluster.directory.resume_watches()  # what was told late changes nothing
    await settle()
    await put(cluster.directory, tenant("c"))
    await settle()
    assert cluster.view.all() == [tenant("a", 2), tenant("c")]
    await cluster.view.close()


async def test_fetch_sees_what_the_watch_has_not_told_and_the_watch_does_not_undo_it(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a", 1))
    await cluster.view.start()
    await settle()
    cluster.directory.pause_watches()
    await put(cluster.directory, tenant("a", 2))
    await cluster.directory.swap([], [Delete(tenant_key(tenant_id("a")))])
    revision = await put(cluster.directory, tenant("a", 3))
    assert cluster.view.get("a") == tenant("a", 1)
    assert await cluster.view.fetch("a") == tenant("a", 3)
    assert (cluster.view.get("a"), cluster.view.revision_of("a")) == (tenant("a", 3), revision)
    seen = []
    cluster.directory.resume_watches()
    for _ in range(20):
        await asyncio.sleep(0)
        seen.append(cluster.view.get("a"))
    assert seen == [tenant("a", 3)] * 20
    await cluster.view.close()


async def test_fetch_forgets_what_is_gone(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a"))
    await cluster.view.start()
    await settle()
    cluster.directory.pause_watches()
    await cluster.directory.swap([], [Delete(tenant_key(tenant_id("a")))])
    assert await cluster.view.fetch("a") is None
    assert cluster.view.get("a") is None
    cluster.directory.resume_watches()
    await settle()
    assert cluster.view.all() == []
    await cluster.view.close()


class SlowReplies(MemoryDirectory):
    """Replies to ``get`` arrive when the gate is open."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        found = await super().get(key, timeout_s=timeout_s)
        await self.gate.wait()
        return found


async def test_a_fetch_answered_before_a_tenant_came_does_not_hide_it() -> None:
    clock = ManualClock()
    directory = SlowReplies(clock)
    view = TenantView(directory, clock)
    await view.start()
    fetching = asyncio.create_task(view.fetch("a"))
    await settle()
    await put(directory, tenant("a"))
    await settle()
    assert view.get("a") == tenant("a")
    directory.gate.set()
    assert await fetching is None
    assert view.get("a") == tenant("a")
    await view.close()


async def test_a_fetch_answered_before_a_tenant_went_does_not_bring_it_back() -> None:
    clock = ManualClock()
    directory = SlowReplies(clock)
    await put(directory, tenant("a"))
    view = TenantView(directory, clock)
    await view.start()
    fetching = asyncio.create_task(view.fetch("a"))
    await settle()
    await directory.swap([], [Delete(tenant_key(tenant_id("a")))])
    await settle()
    assert view.get("a") is None
    directory.gate.set()
    assert await fetching == tenant("a")
    assert view.get("a") is None
    await view.close()


async def test_learn_shows_a_tenant_unless_a_newer_one_is_known(cluster: Cluster) -> None:
    await cluster.view.start()
    cluster.view.learn(tenant("a", 2), Revision(9))
    cluster.view.learn(tenant("a", 1), Revision(8))
    assert cluster.view.all() == [tenant("a", 2)]
    await cluster.view.close()


async def test_wait_epoch_answers_when_it_comes_and_none_when_it_does_not(cluster: Cluster) -> None:
    await put(cluster.directory, tenant("a", 1))
    await cluster.view.start()
    assert await cluster.view.wait_epoch("a", Epoch(1), 0.0) == tenant("a", 1)
    waiting = asyncio.create_task(cluster.view.wait_epoch("a", Epoch(3), 5.0))
    for epoch in (2, 3):
        await settle()
        assert not waiting.done()
        await put(cluster.directory, tenant("a", epoch))
    assert await waiting == tenant("a", 3)
    for name, epoch in (("a", 4), ("absent", 1)):
        waiting = asyncio.create_task(cluster.view.wait_epoch(name, Epoch(epoch), 0.05))
        await cluster.clock.advance(49)
        assert not waiting.done()
        await cluster.clock.advance(1)
        assert await waiting is None
    await cluster.view.close()


async def test_start_waits_for_the_directory_but_not_for_ever(cluster: Cluster) -> None:
    cluster.directory.fail_next(3)
    starting = asyncio.create_task(cluster.view.start())
    await cluster.clock.advance(1_000)
    await starting
    await cluster.view.close()
    cluster.directory.go_away()
    starting = asyncio.create_task(cluster.view.start(timeout_s=5.0))
    await cluster.clock.advance(5_000)
    with pytest.raises(EvenshardError, match="DIRECTORY_UNAVAILABLE"):
        await asyncio.wait_for(starting, 1.0)


async def test_a_record_of_a_newer_evenshard_hides_one_tenant_only(cluster: Cluster) -> None:
    newer = tenant("a").to_json().replace(b'"version": 1', b'"version": 9')
    await cluster.directory.swap([], [Put(tenant_key(tenant_id("a")), newer)])
    await put(cluster.directory, tenant("b"))
    await cluster.view.start()
    assert cluster.view.all() == [tenant("b")]
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
        await cluster.view.fetch("a")
    await put(cluster.directory, tenant("a"))
    await settle()
    assert cluster.view.all() == [tenant("a"), tenant("b")]
    await cluster.view.close()


async def test_view_equals_the_directory_after_any_course_of_changes_and_faults(cluster: Cluster) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    directory = cluster.directory
    await cluster.view.start()
    for step in range(2_000):
        name = rng.choice("abcdef")
        match rng.randrange(12):
            case 0 | 1:
                await directory.swap([], [Delete(tenant_key(tenant_id(name)))])
            case 2 | 3:
                await cluster.view.fetch(name)
            case 4:
                rng.choice([directory.pause_watches, directory.resume_watches, directory.break_watches])()
            case 5:
                directory.compact()
            case 6:
                await cluster.clock.advance(rng.uniform(0, 3_000))
            case 7:
                await settle()
            case _:
                await put(directory, tenant(name, nonce=str(step)))
    directory.resume_watches()
    await cluster.clock.advance(5_000)
    expected = [Tenant.from_json(entry.value) for entry in (await directory.range("/evenshard/tenants/")).entries]
    assert cluster.view.all() == expected
    await cluster.view.close()


async def test_a_lookup_among_many_tenants_costs_at_most_two_microseconds(cluster: Cluster) -> None:
    names = [f"t{number}" for number in range(2_000)]
    for number, name in enumerate(names):
        cluster.view.learn(tenant(name), Revision(number + 1))
    rounds_s = []
    for _ in range(20):
        began_s = time.thread_time()
        for name in names:
            cluster.view.get(name)
        rounds_s.append(time.thread_time() - began_s)
    lookup_us = min(rounds_s) * 1e6 / len(names)
    print(f"{lookup_us:.3f} µs a lookup")
    assert lookup_us < 2


async def test_service_view_tells_shards_and_kinds(cluster: Cluster) -> None:
    records = [
        ServiceRecord(name, kind, f"127.0.0.1:{port}", "here", 1, 0)
        for name, kind, port in [("shard-1", "shard", 2), ("shard-0", "shard", 1), ("router-0", "router", 3)]
    ]
    await cluster.directory.swap([], [Put(service_key(each.name), each.to_json()) for each in records])
    view = ServiceView(cluster.directory, cluster.clock)
    await view.start()
    assert view.shards() == {"shard-0": "127.0.0.1:1", "shard-1": "127.0.0.1:2"}
    assert view.of_kind("router") == [records[2]]
    assert view.of_kind("gateway") == []
    assert view.all() == [records[2], records[1], records[0]]
    assert view.get("shard-1") == await view.fetch("shard-1") == records[0]
    await cluster.directory.swap([], [Delete(service_key("shard-0"))])
    await settle()
    assert view.shards() == {"shard-1": "127.0.0.1:2"}
    await view.close()


async def test_a_defect_in_the_watch_is_said_and_followed_by_another_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(cluster.directory, tenant("a"))
    await cluster.view.start()
    await settle()
    original = Mirror._apply
    broken = [True]

    def apply(mirror: Mirror[Tenant], changes: Changes) -> None:
        if broken:
            broken.clear()
            raise ZeroDivisionError
        original(mirror, changes)

    monkeypatch.setattr(Mirror, "_apply", apply)
    await put(cluster.directory, tenant("a", 2))
    await settle()
    assert cluster.view.stale_since_ms is not None
    await cluster.clock.advance(2_000)
    assert (cluster.view.get("a"), cluster.view.stale_since_ms) == (tenant("a", 2), None)
    await cluster.view.close()
