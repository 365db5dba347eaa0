"""Events expire by the UTC day: at once when the setting changes, at midnight, and never back."""

from collections.abc import AsyncIterator

import pytest
from evenshard.testing.clock import START_MS
from evenshard.testing.deletions import SHARDS, DeletionWorld

DAY_MS = 86_400_000


@pytest.fixture
async def world() -> AsyncIterator[DeletionWorld]:
    async with DeletionWorld() as made:
        await made.start("router-0")
        for shard in made.shards.values():
            for day in range(6):
                shard.store("u", START_MS - day * DAY_MS, f"{day} days ago")
                shard.store("u", START_MS - day * DAY_MS - 1, f"just before {day} days ago")
        yield made


def horizons(world: DeletionWorld) -> list[int]:
    """In days before the start."""
    return [(START_MS - shard.horizon_ms) // DAY_MS for shard in world.shards.values() if shard.horizon_ms]


async def test_a_retention_takes_effect_at_once_and_the_bytes_go(world: DeletionWorld) -> None:
    assert horizons(world) == []
    await world.put_tenant(retention_days=2)
    await world.pass_time(400)
    assert horizons(world) == [2, 2]
    for shard in world.shards.values():
        assert shard.visible == [
            "0 days ago", "just before 0 days ago", "1 days ago", "just before 1 days ago", "2 days ago",
        ]  # fmt: skip
    await world.until(lambda: all(len(shard.events) == 5 for shard in world.shards.values()))
    asked = [len(shard.asked) for shard in world.shards.values()]
    await world.pass_time(300_000)
    assert [len(shard.asked) for shard in world.shards.values()] == asked  # nobody asks once they are gone


async def test_the_horizon_rises_by_a_day_within_a_minute_of_midnight(world: DeletionWorld) -> None:
    await world.put_tenant(retention_days=3)
    await world.pass_time(400)
    world.clock.jump_wall(DAY_MS - 30_000)
    await world.pass_time(20_000)
    assert horizons(world) == [3, 3]
    await world.pass_time(71_000)
    assert horizons(world) == [2, 2]


async def test_a_longer_retention_or_none_brings_nothing_back(world: DeletionWorld) -> None:
    for days in (1, 4, 0, 3):
        await world.put_tenant(retention_days=days)
        await world.pass_time(70_000)
        assert horizons(world) == [1, 1]
    await world.put_tenant(retention_days=36_525)
    await world.pass_time(1_000)
    assert horizons(world) == [1, 1]


async def test_a_silent_shard_is_asked_again_and_a_new_leader_goes_on(world: DeletionWorld) -> None:
    await world.start("router-1")
    world.peers.partition("shard-1")
    await world.put_tenant(retention_days=2)
    await world.pass_time(400)
    assert [shard.horizon_ms > 0 for shard in world.shards.values()] == [True, False]
    world.lives["router-0"].arm(1, "before")
    await world.pass_time(20_000)
    world.peers.heal("shard-1")
    await world.pass_time(6_000)
    assert horizons(world) == [2, 2]


async def test_a_newer_placement_is_told_the_horizon_too(world: DeletionWorld) -> None:
    await world.put_tenant(retention_days=2)
    await world.pass_time(400)
    for shard in world.shards.values():
        shard.epoch, shard.horizon_ms = 5, 0  # as one that was added would begin
    await world.put_tenant(5, retention_days=2)
    await world.pass_time(400)
    assert horizons(world) == [2, 2]
    assert len(SHARDS) == 2
