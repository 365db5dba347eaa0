"""Ways to be wrong about moves, each caught by a story in which it matters; the same story without it holds."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from evenshard.api.v1 import shard_pb2
from evenshard.directory.keys import operation_key, tenant_key
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.ports.directory import Put
from evenshard.router.move_switching import MoveSwitching
from evenshard.testing.moves_model.nodes import Node
from evenshard.testing.moves_model.world import MovingWorld, options
from evenshard.wire.rpcs import LIFT_FENCE

A, B = ShardId("shard-0"), ShardId("shard-1")


async def begun(world: MovingWorld, tenant: TenantId) -> OperationId:
    moves = world.routers["router-0"].moves
    planned = await world.asked(lambda: moves.move(tenant, B, None, 0, options(), overflow=False))
    assert not isinstance(planned, EvenshardError), planned
    assert planned.stored is not None
    return planned.stored.operation.id


async def until(world: MovingWorld, met: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(20_000):
        if await met():
            return
        await world.clock.sleep(1)
    raise AssertionError(f"seed {world.seed}: it does not come")


async def fenced(world: MovingWorld) -> None:
    async def met() -> bool:
        return bool(world.shards[A].disk.fences)

    await until(world, met)


async def state_is(world: MovingWorld, operation: OperationId, *states: str) -> None:
    async def met() -> bool:
        return (await world.operation(operation)).state in states

    await until(world, met)


def lived(story: Callable[[MovingWorld], Awaitable[None]], *mutants: str) -> None:
    world = MovingWorld(1, mutants=mutants)

    async def live() -> None:
        await world.start()
        await story(world)
        await world.settled()

    world.clock.run_all(live())


async def stands_between_digest_and_switch(world: MovingWorld) -> Node:
    """The driver, once it does."""
    assert world.leader is not None
    driver, source = world.routers[world.leader].node, world.shards[A].shard
    assert source is not None
    source.on_compared = driver.stop

    async def met() -> bool:
        return driver.is_stopped

    await until(world, met)
    source.on_compared = lambda: None
    return driver


async def a_fenced_source_is_killed(world: MovingWorld) -> None:
    """The driver stands still between the digest and the switch, and the source is started again meanwhile."""
    acme = await world.create("acme", [A])
    await world.send("router-0", acme, 20)
    operation = await begun(world, acme)
    driver = await stands_between_digest_and_switch(world)
    await world.kill_shard(A)
    await world.send("router-1", acme, 10)
    driver.go_on()
    await state_is(world, operation, "switched")


async def a_late_message_lifts_a_fence(world: MovingWorld) -> None:
    """One that was sent when an earlier fence had come to nothing arrives during the next one."""
    acme = await world.create("acme", [A])
    await world.send("router-0", acme, 20)
    operation = await begun(world, acme)
    await fenced(world)
    assert world.leader is not None
    driver = world.routers[world.leader].node
    driver.stop()
    await state_is(world, operation, "catching_up")  # the source has proposed it
    entry = await world.directory.get(operation_key(operation))
    assert entry is not None
    late = shard_pb2.MovedSlots(
        tenant=acme, operation=operation, revision=entry.revision, slots=[shard_pb2.SlotSpan(first=0, last=4095)]
    )
    driver.go_on()
    driver = await stands_between_digest_and_switch(world)
    try:
        await world.peers.call(A, LIFT_FENCE, shard_pb2.LiftFenceRequest(moved=late), timeout_s=1)
    except EvenshardError as error:
        if error.code != "OPERATION_CONFLICT":
            raise
    await world.send("router-1", acme, 10)
    driver.go_on()
    await state_is(world, operation, "switched")


async def the_directory_is_set_back(world: MovingWorld) -> None:
    """To before a switch: who was the owner then has seen that it is not any more, and takes nothing."""
    acme = await world.create("acme", [A])
    await world.send("router-0", acme, 20)
    before = await world.directory.get(tenant_key(acme))
    assert before is not None
    operation = await begun(world, acme)
    await state_is(world, operation, "switched")
    await world.send("router-0", acme, 20)
    after = await world.directory.get(tenant_key(acme))
    assert after is not None
    await world.clock.sleep(200)
    await world.directory.swap([], [Put(before.key, before.value)])
    for shard in (A, B):
        await world.kill_shard(shard)
    for slot in range(0, 4096, 64):
        assert not any(each.shard is not None and each.shard.accepts(acme, slot) for each in world.shards.values())
    await world.directory.swap([], [Put(after.key, after.value)])


STORIES: dict[str, Any] = {
    "fence not logged": a_fenced_source_is_killed,
    "revision not checked": a_late_message_lifts_a_fence,
    "epoch not persisted": the_directory_is_set_back,
}


@pytest.mark.parametrize("mutant", STORIES)
def test_a_mutant_is_caught(mutant: str) -> None:
    lived(STORIES[mutant])
    with pytest.raises(AssertionError):
        lived(STORIES[mutant], mutant)


def test_comparing_before_the_fence_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: MovingWorld) -> None:
        acme = await world.create("acme", [A])
        await world.send("router-0", acme, 40)
        operation = await begun(world, acme)
        while (await world.operation(operation)).state != "switched":
            await world.send("router-1", acme, 1)
            await world.clock.sleep(60)

    async def equal(*_: Any, **__: Any) -> tuple[tuple[str, ...], int]:
        return (), 0

    lived(story)
    monkeypatch.setattr(MoveSwitching, "_compared", equal)
    with pytest.raises(AssertionError, match="lost"):
        lived(story)
