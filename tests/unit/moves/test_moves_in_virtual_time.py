"""Moves from beginning to end over small shards in virtual time: when nothing goes wrong, and when one thing does."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from evenshard.directory.keys import MOVING
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.testing.moves_model.world import MovingWorld, options

A, B, C = (ShardId(f"shard-{number}") for number in range(3))


def lived(story: Callable[[MovingWorld], Awaitable[None]], seed: int = 1, **given: Any) -> None:
    world = MovingWorld(seed, **given)

    async def live() -> None:
        await world.start()
        await story(world)
        await world.settled()
        await world.close()

    world.clock.run_all(live())


async def begun(world: MovingWorld, tenant: TenantId, to: ShardId, **more: Any) -> OperationId:
    moves = world.routers["router-0"].moves
    planned = await world.asked(
        lambda: moves.move(tenant, to, more.get("slots"), 0, options(), overflow=more.get("overflow", False))
    )
    assert not isinstance(planned, EvenshardError), planned
    assert planned.stored is not None
    return planned.stored.operation.id


async def until(world: MovingWorld, operation: OperationId, *states: str) -> None:
    for _ in range(600):
        found = await world.operation(operation)
        if found.state in states:
            return
        await world.clock.sleep(100)
    raise AssertionError(f"seed {world.seed}: {found}")


async def wished(world: MovingWorld, operation: OperationId, verb: str) -> Any:
    return await world.asked(lambda: getattr(world.routers["router-1"].admin, verb)(operation, options()))


def test_a_move_switches_while_rows_come_and_goes_on_until_it_is_complete() -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A, B])
        await world.send("router-0", acme, 60)
        operation = await begun(world, acme, C)
        while (await world.operation(operation)).state != "switched":
            await world.send("router-1", acme, 2)
            world.check_owners()
            await world.ask(acme)
            await world.clock.sleep(20)
        tenant = await world.tenant(acme)
        assert (tenant.placement.shards, tenant.placement.epoch) == ((C,), 2)
        await world.send("router-0", acme, 10)
        assert await world.ask(acme)
        await wished(world, operation, "complete")
        await until(world, operation, "complete")
        assert all(not world.shards[shard].disk.rows(acme) for shard in (A, B))
        assert not (await world.directory.range(MOVING)).entries
        record = await world.operation(operation)
        assert record.move is not None
        assert (record.error, record.move.differences) == ("", ())
        assert record.move.fenced_ms is not None
        assert record.move.fenced_ms < 200

    lived(story)


def test_a_rollback_brings_back_what_came_meanwhile() -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A, B], overflow=True)
        await world.send("router-0", acme, 40)
        operation = await begun(world, acme, C, overflow=True)
        await until(world, operation, "switched")
        assert {piece.shard for piece in (await world.tenant(acme)).placement.overflow} == {C}
        await world.send("router-0", acme, 30)
        await wished(world, operation, "rollback")
        while (await world.operation(operation)).state != "rolled_back":
            await world.send("router-1", acme, 1)
            world.check_owners()
            await world.ask(acme)
            await world.clock.sleep(20)
        placement = (await world.tenant(acme)).placement
        assert ({piece.shard for piece in placement.overflow}, placement.epoch) == ({A, B}, 3)
        assert not world.shards[C].disk.rows(acme)

    lived(story)


def test_a_cancelled_move_leaves_nothing() -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        await world.send("router-0", acme, 80)
        operation = await begun(world, acme, B)
        await until(world, operation, "copying")
        await wished(world, operation, "cancel")
        await until(world, operation, "cancelled")
        assert not world.shards[B].disk.rows(acme)
        assert (await world.tenant(acme)).placement.epoch == 1
        again = await begun(world, acme, B)
        await until(world, again, "switched")

    lived(story)


def test_two_moves_of_a_tenant_and_stale_plans_are_refused() -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        moves = world.routers["router-0"].moves
        await begun(world, acme, B)
        second = await world.asked(lambda: moves.move(acme, C, None, 0, options(), overflow=False))
        assert isinstance(second, EvenshardError)
        assert second.code == "OPERATION_CONFLICT"
        await world.create("other", [A])
        await world.clock.sleep(100)
        stale = await world.asked(lambda: moves.move("other", C, None, 0, options(revision=2), overflow=False))
        assert isinstance(stale, EvenshardError)
        assert stale.code == "PLAN_STALE"

    lived(story)


@pytest.mark.parametrize("when", ["copying", "catching_up", "fenced", "switched"])
def test_a_driver_that_is_stopped_is_followed_by_another_and_destroys_nothing_when_it_wakes(when: str) -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        await world.send("router-0", acme, 60)
        operation = await begun(world, acme, B)
        await until(world, operation, when)
        assert world.leader is not None
        asleep = world.leader
        world.routers[asleep].node.stop()
        other = next(name for name in world.routers if name != asleep)
        for _ in range(60):
            await world.send(other, acme, 1)
            await world.clock.sleep(500)
            world.check_owners()
        await until(world, operation, "switched")
        await world.asked(lambda: world.routers[other].admin.rollback(operation, options()))
        await until(world, operation, "rolled_back")
        world.routers[asleep].node.go_on()
        await world.clock.sleep(5_000)
        assert await world.ask(acme)
        assert (await world.tenant(acme)).placement.shards == (A,)

    lived(story)


def test_a_source_that_is_cut_off_while_fenced_takes_nothing_until_it_knows() -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        await world.send("router-0", acme, 20)
        operation = await begun(world, acme, B)
        await until(world, operation, "fenced", "switched")
        world.shards[A].node.is_cut_off = True
        for _ in range(40):
            await world.send("router-1", acme, 1)
            world.check_owners()
            await world.clock.sleep(100)
        world.shards[A].node.is_cut_off = False
        await until(world, operation, "switched")

    lived(story)


def test_a_move_whose_fences_come_to_nothing_for_a_while_switches_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        await world.send("router-0", acme, 20)
        target = world.shards[B].shard
        assert target is not None
        digest, behind = target.GetDigest, True

        async def answers(request: Any, context: Any) -> Any:
            if behind and request.HasField("position"):
                raise EvenshardError("OPERATION_STATE", "it is not there yet")
            return await digest(request, context)

        monkeypatch.setattr(target, "GetDigest", answers)
        operation = await begun(world, acme, B)
        while (move := (await world.operation(operation)).move) is None or move.fences < 4:
            await world.clock.sleep(100)
        behind, began_ms = False, world.clock.monotonic_ms()
        await until(world, operation, "switched")
        assert world.clock.monotonic_ms() - began_ms < 10_000

    lived(story)


def test_draining_moves_everything_and_completes() -> None:
    async def story(world: MovingWorld) -> None:
        names = [await world.create(f"t{number}", [A, B]) for number in range(5)]
        for name in names:
            await world.send("router-0", name, 10)
        moves = world.routers["router-1"].moves
        planned = await world.asked(lambda: moves.drain(A, 0, options("drain it")))
        assert not isinstance(planned, EvenshardError), planned
        assert planned.stored is not None
        again = await world.asked(lambda: moves.drain(A, 0, options("drain it")))
        assert not isinstance(again, EvenshardError), again
        assert again.stored is not None
        assert again.stored.operation.id == planned.stored.operation.id
        late = await world.create("late", [A])
        await until(world, planned.stored.operation.id, "complete")
        for name in (*names, late):
            assert A not in (await world.tenant(name)).placement.shards
        assert not any(world.shards[A].disk.rows(name) for name in names)

    lived(story)


def test_a_drain_that_is_cancelled_ends_what_has_not_switched_and_begins_nothing_more() -> None:
    async def story(world: MovingWorld) -> None:
        names = [await world.create(f"t{number}", [A]) for number in range(6)]
        for name in names:
            await world.send("router-0", name, 30)
        moves = world.routers["router-0"].moves
        planned = await world.asked(lambda: moves.drain(A, 0, options()))
        assert not isinstance(planned, EvenshardError), planned
        assert planned.stored is not None
        drain = planned.stored.operation.id
        other = await world.asked(lambda: moves.rebalance("even", 0, options()))
        assert isinstance(other, EvenshardError)
        assert other.code == "OPERATION_CONFLICT"
        await world.clock.sleep(1_500)
        await wished(world, drain, "cancel")
        await until(world, drain, "cancelled")
        assert not (await world.directory.range(MOVING)).entries
        left = [name for name in names if (await world.tenant(name)).placement.shards == (A,)]
        assert left
        refused = await world.asked(lambda: moves.move(left[0], A, None, 0, options(), overflow=False))
        assert isinstance(refused, EvenshardError)
        assert (refused.code, "draining" in refused.message) == ("SHARD_NOT_ELIGIBLE", True)

    lived(story)
