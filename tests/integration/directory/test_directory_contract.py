"""What every directory does: the one in memory and the one on etcd."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Delete, Directory, Entry, Put, SwapResult, Unchanged
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.etcd import EtcdProcess

PATIENCE_S = 10.0


@dataclass
class World:
    """A directory, a prefix nobody else uses, and a way to compact its history."""

    directory: Directory
    prefix: str
    compact: Callable[[], Awaitable[None]]

    def key(self, name: str) -> str:
        return self.prefix + name

    async def put(self, name: str, value: bytes) -> Revision:
        return (await self.directory.swap([], [Put(self.key(name), value)])).revision

    async def delete(self, name: str) -> Revision:
        return (await self.directory.swap([], [Delete(self.key(name))])).revision

    async def told(self, after: Revision) -> AsyncGenerator[Changes, None]:
        """The changes that are not empty."""
        watch: Any = self.directory.watch(self.prefix, after)
        async with asyncio.timeout(PATIENCE_S), aclosing(watch):
            async for changes in watch:
                if changes.entries or changes.deleted or changes.reload:
                    yield plain(changes)

    async def watched(self, after: Revision, count: int) -> list[Changes]:
        """The first ``count`` of them."""
        async with aclosing(self.told(after)) as told:
            return [await anext(told) for _ in range(count)]


def plain(changes: Changes) -> Changes:
    """With lists, so that it compares."""
    return Changes(list(changes.entries), list(changes.deleted), changes.revision, changes.reload)


@pytest.fixture(params=["memory", "etcd"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    prefix = f"/{uuid.uuid4().hex}/"
    if request.param == "memory":
        memory = MemoryDirectory(SystemClock())

        async def compact() -> None:
            memory.compact()

        yield World(memory, prefix, compact)
        await memory.close()
        return
    process: EtcdProcess = request.getfixturevalue("etcd")
    directory = EtcdDirectory([process.address])

    async def compact_etcd() -> None:
        await process.compact((await directory.range(prefix)).revision)

    yield World(directory, prefix, compact_etcd)
    await directory.close()


async def test_absent_key_is_none_and_absent_prefix_is_empty(world: World) -> None:
    assert await world.directory.get(world.key("a")) is None
    assert list((await world.directory.range(world.prefix)).entries) == []


async def test_range_is_sorted_and_holds_only_its_prefix(world: World) -> None:
    revisions = {name: await world.put(name, name.encode()) for name in ("b", "a/2", "a/1", "c")}
    whole = await world.directory.range(world.prefix)
    assert list(whole.entries) == [Entry(world.key(n), n.encode(), revisions[n]) for n in ("a/1", "a/2", "b", "c")]
    assert whole.revision >= max(revisions.values())
    part = await world.directory.range(world.key("a/"))
    assert [entry.key for entry in part.entries] == [world.key("a/1"), world.key("a/2")]


async def test_swap_makes_all_changes_at_one_revision_or_none(world: World) -> None:
    first = await world.directory.swap(
        [Unchanged(world.key("a"), Revision(0))], [Put(world.key("a"), b"1"), Put(world.key("b"), b"2")]
    )
    assert first.swapped
    refused = await world.directory.swap(
        [Unchanged(world.key("a"), Revision(0))], [Put(world.key("b"), b"3"), Delete(world.key("a"))]
    )
    assert refused == SwapResult(False, refused.revision)
    assert await world.directory.get(world.key("a")) == Entry(world.key("a"), b"1", first.revision)
    assert await world.directory.get(world.key("b")) == Entry(world.key("b"), b"2", first.revision)
    second = await world.directory.swap(
        [Unchanged(world.key("a"), first.revision), Unchanged(world.key("c"), Revision(0))],
        [Delete(world.key("a")), Put(world.key("b"), b"4")],
    )
    assert second.swapped
    assert second.revision > first.revision
    left = await world.directory.range(world.prefix)
    assert list(left.entries) == [Entry(world.key("b"), b"4", second.revision)]


async def test_of_many_swaps_from_one_revision_exactly_one_succeeds(world: World) -> None:
    revision = await world.put("a", b"0")
    results = await asyncio.gather(
        *(
            world.directory.swap([Unchanged(world.key("a"), revision)], [Put(world.key("a"), b"%d" % i)])
            for i in range(20)
        )
    )
    winners = [i for i, result in enumerate(results) if result.swapped]
    assert len(winners) == 1
    found = await world.directory.get(world.key("a"))
    assert found is not None
    assert found.value == b"%d" % winners[0]


async def test_changing_a_key_twice_in_one_swap_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="twice"):
        await world.directory.swap([], [Put(world.key("a"), b"1"), Delete(world.key("a"))])
    assert await world.directory.get(world.key("a")) is None


async def test_watch_gives_history_and_news_once_and_in_order(world: World) -> None:
    before = await world.put("old", b"")
    expected = []
    watching = asyncio.create_task(world.watched(before, 44))
    for number in range(20):
        revision = await world.put(f"k{number % 3}", b"%d" % number)
        expected.append(Changes([Entry(world.key(f"k{number % 3}"), b"%d" % number, revision)], [], revision))
        revision = await world.put("gone", b"")
        expected.append(Changes([Entry(world.key("gone"), b"", revision)], [], revision))
        await world.directory.swap([], [Put(world.prefix[:-1] + "-other", b"")])
    both = await world.directory.swap([], [Put(world.key("x"), b"1"), Delete(world.key("gone"))])
    expected.append(Changes([Entry(world.key("x"), b"1", both.revision)], [world.key("gone")], both.revision))
    expected += [Changes([], [world.key(name)], await world.delete(name)) for name in ("k0", "k1", "k2")]
    assert await watching == expected
    assert await world.watched(before, 44) == expected
    assert await world.watched(expected[39].revision, 4) == expected[40:]


async def test_watch_from_zero_gives_what_there_is(world: World) -> None:
    revision = await world.put("a", b"1")
    [told] = await world.watched(Revision(0), 1)  # a reload where earlier tests compacted
    assert (told.entries, told.deleted) == ([Entry(world.key("a"), b"1", revision)], [])


async def test_watch_begins_with_an_empty_change(world: World) -> None:
    after = await world.put("a", b"1")
    watch: Any = world.directory.watch(world.prefix, after)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        assert plain(await anext(watch)) == Changes([], [], after)


async def test_watch_behind_a_compaction_reloads_and_goes_on(world: World) -> None:
    after = await world.put("a", b"1")
    await world.put("b", b"2")
    revision = await world.put("a", b"3")
    deleted = await world.delete("b")
    await world.compact()
    async with aclosing(world.told(after)) as told:
        reload = await anext(told)
        news = await world.put("c", b"4")
        following = await anext(told)
    assert reload.reload
    assert reload.deleted == []
    assert reload == Changes([Entry(world.key("a"), b"3", revision)], [], reload.revision, True)
    assert reload.revision >= deleted
    assert following == Changes([Entry(world.key("c"), b"4", news)], [], news)


async def test_a_deletion_at_the_very_revision_compacted_is_not_lost(world: World) -> None:
    after = await world.put("a", b"1")
    await world.delete("a")
    await world.compact()
    [told] = await world.watched(after, 1)
    assert told.reload or told.deleted == [world.key("a")]
    assert told.entries == []


async def test_watch_at_the_compacted_revision_does_not_reload(world: World) -> None:
    after = await world.put("a", b"1")
    await world.compact()
    news = await world.put("b", b"2")
    assert await world.watched(after, 1) == [Changes([Entry(world.key("b"), b"2", news)], [], news)]


async def test_keys_go_with_their_lease(world: World) -> None:
    lease = await world.directory.grant(60)
    start = (
        await world.directory.swap([], [Put(world.key("a"), b"1", lease), Put(world.key("b"), b"2", lease)])
    ).revision
    await world.put("b", b"3")  # no longer the lease's
    assert await world.directory.keep_alive(lease)
    await world.directory.revoke(lease)
    await world.directory.revoke(lease)
    assert not await world.directory.keep_alive(lease)
    left = await world.directory.range(world.prefix)
    assert [(entry.key, entry.value) for entry in left.entries] == [(world.key("b"), b"3")]
    told = await world.watched(start, 2)
    assert [(changes.entries, changes.deleted) for changes in told[1:]] == [([], [world.key("a")])]
    with pytest.raises(EvenshardError) as refused:
        await world.directory.swap([], [Put(world.key("c"), b"", lease)])
    assert refused.value.code == "OPERATION_STATE"
    assert await world.directory.get(world.key("c")) is None


async def test_a_lease_lapses_unless_kept_alive(world: World) -> None:
    kept, lapsing = await world.directory.grant(2), await world.directory.grant(2)
    await world.directory.swap([], [Put(world.key("kept"), b"", kept), Put(world.key("lapsing"), b"", lapsing)])
    async with asyncio.timeout(PATIENCE_S):
        while await world.directory.get(world.key("lapsing")) is not None:
            assert await world.directory.keep_alive(kept)
            await asyncio.sleep(0.25)
    assert not await world.directory.keep_alive(lapsing)
    assert await world.directory.get(world.key("kept")) is not None
