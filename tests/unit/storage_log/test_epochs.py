"""Who may append: the epoch is the newest seen, and the slots are the shard's."""

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, TenantId
from evenshard.storage.append import Appended
from evenshard.testing.events import append_of
from evenshard.testing.shard import ACME, Shard, click, operations


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
