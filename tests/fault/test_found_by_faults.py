"""Defects that failing disks have shown, each as the smallest case."""

import errno

import pytest
from evenshard.errors import EvenshardError
from evenshard.testing.faults.crash_states import few_cuts
from evenshard.testing.faults.damaged_shard import NAMED, Damage, DamageCheck, make_shard
from evenshard.testing.faults.exploring import Explorer
from evenshard.testing.faults.scenarios import fail_at, with_damaged_log
from evenshard.testing.faults.story import Story


@pytest.mark.parametrize(("code", "refusal"), [(errno.EIO, "SHARD_UNAVAILABLE"), (errno.ENOSPC, "DISK_FULL")])
@pytest.mark.parametrize("kind", ["database_copy", "database", "query", "commit"])
def test_a_catalog_that_a_failing_disk_does_not_give_is_not_called_damaged(kind: str, code: int, refusal: str) -> None:
    story = Story(0)
    story.disk.plan = fail_at(kind, "catalog", OSError(code, "made to fail"))
    with pytest.raises(EvenshardError) as error:
        story.open()
    assert (error.value.code, error.value.details) == (refusal, {"file": "catalog.sqlite"})
    story.open()


@pytest.mark.parametrize(("code", "refusal"), [(errno.EIO, "SHARD_UNAVAILABLE"), (errno.ENOSPC, "DISK_FULL")])
@pytest.mark.parametrize("kind", ["begin", "statement", "commit", "checkpoint"])
def test_a_start_that_cannot_put_damage_on_record_says_that_the_disk_fails(kind: str, code: int, refusal: str) -> None:
    story = with_damaged_log(0)
    story.disk.plan = fail_at(kind, "catalog", OSError(code, "made to fail"))
    with pytest.raises(EvenshardError) as error:
        story.open()
    assert (error.value.code, error.value.details) == (refusal, {"file": "catalog.sqlite"})
    story.open()


@pytest.mark.parametrize("byte", [18, 19])
@pytest.mark.parametrize("bit", range(8))
def test_a_catalog_that_its_damaged_header_makes_read_only_is_refused_at_the_start(byte: int, bit: int) -> None:
    shard = make_shard(0, indexed=True, end="clean")
    hurt = bytearray(shard.files["catalog.sqlite"])
    hurt[byte] ^= 1 << bit
    assert DamageCheck({"shard": shard})(Damage("shard", "catalog.sqlite", bytes(hurt), "")) == NAMED


def test_a_transaction_that_began_though_the_disk_failed_does_not_stay_open() -> None:
    story = Story(0)
    story.open()
    story.disk.plan = fail_at("begin", "catalog", OSError(errno.ENOSPC, "made to fail"), "all")
    assert story.append(story.batch("acme", 1), epoch=2) == ["DISK_FULL"]
    assert story.append(story.batch("acme", 1), epoch=2) == [""]


def test_segments_whose_commit_a_full_disk_refuses_do_not_fill_it_further() -> None:
    story = Story(0)
    story.open()
    story.send("acme", 1)
    story.store._state.catalog.next_segment_id()  # so that the commit below is the next one
    for _ in range(3):
        story.disk.plan = fail_at("commit", "catalog", OSError(errno.ENOSPC, "made to fail"))
        with pytest.raises(EvenshardError, match="DISK_FULL"):
            story.compact("acme")
        assert story.disk.list("segments") == []
    story.compact("acme")
    assert len(story.disk.list("segments")) == 2
    story.expect()


@pytest.mark.parametrize("kind", ["sync", "sync_directory"])
@pytest.mark.parametrize("rotations", [0, 1])
def test_a_restart_does_not_write_behind_a_header_whose_sync_failed(kind: str, rotations: int) -> None:
    story = Story(0, log_file_bytes=1)
    if rotations:
        story.open()
        story.send("acme", 1)
    story.disk.plan = fail_at(kind, "log", OSError(errno.EIO, "made to fail"))
    if rotations:
        assert story.send("acme", 2) == "SHARD_UNAVAILABLE"
    else:
        with pytest.raises(OSError, match="made to fail"):
            story.open()
    story.restart()
    assert story.send("acme", 3) == ""
    Explorer(few_cuts, depth=0).explore(story, only_the_end=True)
