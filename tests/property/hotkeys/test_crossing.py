"""A retry meets its original on whichever side of the crossing either fell: simulated over links that delay, lose and
repeat messages, with drivers that are paused until others take over."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from evenshard.directory.tenant import HotKeyMode
from evenshard.router import handing_over
from evenshard.testing.cluster import MemoryCluster
from evenshard.testing.crossing import Chances, Crossing, chancy, chancy_cluster

MODES: Sequence[HotKeyMode] = ("rewrite", "salt")
GROUP = 10
"""Tenants that live in one cluster at a time."""
SEEDS = 1_000


@pytest.fixture(autouse=True)
def quick_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take a hand-over up while its driver is paused."""
    monkeypatch.setattr(handing_over, "TAKE_OVER_MS", 100.0)


def bad_links(random: Random) -> Chances:
    return Chances(
        lose=random.choice([0, 0.02, 0.1]),
        lose_answer=random.choice([0, 0.02, 0.1]),
        repeat=random.choice([0, 0.05, 0.3]),
        delay=random.choice([0, 0.2, 0.5]),
        pause=random.choice([0, 0.2]),
    )


async def lives(first_seed: int, count: int) -> None:
    """Of ``count`` tenants: everything sent three times over bad links, looked at, indexed, all shards killed, their
    logs gone, and sent once more."""
    random = Random(f"lives {first_seed}")
    async with chancy_cluster(first_seed) as cluster:
        crossings = [Crossing(cluster, first_seed + at, MODES[(first_seed + at) % 2]) for at in range(count)]
        for crossing in crossings:
            await crossing.create()
        chancy(cluster).chances = bad_links(random)
        disturbed = asyncio.create_task(disturb(cluster, random))
        await asyncio.gather(*(crossing.send_all(3) for crossing in crossings))
        disturbed.cancel()
        await asyncio.gather(disturbed, return_exceptions=True)
        cluster.directory.resume_watches()
        cluster.directory.fail_next(0)
        cluster.directory.lose_reply_next(0)
        chancy(cluster).chances = Chances()
        await chancy(cluster).settle()
        before = []
        for crossing in crossings:
            await crossing.cross()
            mark = await crossing.until_active()
            assert (mark.born, mark.threshold) == (crossing.mode, crossing.threshold)
            await crossing.check()
            before.append(await crossing.answers())
        await reborn(cluster, crossings)
        duplicates = await asyncio.gather(*(crossing.send_all(1) for crossing in crossings))
        for crossing, answers, copies in zip(crossings, before, duplicates, strict=True):
            assert copies == len(crossing.rows), f"seed {crossing.seed}"
            assert await crossing.answers() == answers, f"seed {crossing.seed}"


async def disturb(cluster: MemoryCluster, random: Random) -> None:
    """Watches stand still now and then, and calls of the directory fail, or their replies are lost."""
    while True:
        await cluster.clock.sleep(random.random() * 60)
        match random.randrange(4):
            case 0:
                cluster.directory.pause_watches()
                await cluster.clock.sleep(random.random() * 200)
                cluster.directory.resume_watches()
            case 1:
                cluster.directory.fail_next(1)
            case 2:
                cluster.directory.lose_reply_next()


async def reborn(cluster: MemoryCluster, crossings: Sequence[Crossing]) -> None:
    """Everything is indexed, the machines of all shards lose power, and nothing is left in the logs."""
    for crossing in crossings:
        await cluster.compact(await cluster.tenant(crossing.tenant))
    for shard in cluster.shard_names:
        await cluster.crash(shard)
    for shard in cluster.shard_names:
        await cluster.start(shard)


@pytest.mark.parametrize("first_seed", [1])
async def test_each_event_is_stored_once_though_it_comes_three_times_while_its_key_crosses(first_seed: int) -> None:
    print(f"seeds from {first_seed}")
    await lives(first_seed, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first_seed", range(100, 100 + SEEDS, GROUP))
async def test_each_event_is_stored_once_in_a_thousand_lives(first_seed: int) -> None:
    print(f"seeds from {first_seed}")
    await lives(first_seed, GROUP)


async def deleted_meanwhile(first_seed: int, count: int) -> None:
    """The user of the key is deleted while it crosses, or later; then everything is sent again."""
    random = Random(f"deleted {first_seed}")
    async with chancy_cluster(first_seed) as cluster:
        crossings = [Crossing(cluster, first_seed + at, MODES[(first_seed + at) % 2]) for at in range(count)]
        for crossing in crossings:
            await crossing.create()
        chancy(cluster).chances = bad_links(random)

        async def live(crossing: Crossing) -> None:
            sending = asyncio.create_task(crossing.send_all(2))
            await cluster.clock.sleep(crossing.random.random() * 600)
            await crossing.delete_user()
            await sending
            await crossing.send_all(2)

        await asyncio.gather(*map(live, crossings))
        chancy(cluster).chances = Chances()
        await chancy(cluster).settle()
        for crossing in crossings:
            await crossing.until_settled()
            await crossing.check(is_hot=False)  # what came while it was deleted may not count
        await reborn(cluster, crossings)
        for crossing in crossings:
            assert await crossing.send_all(1) == len(crossing.rows), f"seed {crossing.seed}"
            await crossing.check(is_hot=False)


@pytest.mark.parametrize("first_seed", [1])
async def test_a_user_deleted_while_the_key_crosses_comes_again_whole(first_seed: int) -> None:
    print(f"seeds from {first_seed}")
    await deleted_meanwhile(first_seed, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first_seed", range(2_000, 2_200, GROUP))
async def test_a_user_deleted_while_the_key_crosses_comes_again_whole_in_many_lives(first_seed: int) -> None:
    print(f"seeds from {first_seed}")
    await deleted_meanwhile(first_seed, GROUP)
