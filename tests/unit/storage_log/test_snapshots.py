"""What a snapshot shows: its rows as they were, the columns asked for, a version that changes with them."""

import pytest
from evenshard.ids import TenantId
from evenshard.testing.events import Event, all_events
from evenshard.testing.shard import ACME, Shard, click


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
    live = {name for segment in shard.segment_files() for name in segment}
    assert set(shard.disk.list("segments")) == {name.removeprefix("segments/") for name in live}
    with pytest.raises(ValueError, match="closed"):
        all_events(before)


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
