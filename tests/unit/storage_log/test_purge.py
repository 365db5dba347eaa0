"""Purges on a real directory: nothing of deleted users is left in any file, others lose nothing, disk is given back."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, OTHER, SHARD, EPOCH = TenantId("acme"), TenantId("other"), ShardId("shard-0"), Epoch(1)
DAY_MS = 86_400_000
NOON_MS = 1_700_000_000_000


def event(user: str, number: int = 0, day: int = 0) -> Event:
    return Event(
        f"event-of-{user}", user, NOON_MS + number + day * DAY_MS, f"insert-{user}-{number}", {"s:note": f"note-{user}"}
    )


class Shard:
    """A store on a disk, which may be one in memory."""

    def __init__(self, disk: LocalDisk | MemoryDisk, **settings: int) -> None:
        self.disk = disk
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.disk, ManualClock(), SHARD, self.settings, self.reports.append)

    def add(self, *events: Event, tenant: TenantId = ACME) -> list[bool]:
        (outcome,) = self.store.append([append_of(events, tenant)])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def delete(self, *users: str, operation: str = "op") -> None:
        self.store.hide_users(ACME, EPOCH, operation, users)

    def purge(self) -> int:
        """As far as it goes; how many steps."""
        steps = 0
        while self.store.purge_step(ACME):
            steps += 1
            assert steps < 100
        return steps

    def all(self, tenant: TenantId = ACME) -> list[tuple[Event, bool]]:
        with self.store.snapshot(tenant) as snapshot:
            return all_events(snapshot)

    def segments(self) -> list[tuple[int, int, int]]:
        """Id, rows, deletions seen."""
        with self.store.snapshot(ACME) as snapshot:
            return [(segment.id, segment.rows, segment.deletions_seen) for segment in snapshot.segments]


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    disk = LocalDisk(tmp_path)
    shard = Shard(disk)
    yield shard
    shard.store.close()
    disk.close()


def traces(root: Path, needle: str) -> list[str]:
    """Files that hold ``needle``: as it is, or in a decoded column of a Parquet file."""
    found = []
    for path in sorted(file for file in root.rglob("*") if file.is_file()):
        texts = [path.read_bytes()]
        if path.suffix == ".parquet":
            texts.append(repr(pq.read_table(path).to_pydict()).encode())
        if any(needle.encode() in text for text in texts):
            found.append(path.name)
    return found


def bytes_of(root: Path) -> int:
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def test_nothing_of_deleted_users_is_left_in_any_file(shard: Shard, tmp_path: Path) -> None:
    people = [event(user, number) for user in ("ann", "bob") for number in range(300)]
    shard.add(*people)
    shard.store.compact(ACME)
    shard.add(*people[::2], event("ann", 999))
    shard.delete("ann")
    shard.add(event("zoe"))
    assert traces(tmp_path, "insert-ann") != []
    assert traces(tmp_path, "ann") == ["catalog.sqlite", "0000000001.log", "0000000001.parquet"]
    size = bytes_of(tmp_path)
    assert not shard.store.purge_status(ACME, "op").purged
    shard.purge()
    assert shard.store.purge_status(ACME, "op").purged
    for needle in ("ann", "insert-ann", "note-ann", "event-of-ann"):
        assert traces(tmp_path, needle) == []
    assert traces(tmp_path, "insert-bob") != []
    assert bytes_of(tmp_path) < size * 0.6
    kept = [event("bob", number) for number in range(300)]
    copies = [event("bob", number) for number in range(0, 300, 2)]
    expected = [*((each, False) for each in kept), *((each, True) for each in copies), (event("zoe"), False)]
    assert sorted(map(repr, shard.all())) == sorted(map(repr, expected))
    assert shard.add(event("ann"), event("bob")) == [False, True]


def test_rows_of_other_tenants_that_keep_a_log_file_are_indexed(shard: Shard, tmp_path: Path) -> None:
    shard.add(event("ann"))
    shard.add(event("ann"), event("bob"), tenant=OTHER)
    shard.store.compact(ACME)
    shard.delete("ann")
    shard.purge()
    assert shard.store.purge_status(ACME, "op").purged
    assert traces(tmp_path / "log", "ann") == []
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["0000000002.log"]
    assert shard.all() == []
    assert shard.all(OTHER) == [(event("ann"), False), (event("bob"), False)]
    assert shard.add(event("ann"), tenant=OTHER) == [True]


def test_rows_that_come_meanwhile_stay_where_they_are(shard: Shard) -> None:
    shard.add(event("ann"))
    shard.delete("ann")
    shard.purge()
    shard.add(event("ann", 1))
    assert shard.purge() == 0
    (figures,) = shard.store.storage(ACME)
    assert (figures.log_rows, figures.segment_rows) == (1, 0)


def test_a_scan_that_still_reads_is_waited_for_and_named(shard: Shard, tmp_path: Path) -> None:
    shard.add(event("ann"), event("bob"))
    shard.store.compact(ACME)
    before = shard.store.snapshot(ACME)
    shard.delete("ann")
    shard.purge()
    status = shard.store.purge_status(ACME, "op")
    assert not status.purged
    assert "a scan that still reads segments/0000000001.parquet" in status.waits_for
    assert all_events(before) == [(event("ann"), False), (event("bob"), False)]
    before.close()
    assert shard.segments() == [(2, 1, 1)]
    assert shard.purge() == 1
    assert shard.store.purge_status(ACME, "op").purged
    assert traces(tmp_path, "ann") == []


def test_progress_is_counted_in_rows(shard: Shard) -> None:
    shard.add(event("ann"), *(event("bob", number) for number in range(9)))
    shard.store.compact(ACME)
    shard.add(event("ann", 1))
    shard.delete("ann")
    status = shard.store.purge_status(ACME, "op")
    assert (status.purged, status.rows_left, status.rows_done, status.waits_for) == (False, 11, 0, "rows to be indexed")
    shard.purge()
    status = shard.store.purge_status(ACME, "op")
    assert (status.purged, status.rows_left, status.waits_for) == (True, 0, "")
    shard.delete("bob", operation="second")
    assert shard.store.purge_status(ACME, "op").purged
    status = shard.store.purge_status(ACME, "second")
    assert (status.purged, status.rows_left, status.waits_for) == (False, 9, "segments to be rewritten")
    shard.purge()
    assert shard.store.purge_status(ACME, "second").rows_done == 9
    assert shard.segments() == []
    assert shard.store.purge_status(ACME, "never heard of").purged
    assert shard.store.purge_status(TenantId("nobody"), "").purged


def test_a_segment_that_holds_none_of_the_users_is_only_noted(shard: Shard) -> None:
    shard.add(*(event(f"user-{number}") for number in range(50)))
    shard.store.compact(ACME)
    assert shard.segments() == [(1, 50, 0)]
    shard.delete("user-nobody")
    shard.purge()
    assert shard.segments() == [(1, 50, 1)]
    assert shard.store.purge_status(ACME, "op").purged


def test_segments_wholly_below_a_horizon_go_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenshard.storage.compaction.plan.SHARED_ROWS_MAX", 3)
    monkeypatch.setattr("evenshard.storage.compaction.compact.SHARED_ROWS_MAX", 3)
    shard = Shard(MemoryDisk())
    shard.add(*(event("ann", number, day) for day in range(3) for number in range(3)))
    shard.store.compact(ACME)
    assert [rows for _, rows, _ in shard.segments()] == [3, 3, 3]
    shard.store.raise_horizon(ACME, EPOCH, NOON_MS + DAY_MS + 2)
    seen: list[str] = []

    def hook(operation: str, name: str) -> None:
        if operation in ("open", "create") and name.endswith(".parquet"):
            seen.append(f"{operation} {name}")

    assert isinstance(shard.disk, MemoryDisk)
    shard.disk.hook = hook
    shard.purge()
    assert shard.store.purge_status(ACME, "").purged
    assert not any("0000000001" in line for line in seen)
    assert sum(line.startswith("create") for line in seen) == 1
    assert [rows for _, rows, _ in shard.segments()] == [1, 3]
    expected = [(event("ann", 2, 1), False), *((event("ann", number, 2), False) for number in range(3))]
    assert shard.all() == expected


def test_a_purge_goes_on_after_a_restart_in_the_middle(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    shard = Shard(disk)
    people = [event(user, number, day) for user in ("ann", "bob") for number in range(5) for day in range(3)]
    shard.add(*people)
    shard.store.compact(ACME)
    shard.add(event("ann", 99), event("bob", 99))
    shard.delete("ann")
    expected = sorted(
        [*((each, False) for each in people if each.distinct_id == "bob"), (event("bob", 99), False)], key=repr
    )
    steps = 0
    while shard.store.purge_step(ACME):
        steps += 1
        assert sorted(shard.all(), key=repr) == expected
        shard.store.close()
        shard.open()
        assert sorted(shard.all(), key=repr) == expected
    assert steps >= 3
    assert shard.store.purge_status(ACME, "op").purged
    assert traces(tmp_path, "ann") == []
    shard.store.close()
    disk.close()


@pytest.mark.parametrize("folder", ["log", "segments"])
def test_files_that_cannot_be_removed_are_not_said_to_be_gone(folder: str) -> None:
    shard = Shard(MemoryDisk())
    assert isinstance(shard.disk, MemoryDisk)
    shard.add(event("ann"), event("bob"))
    shard.store.compact(ACME)
    shard.delete("ann")

    def hook(operation: str, name: str) -> None:
        if operation == "unlink" and name.startswith(folder):
            raise OSError(errno.EIO, "made to fail")

    shard.disk.hook = hook
    shard.purge()
    status = shard.store.purge_status(ACME, "op")
    assert not status.purged
    assert status.waits_for != ""
    shard.disk.hook = None
    shard.purge()
    assert shard.store.purge_status(ACME, "op").purged
    assert shard.disk.list("segments") == ["0000000002.filter", "0000000002.parquet"]
    assert shard.disk.list("log") == ["0000000002.log"]


def test_a_disk_that_is_full_leaves_everything_as_it_was() -> None:
    shard = Shard(MemoryDisk())
    assert isinstance(shard.disk, MemoryDisk)
    shard.add(event("ann"), event("bob"))
    shard.store.compact(ACME)
    shard.delete("ann")

    def hook(operation: str, name: str) -> None:
        if operation == "write" and name.startswith("segments"):
            raise OSError(errno.ENOSPC, "made to fail")

    shard.disk.hook = hook
    with pytest.raises(EvenshardError, match="DISK_FULL"):
        shard.purge()
    shard.disk.hook = None
    assert shard.segments() == [(1, 2, 0)]
    assert shard.disk.list("segments") == ["0000000001.filter", "0000000001.parquet"]
    assert shard.all() == [(event("bob"), False)]
    shard.purge()
    assert shard.store.purge_status(ACME, "op").purged


def test_a_deletion_during_a_purge_is_purged_with_it() -> None:
    shard = Shard(MemoryDisk())
    assert isinstance(shard.disk, MemoryDisk)
    shard.add(event("ann"), event("bob"), event("cleo"))
    shard.store.compact(ACME)
    shard.delete("ann")

    def hook(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("segments"):
            assert isinstance(shard.disk, MemoryDisk)
            shard.disk.hook = None
            shard.delete("bob", operation="second")
            assert shard.add(event("bob")) == [False]

    shard.disk.hook = hook
    shard.purge()
    assert shard.store.purge_status(ACME, "").purged
    assert shard.all() == [(event("bob"), False), (event("cleo"), False)]
    (figures,) = shard.store.storage(ACME)
    assert figures.log_rows + figures.segment_rows == 2


def test_what_a_failed_purge_could_not_take_back_is_waited_for() -> None:
    shard = Shard(MemoryDisk())
    assert isinstance(shard.disk, MemoryDisk)
    shard.add(event("ann"), event("bob"))
    shard.store.compact(ACME)
    shard.delete("ann")

    def hook(operation: str, name: str) -> None:
        if name.startswith("segments") and operation in ("sync", "unlink"):
            raise OSError(errno.EIO, "made to fail")

    shard.disk.hook = hook
    with pytest.raises(EvenshardError, match="SHARD_UNAVAILABLE"):
        shard.purge()
    assert "0000000002.parquet" in shard.disk.list("segments")
    shard.disk.hook = None
    shard.purge()
    assert shard.store.purge_status(ACME, "op").purged
    assert shard.disk.list("segments") == ["0000000003.filter", "0000000003.parquet"]


def test_a_damaged_segment_does_not_keep_the_others_from_being_purged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenshard.storage.compaction.plan.SHARED_ROWS_MAX", 3)
    monkeypatch.setattr("evenshard.storage.compaction.compact.SHARED_ROWS_MAX", 3)
    shard = Shard(MemoryDisk())
    assert isinstance(shard.disk, MemoryDisk)
    shard.add(*(event(user, 0, day) for day in range(3) for user in ("ann", "bob", "cleo")))
    shard.store.compact(ACME)
    assert shard.segments() == [(1, 3, 0), (2, 3, 0), (3, 3, 0)]
    shard.delete("ann")
    shard.disk.flip("segments/0000000002.parquet", 100)
    with pytest.raises(EvenshardError, match="DATA_DAMAGED"):
        shard.purge()
    assert shard.segments() == [(4, 2, 1), (2, 3, 0), (5, 2, 1)]
    assert not shard.store.purge_status(ACME, "op").purged


def test_a_purge_keeps_the_pace_it_is_given() -> None:
    shard = Shard(MemoryDisk())
    shard.add(event("ann"), event("bob"))
    shard.store.compact(ACME)
    shard.delete("ann")
    written: list[int] = []
    while shard.store.purge_step(ACME, written.append):
        pass
    (figures,) = shard.store.storage(ACME)
    assert written == [figures.bytes]
