"""What a shard notes of appends and scans, on a clock that a test moves."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from evenshard.ids import ShardId, TenantId
from evenshard.queries.browse_plan import TimelineScan
from evenshard.shard.heat import ShardHeat, Usage
from evenshard.testing.call import in_call
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of

ACME = TenantId("acme")
TIMELINE = TimelineScan((0, 1), "ann", "", None, 0, 10, True).to_json()
SEGMENTATION = b'{"version":1,"kind":"segmentation","events":["view"]}'


@dataclass
class Machine:
    """What a process has used, as a test says."""

    used: Usage = field(default_factory=lambda: Usage(0.0, 0, 0))

    def __call__(self) -> Usage:
        return self.used


@dataclass
class World:
    clock: ManualClock = field(default_factory=ManualClock)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        self.heat = ShardHeat(ShardId("shard-0"), self.clock, 500, self.machine)

    def append(self, *ids: str) -> None:
        events = [Event("view", each, 1_767_225_600_000) for each in ids]
        self.heat.appended(append_of(events).prepared())


@pytest.fixture
def world() -> Iterator[World]:
    with in_call("trace"):
        yield World()


async def test_events_and_their_keys_are_told_by_the_second(world: World) -> None:
    await world.clock.advance(10_000)
    world.append(*["runaway"] * 30, "a", "")
    now = world.heat.now()
    assert (now.window_ms, now.events_per_second) == (10_000, 3.2)
    assert {key.distinct_id: key.events_per_second for key in now.keys} == {"runaway": 3.0, "a": 0.1}
    await world.clock.advance(60_000)
    assert (world.heat.now().events_per_second, world.heat.now().keys) == (0.0, ())


async def test_a_scan_is_split_into_waiting_and_running(world: World) -> None:
    with world.heat.scanning(ACME, SEGMENTATION) as running:
        assert world.heat.now().queries_running == 1
        await world.clock.advance(300)
        running.begins()
        await world.clock.advance(400)
        running.rows = 7
    [slow] = world.heat.slow.newest()
    assert (slow.place, slow.tenant, slow.kind, slow.event, slow.rows) == ("shard-0", "acme", "segmentation", "view", 7)
    assert (slow.wait_ms, slow.run_ms, slow.trace_id, slow.failed) == (300, 400, "trace", False)
    now = world.heat.now()
    assert (now.queries_running, now.busy, now.queries_per_second) == (0, 0.4, 1.0)
    assert now.query_p99_ms == pytest.approx(700, rel=0.1)


async def test_a_scan_whose_turn_never_came_has_only_waited(world: World) -> None:
    async def ask() -> None:
        with world.heat.scanning(ACME, b"no json"):
            await world.clock.advance(900)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await ask()
    [slow] = world.heat.slow.newest()
    assert (slow.kind, slow.event, slow.wait_ms, slow.run_ms, slow.failed) == ("unknown", "*", 900, 0, True)
    assert world.heat.now().queries_running == 0


async def test_quick_scans_are_counted_and_not_kept(world: World) -> None:
    with world.heat.scanning(ACME, SEGMENTATION) as running:
        running.begins()
        await world.clock.advance(499)
    with world.heat.exporting():
        await world.clock.advance(60_000)
    assert world.heat.slow.newest() == []
    assert world.heat.now().queries_per_second == pytest.approx(1 / 30, rel=0.1)


async def test_the_time_of_a_timeline_is_its_users(world: World) -> None:
    for _ in range(3):
        with world.heat.scanning(ACME, TIMELINE) as running:
            running.begins()
            await world.clock.advance(1_000)
    [key] = world.heat.now().keys
    assert (key.tenant, key.distinct_id, key.events_per_second, key.busy) == ("acme", "ann", 0.0, 1.0)


async def test_usage_is_told_by_the_second_of_the_window(world: World) -> None:
    await world.clock.advance(20_000)
    world.machine.used = Usage(10.0, 2_000, 40_000)
    now = world.heat.now()
    assert (now.cpu, now.read_bytes_per_second, now.write_bytes_per_second) == (0.5, 100.0, 2_000.0)
    await world.clock.advance(40_000)
    now = world.heat.now()
    assert (now.cpu, now.write_bytes_per_second) == (0.0, 0.0)
    world.machine.used = Usage(None, None, None)
    now = world.heat.now()
    assert (now.cpu, now.read_bytes_per_second, now.write_bytes_per_second) == (None, None, None)
