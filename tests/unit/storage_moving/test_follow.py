"""A follower gets what its source has, and what comes to it; nobody sees it before the switch, each row once after."""

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT, hash_of
from evenshard.events.marked_rows import MarkedRows
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.compaction import plan
from evenshard.storage.layers import TRASH
from evenshard.storage.moving import dropping
from evenshard.storage.moving.comparing import Digest
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.taking import TailRows
from evenshard.storage.ownership import NO_SLOTS, Owned, Ownership
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of, event_batch, events_of_parts
from evenshard.testing.moving import Pull

ACME = TenantId("acme")
NOON = 1_700_000_000_000
DAY_MS = 86_400_000
LOW = MovedSlots(ACME, ((0, 2047),))


def owning(mask: Owned) -> Ownership:
    return Ownership(mask, NO_SLOTS)


class Two:
    """A source that owns everything at first, and a target."""

    def __init__(self) -> None:
        self.disks = [MemoryDisk(), MemoryDisk()]
        self.clock = ManualClock()
        self.owned = [np.ones(SLOT_COUNT, np.bool_), np.zeros(SLOT_COUNT, np.bool_)]
        self.epoch = 1
        self.stores = [self._open(0), self._open(1)]

    def _open(self, number: int) -> Store:
        shard = ShardId(f"shard-{number}")
        return Store.open(self.disks[number], self.clock, shard, StorageSettings(log_file_bytes=2_000), print)

    def crash(self, number: int, seed: int = 0) -> None:
        self.disks[number] = self.disks[number].crash(Random(seed))
        self.stores[number] = self._open(number)

    def add(self, *events: Event) -> list[bool]:
        """Where they belong."""
        bits: list[bool] = []
        for event in events:
            number = next(i for i in (0, 1) if self.owned[i][hash_of(event.distinct_id) >> 52])
            append = replace(append_of([event], "acme", self.epoch), owned=self.owned[number])
            (outcome,) = self.stores[number].append([append])
            if isinstance(outcome, EvenshardError):
                raise outcome
            assert isinstance(outcome, Appended)
            bits += outcome.duplicates.tolist()
        return bits

    def shown(self, number: int) -> list[tuple[Event, bool]]:
        with self.stores[number].snapshot(ACME, owning(self.owned[number])) as snapshot:
            found = all_events(snapshot)
            assert events_of_parts(snapshot) == found
            return found

    def all(self) -> list[tuple[Event, bool]]:
        return sorted([*self.shown(0), *self.shown(1)], key=str)

    def switch(self, moved: MovedSlots, target: int) -> None:
        self.epoch += 1
        self.owned[target] |= moved.mask
        self.owned[1 - target] &= ~moved.mask
        for store in self.stores:
            store.learn_epoch(ACME, Epoch(self.epoch))

    def pull(self, target: int = 1, operation: str = "op", revision: int = 1) -> Pull:
        return Pull(lambda: self.stores[1 - target], lambda: self.stores[target], LOW, operation, revision)

    def follow(self, target: int = 1, revision: int = 1, from_position: int | None = None) -> Pull:
        self.stores[target].moves.follow(
            LOW, Epoch(self.epoch), "op", revision, ShardId(f"shard-{1 - target}"), "a", 0, from_position
        )
        return self.pull(target, revision=revision)


def click(number: int, insert_id: str | None = "x", day: int = 0) -> Event:
    return Event("click", f"u{number}", NOON + number + day * DAY_MS, insert_id, {"i:n": number})


def some(numbers: range, day: int = 0) -> list[Event]:
    return [click(number, day=day) for number in numbers]


def test_a_whole_move_and_back() -> None:
    two = Two()
    two.add(*some(range(40)), *some(range(5)))
    two.stores[0].compact(ACME)
    two.add(*some(range(40, 60), day=1), *some(range(10, 14)))
    two.stores[0].compact(ACME)
    two.add(*some(range(60, 80), day=2), *some(range(40, 44), day=1))
    pull = two.follow()
    before = two.all()
    pull.step()
    two.add(*some(range(80, 90)), *some(range(5)))
    two.stores[0].compact(ACME)
    pull.step()
    assert two.shown(1) == []
    two.stores[0].hide_users(ACME, Epoch(1), "gone", ["u1", "u2", "u70"])
    two.add(click(1), click(70, day=2))
    pull.step()
    expected = two.all()
    assert expected != before
    at = two.stores[0].moves.fence(LOW, Epoch(1), "op", 2)
    assert two.stores[0].moves.fence(LOW, Epoch(1), "op", 2) == at
    low = next(event for event in some(range(40)) if hash_of(event.distinct_id) >> 52 <= 2047)
    with pytest.raises(EvenshardError) as caught:
        two.add(low)
    assert caught.value.code == "SLOTS_FENCED"
    two.crash(0)
    with pytest.raises(EvenshardError) as caught:
        two.add(low)
    assert caught.value.code == "SLOTS_FENCED"
    pull.revision = 2
    position = pull.agree(at)
    two.switch(LOW, 1)
    assert two.all() == expected
    assert {event.distinct_id for event, _ in two.shown(1)} & {event.distinct_id for event, _ in two.shown(0)} == set()
    assert two.shown(1)
    assert two.add(low) == [True]
    assert two.add(click(2), click(2)) == [False, True]  # its user was deleted
    two.stores[1].compact(ACME)
    two.crash(1)
    back = two.follow(0, 3, position)
    assert two.add(low, *some(range(90, 100))) == [True, *[False] * 10]
    back.step()
    two.crash(0)
    back.step()
    expected = two.all()
    at = two.stores[1].moves.fence(LOW, Epoch(2), "op", 4)
    back.revision = 4
    back.agree(at)
    two.switch(LOW, 0)
    assert two.all() == expected
    assert two.add(low, *some(range(90, 100))) == [True] * 11
    assert two.shown(1) == []
    two.stores[1].moves.end(LOW, "op", 5)
    two.stores[1].moves.lift(LOW, "op", 5)
    with pytest.raises(EvenshardError) as caught:
        two.stores[1].moves.drop(LOW, Epoch(3), "op", 4, spread=False)
    assert caught.value.code == "OPERATION_CONFLICT"
    dropped = two.stores[1].moves.drop(LOW, Epoch(3), "op", 5, spread=False)
    assert dropped
    with two.stores[1].snapshot(ACME) as snapshot:
        assert all_events(snapshot) == []
    assert two.stores[1].moves.drop(LOW, Epoch(3), "op", 5, spread=False) == 0


def test_files_that_go_wholly_become_trash_in_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends of all tenants, and whoever is to be fenced, wait for each change: ten in a row are a long hold."""
    monkeypatch.setattr(plan, "SHARED_ROWS_MAX", 1)  # each day has a file of its own
    two = Two()
    for day in range(10):
        two.add(*some(range(9), day=day))
    two.stores[0].compact(ACME)
    with two.stores[0].snapshot(ACME) as snapshot:
        assert len(snapshot.segments) == 10
    everything = MovedSlots(ACME, ((0, SLOT_COUNT - 1),))
    commits, commit = list[int](), dropping.catalog_committed

    def counted(*given: Any, **named: Any) -> Any:
        commits.append(len(given[5]) if len(given) > 5 else 0)
        return commit(*given, **named)

    monkeypatch.setattr(dropping, "catalog_committed", counted)
    two.switch(everything, 1)
    assert two.stores[0].moves.drop(everything, Epoch(2), "op", 2, spread=False) == 90
    assert [each for each in commits if each] == [10]
    assert two.shown(0) == []


def test_trash_of_a_shard_that_still_has_slots_is_purged_with_the_rest() -> None:
    two = Two()
    two.add(*some(range(200)))
    two.stores[0].compact(ACME)
    user = next(f"u{number}" for number in range(200) if LOW.mask[hash_of(f"u{number}") >> 52])
    two.switch(LOW, 1)
    dropped = two.stores[0].moves.drop(LOW, Epoch(2), "op", 2, spread=False)
    assert trashed(two.stores[0]) == dropped > 1
    two.stores[0].hide_users(ACME, Epoch(2), "gone", [user])
    while two.stores[0].purge_step(ACME):
        pass
    assert two.stores[0].purge_status(ACME, "gone").purged
    assert trashed(two.stores[0]) == dropped - 1


def test_nothing_is_left_of_a_tenant_that_has_gone_wholly_once_it_is_to_be_purged() -> None:
    """Neither its trash nor its rows in a log that another tenant, which nobody compacted, still needs."""
    two = Two()
    store = two.stores[0]
    store.append([append_of([click(1)], "other")])
    two.add(Event("click", "somebody-to-be-deleted", NOON, "x", {}), *some(range(40)))
    everything = MovedSlots(ACME, ((0, SLOT_COUNT - 1),))
    two.switch(everything, 1)
    assert store.moves.drop(everything, Epoch(2), "op", 2, spread=False) == 41
    assert trashed(store) == 41
    assert in_files(two.disks[0], b"somebody-to-be-deleted")
    assert not store.left_status(ACME).purged
    while store.left_step(ACME):
        pass
    assert store.left_status(ACME).purged
    assert not in_files(two.disks[0], b"somebody-to-be-deleted")
    assert trashed(store) == 0
    with store.snapshot(TenantId("other")) as snapshot:
        assert len(all_events(snapshot)) == 1


def trashed(store: Store) -> int:
    """Rows in the trash."""
    with store.snapshot(ACME) as snapshot:
        return sum(segment.rows for segment in snapshot.segments if segment.layer.startswith(TRASH))


def in_files(disk: MemoryDisk, name: bytes) -> bool:
    """Whether a name stands in a file as it is: in the log it does, in a segment's pages it is compressed."""
    files = [f"{folder}/{file}" for folder in ("log", "segments") for file in disk.list(folder)]
    found = []
    for file in files:
        opened = disk.open(file)
        found.append(name in opened.read(0, opened.size()))
        opened.close()
    return any(found)


def test_copied_files_become_like_any_others() -> None:
    two = Two()
    for day in range(3):
        two.add(*some(range(40), day=day))
        two.stores[0].compact(ACME)
    two.stores[1].append([append_of([click(1000 + number, day=1) for number in range(20)], "acme", 1)])  # its own
    two.stores[1].compact(ACME)
    pull = two.follow()
    pull.agree(two.stores[0].moves.fence(LOW, Epoch(1), "op", 1))
    two.switch(LOW, 1)
    expected = two.all()
    two.stores[1].compact(ACME)
    with two.stores[1].snapshot(ACME) as snapshot:
        assert {segment.layer for segment in snapshot.segments} == {""}
        ranges = sorted({(segment.first_day, segment.last_day) for segment in snapshot.segments})
        assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert two.all() == expected
    two.crash(1)
    two.stores[1].compact(ACME)
    assert two.all() == expected


def test_while_slots_are_fenced_nothing_else_changes_and_nobody_scans_them() -> None:
    two = Two()
    two.add(*some(range(20)))
    two.follow().step()
    two.stores[0].moves.fence(LOW, Epoch(1), "op", 2)
    for act in (
        lambda: two.stores[0].hide_users(ACME, Epoch(1), "gone", ["u1"]),
        lambda: two.stores[0].raise_horizon(ACME, Epoch(1), NOON),
        lambda: two.stores[0].seal_key(ACME, Epoch(1), ("u1", 5), "n", has_hot_rows=True),
        lambda: two.stores[0].moves.check_scan(ACME, owning(two.owned[0])),
    ):
        with pytest.raises(EvenshardError) as caught:
            act()
        assert caught.value.code == "SLOTS_FENCED"
    two.stores[0].moves.check_scan(ACME, owning(~LOW.mask))
    high = next(event for event in some(range(20)) if hash_of(event.distinct_id) >> 52 > 2047)
    assert two.add(high) == [True]
    with pytest.raises(EvenshardError) as caught:
        two.stores[0].moves.lift(LOW, "op", 1)
    assert caught.value.code == "OPERATION_CONFLICT"
    two.stores[0].moves.lift(LOW, "op", 3)
    two.add(*some(range(20, 30)))


def test_a_follower_that_was_silent_for_too_long_begins_anew() -> None:
    two = Two()
    two.add(*some(range(30)))
    pull = two.follow()
    pull.step()
    two.stores[0].moves.keep_nothing(ACME, "op")
    two.add(*some(range(30, 60)))
    two.stores[0].compact(ACME)
    two.add(*some(range(60, 70)))
    two.stores[0].compact(ACME)
    pull.step()
    assert pull.follow.strips_taken == 0
    expected = two.all()
    pull.agree(two.stores[0].moves.fence(LOW, Epoch(1), "op", 1))
    two.switch(LOW, 1)
    assert two.all() == expected


def test_whom_a_deletion_hid_is_not_forgotten_before_the_follower_knows() -> None:
    two = Two()
    two.add(*some(range(30)))
    two.stores[0].compact(ACME)
    pull = two.follow()
    pull.step()
    two.stores[0].hide_users(ACME, Epoch(1), "gone", ["u3", "u7"])
    for _ in range(10):
        two.stores[0].purge_step(ACME)
    assert not two.stores[0].purge_status(ACME, "gone").purged
    pull.step()
    pull.step()
    for _ in range(10):
        two.stores[0].purge_step(ACME)
    assert two.stores[0].purge_status(ACME, "gone").purged
    pull.agree(two.stores[0].moves.fence(LOW, Epoch(1), "op", 1))


def test_an_old_driver_changes_nothing() -> None:
    two = Two()
    two.add(*some(range(30)))
    pull = two.follow(revision=5)
    pull.step()
    for store in two.stores:
        store.moves.end(LOW, "op", 9)
    two.stores[0].moves.fence(LOW, Epoch(1), "op", 9)
    pull.revision = 8
    moves = two.stores[0].moves
    for act in (
        lambda: moves.lift(LOW, "op", 8),
        lambda: moves.fence(LOW, Epoch(1), "op", 8),
        lambda: moves.end(LOW, "op", 8),
        lambda: moves.drop(LOW, Epoch(1), "op", 8, spread=False),
        lambda: moves.digest(LOW, "op", 8, 30),
        lambda: two.stores[1].moves.follow(LOW, Epoch(1), "op", 8, ShardId("shard-0"), ""),
    ):
        with pytest.raises(EvenshardError) as caught:
            act()
        assert caught.value.code == "OPERATION_CONFLICT"
    two.crash(0)
    with pytest.raises(EvenshardError) as caught:
        two.stores[0].moves.lift(LOW, "op", 8)
    assert caught.value.code == "OPERATION_CONFLICT"


def low(count: int, start: int = 0, day: int = 0) -> list[Event]:
    """Of users all of whose slots move."""
    found = (click(number, day=day) for number in range(start, start + 100 * count))
    return [event for event in found if hash_of(event.distinct_id) >> 52 <= 2047][:count]


def copied() -> tuple[Two, Pull]:
    """Sixty rows in a file, and some rows besides, followed."""
    two = Two()
    for day in range(2):
        two.add(*low(30, day=day))
        two.stores[0].compact(ACME)
    two.add(*some(range(50), day=2))
    pull = two.follow()
    pull.step()
    pull.step()
    return two, pull


def digests(two: Two, pull: Pull) -> list[Digest]:
    at = two.stores[0].moves.fence(LOW, Epoch(1), "op", 2)
    pull.revision = 2
    while pull.follow.position < at:
        pull.step()
    return [store.moves.digest(LOW, "op", 2, at, with_cells=True) for store in two.stores]


def test_files_that_both_have_are_counted_as_files() -> None:
    two, pull = copied()
    assert len(pull.come_to_terms()) == 1
    two.add(*low(5, start=5_000))
    mine, other = digests(two, pull)
    assert (mine.sum, mine.cells, mine.state) == (other.sum, other.cells, other.state)
    assert (mine.sum.rows, sum(cell.rows for cell in mine.cells)) == (
        60 + len(low_of(range(50))) + 5,
        mine.sum.rows - 60,
    )


def low_of(numbers: range) -> list[Event]:
    return [event for event in some(numbers) if hash_of(event.distinct_id) >> 52 <= 2047]


def test_files_that_only_one_side_has_are_counted_row_by_row() -> None:
    two, pull = copied()
    two.add(*low(3, start=9_000))
    two.stores[0].compact(ACME)
    pull.step()
    mine, other = (store.moves.count(LOW, "op", 1, None).files for store in two.stores)
    assert mine != other
    assert pull.come_to_terms() == frozenset(mine) & frozenset(other)
    mine, other = digests(two, pull)
    assert (mine.sum, mine.cells) == (other.sum, other.cells)


def test_without_terms_every_row_is_counted() -> None:
    two, pull = copied()
    for store in two.stores:
        assert store.moves.count(LOW, "op", 1).files == ()
    assert pull.come_to_terms() == frozenset()
    mine, other = digests(two, pull)
    assert (mine.sum, mine.cells) == (other.sum, other.cells)
    assert sum(cell.rows for cell in mine.cells) == mine.sum.rows


def test_a_file_that_is_not_the_same_on_both_sides_is_found() -> None:
    two, pull = copied()
    (first, *_) = [name for name in two.disks[1].list("segments") if name.endswith(".parquet")]
    two.disks[1].flip(f"segments/{first}", 100)
    with pytest.raises(EvenshardError) as caught:
        pull.come_to_terms()
    assert caught.value.code == "DATA_DAMAGED"


def test_a_row_that_only_one_side_has_is_found_beside_files() -> None:
    two, pull = copied()
    pull.come_to_terms()
    moves = two.stores[1].moves
    rows = MarkedRows(event_batch(low(1, start=7_000)), np.zeros(1, np.bool_), np.zeros(1, np.bool_))
    moves.take_rows(ACME, pull.name, [TailRows(pull.follow.position + 1, rows)])
    mine, other = digests(two, pull)
    assert mine.sum.rows + 1 == other.sum.rows
    assert mine.sum.digest != other.sum.digest


def test_a_deletion_begins_the_count_anew() -> None:
    two, pull = copied()
    assert len(pull.come_to_terms()) == 1
    two.stores[0].hide_users(ACME, Epoch(1), "gone", [low(1)[0].distinct_id])
    pull.step()
    assert pull.come_to_terms() == frozenset()
    mine, other = digests(two, pull)
    assert (mine.sum, mine.cells) == (other.sum, other.cells)


def test_what_only_the_follower_hides_is_found_and_copied_anew() -> None:
    """A deletion came to both, and between the two a row of its user, which was copied with its day."""
    two = Two()
    two.add(*low(30))
    two.stores[0].compact(ACME)
    again = low(1)[0]
    two.stores[0].hide_users(ACME, Epoch(1), "gone", [again.distinct_id])
    assert two.add(again) == [False]
    pull = two.follow()
    pull.step()
    two.stores[1].hide_users(ACME, Epoch(1), "gone", [again.distinct_id])
    mine, other = digests(two, pull)
    assert mine.sum.rows == other.sum.rows + 1
    two.stores[0].moves.lift(LOW, "op", 3)
    pull.revision = 3
    anew = (LOW, Epoch(1), "op", 3, ShardId("shard-0"), "a", 0, None, 1)
    two.stores[1].moves.follow(*anew)
    assert not pull.follow.is_copied
    while not pull.follow.is_copied:
        pull.step()
    two.stores[1].moves.follow(*anew)  # asked once more it goes on
    assert (pull.follow.copies, pull.follow.is_copied) == (1, True)
    pull.revision = 4
    pull.agree(two.stores[0].moves.fence(LOW, Epoch(1), "op", 4))
    expected = two.all()
    two.switch(LOW, 1)
    assert two.all() == expected
