"""A log file is gone within its age, whatever the slowest tenant does: by a clock that the test moves."""

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.shard.compacting import LOOK_EVERY_MS, Compactor
from evenshard.shard.tracing import ShardSpans
from evenshard.storage import indexing
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of
from structlog.testing import capture_logs

SHARD, EPOCH = ShardId("shard-0"), Epoch(1)
AGE_MS, COMPACT_AGE_MS = 60_000, 10_000
QUIET, BUSY, PAUSED, FAILING = (TenantId(name) for name in ("quiet", "busy", "paused", "failing"))


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """What is logged is not rendered: that takes longer than all the rest."""
    with capture_logs():
        yield


SETTINGS = StorageSettings(log_age_ms=AGE_MS, compact_age_ms=COMPACT_AGE_MS)


class Shard:
    """A store and its compactor in one thread's time."""

    def __init__(self, settings: StorageSettings = SETTINGS) -> None:
        self.disk, self.clock = MemoryDisk(), ManualClock()
        self.reports: list[str] = []
        self.store = Store.open(self.disk, self.clock, SHARD, settings, self.reports.append)
        self.compactor = Compactor(self.store, self.clock, ShardSpans(SHARD))
        self.compactor.start()
        self.numbers = 0
        self.first_ms: dict[str, int] = {}
        """When each log file got its first event."""

    def add(self, tenant: TenantId, *numbers: int) -> list[bool]:
        """Events of these numbers, or a new one."""
        self.numbers += 1
        events = [Event("click", f"u{n}", 1 + n, f"i{n}") for n in numbers or (1_000 + self.numbers,)]
        (outcome,) = self.store.append([append_of(events, tenant)])
        assert isinstance(outcome, Appended), outcome
        newest = self.disk.list("log")[-1]
        self.first_ms.setdefault(newest, self.clock.now_ms())
        return outcome.duplicates.tolist()

    async def tick(self) -> None:
        """A second passes; what the loop does in it is done."""
        async with asyncio.timeout(30):
            while not self.clock.sleepers:  # noqa: ASYNC110 - threads are waited for
                await asyncio.sleep(0.0005)
            await self.clock.advance(LOOK_EVERY_MS)
            while not self.clock.sleepers:  # noqa: ASYNC110 - threads are waited for
                await asyncio.sleep(0.0005)

    def too_old(self) -> list[tuple[str, int]]:
        """Log files that outlived their age, with it."""
        now_ms = self.clock.now_ms()
        ages = [(name, now_ms - self.first_ms[name]) for name in self.disk.list("log") if name in self.first_ms]
        return [(name, age_ms) for name, age_ms in ages if age_ms > AGE_MS]

    def rows(self, tenant: TenantId) -> int:
        with self.store.snapshot(tenant) as snapshot:
            return len(all_events(snapshot))

    async def close(self) -> None:
        await self.compactor.close()
        self.store.close()


@contextmanager
def broken(*tenants: TenantId, error: Exception) -> Iterator[None]:
    """Compactions of these tenants fail as soon as they merge with anything."""
    compact = indexing.compact

    def failing(
        disk: object, next_id: object, tenant: TenantId, tail: object, existing: object, *args: object, **kw: object
    ) -> object:
        spared = kw["spared"]
        assert isinstance(spared, set)
        assert isinstance(existing, tuple)
        if tenant in tenants and len(spared) < max(1, len(existing)):
            raise error
        return compact(disk, next_id, tenant, tail, existing, *args, **kw)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "compact", failing)
        yield


@pytest.mark.parametrize(
    "error", [EvenshardError("DATA_DAMAGED", "two originals"), pa.ArrowInvalid("a defect"), AssertionError("another")]
)
async def test_no_log_file_outlives_its_age_whatever_tenants_do(error: Exception) -> None:
    seed = 5
    random = Random(seed)
    shard = Shard()
    for tenant in (QUIET, BUSY, PAUSED, FAILING):
        shard.add(tenant, 1, 2)
        shard.store.compact(tenant)
    shard.compactor.pause(PAUSED)
    added = {QUIET: 2, BUSY: 2, PAUSED: 2, FAILING: 2}
    with broken(FAILING, error=error):
        for second in range(240):
            for tenant, share in ((BUSY, 0.9), (PAUSED, 0.05), (FAILING, 0.1), (QUIET, 0.01)):
                if second < 150 and random.random() < share:
                    shard.add(tenant)
                    added[tenant] += 1
            await shard.tick()
            assert shard.too_old() == [], f"seed {seed}, second {second}"
        assert len(shard.disk.list("log")) == 1
        assert shard.store.backlog(FAILING) == shard.store.backlog(PAUSED) == 0
        assert shard.compactor.state().failing_tenants == (FAILING,)
    assert {tenant: shard.rows(tenant) for tenant in added} == added
    for tenant in added:
        assert shard.add(tenant, 1, 2, 3) == [True, True, False]
    shard.compactor.resume(None)
    for _ in range(90):
        await shard.tick()
    assert shard.compactor.state().failing_tenants == ()
    await shard.close()


async def test_a_quiet_shard_ends_its_log_file_by_age_and_begins_no_further_one() -> None:
    shard = Shard()
    shard.add(QUIET)
    for _ in range(AGE_MS // LOOK_EVERY_MS):
        await shard.tick()
    assert shard.disk.list("log") == ["0000000002.log"]
    for _ in range(3 * AGE_MS // LOOK_EVERY_MS):
        await shard.tick()
    assert shard.disk.list("log") == ["0000000002.log"]
    shard.add(QUIET)
    await shard.close()


async def test_a_full_disk_begins_no_new_log_file_and_the_next_second_does() -> None:
    shard = Shard()
    shard.add(QUIET)
    shard.compactor.pause(None)

    def hook(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("log"):
            raise OSError(errno.ENOSPC, "full")

    shard.disk.hook = hook
    for _ in range(AGE_MS // LOOK_EVERY_MS):
        await shard.tick()
    assert shard.disk.list("log") == ["0000000001.log"]
    shard.disk.hook = None
    for _ in range(3):
        await shard.tick()
    assert shard.disk.list("log") == ["0000000002.log"]
    assert shard.rows(QUIET) == 1
    await shard.close()


@pytest.mark.parametrize("who", [QUIET, FAILING])
def test_a_purge_takes_a_bounded_number_of_steps_whoever_keeps_the_log(who: TenantId) -> None:
    """No step waits for time to pass: what a purge takes is the work of so many steps."""
    disk, clock = MemoryDisk(), ManualClock()
    store = Store.open(disk, clock, SHARD, StorageSettings(log_file_bytes=1), lambda _: None)

    def add(tenant: TenantId, number: int) -> None:
        (outcome,) = store.append([append_of([Event("click", f"u{number}", 1 + number, f"i{number}")], tenant)])
        assert isinstance(outcome, Appended)

    for tenant in (BUSY, QUIET, FAILING):
        add(tenant, 1)
        store.compact(tenant)
        add(tenant, 2)
    with broken(FAILING, error=EvenshardError("DATA_DAMAGED", "two originals")):
        store.hide_users(who, EPOCH, "op", ["u1", "u2"])
        steps = 0
        while store.purge_step(who):
            steps += 1
            assert steps < 12
        assert store.purge_status(who, "op").purged
    assert len(disk.list("log")) == 1
