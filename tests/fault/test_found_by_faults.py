"""Defects that failing disks have shown, each as the smallest case."""

import errno

import pytest
from evenshard.errors import EvenshardError
from evenshard.testing.faults.scenarios import fail_at
from evenshard.testing.faults.story import Story


@pytest.mark.parametrize(("code", "refusal"), [(errno.EIO, "SHARD_UNAVAILABLE"), (errno.ENOSPC, "DISK_FULL")])
@pytest.mark.parametrize("kind", ["database", "query", "commit"])
def test_a_catalog_that_a_failing_disk_does_not_give_is_not_called_damaged(kind: str, code: int, refusal: str) -> None:
    story = Story(0)
    story.disk.plan = fail_at(kind, "catalog", OSError(code, "made to fail"))
    with pytest.raises(EvenshardError) as error:
        story.open()
    assert (error.value.code, error.value.details) == (refusal, {"file": "catalog.sqlite"})
    story.open()


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
