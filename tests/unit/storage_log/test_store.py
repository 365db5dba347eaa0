"""The store: durability before the ack, exact duplicate bits, fencing, snapshots, failures of the disk."""

import errno
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.append import Append, Appended
from evenshard.storage.log.frame import Content, checksum, encode_frame
from evenshard.storage.segment.identities import read_filter
from evenshard.storage.segment.writer import identity_of
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.storage.tail.runs import tables
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
DAY_MS = 86_400_000


class Shard:
    """A store on a disk in memory, with what it reported."""

    def __init__(self, disk: MemoryDisk | None = None, **settings: int) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self.clock = ManualClock()
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.store = self.open()

    def open(self) -> Store:
        self.reports.clear()
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)
        return self.store

    def crash(self, seed: int = 0) -> None:
        self.disk = self.disk.crash(Random(seed))
        self.open()

    def add(self, *events: Event, tenant: str = "acme", epoch: int = 1) -> list[bool]:
        (outcome,) = self.store.append([append_of(events, tenant, epoch)])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def refused(self, append: Append) -> str:
        (outcome,) = self.store.append([append])
        assert isinstance(outcome, EvenshardError)
        return outcome.code

    def all(self, tenant: str = "acme") -> list[tuple[Event, bool]]:
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            return all_events(snapshot)


def click(number: int, insert_id: str | None = "x", day: int = 0) -> Event:
    return Event("click", f"u{number}", 1_700_000_000_000 + number + day * DAY_MS, insert_id)


def operations(shard: Shard) -> list[tuple[str, str]]:
    """From now on, what the disk is asked to do (reads apart)."""
    seen: list[tuple[str, str]] = []

    def hook(operation: str, name: str) -> None:
        if operation not in ("read", "open", "list"):
            seen.append((operation, name))

    shard.disk.hook = hook
    return seen


def fail(shard: Shard, operation: str, code: int = errno.EIO, times: int = 1, folder: str = "log") -> None:
    """The next such operations on the log, or in another folder, fail."""
    left = [times]

    def hook(seen: str, name: str) -> None:
        if seen == operation and name.startswith(folder) and left[0]:
            left[0] -= 1
            raise OSError(code, "made to fail")

    shard.disk.hook = hook


def test_the_first_stored_copy_wins_within_and_across_batches() -> None:
    shard = Shard()
    assert shard.add(click(1), click(2), click(1)) == [False, False, True]
    assert shard.add(click(2), click(3)) == [True, False]
    assert shard.add(click(1), tenant="other") == [False]
    assert shard.all() == [(click(1), False), (click(1), True), (click(2), False), (click(2), True), (click(3), False)]


def test_events_without_insert_id_are_never_duplicates() -> None:
    shard = Shard()
    assert shard.add(click(1, None), click(1, None)) == [False, False]
    assert shard.add(click(1, None)) == [False]


def test_an_empty_insert_id_is_one() -> None:
    shard = Shard()
    assert shard.add(click(1, ""), click(1, "")) == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        Event("clicks", "u1", 5, "x"),
        Event("click", "u2", 5, "x"),
        Event("click", "u1", 6, "x"),
        Event("click", "u1", 5, "y"),
    ],
)
@pytest.mark.parametrize("mask", [0, (1 << 64) - 1])
def test_each_field_tells_events_apart_even_where_all_hashes_collide(other: Event, mask: int) -> None:
    shard = Shard(identity_hash_mask=mask)
    event = Event("click", "u1", 5, "x")
    assert shard.add(event) == [False]
    assert shard.add(other, event, other) == [False, True, True]
    assert shard.add(event, other) == [True, True]


def test_a_group_decides_in_its_order() -> None:
    shard = Shard()
    outcomes = shard.store.append([append_of([click(1)]), append_of([click(1)], "other"), append_of([click(1)])])
    assert [outcome.duplicates.tolist() for outcome in outcomes if isinstance(outcome, Appended)] == [
        [False],
        [False],
        [True],
    ]
    assert [outcome.position for outcome in outcomes if isinstance(outcome, Appended)] == [1, 2, 3]


def test_duplicates_are_found_in_the_log_in_segments_and_across_both() -> None:
    shard = Shard()
    shard.add(click(1), click(2))
    assert shard.store.compact(ACME).rows == 2
    assert shard.add(click(1), click(3)) == [True, False]
    assert shard.add(click(3), click(2)) == [True, True]
    compacted = shard.store.compact(ACME)
    assert (compacted.rows, compacted.duplicates_marked, compacted.backlog_rows) == (4, 3, 0)
    assert shard.add(click(3)) == [True]
    expected = sorted([(click(n), bit) for n in (1, 2, 3) for bit in (False, True)] + [(click(3), True)], key=str)
    assert sorted(shard.all(), key=str) == expected
    shard.store.close()
    shard.open()
    assert sorted(shard.all(), key=str) == expected
    assert shard.add(click(1), click(3)) == [True, True]


def test_one_sync_serves_a_group_and_comes_before_the_ack() -> None:
    shard = Shard()
    shard.add(click(0))
    seen = operations(shard)
    shard.store.append([append_of([click(n)]) for n in range(5)])
    assert seen == [("write", "log/0000000001.log"), ("sync", "log/0000000001.log")]


def test_what_was_acked_survives_any_power_cut() -> None:
    for seed in range(30):
        shard = Shard(log_file_bytes=1)
        shard.add(click(1))
        shard.add(click(2))
        shard.crash(seed)
        assert shard.all() == [(click(1), False), (click(2), False)], f"seed {seed}"
        assert shard.add(click(1)) == [True], f"seed {seed}"


def test_a_new_file_is_durable_with_its_name_before_a_frame_goes_into_it() -> None:
    shard = Shard(log_file_bytes=1)
    shard.add(click(1))
    seen = operations(shard)
    shard.add(click(2))
    new = "log/0000000002.log"
    assert seen == [
        ("create", new),
        ("write", new),
        ("sync", new),
        ("sync_directory", "log"),
        ("write", new),
        ("sync", new),
    ]


def test_a_failed_write_forgets_its_identities_and_stores_nothing() -> None:
    shard = Shard()
    shard.add(click(1))
    fail(shard, "write", errno.ENOSPC)
    assert shard.refused(append_of([click(2), click(1)])) == "DISK_FULL"
    assert shard.all() == [(click(1), False)]
    assert shard.add(click(2), click(1)) == [False, True]
    shard.crash()
    assert shard.all() == [(click(1), False), (click(1), True), (click(2), False)]


def test_a_disk_that_is_full_in_the_middle_of_a_frame_is_cut_back() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.disk.capacity_bytes -= shard.disk.free_bytes() - 100
    assert shard.refused(append_of([click(2)])) == "DISK_FULL"
    shard.disk.capacity_bytes += 1 << 20
    assert shard.add(click(2)) == [False]
    shard.crash()
    assert shard.reports == []
    assert shard.all() == [(click(1), False), (click(2), False)]


def test_after_a_failed_sync_nothing_is_accepted_and_the_sync_is_not_tried_again() -> None:
    shard = Shard()
    shard.add(click(1))
    fail(shard, "sync")
    assert shard.refused(append_of([click(2)])) == "SHARD_UNAVAILABLE"
    seen = operations(shard)
    assert shard.refused(append_of([click(3)])) == "SHARD_UNAVAILABLE"
    assert shard.all() == [(click(1), False)]
    shard.store.close()
    assert seen == []
    shard.disk.hook = None
    shard.open()
    assert shard.all() == [(click(1), False)]
    assert shard.add(click(2)) == [False]


def test_a_write_that_cannot_be_cut_back_stops_the_log() -> None:
    shard = Shard()
    shard.add(click(1))

    def hook(operation: str, name: str) -> None:
        if operation in ("write", "truncate") and name.startswith("log"):
            raise OSError(errno.EIO, "made to fail")

    shard.disk.hook = hook
    assert shard.refused(append_of([click(2)])) == "SHARD_UNAVAILABLE"
    shard.disk.hook = None
    assert shard.refused(append_of([click(2)])) == "SHARD_UNAVAILABLE"
    assert shard.all() == [(click(1), False)]


@pytest.mark.parametrize("operation", ["create", "write"])
def test_a_full_disk_at_rotation_is_tried_again(operation: str) -> None:
    shard = Shard(log_file_bytes=1)
    shard.add(click(1))
    fail(shard, operation, errno.ENOSPC)
    assert shard.refused(append_of([click(2)])) == "DISK_FULL"
    assert shard.add(click(2)) == [False]
    shard.crash()
    assert shard.all() == [(click(1), False), (click(2), False)]


@pytest.mark.parametrize("operation", ["sync", "sync_directory"])
def test_a_failed_sync_at_rotation_stops_the_log(operation: str) -> None:
    shard = Shard(log_file_bytes=1)
    shard.add(click(1))
    fail(shard, operation)
    assert shard.refused(append_of([click(2)])) == "SHARD_UNAVAILABLE"
    assert shard.refused(append_of([click(2)])) == "SHARD_UNAVAILABLE"
    shard.crash()
    assert shard.all() == [(click(1), False)]
    assert shard.add(click(2)) == [False]


def test_a_clean_stop_leaves_an_end_marker_and_nothing_to_report() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.close()
    shard.store.close()
    shard.open()
    assert shard.reports == []
    shard.store.close()
    shard.disk.flip("log/0000000001.log", shard.disk.open("log/0000000001.log").size() - 240)
    shard.open()
    assert "in quarantine" in shard.reports[0]  # the marker behind it says that it was synced


def test_a_torn_end_is_cut_and_reported_as_possibly_acked() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.add(click(2))
    file = shard.disk.open("log/0000000001.log")
    file.truncate(file.size() - 5)
    shard.open()
    assert len(shard.reports) == 1
    assert "log/0000000001.log: cut at byte" in shard.reports[0]
    assert "possibly acked" in shard.reports[0]
    assert shard.all() == [(click(1), False)]
    assert shard.add(click(2)) == [False]
    shard.open()
    assert shard.reports == []
    assert shard.all() == [(click(1), False), (click(2), False)]


def test_what_a_start_makes_visible_is_synced_first() -> None:
    shard = Shard()
    shard.add(click(1))
    seen = operations(shard)
    shard.open()
    assert seen[-2:] == [("sync", "log/0000000001.log"), ("sync_directory", "log")]


def test_a_missing_log_file_is_damage() -> None:
    for lost in (1, 2):
        shard = Shard(log_file_bytes=1)
        for number in range(3):
            shard.add(click(number))
        shard.disk.unlink(f"log/000000000{lost}.log")
        with pytest.raises(EvenshardError) as error:
            shard.open()
        assert error.value.code == "DATA_DAMAGED"


def test_a_log_that_is_gone_is_damage_where_the_catalog_remembers_it() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    shard.store.close()
    shard.disk.unlink("log/0000000001.log")
    with pytest.raises(EvenshardError, match="there is no log"):
        shard.open()


def test_duplicate_bits_that_cannot_be_derived_again_are_damage() -> None:
    shard = Shard()
    append = append_of([click(1)])
    content = Content(ACME, Epoch(1), 1, b"\x01", append.payload, checksum(append.payload))
    frame = encode_frame(content, file_number=1, offset=104, first_row=0, synced_bytes=104)
    shard.disk.open("log/0000000001.log").write(frame)
    with pytest.raises(EvenshardError, match="duplicate bit of row 0") as error:
        shard.open()
    assert (error.value.code, error.value.details["offset"]) == ("DATA_DAMAGED", "104")


def test_older_epochs_are_refused_and_newer_ones_persisted_first() -> None:
    shard = Shard()
    shard.add(click(1), epoch=3)
    assert shard.refused(append_of([click(2)], epoch=2)) == "STALE_EPOCH"
    assert shard.store.epoch(ACME) == 3
    shard.store.fence(ACME, Epoch(5))
    shard.crash()
    assert shard.store.epoch(ACME) == 5
    assert shard.refused(append_of([click(2)], epoch=4)) == "STALE_EPOCH"
    with pytest.raises(EvenshardError, match="STALE_EPOCH"):
        shard.store.fence(ACME, Epoch(4))
    assert shard.store.epoch(TenantId("unknown")) == 0


def test_rows_in_slots_of_other_shards_are_refused_and_leave_nothing_behind() -> None:
    shard = Shard()
    outcomes = shard.store.append([append_of([click(1)], owned=False), append_of([click(1)])])
    assert isinstance(outcomes[0], EvenshardError)
    assert outcomes[0].code == "STALE_EPOCH"
    assert isinstance(outcomes[1], Appended)
    assert outcomes[1].duplicates.tolist() == [False]


def test_an_empty_batch_is_no_frame() -> None:
    shard = Shard()
    shard.add(click(1))
    seen = operations(shard)
    (outcome,) = shard.store.append([append_of([])])
    assert isinstance(outcome, Appended)
    assert (outcome.duplicates.tolist(), outcome.position) == ([], 1)
    assert seen == []


def test_a_snapshot_stays_as_it_was_while_rows_come_and_files_go() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    shard.add(click(2))
    before = shard.store.snapshot(ACME)
    files = set(shard.disk.list("segments"))
    shard.add(click(3))
    shard.store.compact(ACME)
    assert files <= set(shard.disk.list("segments"))
    assert all_events(before) == [(click(1), False), (click(2), False)]
    with shard.store.snapshot(ACME) as after:
        assert after.data_version != before.data_version
        assert all_events(after) == [(click(1), False), (click(2), False), (click(3), False)]
    before.close()
    before.close()
    live = {name for segment in after_segments(shard) for name in segment}
    assert set(shard.disk.list("segments")) == {name.removeprefix("segments/") for name in live}
    with pytest.raises(ValueError, match="closed"):
        all_events(before)


def after_segments(shard: Shard) -> list[tuple[str, ...]]:
    with shard.store.snapshot(ACME) as snapshot:
        return [segment.files for segment in snapshot.segments]


def test_the_data_version_changes_with_the_rows_and_survives_a_restart() -> None:
    shard = Shard()
    versions = []

    def version() -> str:
        with shard.store.snapshot(ACME) as snapshot:
            return snapshot.data_version

    versions.append(version())
    shard.add(click(1))
    versions.append(version())
    shard.add(click(1), tenant="other")
    assert version() == versions[-1]
    shard.store.compact(ACME)
    versions.append(version())
    assert len(set(versions)) == 3
    shard.store.close()
    shard.open()
    assert version() == versions[-1]


def test_log_files_go_once_every_tenant_has_their_rows_in_segments() -> None:
    shard = Shard(log_file_bytes=1)
    shard.add(click(1))
    shard.add(click(1), tenant="other")
    shard.add(click(2))
    shard.store.compact(ACME)
    assert shard.disk.list("log") == ["0000000002.log", "0000000003.log"]
    shard.store.compact(TenantId("other"))
    assert shard.disk.list("log") == ["0000000003.log"]
    shard.crash()
    assert shard.add(click(1), click(3)) == [True, False]
    assert shard.add(click(1), tenant="other") == [True]


def test_a_compaction_that_fails_leaves_everything_as_it_was() -> None:
    shard = Shard()
    shard.add(click(1), click(2))

    def hook(operation: str, name: str) -> None:
        if operation == "write" and name.startswith("segments"):
            raise OSError(errno.ENOSPC, "made to fail")

    shard.disk.hook = hook
    with pytest.raises(EvenshardError) as error:
        shard.store.compact(ACME)
    assert error.value.code == "DISK_FULL"
    shard.disk.hook = None
    assert shard.add(click(1), click(3)) == [True, False]
    assert shard.store.compact(ACME).rows == 4
    assert shard.add(click(2), click(3)) == [True, True]


def test_appends_during_a_compaction_are_exact_before_and_after_the_swap() -> None:
    shard = Shard()
    shard.add(click(1))
    during: list[list[bool]] = []

    def hook(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("segments") and not during:
            during.append([])
            during[0] = shard.add(click(1), click(2), click(2))
            with shard.store.snapshot(ACME) as snapshot:
                assert len(all_events(snapshot)) == 4

    shard.disk.hook = hook
    compacted = shard.store.compact(ACME)
    shard.disk.hook = None
    assert during == [[True, False, True]]
    assert (compacted.rows, compacted.backlog_rows) == (1, 3)
    assert shard.add(click(1), click(2)) == [True, True]
    shard.crash()
    assert shard.add(click(1), click(2)) == [True, True]
    assert shard.store.compact(ACME).rows == 7


def test_files_of_an_interrupted_compaction_are_removed_at_start() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store._state.catalog.next_segment_id()
    shard.store.close()
    file = shard.disk.open("segments/0000000001.parquet", create=True)
    file.close()
    shard.open()
    assert shard.disk.list("segments") == []
    assert "segments/0000000001.parquet: removed" in shard.reports[0]


def test_a_missing_segment_file_keeps_the_shard_from_starting() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    (files,) = after_segments(shard)
    shard.store.close()
    shard.disk.unlink(files[0])
    with pytest.raises(EvenshardError) as error:
        shard.open()
    assert (error.value.code, error.value.details["file"]) == ("DATA_DAMAGED", files[0])


def test_a_tenant_is_due_by_rows_by_bytes_and_by_age() -> None:
    shard = Shard(compact_rows=3, compact_age_ms=1_000)
    shard.add(click(1), click(2))
    shard.add(click(1), click(2), click(3), tenant="other")
    now_ms = shard.clock.now_ms()
    assert shard.store.due(now_ms) == ["other"]
    assert shard.store.due(now_ms + 1_000) == ["other", "acme"]
    shard.store.compact(TenantId("other"))
    assert shard.store.due(now_ms) == []
    assert Shard(shard.disk.crash(Random(1)), compact_bytes=1).store.due(now_ms) == ["acme"]


def test_storage_counts_rows_where_they_are() -> None:
    shard = Shard()
    shard.add(click(1), click(1))
    shard.store.compact(ACME)
    shard.add(click(1), click(2), click(3))
    shard.add(click(1), tenant="other")
    acme, other = shard.store.storage()
    assert (acme.tenant, acme.log_rows, acme.segment_rows, acme.duplicate_rows) == ("acme", 3, 2, 2)
    assert (acme.segments, acme.files, acme.bytes > 0) == (1, 2, True)
    assert (other.tenant, other.log_rows, other.segments) == ("other", 1, 0)
    assert shard.store.storage(TenantId("other")) == [other]
    assert shard.store.storage(TenantId("none")) == []


def test_many_small_batches_become_sorted_runs_and_stay_exact() -> None:
    shard = Shard()
    random = np.random.default_rng(3)
    expected = []
    seen = set()
    for _ in range(300):
        event = click(int(random.integers(0, 150)))
        bit = event in seen
        seen.add(event)
        assert shard.add(event) == [bit]
        expected.append((event, bit))
        while shard.store.sort_tail(ACME):
            pass
    with shard.store.snapshot(ACME) as snapshot:
        assert len(snapshot._visible.blocks if snapshot._visible else ()) < 80
    assert sorted(shard.all(), key=str) == sorted(expected, key=str)
    shard.crash()
    assert sorted(shard.all(), key=str) == sorted(expected, key=str)
    assert shard.store.compact(ACME).rows == 300
    assert sorted(shard.all(), key=str) == sorted(expected, key=str)


def test_rows_bring_their_identity_hashes_to_a_compaction_from_runs_and_from_what_is_not_sorted() -> None:
    """Copies, hidden rows and those of a failed append among them; a compaction that failed before."""
    shard = Shard()
    random = np.random.default_rng(4)
    for number in range(150):
        numbers = random.integers(0, 400, 1 + number % 4).tolist()
        shard.add(*(click(each, "x" if each % 7 else None) for each in numbers))
        if number == 60:
            shard.store.hide_users(ACME, Epoch(1), "op", [f"u{each}" for each in range(40)])
        if number == 90:
            fail(shard, "write", errno.ENOSPC)
            assert shard.refused(append_of([click(500), click(501)])) == "DISK_FULL"
            while shard.store.sort_tail(ACME):
                pass
            fail(shard, "create", errno.ENOSPC, folder="segments")
            with pytest.raises(EvenshardError, match="DISK_FULL"):
                shard.store.compact(ACME)
        if number == 120:
            shard.store.hide_users(ACME, Epoch(1), "op-2", [f"u{each}" for each in range(40, 80)])
    rows = shard.store._state.tenants[ACME]
    given = list(tables(rows.visible.blocks, rows.active))
    assert {block.is_run for block in rows.visible.blocks} == {True, False}
    for table in given:
        assert table.column("identity_hash").to_pylist() == identity_of(ACME, table).tolist()
    held = sum(table.num_rows for table in given)
    assert shard.store.compact(ACME).rows == held == len(shard.all())
    (segment,) = rows.visible.segments
    hashes = np.concatenate([identity_of(ACME, table) for table in given])
    assert read_filter(shard.disk, segment).may_contain(hashes[hashes != 0]).all()


def test_a_scan_gives_the_time_range_and_the_columns_asked_for() -> None:
    shard = Shard()
    events = [Event("click", f"u{n}", n, None, {"i:n": n, "s:n": None, "s:dir": "src"}) for n in range(5)]
    shard.add(*events)
    with shard.store.snapshot(ACME) as snapshot:
        (scanned,) = snapshot.scan(("time",), ["dir"], 1, 4)
        assert scanned.record.to_pydict() == {
            "time": [1, 2, 3],
            "s:dir": ["src"] * 3,
            "duplicate": [False] * 3,
        }
        assert not scanned.indexed
        assert scanned.bytes_read > 0
        assert list(snapshot.scan(("time",), [], 5, 9)) == []


def test_a_closed_store_takes_nothing() -> None:
    shard = Shard()
    shard.store.close()
    assert shard.refused(append_of([click(1)])) == "SHARD_UNAVAILABLE"
