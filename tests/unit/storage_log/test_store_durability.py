"""What a store says is durable is, and a disk that fails leaves nothing half done."""

import errno

import pytest
from evenshard.testing.events import append_of
from evenshard.testing.shard import Shard, click, fail, operations


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


def test_a_closed_store_takes_nothing() -> None:
    shard = Shard()
    shard.store.close()
    assert shard.refused(append_of([click(1)])) == "SHARD_UNAVAILABLE"
