"""The catalog: transactions, ids never reused, damage found at opening."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.deletions import NO_HORIZON, RETIRED_DELETIONS_KEPT, Deletion
from evenshard.storage.segment.info import SegmentInfo, file_names
from evenshard.testing.disk import MemoryDisk

SHARD = ShardId("shard-0")
ACME, BOLT = TenantId("acme"), TenantId("bolt")
_INFO = SegmentInfo(
    id=1,
    tenant=ACME,
    first_day=10,
    last_day=12,
    run=0,
    written_day=20,
    min_time_ms=864_000_005,
    max_time_ms=1_100_000_000,
    slot_first=0,
    slot_last=4095,
    rows=7,
    duplicates=2,
    hot_rows=0,
    bytes=999,
    files=file_names(1),
    footer_checksum=(1 << 64) - 3,
)


def segment(segment_id: int, tenant: TenantId = ACME, first_day: int = 10) -> SegmentInfo:
    return replace(_INFO, id=segment_id, tenant=tenant, first_day=first_day, files=file_names(segment_id))


def opened(disk: LocalDisk) -> object:
    """The segments and acme's mark, or the code of the error that names the file."""
    try:
        catalog = Catalog.open(disk, SHARD)
    except EvenshardError as error:
        return error.code if FILE in error.message else error
    view = (dict(catalog.segments), catalog.mark(ACME))
    catalog.close()
    return view


def test_a_new_catalog_is_empty() -> None:
    catalog = Catalog.open(MemoryDisk(), SHARD)
    assert (dict(catalog.segments), catalog.tenants(), catalog.mark(ACME), catalog.epoch(ACME)) == ({}, (), 0, 0)


def test_everything_committed_is_there_after_opening_again() -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    catalog.set_epoch(ACME, Epoch(3))
    catalog.commit(ACME, [segment(2, first_day=30), segment(1)], [], mark=50)
    catalog.commit(BOLT, [segment(3, BOLT)], [], mark=60)
    catalog.commit(ACME, [segment(4, first_day=20)], [2], mark=70)
    catalog.close()
    again = Catalog.open(disk, SHARD)
    expected = {ACME: (segment(1), segment(4, first_day=20)), BOLT: (segment(3, BOLT),)}
    assert dict(again.segments) == expected
    assert (again.mark(ACME), again.epoch(ACME), again.mark(BOLT), again.epoch(BOLT)) == (70, 3, 60, 0)
    assert again.tenants() == (ACME, BOLT)


def test_an_older_epoch_changes_nothing() -> None:
    catalog = Catalog.open(MemoryDisk(), SHARD)
    catalog.set_epoch(ACME, Epoch(3))
    catalog.set_epoch(ACME, Epoch(2))
    assert catalog.epoch(ACME) == 3


def test_segment_ids_are_never_given_twice() -> None:
    disk = MemoryDisk()
    given = []
    for count in (3, 70, 1, 128, 2):
        catalog = Catalog.open(disk, SHARD)  # never closed: as after a crash
        given += [catalog.next_segment_id() for _ in range(count)]
    assert len(set(given)) == len(given)
    assert given == sorted(given)


@pytest.mark.parametrize(
    ("added", "removed", "mark"),
    [([segment(9)], [77], 60), ([segment(1)], [], 60), ([segment(9)], [], 40), ([segment(9, BOLT)], [], 60)],
)
def test_a_commit_that_does_not_fit_changes_nothing(added: list[SegmentInfo], removed: list[int], mark: int) -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    catalog.commit(ACME, [segment(1)], [], mark=50)
    with pytest.raises(ValueError, match=r"segment|mark"):
        catalog.commit(ACME, added, removed, mark)
    for view in (catalog, Catalog.open(disk, SHARD)):
        assert dict(view.segments) == {ACME: (segment(1),)}
        assert view.mark(ACME) == 50


def test_a_snapshot_of_segments_does_not_change() -> None:
    catalog = Catalog.open(MemoryDisk(), SHARD)
    catalog.commit(ACME, [segment(1)], [], mark=1)
    before = catalog.segments
    catalog.commit(ACME, [segment(2)], [1], mark=2)
    assert dict(before) == {ACME: (segment(1),)}


def test_the_disk_of_another_shard_is_refused() -> None:
    disk = MemoryDisk()
    Catalog.open(disk, SHARD).close()
    with pytest.raises(EvenshardError, match="belongs to shard-0, not to shard-1") as caught:
        Catalog.open(disk, ShardId("shard-1"))
    assert (caught.value.code, "shard-0" in caught.value.hint) == ("DATA_DAMAGED", True)


def test_segments_without_a_catalog_are_damage() -> None:
    disk = MemoryDisk()
    disk.open(file_names(1)[0], create=True).close()
    with pytest.raises(EvenshardError, match="empty or missing") as caught:
        Catalog.open(disk, SHARD)
    assert caught.value.code == "DATA_DAMAGED"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE key = 'segment/1'",
        "DELETE FROM entries WHERE key = 'digest'",
        "UPDATE entries SET value = replace(value, '999', '998') WHERE key = 'segment/1'",
        "UPDATE entries SET value = 5 WHERE key = 'tenant/acme'",
        "UPDATE entries SET key = 'tenant/acmf' WHERE key = 'tenant/acme'",
        "DELETE FROM entries",
    ],
)
def test_a_changed_row_is_found_at_opening(statement: str) -> None:
    disk = MemoryDisk()
    Catalog.open(disk, SHARD).commit(ACME, [segment(1)], [], mark=50)
    assert disk.database(FILE).execute(statement).rowcount >= 1
    with pytest.raises(EvenshardError, match=FILE) as caught:
        Catalog.open(disk, SHARD)
    assert caught.value.code == "DATA_DAMAGED"


def test_a_newer_format_is_refused_by_name() -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    with catalog._transaction() as changes:
        changes.put("meta/format", b"7")
    with pytest.raises(EvenshardError, match="format 7") as caught:
        Catalog.open(disk, SHARD)
    assert caught.value.code == "FORMAT_TOO_NEW"


def test_no_flipped_bit_in_the_file_goes_unnoticed(tmp_path: Path) -> None:
    seed = 7
    print("seed", seed)
    random = Random(seed)
    disk = LocalDisk(tmp_path)
    catalog = Catalog.open(disk, SHARD)
    for number in range(1, 40):
        catalog.commit(ACME, [segment(number)], [], mark=number)
    expected = dict(catalog.segments)
    catalog.close()
    path = tmp_path / FILE
    whole = path.read_bytes()
    found = 0
    for _ in range(150):
        at = random.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << random.randrange(8))]) + whole[at + 1 :])
        for leftover in (tmp_path / f"{FILE}-wal", tmp_path / f"{FILE}-shm"):
            leftover.unlink(missing_ok=True)
        outcome = opened(disk)
        assert outcome in ((expected, 39), "DATA_DAMAGED")  # the first: a byte that holds nothing
        found += outcome == "DATA_DAMAGED"
    assert found >= 50
    disk.close()


def test_a_commit_survives_a_crash() -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    catalog.commit(ACME, [segment(1)], [], mark=50)
    after = disk.crash(Random(1))
    with pytest.raises(sqlite3.Error):
        catalog.set_epoch(ACME, Epoch(1))
    assert dict(Catalog.open(after, SHARD).segments) == {ACME: (segment(1),)}


def test_deletions_are_there_after_opening_again_and_leave_when_they_are_superseded() -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    users = Deletion(1, 10, "op-1", ("ann", "größe"))
    first, second = Deletion(2, 20, "", horizon_ms=-5), Deletion(3, 30, "", horizon_ms=7)
    assert (catalog.last_deletion(ACME), catalog.horizon_ms(ACME)) == (0, NO_HORIZON)
    catalog.add_deletion(ACME, users)
    catalog.add_deletion(ACME, first)
    catalog.add_deletion(ACME, second, superseded=[2])
    catalog.set_epoch(ACME, Epoch(4))
    catalog.commit(ACME, [segment(1)], [], mark=9)
    with pytest.raises(ValueError, match="does not follow"):
        catalog.add_deletion(ACME, Deletion(3, 40, "op-3"))
    catalog.close()
    catalog = Catalog.open(disk, SHARD)
    assert catalog.deletions(ACME) == (users, second)
    assert (catalog.last_deletion(ACME), catalog.horizon_ms(ACME)) == (3, 7)
    assert (catalog.epoch(ACME), catalog.mark(ACME), catalog.deletions(BOLT)) == (4, 9, ())
    catalog.retire_deletions(ACME, [1])
    assert catalog.deletions(ACME) == (users.retire(), second)


def test_of_retired_deletions_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenshard.storage.catalog.RETIRED_DELETIONS_KEPT", 3)
    assert RETIRED_DELETIONS_KEPT == 1000
    catalog = Catalog.open(MemoryDisk(), SHARD)
    for seq in range(1, 7):
        catalog.add_deletion(ACME, Deletion(seq, seq, f"op-{seq}", ("ann",)))
        catalog.retire_deletions(ACME, [seq])
    assert [(record.seq, record.users, record.retired) for record in catalog.deletions(ACME)] == [
        (seq, (), True) for seq in (4, 5, 6)
    ]
    assert catalog.last_deletion(ACME) == 6


def test_what_a_segment_has_seen_may_change_while_it_lives() -> None:
    disk = MemoryDisk()
    catalog = Catalog.open(disk, SHARD)
    catalog.commit(ACME, [segment(1), segment(2, first_day=20)], [], mark=5)
    seen = replace(segment(2, first_day=20), deletions_seen=3)
    catalog.commit(ACME, [], [1], mark=5, changed=[seen])
    with pytest.raises(ValueError, match="does not exist"):
        catalog.commit(ACME, [], [], mark=5, changed=[segment(1)])
    catalog.close()
    assert Catalog.open(disk, SHARD).segments == {ACME: (seen,)}


def test_users_of_retired_deletions_stand_nowhere_although_pages_were_split(tmp_path: Path) -> None:
    """Overwriting what is removed is not enough: with this seed, a page that was split keeps copies of what moved."""
    disk = LocalDisk(tmp_path)
    catalog = Catalog.open(disk, SHARD)
    catalog._rows._connection.execute("PRAGMA synchronous=OFF")
    random, waiting = Random(3), []
    for seq in range(1, 301):
        users = tuple(f"SECRET-{random.getrandbits(40):010x}" for _ in range(random.randrange(1, 40)))
        catalog.add_deletion(ACME, Deletion(seq, seq, f"op-{seq}", users))
        waiting.append(seq)
        if random.random() < 0.2:
            catalog.retire_deletions(ACME, [waiting.pop(random.randrange(len(waiting)))])
        catalog.set_epoch(TenantId(f"t{random.randrange(500)}"), Epoch(seq))
    assert b"SECRET" in (tmp_path / FILE).read_bytes()
    catalog.retire_deletions(ACME, waiting)
    assert b"SECRET" not in (tmp_path / FILE).read_bytes()
    catalog.close()
    assert opened(disk) == ({}, 0)
    disk.close()
