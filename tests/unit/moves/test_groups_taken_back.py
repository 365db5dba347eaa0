"""Drains, rebalancings and isolated tenants that are taken back, over small shards in virtual time."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from evenshard.directory.audit import Audited
from evenshard.directory.keys import AUDIT, MOVING, OPERATIONS, REPAIRING, SHARD_STATES, moving_key, shard_state_key
from evenshard.directory.operations import Operation
from evenshard.directory.shard_state import ShardState
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.ports.directory import Delete, Put
from evenshard.testing.moves_model.world import MovingWorld, options

A, B, C = (ShardId(f"shard-{number}") for number in range(3))


def lived(story: Callable[[MovingWorld], Awaitable[None]], seed: int = 1) -> None:
    world = MovingWorld(seed)

    async def live() -> None:
        await world.start()
        await story(world)
        await world.settled()
        await world.close()

    world.clock.run_all(live())


async def tenants_on(world: MovingWorld, shard: ShardId, count: int) -> list[TenantId]:
    first = len(world.acked)
    names = [await world.create(f"t{number}", [shard]) for number in range(first, first + count)]
    for name in names:
        await world.send("router-0", name, 20)
    return names


async def answered(world: MovingWorld, work: Callable[[Any], Any]) -> Any:
    found = await world.asked(lambda: work(world.routers["router-0"].moves))
    assert not isinstance(found, EvenshardError), found
    return found.stored.operation.id


async def drained(world: MovingWorld, shard: ShardId) -> OperationId:
    name: OperationId = await answered(world, lambda moves: moves.drain(shard, 0, options()))
    return name


async def wished(world: MovingWorld, operation: OperationId, verb: str) -> Any:
    return await world.asked(lambda: getattr(world.routers["router-1"].admin, verb)(operation, options()))


async def refused(world: MovingWorld, operation: OperationId, verb: str) -> tuple[str, str]:
    found = await wished(world, operation, verb)
    assert isinstance(found, EvenshardError), found
    return found.code, found.message.removeprefix(f"operation {operation} is ")


async def until(world: MovingWorld, operation: OperationId, *states: str) -> Operation:
    for _ in range(1_200):
        found = await world.operation(operation)
        if found.state in states:
            return found
        await world.clock.sleep(100)
    raise AssertionError(f"seed {world.seed}: {found}")


async def until_moved(world: MovingWorld, names: list[TenantId], shard: ShardId, count: int) -> None:
    """So many of them are not on the shard any more, and their moves are complete."""
    for _ in range(1_200):
        gone = [name for name in names if shard not in (await world.tenant(name)).placement.shards]
        under_way = {entry.key for entry in (await world.directory.range(MOVING)).entries}
        if sum(moving_key(name) not in under_way for name in gone) >= count:
            return
        await world.clock.sleep(20)
    raise AssertionError(f"seed {world.seed}: only {gone} moved")


async def placed(world: MovingWorld, names: list[TenantId]) -> list[tuple[ShardId, ...]]:
    return [(await world.tenant(name)).placement.shards for name in names]


async def uses(world: MovingWorld) -> dict[str, str]:
    """Of shards that are not active."""
    states = [ShardState.from_json(entry.value) for entry in (await world.directory.range(SHARD_STATES)).entries]
    return {state.shard: state.use for state in states}


async def audited(world: MovingWorld, subject: str) -> list[tuple[str, Any, Any]]:
    entries = sorted((await world.directory.range(AUDIT)).entries, key=lambda entry: entry.revision)
    told = [Audited.from_json(entry.value) for entry in entries]
    return [(each.verb, each.before, each.after) for each in told if each.subject == subject]


def test_what_a_drain_has_moved_comes_back_and_the_shard_is_used_as_before() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 6)
        drain = await drained(world, A)
        await until_moved(world, names, A, 2)
        assert await uses(world) == {A: "draining"}
        await wished(world, drain, "rollback")
        assert await uses(world) == {}
        assert not isinstance(await wished(world, drain, "rollback"), EvenshardError)
        while (await world.operation(drain)).state != "rolled_back":
            for name in names:
                await world.send("router-1", name, 1)
                await world.ask(name)
            world.check_owners()
            await world.clock.sleep(50)
        assert (await world.operation(drain)).error == ""
        assert await placed(world, names) == [(A,)] * 6
        assert not (await world.directory.range(MOVING)).entries
        assert not any(world.shards[shard].disk.rows(name) for shard in (B, C) for name in names)
        assert (await wished(world, drain, "rollback")).operation.state == "rolled_back"
        assert [told[0] for told in await audited(world, drain)] == ["drain", "rollback"]
        assert await audited(world, A) == [("uncordon", {"state": "draining"}, {"state": "active"})]

    lived(story)


def test_a_drain_that_is_over_or_being_cancelled_is_not_taken_back_nor_the_other_way_round() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 1)
        done = await drained(world, A)
        await until(world, done, "complete")
        assert await refused(world, done, "rollback") == (
            "OPERATION_STATE", "complete: it cannot be rolled back any more"
        )  # fmt: skip
        assert await placed(world, names) != [(A,)]
        await world.directory.swap([], [Delete(shard_state_key(A))])
        await tenants_on(world, B, 6)
        ending = await drained(world, B)
        await until(world, ending, "running")
        await wished(world, ending, "cancel")
        assert await refused(world, ending, "rollback") == (
            "OPERATION_STATE", "running, and being cancelled: it cannot be rolled back any more"
        )  # fmt: skip
        await until(world, ending, "cancelled")
        again = await drained(world, B)
        await until(world, again, "running")
        await wished(world, again, "rollback")
        assert await refused(world, again, "cancel") == (
            "OPERATION_STATE", "running, and being rolled back: it cannot be cancelled any more"
        )  # fmt: skip
        await until(world, again, "rolled_back")
        assert await uses(world) == {B: "draining"}

    lived(story)


def test_a_shard_that_was_cordoned_is_cordoned_again_and_takes_back_what_left_it() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 4)
        cordoned = ShardState(A, "cordoned", "somebody", "nonce")
        await world.directory.swap([], [Put(shard_state_key(A), cordoned.to_json())])
        drain = await drained(world, A)
        await until_moved(world, names, A, 1)
        await wished(world, drain, "rollback")
        await until(world, drain, "rolled_back")
        assert await placed(world, names) == [(A,)] * 4
        assert await uses(world) == {A: "cordoned"}

    lived(story)


def test_a_paused_drain_goes_back_and_one_that_nobody_has_begun_moves_nothing() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 4)
        drain = await drained(world, A)
        await wished(world, drain, "rollback")
        await until(world, drain, "rolled_back")
        again = await drained(world, A)
        await until_moved(world, names, A, 1)
        await wished(world, again, "pause")
        await wished(world, again, "rollback")
        await until(world, again, "rolled_back")
        assert await placed(world, names) == [(A,)] * 4

    lived(story)


def test_what_somebody_moved_on_since_stays_and_is_named() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 6)
        drain = await drained(world, A)
        await until_moved(world, names, A, 1)
        await wished(world, drain, "pause")
        gone = [name for name, shards in zip(names, await placed(world, names), strict=True) if shards != (A,)]
        under_way = {entry.key for entry in (await world.directory.range(MOVING)).entries}
        name = next(name for name in gone if moving_key(name) not in under_way)
        there = (await world.tenant(name)).placement.shards
        other = C if there != (C,) else B
        on = await answered(world, lambda moves: moves.move(name, other, None, 0, options(), overflow=False))
        await until(world, on, "switched")
        await wished(world, on, "complete")
        await until(world, on, "complete")
        await wished(world, drain, "rollback")
        ended = await until(world, drain, "rolled_back")
        assert f"{name}: " in ended.error
        assert "were moved on since" in ended.error
        assert (await world.tenant(name)).placement.shards == (other,)
        assert await placed(world, [each for each in names if each != name]) == [(A,)] * 5

    lived(story)


def test_a_rebalancing_goes_back() -> None:
    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 6)
        rebalance = await answered(world, lambda moves: moves.rebalance("even", 0, options()))
        await until_moved(world, names, A, 1)
        await wished(world, rebalance, "rollback")
        await until(world, rebalance, "rolled_back")
        assert await placed(world, names) == [(A,)] * 6
        assert await uses(world) == {}

    lived(story)


@pytest.mark.parametrize("verb", ["rollback", "cancel"])
def test_a_tenant_that_is_isolated_no_more_leaves_its_shard_to_all(verb: str) -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A, B])
        await world.send("router-0", acme, 40)
        isolate = await answered(world, lambda moves: moves.isolate(acme, C, 0, options()))
        assert await uses(world) == {C: "cordoned"}
        await until(world, isolate, *(("switched",) if verb == "rollback" else ("copying", "catching_up")))
        await wished(world, isolate, verb)
        await until(world, isolate, {"rollback": "rolled_back", "cancel": "cancelled"}[verb])
        assert await uses(world) == {}
        again = await answered(world, lambda moves: moves.isolate(acme, C, 0, options()))
        mine = ShardState(C, "cordoned", "somebody", "of its own")
        await until(world, again, "switched")
        await world.directory.swap([], [Put(shard_state_key(C), mine.to_json())])
        await wished(world, again, "rollback")
        await until(world, again, "rolled_back")
        assert await uses(world) == {C: "cordoned"}

    lived(story)


@pytest.mark.parametrize("verb", ["rollback", "cancel"])
def test_a_move_of_a_drain_that_could_not_begin_leaves_its_tenant_free(verb: str) -> None:
    """A repair keeps it from beginning: it is still planned."""

    async def story(world: MovingWorld) -> None:
        names = await tenants_on(world, A, 1)
        repairing = f"{REPAIRING}{names[0]}/key"
        await world.directory.swap([], [Put(repairing, b"a repair")])
        drain = await drained(world, A)
        while not (await world.directory.range(MOVING)).entries:
            await world.clock.sleep(20)
        await wished(world, drain, verb)
        await until(world, drain, {"rollback": "rolled_back", "cancel": "cancelled"}[verb])
        assert not (await world.directory.range(MOVING)).entries
        operations = [Operation.from_json(entry.value) for entry in (await world.directory.range(OPERATIONS)).entries]
        assert [each.state for each in operations if each.kind == "move"] == ["cancelled"]

    lived(story)
