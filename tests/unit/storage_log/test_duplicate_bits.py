"""Duplicate bits of a store: the first stored copy wins, exactly, wherever the copies are."""

import errno
from collections.abc import Sequence

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch
from evenshard.storage.append import Appended
from evenshard.storage.compaction.inputs import TailTable
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.identities import read_filter
from evenshard.storage.segment.loose_hashes import LooseHashes, arrays_of
from evenshard.storage.segment.writer import identity_of, without_identities
from evenshard.storage.tail.runs import tables
from evenshard.testing.events import Event, append_of
from evenshard.testing.shard import ACME, Shard, click, fail


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


def hashes_in(loose: Sequence[LooseHashes]) -> list[int]:
    return [hash_ for hashes in loose for array in arrays_of(hashes) for hash_ in array.tolist()]


@pytest.mark.parametrize("some_hidden", [True, False])
def test_rows_bring_their_identity_hashes_to_a_compaction_from_runs_and_from_what_is_not_sorted(
    some_hidden: bool,
) -> None:
    """Copies, hidden rows and those of a failed append among them; a compaction that failed before."""
    shard = Shard()
    random = np.random.default_rng(4)
    for number in range(150):
        numbers = random.integers(0, 400, 1 + number % 4).tolist()
        shard.add(*(click(each, "x" if each % 7 else None) for each in numbers))
        if number == 60 and some_hidden:
            shard.store.hide_users(ACME, Epoch(1), "op", [f"u{each}" for each in range(40)])
        if number == 90:
            fail(shard, "write", errno.ENOSPC)
            assert shard.refused(append_of([click(500), click(501)])) == "DISK_FULL"
            while shard.store.sort_tail(ACME):
                pass
            fail(shard, "create", errno.ENOSPC, folder="segments")
            with pytest.raises(EvenshardError, match="DISK_FULL"):
                shard.store.compact(ACME)
        if number == 120 and some_hidden:
            shard.store.hide_users(ACME, Epoch(1), "op-2", [f"u{each}" for each in range(40, 80)])
    rows = shard.store._state.tenants[ACME]
    given = list(tables(rows.visible.blocks, rows.active))
    assert {block.is_run for block in rows.visible.blocks} == {True, False}
    shown = [each.table if isinstance(each, TailTable) else without_identities(each) for each in given]
    assert [isinstance(each, TailTable) for each in given] == [not some_hidden]
    for each, table in zip(given, shown, strict=True):
        of_rows = identity_of(ACME, table)
        if not isinstance(each, TailTable):
            assert each.column(IDENTITY_HASH).to_pylist() == of_rows.tolist()
            continue
        assert each.in_order().tolist() == of_rows.tolist()
        assert sorted(hashes_in(each.loose(None))) == sorted(of_rows.tolist())
        for share in (0.0, 0.3, 1.0):
            chosen = random.random(of_rows.size) < share
            picked = each.loose(chosen)
            assert sorted(hashes_in(picked)) == sorted(of_rows[chosen].tolist())
            assert sum(hashes.size for hashes in picked) == chosen.sum()
    held = sum(table.num_rows for table in shown)
    assert shard.store.compact(ACME).rows == held == len(shard.all())
    (segment,) = rows.visible.segments
    hashes = np.concatenate([identity_of(ACME, table) for table in shown])
    assert read_filter(shard.disk, segment).may_contain(hashes[hashes != 0]).all()
