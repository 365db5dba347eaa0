"""Deleted users and expired rows: what was stored before is hidden, what comes after is new, wherever the rows lie."""

import errno
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import EventHashes, hash_events
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage import deletions, indexing, replayed_rows
from evenshard.storage.append import Appended
from evenshard.storage.catalog import Catalog
from evenshard.storage.deletions import Deletion
from evenshard.storage.hot_keys import HeldKey
from evenshard.storage.segment.info import from_json, to_json
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.storage.tail import runs
from evenshard.storage.tail.block import Block
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD, EPOCH = TenantId("acme"), ShardId("shard-0"), Epoch(1)
DAY_MS = 86_400_000
NOON_MS = 1_700_000_000_000


class Shard:
    """A store on a disk in memory."""

    def __init__(self, **settings: int) -> None:
        self.disk = MemoryDisk()
        self.clock = ManualClock()
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)

    def restart(self) -> None:
        self.store.close()
        self.open()

    def crash(self) -> None:
        self.disk = self.disk.crash(Random(1))
        self.open()

    def add(self, *events: Event, hot: bool = False, tenant: str = "acme") -> list[bool]:
        append = append_of(events, tenant)
        if hot:
            append = replace(append, hot=np.ones(len(events), np.bool_))
        (outcome,) = self.store.append([append])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def delete(self, *users: str, operation: str = "op", tenant: str = "acme") -> int:
        return self.store.hide_users(TenantId(tenant), EPOCH, operation, users)

    def expire(self, horizon_ms: int) -> int:
        return self.store.raise_horizon(ACME, EPOCH, horizon_ms)

    def all(self, tenant: str = "acme") -> list[tuple[Event, bool]]:
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            return all_events(snapshot)

    def version(self) -> str:
        with self.store.snapshot(ACME) as snapshot:
            return snapshot.data_version


def event(user: str, number: int = 0, day: int = 0) -> Event:
    return Event("click", user, NOON_MS + number + day * DAY_MS, "x")


ANN, BOB = event("ann"), event("bob")


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("hot", [False, True])
def test_what_was_stored_before_is_hidden_and_nothing_after(indexed: bool, hot: bool) -> None:
    shard = Shard()
    shard.add(ANN, BOB, event("", 1), hot=hot)
    shard.add(ANN, tenant="other")
    if indexed:
        shard.store.compact(ACME)
    assert shard.delete("ann", "", "nobody") == (0 if indexed else 1)
    assert shard.all() == [(event("", 1), False), (BOB, False)]
    assert shard.add(event("ann", 5)) == [False]
    left = [(event("", 1), False), (event("ann", 5), False), (BOB, False)]
    assert shard.all() == left
    assert shard.all("other") == [(ANN, False)]
    for again in (shard.restart, shard.crash, lambda: shard.store.compact(ACME), shard.restart):
        again()
        assert shard.all() == left


@pytest.mark.parametrize("first", ["tail", "segments"])
@pytest.mark.parametrize("second", ["at once", "restart", "crash"])
def test_a_deleted_event_imported_again_is_new_and_then_the_original(first: str, second: str) -> None:
    shard = Shard()
    assert shard.add(ANN, ANN, BOB) == [False, True, False]
    if first == "segments":
        shard.store.compact(ACME)
    assert shard.add(ANN, BOB) == [True, True]
    shard.delete("ann")
    if second == "restart":
        shard.restart()
    if second == "crash":
        shard.crash()
    assert shard.add(ANN, BOB, ANN) == [False, True, True]
    expected = [(ANN, False), (ANN, True), (BOB, False), (BOB, True), (BOB, True)]
    assert shard.all() == expected
    shard.crash()
    assert shard.all() == expected
    shard.store.compact(ACME)
    assert shard.all() == expected
    assert shard.add(ANN) == [True]


def test_a_replay_judges_each_frame_by_the_deletions_before_it() -> None:
    """In segments, in the tail, and by two deletions: a bit derived in another state would be damage at the start."""
    shard = Shard()
    shard.add(ANN, BOB)
    shard.store.compact(ACME)
    bits = [shard.add(ANN, event("ann", 1))]
    shard.delete("ann", operation="one")
    bits += [shard.add(ANN, event("ann", 1)), shard.add(ANN)]
    shard.delete("ann", "bob", operation="two")
    bits += [shard.add(ANN, BOB), shard.add(ANN, BOB)]
    assert bits == [[True, False], [False, False], [True], [False, False], [True, True]]
    expected = [(ANN, False), (ANN, True), (BOB, False), (BOB, True)]
    for _ in range(2):
        assert shard.all() == expected
        shard.crash()


def test_the_same_operation_again_changes_nothing_whatever_came_between() -> None:
    shard = Shard()
    shard.add(ANN)
    assert shard.delete("ann") == 1
    shard.add(ANN, event("ann", 1))
    assert shard.delete("ann") == 1  # still one row that is not removed
    shard.crash()
    shard.delete("ann", "bob")
    assert shard.all() == [(ANN, False), (event("ann", 1), False)]
    shard.delete("ann", operation="another")
    assert shard.all() == []


@pytest.mark.parametrize("at", ["create", "write", "sync", "sync_directory"])
def test_a_deletion_during_a_compaction_hides_in_what_it_writes_too(at: str) -> None:
    shard = Shard()
    shard.add(ANN, BOB)
    during: list[list[bool]] = []

    def hook(operation: str, name: str) -> None:
        if operation == at and name.startswith("segments"):
            shard.disk.hook = None
            shard.delete("ann")
            assert shard.all() == [(BOB, False)]
            during.append(shard.add(ANN, BOB))
            assert shard.all() == [(ANN, False), (BOB, False), (BOB, True)]

    shard.disk.hook = hook
    assert shard.store.compact(ACME).rows == 2
    assert during == [[False, True]]
    with shard.store.snapshot(ACME) as snapshot:
        assert [(segment.rows, segment.deletions_seen) for segment in snapshot.segments] == [(2, 0)]
    expected = [(ANN, False), (BOB, False), (BOB, True)]
    assert shard.all() == expected
    assert shard.add(ANN) == [True]
    shard.crash()
    assert shard.all() == [(ANN, False), (ANN, True), (BOB, False), (BOB, True)]
    shard.store.compact(ACME)
    assert shard.all() == [(ANN, False), (ANN, True), (BOB, False), (BOB, True)]


def test_a_compaction_after_a_deletion_writes_without_the_hidden_rows() -> None:
    shard = Shard()
    shard.add(ANN, BOB)
    shard.store.compact(ACME)
    shard.add(event("ann", 1), event("bob", 1))
    shard.delete("ann")
    assert shard.store.compact(ACME).rows == 1
    with shard.store.snapshot(ACME) as snapshot:
        assert [(segment.rows, segment.deletions_seen) for segment in snapshot.segments] == [(2, 1)]
    assert shard.all() == [(BOB, False), (event("bob", 1), False)]


def test_a_failed_compaction_forgets_no_deletion_that_came_during_it() -> None:
    shard = Shard()
    shard.add(ANN, BOB)

    def hook(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("segments"):
            shard.disk.hook = None
            shard.delete("ann")
            raise OSError(errno.ENOSPC, "made to fail")

    shard.disk.hook = hook
    with pytest.raises(EvenshardError, match="DISK_FULL"):
        shard.store.compact(ACME)
    assert shard.add(ANN, BOB, ANN) == [False, True, True]
    assert shard.store.compact(ACME).rows == 4
    assert shard.all() == [(ANN, False), (ANN, True), (BOB, False), (BOB, True)]


def test_a_deletion_while_the_tail_is_sorted_is_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOOSE_BLOCKS_MAX", 3)
    shard = Shard()
    for number in range(3):
        shard.add(event("zoe", number), event("ann", number), event("bob", number))

    def sorted_run(blocks: Sequence[Block]) -> Block:
        shard.delete("ann")
        shard.add(event("ann", 0))
        return runs.sorted_run(blocks)

    monkeypatch.setattr(indexing, "sorted_run", sorted_run)
    assert shard.store.sort_tail(ACME)
    monkeypatch.undo()
    expected = [(event(user, number), False) for user in ("bob", "zoe") for number in range(3)]
    expected = sorted([*expected, (event("ann", 0), False)], key=lambda item: (item[0].distinct_id, item[0].time))
    assert shard.all() == expected
    assert shard.add(event("bob", 1), event("ann", 1)) == [True, False]
    shard.delete("zoe", operation="later")  # of a run: its rows stand in another order
    assert [found.distinct_id for found, _ in shard.all()] == ["ann", "ann", "bob", "bob", "bob", "bob"]
    again = [event(user, number) for number in range(3) for user in ("zoe", "bob")]
    assert shard.add(*again) == [False, True] * 3
    shard.delete("zoe", operation="last")
    shard.store.compact(ACME)
    assert [found.distinct_id for found, _ in shard.all()] == ["ann", "ann", *["bob"] * 7]


def test_colliding_identity_hashes_of_a_deleted_and_a_living_user_lose_nothing() -> None:
    shard = Shard(identity_hash_mask=1)
    people = [event(user, number) for user in ("ann", "bob") for number in range(4)]
    assert shard.add(*people) == [False] * 8
    shard.delete("ann")
    assert shard.add(*people) == [False] * 4 + [True] * 4
    assert shard.add(*people) == [True] * 8
    shard.crash()
    assert shard.add(*people) == [True] * 8


@pytest.mark.parametrize("indexed", [False, True])
def test_a_placement_hash_alone_hides_nobody(indexed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def same_for_all(tenant: str, batch: object) -> EventHashes:
        hashes = hash_events(tenant, batch)  # type: ignore[arg-type]
        return EventHashes(np.full(hashes.placement.size, 7, np.uint64), hashes.identity)

    monkeypatch.setattr("evenshard.storage.append.hash_events", same_for_all)
    monkeypatch.setattr(replayed_rows, "hash_events", same_for_all)
    monkeypatch.setattr(deletions, "placement_of", lambda ids: np.full(len(ids), 7, np.uint64))
    shard = Shard()
    shard.add(ANN, BOB, event("cleo"))
    if indexed:
        shard.store.compact(ACME)
    shard.delete("ann", "cleo")
    assert shard.all() == [(BOB, False)]
    assert shard.add(ANN, BOB) == [False, True]
    shard.crash()
    assert shard.all() == [(ANN, False), (BOB, False), (BOB, True)]
    shard.store.compact(ACME)
    assert shard.all() == [(ANN, False), (BOB, False), (BOB, True)]


def test_a_horizon_hides_what_is_older_and_stored_before_it() -> None:
    shard = Shard()
    shard.add(event("ann", day=0), event("ann", day=1), event("bob", day=2))
    shard.store.compact(ACME)
    shard.add(event("cleo", day=0), event("cleo", day=3))
    assert shard.expire(NOON_MS + DAY_MS) == NOON_MS + DAY_MS
    left = [(event("ann", day=1), False), (event("bob", day=2), False), (event("cleo", day=3), False)]
    assert shard.all() == left
    assert shard.add(event("ann", day=0)) == [False]
    assert shard.expire(NOON_MS) == NOON_MS + DAY_MS
    shard.crash()
    assert shard.expire(NOON_MS + DAY_MS) == NOON_MS + DAY_MS
    assert shard.all() == [(event("ann", day=0), False), *left]
    assert shard.expire(NOON_MS + DAY_MS + 1) == NOON_MS + DAY_MS + 1
    assert shard.all() == left[1:]
    shard.store.compact(ACME)
    assert shard.all() == left[1:]


def test_horizons_that_a_later_one_covers_are_forgotten_once_their_rows_are_indexed() -> None:
    shard = Shard()
    for number in range(1, 6):
        shard.add(event("ann", number), event("ann", 1_000 + number))
        shard.expire(NOON_MS + number)
    assert len(shard.store._state.catalog.deletions(ACME)) == 5
    shard.store.compact(ACME)
    shard.add(ANN)
    shard.store.compact(ACME)
    shard.expire(NOON_MS + 6)
    assert [record.seq for record in shard.store._state.catalog.deletions(ACME)] == [5, 6]
    expected = [(event("ann", 1_000 + number), False) for number in range(1, 6)]
    assert shard.all() == expected
    shard.crash()
    assert shard.all() == expected


def test_a_snapshot_stays_as_it_was_and_the_data_version_changes() -> None:
    shard = Shard()
    shard.add(ANN)
    shard.store.compact(ACME)
    shard.add(BOB)
    versions = [shard.version()]
    with shard.store.snapshot(ACME) as before:
        shard.delete("ann", "bob")
        versions.append(shard.version())
        shard.expire(NOON_MS)
        versions.append(shard.version())
        assert all_events(before) == [(ANN, False), (BOB, False)]
    assert len(set(versions)) == 3
    shard.restart()
    assert shard.version() == versions[-1]
    while shard.store.purge_step(ACME):
        pass
    version = shard.version()
    shard.restart()
    assert shard.version() == version


@pytest.mark.parametrize("indexed", [False, True])
def test_a_scan_of_a_part_of_the_time_leaves_hidden_rows_out_too(indexed: bool) -> None:
    shard = Shard()
    shard.add(*(event(user, number) for user in ("ann", "bob", "cleo") for number in range(10)))
    if indexed:
        shard.store.compact(ACME)
    shard.delete("bob")
    shard.expire(NOON_MS + 4)
    with shard.store.snapshot(ACME) as snapshot:
        for fields in (("distinct_id",), ("distinct_id", "time"), ("placement_hash", "distinct_id")):
            for start, end, expected in ((0, 6, 2), (3, 6, 2), (5, 8, 3), (0, 4, 0), (0, 99, 6)):
                found = [
                    user
                    for scanned in snapshot.scan(fields, [], NOON_MS + start, NOON_MS + end)
                    for user in scanned.record.column("distinct_id").to_pylist()
                ]
                assert sorted(found) == ["ann"] * expected + ["cleo"] * expected


def test_storage_counts_hidden_rows_until_they_are_removed() -> None:
    shard = Shard()
    shard.add(ANN, BOB)
    shard.store.compact(ACME)
    shard.add(event("ann", 1), event("bob", 1))
    shard.delete("ann")
    (figures,) = shard.store.storage(ACME)
    assert (figures.log_rows, figures.segment_rows) == (2, 2)
    shard.store.compact(ACME)
    (figures,) = shard.store.storage(ACME)
    assert (figures.log_rows, figures.segment_rows) == (0, 2)


def test_a_deletion_of_a_tenant_without_rows_is_remembered() -> None:
    shard = Shard()
    assert shard.delete("ann") == 0
    shard.add(ANN)
    shard.crash()
    assert shard.delete("ann") == 0
    assert shard.all() == [(ANN, False)]


def test_deletions_are_fenced_by_their_epoch_and_refused_by_a_closed_store() -> None:
    shard = Shard()
    shard.add(ANN)
    shard.store.fence(ACME, Epoch(2))
    with pytest.raises(EvenshardError, match="STALE_EPOCH"):
        shard.delete("ann")
    with pytest.raises(EvenshardError, match="STALE_EPOCH"):
        shard.expire(NOON_MS + 1)
    assert shard.all() == [(ANN, False)]
    shard.store.close()
    with pytest.raises(EvenshardError, match="SHARD_UNAVAILABLE"):
        shard.store.hide_users(ACME, Epoch(2), "op", ["ann"])


def fail_adding(shard: Shard, code: int, *, after: bool, patch: pytest.MonkeyPatch) -> None:
    """SQLite fails at the next deletion, before it is committed or after."""
    catalog = shard.store._state.catalog
    add_deletion = Catalog.add_deletion

    def failing(
        self: Catalog, tenant: TenantId, deletion: Deletion, superseded: Sequence[int], *ended: Iterable[HeldKey]
    ) -> None:
        patch.undo()
        if after:
            add_deletion(self, tenant, deletion, superseded, *ended)
        error = sqlite3.OperationalError("made to fail")
        error.sqlite_errorcode = code
        raise error

    assert catalog is not None
    patch.setattr(Catalog, "add_deletion", failing)


def test_a_full_disk_refuses_a_deletion_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard()
    shard.add(ANN)
    fail_adding(shard, sqlite3.SQLITE_FULL, after=False, patch=monkeypatch)
    with pytest.raises(EvenshardError, match="DISK_FULL"):
        shard.delete("ann")
    assert shard.all() == [(ANN, False)]
    assert shard.add(ANN) == [True]
    assert shard.delete("ann") == 2


def test_a_deletion_whose_outcome_is_open_stops_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take effect at the next start; bits decided until then could turn out wrong."""
    shard = Shard()
    shard.add(ANN)
    fail_adding(shard, sqlite3.SQLITE_IOERR, after=False, patch=monkeypatch)
    with pytest.raises(EvenshardError, match="SHARD_UNAVAILABLE"):
        shard.delete("ann")
    (outcome,) = shard.store.append([append_of([ANN])])
    assert isinstance(outcome, EvenshardError)
    assert outcome.code == "SHARD_UNAVAILABLE"
    assert shard.all() == [(ANN, False)]
    shard.crash()
    assert shard.add(ANN) == [True]


def test_a_deletion_that_was_stored_counts_although_tidying_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard()
    shard.add(ANN)
    fail_adding(shard, sqlite3.SQLITE_FULL, after=True, patch=monkeypatch)
    assert shard.delete("ann") == 1
    assert shard.all() == []
    assert shard.add(ANN) == [False]
    assert "could not be tidied" in shard.reports[0]
    shard.crash()
    assert shard.all() == [(ANN, False)]


def test_a_catalog_without_deletions_is_one_that_older_versions_read() -> None:
    shard = Shard()
    shard.add(ANN)
    shard.store.compact(ACME)
    assert shard.store._state.catalog._rows._connection.execute(
        "SELECT value FROM entries WHERE key = 'meta/format'"
    ).fetchone() == (b"1",)
    shard.delete("ann")
    assert shard.store._state.catalog._rows._connection.execute(
        "SELECT value FROM entries WHERE key = 'meta/format'"
    ).fetchone() == (b"2",)


def test_a_segment_of_before_there_were_deletions_is_hidden_by_each() -> None:
    shard = Shard()
    shard.add(ANN)
    shard.store.compact(ACME)
    with shard.store.snapshot(ACME) as snapshot:
        (info,) = snapshot.segments
    old = to_json(info).replace(b'"deletions_seen":0,', b"")
    assert b"deletions_seen" not in old
    assert from_json(old) == info


def test_a_range_whose_main_run_was_deleted_goes_on_with_its_late_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenshard.storage.compaction.plan.SMALL_ROWS", 2)
    shard = Shard()
    shard.add(*(event("ann", number) for number in range(50)))
    shard.store.compact(ACME)
    shard.add(event("bob", 1))
    shard.store.compact(ACME)
    with shard.store.snapshot(ACME) as snapshot:
        assert [segment.run for segment in snapshot.segments] == [0, 1]
    shard.delete("ann")
    while shard.store.purge_step(ACME):
        pass
    with shard.store.snapshot(ACME) as snapshot:
        assert [segment.run for segment in snapshot.segments] == [1]
    shard.add(event("bob", 2), event("bob", 1))
    shard.store.compact(ACME)
    expected = [(event("bob", 1), False), (event("bob", 1), True), (event("bob", 2), False)]
    assert shard.all() == expected
    shard.restart()
    assert shard.all() == expected
