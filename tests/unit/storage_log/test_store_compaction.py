"""Rows move from the log into segments while the store goes on; the log goes when they have."""

import errno
from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.testing.events import all_events
from evenshard.testing.shard import ACME, Shard, click


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
