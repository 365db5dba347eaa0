"""A leader dies, or freezes and comes back, at any of its calls: the successor completes, nothing happens twice."""

import pytest
from evenshard.directory.keys import BLOCKED, LEADER, MARKS, OPERATIONS, USERS
from evenshard.ports.directory import Put
from evenshard.testing.deletions import DeletionWorld
from evenshard.testing.mortal import Death

NOW_MS = 1_767_225_600_000
USERS_GONE = ["gone", "other/gone"]
CALLS_MAX = 200


async def run(world: DeletionWorld, dies_at: int | None, death: Death) -> int:
    """A deletion during which the leader falls still at its ``dies_at``-th call, or not at all; checks all there is
    to see. How many calls the leader made."""
    for name in ("router-0", "router-1"):
        await world.start(name)
    leader = world.lives["router-0"]
    for shard in world.shards.values():
        for user in (*USERS_GONE, "stays"):
            shard.store(user, NOW_MS, f"{user} before")
    for user in USERS_GONE:
        for day in range(3):
            await world.put_mark(user, 20_000 + day)
    kept = [await world.put_mark("stays")]
    leader.arm(dies_at, death)

    answered = await world.delete_users("router-1", USERS_GONE, block=True)

    for shard in world.shards.values():
        assert (shard.visible, shard.hides) == (["stays before"], 1)
        shard.store("gone", NOW_MS, "gone after")
    kept.append(await world.put_mark("gone", 20_001))
    done = await world.ended(answered.operation)
    if leader.still and death == "late":
        leader.wake()
        await world.pass_time(8_000)
    assert await world.records() == [done]
    assert (done.state, done.error, done.shards_left, done.rows_done, done.rows_total) == ("complete", "", (), 2 * 2, 4)
    for shard in world.shards.values():
        assert (shard.visible, shard.hides) == (["stays before", "gone after"], 1)
        assert [event.name for event in shard.events] == ["stays before", "gone after"]
    assert [MARKS + name for name in await world.keys(MARKS)] == sorted(kept)
    assert await world.keys(USERS) == []
    assert len(await world.keys(BLOCKED)) == len(USERS_GONE)
    assert ("acme", USERS_GONE) in world.counter.forgotten
    return leader.calls


@pytest.mark.parametrize("death", ["before", "after", "late"])
async def test_whatever_call_the_leader_dies_in_the_successor_completes(death: Death) -> None:
    async with DeletionWorld() as world:
        calls = await run(world, None, death)
    assert 10 < calls < CALLS_MAX
    for dies_at in range(1, calls + 1):
        async with DeletionWorld(seed=dies_at) as world:
            try:
                await run(world, dies_at, death)
            except BaseException:
                print(f"the leader fell still ({death}) at call {dies_at} of {calls}")
                raise


async def test_leaders_that_die_one_after_the_other_do_not_stop_an_operation() -> None:
    async with DeletionWorld() as world:
        for number in range(6):
            await world.start(f"router-{number}")
        for shard in world.shards.values():
            shard.store("gone", NOW_MS, "before")
            shard.polls_to_purge = 12
        for number in range(5):
            world.lives[f"router-{number}"].arm(6 + number, "after")
        answered = await world.delete_users("router-5", ["gone"], timeout_s=10_000)
        done = await world.ended(answered.operation)
        assert done.state == "complete"
        assert [(shard.hides, shard.events) for shard in world.shards.values()] == [(1, []), (1, [])]


async def test_a_router_that_leads_no_more_writes_nothing() -> None:
    async with DeletionWorld() as world:
        await world.start("router-0")
        for shard in world.shards.values():
            shard.polls_to_purge = 1 << 30
        await world.delete_users("router-0", ["gone"])
        await world.directory.swap([], [Put(LEADER, b'{"leader": "somebody"}')])
        before = await world.directory.range(OPERATIONS)
        for shard in world.shards.values():
            shard.polls_to_purge = 0
        await world.pass_time(30_000)
        assert await world.directory.range(OPERATIONS) == before
