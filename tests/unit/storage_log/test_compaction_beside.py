"""Compaction beside appends and scans: it holds up neither, whatever it waits for, and lets log files go in time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.catalog import Catalog
from evenshard.storage.compaction import plan as plan_module
from evenshard.storage.compaction.plan import DAY_GRACE_MS
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
DAY_MS = 86_400_000
DEADLINE_S = 20.0


class Shard:
    """A store on a disk in memory and on a clock that is moved by hand."""

    def __init__(self, **settings: int) -> None:
        self.disk, self.clock, self.reports = MemoryDisk(), ManualClock(), list[str]()
        self.settings = StorageSettings(**settings)
        self.store = self.open()

    def open(self) -> Store:
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)
        return self.store

    def add(self, *events: Event, tenant: str = "acme") -> list[bool]:
        (outcome,) = self.store.append([append_of(events, tenant)])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def all(self, tenant: str = "acme") -> list[tuple[Event, bool]]:
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            return all_events(snapshot)

    def due(self) -> list[TenantId]:
        return self.store.due(self.clock.now_ms())

    def log_files(self) -> int:
        return len(self.disk.list("log"))

    def pass_ms(self, duration_ms: int) -> None:
        self.clock.jump_wall(duration_ms)


def click(number: int, time_ms: int = 1_700_000_000_000) -> Event:
    return Event("click", f"u{number % 7}", time_ms + number, f"i{number}")


class Stuck:
    """Lets one thread get as far as its ``number``-th operation, and no further until it is released."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.reached = threading.Event()
        self.released = threading.Event()
        self.at: tuple[str, str] | None = None
        self.thread: threading.Thread | None = None

    def __call__(self, operation: str, name: str) -> None:
        if threading.current_thread() is not self.thread:
            return
        self.left -= 1
        if self.left == 0:
            self.at = operation, name
            self.reached.set()
            assert self.released.wait(DEADLINE_S)


@contextmanager
def stuck_compaction(shard: Shard, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    """A compaction that stands at its ``number``-th disk operation (changes of the catalog are one each)."""
    stuck = Stuck(number)
    commit = Catalog.commit

    def slow_commit(catalog: Catalog, *arguments: object, **more: object) -> None:
        stuck("commit", "catalog")
        commit(catalog, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "commit", slow_commit)
        thread = threading.Thread(target=shard.store.compact, args=(ACME,), daemon=True)
        stuck.thread = thread
        shard.disk.hook = stuck
        thread.start()
        try:
            while thread.is_alive() and not stuck.reached.wait(0.002):
                pass
            yield stuck
        finally:
            stuck.released.set()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
            shard.disk.hook = None


def in_time(what: Callable[..., object], *arguments: object) -> object:
    """What it returns; fails if it takes as long as something that is stuck."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(what(*arguments)), daemon=True)
    thread.start()
    thread.join(DEADLINE_S / 2)
    assert results, "held up"
    return results[0]


def test_appends_are_acked_and_scans_answered_wherever_a_compaction_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    stood_at: list[str] = []
    for number in range(1, 1_000):
        shard = Shard(log_file_bytes=2_000)
        shard.add(*(click(n) for n in range(40)), click(3))
        shard.store.compact(ACME)
        for first in range(40, 100, 20):  # several log files to remove
            shard.add(*(click(n) for n in range(first, first + 20)), click(5))
        expected = shard.all()
        with stuck_compaction(shard, number, monkeypatch) as stuck:
            if stuck.at is not None:
                assert in_time(shard.add, click(1_000), click(6), click(50)) == [False, True, True], stuck.at
                seen = in_time(shard.all)
                more = [(click(1_000), False), (click(6), True), (click(50), True)]
                assert seen == sorted([*expected, *more], key=order)
                stood_at.append(f"{stuck.at[0]} {stuck.at[1].split('/')[0]}")
        if stuck.at is None:
            break
        assert shard.all() == seen
        shard.store.compact(ACME)
        assert shard.all() == seen
    kinds = {"create segments", "write segments", "sync segments", "sync_directory segments", "commit catalog",
             "unlink segments", "unlink log", "sync_directory log", "open segments", "read segments"}  # fmt: skip
    assert kinds <= set(stood_at), sorted(set(stood_at))


def order(item: tuple[Event, bool]) -> tuple[object, ...]:
    event, duplicate = item
    return (event.event, event.distinct_id, event.time, event.insert_id or "", "[]", duplicate)


def test_a_segment_that_cannot_be_read_does_not_keep_rows_in_the_log() -> None:
    shard = Shard(log_file_bytes=1)
    shard.add(*(click(n) for n in range(30)))
    shard.store.compact(ACME)
    with shard.store.snapshot(ACME) as snapshot:
        (damaged,) = snapshot.segments
    shard.disk.flip(damaged.parquet, 100)
    shard.add(click(1_000))
    shard.add(click(1_001), click(2_000, 1_600_000_000_000))
    done = shard.store.compact(ACME)
    assert (done.rows, done.backlog_rows) == (3, 0)
    assert shard.log_files() == 1
    assert [report for report in shard.reports if report.startswith(f"{damaged.parquet}: in quarantine (30 rows of")]
    assert [record.file for record in shard.store.quarantined] == [damaged.parquet]
    with pytest.raises(EvenshardError, match=r"rows of acme of .* are lost"):
        shard.all()
    with shard.store.snapshot(ACME) as snapshot:
        assert damaged in snapshot.segments
        assert sum(segment.rows for segment in snapshot.segments) == 33
    shard.pass_ms(60 * DAY_MS)
    assert shard.due() == []
    for number in range(20):
        shard.add(click(3_000 + number))
        shard.store.compact(ACME)
    with shard.store.snapshot(ACME) as snapshot:
        assert len(snapshot.segments) <= plan_module.RUNS_MAX + 3


def test_a_day_is_closed_when_it_is_over_although_no_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SMALL_ROWS", 10)
    shard = Shard()
    today = shard.clock.now_ms() // DAY_MS * DAY_MS
    for size in (40, 11, 7):
        shard.add(*(click(100 * size + n, today) for n in range(size)))
        shard.store.compact(ACME)
    before = shard.all()
    assert segments_of(shard) == 3
    assert shard.due() == []
    shard.pass_ms(DAY_MS + DAY_GRACE_MS - 1)
    assert shard.due() == []
    shard.pass_ms(1)
    assert shard.due() == [ACME]
    shard.store.compact(ACME)
    assert shard.due() == []
    assert (segments_of(shard), shard.all()) == (1, before)


def test_late_rows_are_merged_after_a_week_although_no_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SMALL_ROWS", 10)
    shard = Shard()
    shard.add(*(click(n) for n in range(60)))
    shard.store.compact(ACME)
    shard.add(click(100), click(101))
    shard.store.compact(ACME)
    assert segments_of(shard) == 2
    for _ in range(6):
        shard.pass_ms(DAY_MS)
        assert shard.due() == []
    shard.pass_ms(DAY_MS)
    assert shard.due() == [ACME]
    shard.store.compact(ACME)
    assert (segments_of(shard), shard.due()) == (1, [])
    shard.store.close()
    shard.open()
    assert shard.due() == []


def segments_of(shard: Shard) -> int:
    with shard.store.snapshot(ACME) as snapshot:
        return len(snapshot.segments)


def test_rows_that_are_far_too_old_go_first_then_the_most() -> None:
    shard = Shard(compact_age_ms=60_000, compact_rows=5)
    shard.add(click(1), tenant="old")
    shard.pass_ms(60_000)
    shard.add(click(1), click(2), tenant="due")
    shard.pass_ms(60_000)
    shard.add(*(click(n) for n in range(9)), tenant="large")
    shard.add(click(1), tenant="fresh")
    assert shard.due() == ["old", "large", "due"]
    assert shard.store.log_usage().kept_by == ("due", "fresh", "large", "old")


def test_five_hundred_small_tenants_beside_a_large_one_leave_few_log_files() -> None:
    """Six minutes, two seconds a step: the large one fills a log file with each, each small one has a row now and one
    five minutes later; so many are compacted a step as two seconds suffice for, whoever is due first."""
    shard = Shard(log_file_bytes=15_000, compact_age_ms=60_000, compact_rows=3_000)
    small = [f"small-{number}" for number in range(500)]
    most, compactions = 0, 0
    for step in range(180):
        shard.add(*(click(500 * step + n) for n in range(500)), tenant="large")
        for tenant in small[step % 150 :: 150]:
            shard.add(click(step), tenant=tenant)
        shard.pass_ms(2_000)
        for tenant in shard.due()[:6]:
            shard.store.compact(tenant)
            compactions += 1
        most = max(most, shard.log_files())
    written = max(int(name.removesuffix(".log")) for name in shard.disk.list("log"))
    print(f"{written} log files written, at most {most} at once, {compactions} compactions")
    assert written >= 170
    assert most <= 1.5 * 60 / 2  # what is written while a row becomes due, and half as much while its turn comes
