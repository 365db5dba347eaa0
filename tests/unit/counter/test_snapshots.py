"""Counts survive the counter: whole where it stopped cleanly, as last written where it did not."""

import errno
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pyarrow as pa
import pytest
from evenshard.counter.service import CounterService
from evenshard.counter.snapshots import SNAPSHOT_EVERY_MS, Snapshots, load_counts
from evenshard.hotkeys.aggregate import KEY_SCHEMA
from evenshard.ids import TenantId
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.wire.counting import count_request, forget_request

KEYS_MAX = 1000
ACME = TenantId("acme")
DAY = 20_000


def columns(**counts: int) -> pa.RecordBatch:
    ids, days = pa.array(counts, pa.utf8()), pa.array([DAY] * len(counts), pa.int32())
    return pa.RecordBatch.from_arrays([ids, days, pa.array(counts.values(), pa.int64())], schema=KEY_SCHEMA)


class Life:
    """A counter from its start on."""

    def __init__(self, disk: MemoryDisk, clock: ManualClock, pool: ThreadPoolExecutor, keys_max: int) -> None:
        self.notes: list[str] = []
        self.counts = load_counts(disk, keys_max, clock.now_ms())
        self.snapshots = Snapshots(disk, self.counts, clock, pool, self.notes.append)
        self.service = CounterService(self.counts, clock, pool, self.snapshots)
        self.snapshots.start()

    async def count(self, **counts: int) -> None:
        await self.service.CountEvents(count_request(ACME, [columns(**counts)]), None)

    @property
    def known(self) -> dict[str, int]:
        return {key.distinct_id: key.count for key in self.counts.top(ACME, 100)}


Begin = Callable[..., Life]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        lives: list[Life] = []

        def begun(disk: MemoryDisk, clock: ManualClock, keys_max: int = KEYS_MAX) -> Life:
            lives.append(Life(disk, clock, pool, keys_max))
            return lives[-1]

        yield begun
        for life in lives:
            await life.snapshots.close()


async def written(disk: MemoryDisk, life: Life, clock: ManualClock) -> None:
    """Half a minute goes by, and what is due is on the disk."""
    before = disk.open("counts").size() if "counts" in disk.list("") else 0
    await clock.advance(SNAPSHOT_EVERY_MS)
    async with life.snapshots._writing:
        assert disk.open("counts").size() != before


async def test_a_counter_that_stopped_cleanly_goes_on_as_if_it_had_not(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5, b=70_000)
    await clock.advance(1000)
    await first.snapshots.close()
    second = begin(disk.crash(Random(1)), clock)
    assert (second.known, second.counts.start_ms) == ({"b": 70_000, "a": 5}, first.counts.start_ms)
    await second.count(a=1)
    assert second.known == {"b": 70_000, "a": 6}


async def test_a_counter_that_was_killed_owns_up_to_what_it_may_have_missed(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5)
    await written(disk, first, clock)
    await first.count(a=2)
    disk = disk.crash(Random(2))
    second = begin(disk, clock)
    assert (second.known, second.counts.start_ms) == ({"a": 5}, clock.now_ms())
    await second.snapshots.close()
    assert begin(disk, clock).counts.start_ms == second.counts.start_ms  # and goes on owning up to it


async def test_users_who_were_forgotten_do_not_come_back_with_a_crash(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5, b=7)
    await written(disk, first, clock)
    await first.service.ForgetUsers(forget_request(ACME, ["a"]), None)
    assert "a" not in begin(disk.crash(Random(3)), clock).known


async def test_counts_are_written_at_once_when_users_were_forgotten(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5, b=7)
    await first.service.ForgetUsers(forget_request(ACME, ["a"]), None)
    await clock.advance(1)
    async with first.snapshots._writing:
        pass
    assert begin(disk.crash(Random(4)), clock).known == {"b": 7}


@pytest.mark.parametrize("at", [0, 9, 30, 200, -1])
async def test_counts_that_are_damaged_are_left_out(begin: Begin, at: int) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5, b=7)
    await first.snapshots.close()
    file = disk.open("counts")
    data = bytearray(file.read(0, file.size()))
    data[at] ^= 0x10
    file.truncate(0)
    file.write([bytes(data)])
    second = begin(disk, clock)
    assert second.known == {}
    assert second.counts.start_ms == clock.now_ms()


async def test_counts_of_another_size_are_left_out(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    first = begin(disk, clock)
    await first.count(a=5)
    await first.snapshots.close()
    assert begin(disk, clock, 2 * KEYS_MAX).known == {}


async def test_a_disk_that_is_full_costs_no_counts_and_is_said(begin: Begin) -> None:
    disk, clock = MemoryDisk(), ManualClock()
    life = begin(disk, clock)
    await life.count(a=5)

    def full(operation: str, name: str) -> None:
        if operation == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    disk.hook = full
    await clock.advance(SNAPSHOT_EVERY_MS)
    async with life.snapshots._writing:
        pass
    assert life.notes == ["counts of keys are not saved: [Errno 28] No space left on device"]
    disk.hook = None
    await life.count(a=1)
    await written(disk, life, clock)
    assert life.notes[-1] == ""
    assert begin(disk.crash(Random(5)), clock).known == {"a": 6}
