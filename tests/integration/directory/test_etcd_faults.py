"""The directory on a real etcd that dies, freezes, forgets, and is reached through a line that loses things."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Delete, Entry, Put, SwapResult, Unchanged
from evenshard.runtime import etcd_watch
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.testing.etcd import EtcdProcess, free_port
from evenshard.testing.proxy import TcpProxy

NONE = Revision(0)
PATIENCE_S = 20.0


@pytest.fixture
async def proxy(etcd: EtcdProcess) -> AsyncIterator[TcpProxy]:
    line = TcpProxy(etcd.address)
    await line.start()
    yield line
    await line.close()


@pytest.fixture
async def near(proxy: TcpProxy) -> AsyncIterator[EtcdDirectory]:
    """Speaks to etcd through the proxy; connected."""
    directory = EtcdDirectory([proxy.address])
    await directory.get("connect")
    yield directory
    await directory.close()


@pytest.fixture
async def straight(etcd: EtcdProcess) -> AsyncIterator[EtcdDirectory]:
    directory = EtcdDirectory([etcd.address])
    yield directory
    await directory.close()


@pytest.fixture
def key() -> str:
    return f"/faults/{random.getrandbits(64):x}"


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """One that a test may hurt."""
    process = EtcdProcess(tmp_path)
    process.start()
    yield process
    process.stop()


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await met():  # noqa: ASYNC110  another process is waited for
            await asyncio.sleep(0.01)


async def watched(directory: EtcdDirectory, prefix: str, after: Revision, until_key: str) -> list[Changes]:
    """Every change that is not empty, up to the one that sets ``until_key``."""
    seen: list[Changes] = []
    watch: Any = directory.watch(prefix, after)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        async for changes in watch:
            if changes.entries or changes.deleted or changes.reload:
                seen.append(changes)
            if any(entry.key == until_key for entry in changes.entries):
                break
    return seen


async def tells_nothing(watch: Any) -> bool:
    """False: it told something."""
    await anext(watch)
    return False


async def exists(directory: EtcdDirectory, key: str) -> bool:
    return await directory.get(key) is not None


# Swaps


async def test_a_swap_whose_reply_was_lost_is_known_to_have_happened(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    proxy.loses = "replies"
    swapping = asyncio.create_task(near.swap([Unchanged(key, NONE)], [Put(key, b"mine"), Put(key + "/b", b"x")]))
    await until(lambda: exists(straight, key))
    proxy.cut()
    result = await swapping
    assert result.swapped
    assert await straight.get(key) == Entry(key, b"mine", result.revision)


async def test_a_swap_whose_reply_was_lost_happened_also_if_it_was_overwritten_since(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    first = await straight.swap([], [Put(key, b"0")])
    proxy.loses = "replies"
    swapping = asyncio.create_task(near.swap([Unchanged(key, first.revision)], [Put(key, b"mine")]))

    async def applied() -> bool:
        found = await straight.get(key)
        return found is not None and found.value == b"mine"

    await until(applied)
    mine = await straight.get(key)
    for value in (b"theirs", b"and again"):
        await straight.swap([], [Put(key, value)])
    proxy.cut()
    assert mine is not None
    assert await swapping == SwapResult(True, mine.revision)


async def test_a_swap_whose_request_was_lost_is_made_once(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    first = await straight.swap([], [Put(key, b"0")])
    proxy.loses = "requests"
    swapping = asyncio.create_task(near.swap([Unchanged(key, first.revision)], [Put(key, b"mine")]))
    await asyncio.sleep(0.3)
    proxy.cut()
    result = await swapping
    assert result.swapped
    end = await straight.swap([], [Put(key + "/end", b"")])
    assert await watched(straight, key, first.revision, key + "/end") == [
        Changes([Entry(key, b"mine", result.revision)], [], result.revision),
        Changes([Entry(key + "/end", b"", end.revision)], [], end.revision),
    ]


async def test_a_swap_whose_request_was_lost_loses_to_another(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    proxy.loses = "requests"
    swapping = asyncio.create_task(near.swap([Unchanged(key, NONE)], [Put(key, b"mine")]))
    await asyncio.sleep(0.3)
    theirs = await straight.swap([Unchanged(key, NONE)], [Put(key, b"theirs")])
    proxy.cut()
    assert not (await swapping).swapped
    assert await straight.get(key) == Entry(key, b"theirs", theirs.revision)


async def test_a_deletion_whose_reply_was_lost_is_known_to_have_happened_though_the_key_is_back(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    first = await straight.swap([], [Put(key, b"0")])
    proxy.loses = "replies"
    swapping = asyncio.create_task(near.swap([Unchanged(key, first.revision)], [Delete(key)]))

    async def gone() -> bool:
        return not await exists(straight, key)

    await until(gone)
    await straight.swap([], [Put(key, b"anew")])
    proxy.cut()
    assert (await swapping).swapped
    found = await straight.get(key)
    assert found is not None
    assert found.value == b"anew"


async def test_a_swap_that_cannot_be_settled_says_that_it_is_in_doubt_and_names_the_endpoint(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    proxy.loses = "replies"
    swapping = asyncio.create_task(near.swap([Unchanged(key, NONE)], [Put(key, b"mine")], timeout_s=1.0))
    await until(lambda: exists(straight, key))
    proxy.cut("connections")
    with pytest.raises(EvenshardError) as raised:
        await swapping
    assert (raised.value.code, raised.value.in_doubt) == ("DIRECTORY_UNAVAILABLE", True)
    assert proxy.address in raised.value.message


async def test_where_nobody_listens_nothing_is_in_doubt_and_the_deadline_holds() -> None:
    address = f"127.0.0.1:{free_port()}"
    directory = EtcdDirectory([address])
    loop = asyncio.get_running_loop()
    for ask in (
        directory.get("a", timeout_s=0.2),
        directory.range("a", timeout_s=0.2),
        directory.swap([], [Put("a", b"")], timeout_s=0.2),
        directory.grant(5, timeout_s=0.2),
        directory.keep_alive(5, timeout_s=0.2),
        directory.revoke(5, timeout_s=0.2),
    ):
        began_s = loop.time()
        with pytest.raises(EvenshardError) as raised:
            await ask
        assert loop.time() - began_s < 0.7
        assert (raised.value.code, raised.value.in_doubt) == ("DIRECTORY_UNAVAILABLE", False)
        assert address in raised.value.message
    await directory.close()


async def test_counting_by_swaps_over_a_line_that_keeps_breaking_counts_each_success_once(
    straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    start = await straight.swap([], [Put(key, b"start")])
    clients = [EtcdDirectory([proxy.address]) for _ in range(4)]
    made: list[tuple[int, bytes]] = []

    async def count(number: int) -> None:
        for step in range(15):
            value = b"%d-%d" % (number, step)
            while True:
                found = await clients[number].get(key, timeout_s=15)
                assert found is not None
                result = await clients[number].swap([Unchanged(key, found.revision)], [Put(key, value)], timeout_s=15)
                if result.swapped:
                    made.append((result.revision, value))
                    break

    async def hurt() -> None:
        while True:
            await asyncio.sleep(rng.uniform(0.02, 0.15))
            proxy.loses = rng.choice(["nothing", "requests", "replies"])
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            proxy.cut()

    hurting = asyncio.create_task(hurt())
    async with asyncio.timeout(60):
        await asyncio.gather(*(count(number) for number in range(4)))
    hurting.cancel()
    await straight.swap([], [Put(key + "/end", b"")])
    told = await watched(straight, key, start.revision, key + "/end")
    assert [(c.revision, c.entries[0].value) for c in told[:-1]] == sorted(made)
    await asyncio.gather(*(client.close() for client in clients))


# Members


async def test_the_next_endpoint_answers_where_the_first_is_dead(etcd: EtcdProcess, key: str) -> None:
    directory = EtcdDirectory([f"127.0.0.1:{free_port()}", f"http://{etcd.address}"])
    result = await directory.swap([Unchanged(key, NONE)], [Put(key, b"1")])
    assert await directory.get(key) == Entry(key, b"1", result.revision)
    await directory.close()


async def test_the_next_endpoint_answers_where_the_first_is_frozen(
    own_etcd: EtcdProcess, etcd: EtcdProcess, key: str
) -> None:
    directory = EtcdDirectory([own_etcd.address, etcd.address])
    await directory.get(key)
    own_etcd.freeze()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await directory.get(key, timeout_s=2.0) is None
    assert loop.time() - began_s < 1.5
    await directory.close()


# Watches


async def test_a_watch_over_a_line_that_keeps_breaking_tells_everything_once_in_order(
    near: EtcdDirectory, straight: EtcdDirectory, proxy: TcpProxy, key: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    start = await straight.swap([], [Put(key, b"start")])
    watching = asyncio.create_task(watched(near, key, start.revision, key + "/end"))
    for number in range(300):
        name = f"{key}/{rng.randrange(5)}"
        await straight.swap([], [Delete(name) if rng.random() < 0.3 else Put(name, b"%d" % number)])
        if rng.random() < 0.1:
            proxy.cut()
            await asyncio.sleep(rng.uniform(0, 0.2))
    await straight.swap([], [Put(key + "/end", b"")])
    expected = await watched(straight, key, start.revision, key + "/end")
    assert len(expected) > 150
    assert await watching == expected


async def test_a_watch_goes_on_after_etcd_was_killed(own_etcd: EtcdProcess) -> None:
    directory, writer = EtcdDirectory([own_etcd.address]), EtcdDirectory([own_etcd.address])
    watching = asyncio.create_task(watched(directory, "k", Revision(1), "k/end"))
    for number in range(20):
        await writer.swap([], [Put("k", b"%d" % number)])
    own_etcd.crash()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_etcd.start)
    for number in range(20, 40):
        await writer.swap([], [Put("k", b"%d" % number)], timeout_s=10)
    await writer.swap([], [Put("k/end", b"")])
    told = await watching
    assert [entry.value for changes in told[:-1] for entry in changes.entries] == [b"%d" % i for i in range(40)]
    assert [changes.revision for changes in told] == list(range(2, 43))
    await directory.close()
    await writer.close()


async def test_a_watch_of_a_frozen_member_goes_on_at_the_next(
    own_etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_watch, "QUIET_S", 0.2)
    monkeypatch.setattr(etcd_watch, "CHECK_TIMEOUT_S", 0.3)
    other = EtcdProcess(tmp_path_factory.mktemp("other"))
    other.start()
    directory, there = EtcdDirectory([own_etcd.address, other.address]), EtcdDirectory([other.address])
    try:
        watch: Any = directory.watch("a", Revision(1))
        async with asyncio.timeout(PATIENCE_S), aclosing(watch):
            assert await anext(watch) == Changes((), (), Revision(1))
            own_etcd.freeze()
            assert await anext(watch) == Changes((), (), Revision(1))
            news = await there.swap([], [Put("a", b"1")])
            assert await anext(watch) == Changes([Entry("a", b"1", news.revision)], [], news.revision)
    finally:
        other.stop()
        await directory.close()
        await there.close()


async def test_a_watch_cut_off_while_its_history_was_compacted_reloads(
    near: EtcdDirectory, straight: EtcdDirectory, etcd: EtcdProcess, proxy: TcpProxy, key: str
) -> None:
    start = await straight.swap([], [Put(key + "/a", b"1"), Put(key + "/b", b"1")])
    watch: Any = near.watch(key, start.revision)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        assert await anext(watch) == Changes((), (), start.revision)
        proxy.cut("connections")
        changed = await straight.swap([], [Put(key + "/a", b"2"), Delete(key + "/b")])
        await etcd.compact(changed.revision)
        proxy.loses = "nothing"
        reload = await anext(watch)
        while not reload.reload:  # etcd confirms the watch before it says that the history is gone
            assert reload == Changes((), (), start.revision)
            reload = await anext(watch)
        assert reload == Changes([Entry(key + "/a", b"2", changed.revision)], (), reload.revision, reload=True)
        assert await anext(watch) == Changes((), (), reload.revision)
        news = await straight.swap([], [Put(key + "/c", b"3")])
        assert await anext(watch) == Changes([Entry(key + "/c", b"3", news.revision)], [], news.revision)


async def test_progress_keeps_the_revision_to_resume_from_fresh(tmp_path: Path) -> None:
    process = EtcdProcess(tmp_path, ["--experimental-watch-progress-notify-interval=200ms"])
    process.start()
    directory = EtcdDirectory([process.address])
    try:
        watch: Any = directory.watch("quiet/", Revision(1))
        async with asyncio.timeout(PATIENCE_S), aclosing(watch):
            assert await anext(watch) == Changes((), (), Revision(1))
            busy = await directory.swap([], [Put("busy", b"")])
            while (told := await anext(watch)).revision < busy.revision:
                assert told == Changes((), (), told.revision)
            assert told == Changes((), (), busy.revision)
    finally:
        await directory.close()
        process.stop()


async def test_a_watch_of_a_directory_restored_from_an_older_state_reloads(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    process = EtcdProcess(old)
    process.start()
    directory = EtcdDirectory([process.address])
    for number in range(5):
        last = await directory.swap([], [Put("k", b"%d" % number)])
    watch: Any = directory.watch("k", last.revision)
    replaced = EtcdProcess(new, client_port=process.client_port)
    try:
        async with asyncio.timeout(PATIENCE_S), aclosing(watch):
            assert await anext(watch) == Changes((), (), last.revision)
            process.stop()
            await asyncio.to_thread(replaced.start)
            assert await anext(watch) == Changes([], (), Revision(1), reload=True)
    finally:
        await directory.close()
        process.stop()
        replaced.stop()


async def test_a_watch_says_so_where_the_directory_stays_away(
    near: EtcdDirectory, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_watch, "PATIENCE_S", 0.5)
    watch: Any = near.watch("a", Revision(1))
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        while (await anext(watch)).entries:
            pass
        proxy.cut("connections")
        with pytest.raises(EvenshardError) as raised:
            await until(lambda: tells_nothing(watch))
    assert raised.value.code == "DIRECTORY_UNAVAILABLE"
