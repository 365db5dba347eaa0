"""Hot keys in a shard's storage: what is sealed is refused, originals of others stay known, a deletion ends both."""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import SLOT_COUNT, hash_of, slots_of, spread_hashes
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.append import Append, Appended
from evenshard.storage.hot_keys import HeldKey, KeySealedError, Page
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, EPOCH = TenantId("acme"), Epoch(1)
DAY, DAY_MS = 20_000, 86_400_000
USER = "runaway"
KEY = (USER, DAY)
ALL = np.ones(SLOT_COUNT, np.bool_)
NOTHING = np.zeros(SLOT_COUNT, np.bool_)
HALF = np.arange(SLOT_COUNT) < SLOT_COUNT // 2


def open_store(disk: MemoryDisk, reports: list[str] | None = None) -> Store:
    report = (lambda _: None) if reports is None else reports.append
    return Store.open(disk, ManualClock(), ShardId("shard-0"), StorageSettings(), report)


def events(count: int, first: int = 0, user: str = USER) -> list[Event]:
    return [Event("e", user, DAY * DAY_MS + number, f"{user}-{number}") for number in range(first, first + count)]


def batch_of(some: Sequence[Event]) -> EventBatch:
    return append_of(some, ACME).batch


def put(
    store: Store, some: Sequence[Event], *, home: Any = ALL, overflow: Any = None, hot: bool = False
) -> Appended | EvenshardError:
    bits = np.ones(len(some), np.bool_) if hot else None
    (done,) = store.append([replace(append_of(some, ACME), owned=home, overflow=overflow, hot=bits)])
    return done


def duplicates(done: Appended | EvenshardError) -> list[bool]:
    assert isinstance(done, Appended), done
    return done.duplicates.tolist()


def code(done: Appended | EvenshardError) -> str:
    assert isinstance(done, EvenshardError)
    return done.code


def spread_in(some: Sequence[Event], slots: Any) -> list[Event]:
    """Those whose identities lie in some slots of the overflow."""
    append: Append = append_of(some, ACME).prepared()
    assert append.hashes is not None
    found = slots[slots_of(spread_hashes(ACME, append.batch, append.hashes.placement))].tolist()
    return [event for event, is_there in zip(some, found, strict=True) if is_there]


def test_of_a_sealed_key_only_what_the_overflow_brings_here_is_taken() -> None:
    store = open_store(MemoryDisk())
    put(store, [*events(20), *events(3, user="calm")])
    store.seal_key(ACME, EPOCH, KEY, "n", has_hot_rows=True)
    here, away = spread_in(events(60), HALF), spread_in(events(60), ~HALF)
    refused = put(store, [*away[:1], *events(1, 5, "calm")], overflow=HALF, hot=True)
    assert isinstance(refused, KeySealedError)
    assert (refused.code, refused.keys) == ("KEY_SEALED", (KEY,))
    assert code(put(store, here, overflow=HALF)) == "KEY_SEALED"  # whoever sends them does not know that it is hot
    assert code(put(store, here, hot=True)) == "KEY_SEALED"
    assert duplicates(put(store, here, overflow=HALF, hot=True)) == [event in events(20) for event in here]
    assert duplicates(put(store, events(5, user="calm"))) == [True] * 3 + [False] * 2
    other_day = [replace(event, time=event.time + DAY_MS) for event in away]
    assert duplicates(put(store, other_day)) == [False] * len(away)


def test_rows_of_other_homes_are_taken_once_all_pages_are_kept() -> None:
    store = open_store(MemoryDisk())
    copies = events(30)
    away = np.ones(SLOT_COUNT, np.bool_)
    away[hash_of(USER) >> 52] = False  # it is not at home here

    def keep(page: tuple[int, int], some: Sequence[Event], nonce: str = "n") -> None:
        batch = batch_of(some) if some else None
        store.keep_originals(ACME, EPOCH, KEY, nonce, page, batch, has_hot_rows=False)

    assert code(put(store, copies, home=away)) == "STALE_EPOCH"
    assert code(put(store, copies, home=away, overflow=ALL)) == "KEY_SEALED"
    keep((0, 7), copies[:10])
    keep((9, 0), copies[20:])
    assert code(put(store, copies, home=away, overflow=ALL)) == "KEY_SEALED"
    keep((0, 7), copies[:10])
    with pytest.raises(KeySealedError):
        keep((7, 9), copies, nonce="another mark")
    keep((7, 9), copies[10:20])
    assert code(put(store, copies, home=away, overflow=NOTHING)) == "KEY_SEALED"
    assert duplicates(put(store, events(40), home=away, overflow=ALL)) == [True] * 30 + [False] * 10
    # An event without insert_id is nobody's copy.
    nameless = [replace(event, insert_id=None) for event in copies]
    assert duplicates(put(store, nameless, home=away, overflow=ALL)) == [False] * 30
    with pytest.raises(EvenshardError, match="another key"):
        keep((1, 2), events(1, user="calm"))


@pytest.mark.parametrize(
    ("pages", "ready"),
    [
        ([], False), ([(0, 0)], True), ([(0, 5)], False), ([(0, 5), (5, 0)], True), ([(5, 0)], False),
        ([(0, 5), (6, 0)], False), ([(0, 5), (0, 8), (5, 9), (8, 0)], True), ([(0, 5), (0, 8), (8, 9)], False),
    ],
)  # fmt: skip
def test_pages_of_several_hand_overs_lead_to_the_end(pages: list[tuple[int, int]], ready: bool) -> None:
    kept = tuple(Page(first, after, ()) for first, after in pages)
    assert HeldKey(USER, DAY, "n", True, sealed=False, pages=kept).is_ready == ready
    assert HeldKey(USER, DAY, "n", True, sealed=True, pages=kept).is_ready


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_home_tells_each_identity_once_wherever_its_rows_are(seed: int) -> None:
    print(f"seed {seed}")
    random, disk = Random(seed), MemoryDisk()
    store = open_store(disk)
    known = [*events(120), *events(10, user="calm")]
    nameless = [replace(event, insert_id=None) for event in events(5, 200)]
    for number in range(6):
        some = random.sample(known, 60) + nameless
        put(store, some)
        if number == 2:
            store.compact(ACME)
    store.hide_users(ACME, EPOCH, "op", ["calm"])
    stored = {event.insert_id for event, _ in all_events(store.snapshot(ACME)) if event.insert_id}
    told: list[str] = []
    hash_from, pages = 0, 0
    while True:
        page = store.originals(ACME, KEY, HALF, hash_from, rows_max=16)
        told += page.batch.record.column("insert_id").to_pylist()
        assert (page.identity >= np.uint64(hash_from)).all()
        pages += 1
        if page.hash_next == 0:
            break
        assert page.batch.rows <= 16
        assert (page.identity < np.uint64(page.hash_next)).all()
        hash_from = page.hash_next
    expected = {event.insert_id for event in spread_in(events(120), ~HALF)} & stored
    assert sorted(told) == sorted(str(each) for each in expected)
    assert pages > 2


def test_copies_of_kept_originals_are_found_after_compaction_restarts_and_without_the_log() -> None:
    disk = MemoryDisk()
    store = open_store(disk)
    away = NOTHING
    store.keep_originals(ACME, EPOCH, KEY, "n", (0, 0), batch_of(events(50)), has_hot_rows=True)
    for first in (0, 30, 60):
        done = put(store, events(40, first), home=away, overflow=ALL, hot=True)
        expected = [number < 50 or (number < first + 10 and first > 0) for number in range(first, first + 40)]
        assert duplicates(done) == expected
        store.compact(ACME)
        disk = disk.crash(Random(first))
        store = open_store(disk)
    assert duplicates(put(store, events(100), home=away, overflow=ALL, hot=True)) == [True] * 100
    store.close()
    assert len(all_events(open_store(disk).snapshot(ACME))) == 220


def test_a_deletion_ends_keys_whose_marks_are_gone_and_what_came_meanwhile_is_hidden() -> None:
    disk = MemoryDisk()
    store = open_store(disk)
    store.keep_originals(ACME, EPOCH, KEY, "n", (0, 0), batch_of(events(20)), has_hot_rows=False)
    other = ("other", DAY)
    store.seal_key(ACME, EPOCH, other, "m", has_hot_rows=False)
    store.hide_users(ACME, EPOCH, "op", [USER, "other"], [])
    assert duplicates(put(store, events(20), home=NOTHING, overflow=ALL)) == [False] * 20  # nobody's first copy
    assert [held.key for held in store.held_keys(ACME, [USER, "other"])] == [KEY, other]
    store.hide_users(ACME, EPOCH, "op", [USER, "other"], [])
    assert len(all_events(store.snapshot(ACME))) == 20  # the operation has been here
    store.hide_users(ACME, EPOCH, "op", [USER, "other"], [KEY])
    assert all_events(store.snapshot(ACME)) == []
    assert [held.key for held in store.held_keys(ACME, [USER, "other"])] == [other]
    assert code(put(store, events(1), home=NOTHING, overflow=ALL)) == "KEY_SEALED"
    assert duplicates(put(store, events(20))) == [False] * 20
    for _ in range(2):
        disk = disk.crash(Random(1))
        store = open_store(disk)
        assert duplicates(put(store, events(20))) == [True] * 20
        assert [name for name in disk.list("segments") if name.endswith(".parquet")] == []
    while store.purge_step(ACME):
        pass
    assert store.purge_status(ACME, "op").purged


def test_a_log_whose_copies_lost_their_originals_to_a_deletion_is_replayed() -> None:
    disk = MemoryDisk()
    store = open_store(disk)
    store.keep_originals(ACME, EPOCH, KEY, "n", (0, 0), batch_of(events(20)), has_hot_rows=False)
    assert duplicates(put(store, [*events(30), *events(5, user="calm")], home=~NOTHING, overflow=ALL)) == (
        [True] * 20 + [False] * 15
    )
    store.hide_users(ACME, EPOCH, "op", [USER], [KEY])
    put(store, events(10))
    reports: list[str] = []
    again = open_store(disk.crash(Random(2)), reports)
    assert all("it belongs to no segment" in line for line in reports)  # what removed them was not synced
    assert len(all_events(again.snapshot(ACME))) == 15
    assert duplicates(put(again, events(10))) == [True] * 10


def test_a_seal_is_for_one_mark() -> None:
    store = open_store(MemoryDisk())
    put(store, events(3))
    store.seal_key(ACME, EPOCH, KEY, "n", has_hot_rows=True)
    store.seal_key(ACME, EPOCH, KEY, "n", has_hot_rows=True)
    with pytest.raises(KeySealedError):
        store.seal_key(ACME, EPOCH, KEY, "another", has_hot_rows=True)
    with pytest.raises(KeySealedError):
        store.keep_originals(ACME, EPOCH, KEY, "another", (0, 0), None, has_hot_rows=True)
    store.learn_epoch(ACME, Epoch(3))
    with pytest.raises(EvenshardError, match="STALE_EPOCH"):
        store.seal_key(ACME, EPOCH, ("x", DAY), "n", has_hot_rows=True)


def test_originals_that_cannot_be_read_are_named_and_nobody_is_their_copy() -> None:
    disk = MemoryDisk()
    store = open_store(disk)
    store.keep_originals(ACME, EPOCH, KEY, "n", (0, 0), batch_of(events(50)), has_hot_rows=False)
    store.close()
    name = next(f"segments/{name}" for name in disk.list("segments") if name.endswith(".parquet"))
    disk.flip(name, 40)
    reports: list[str] = []
    store = open_store(disk, reports)
    assert duplicates(put(store, events(50), home=NOTHING, overflow=ALL)) == [False] * 50
    assert [each.file for each in store.quarantined] == [name]
    assert any(name in line for line in reports)


def hand_over(store: Store, acked: list[str]) -> None:
    """Everything that a shard of the overflow does for a key, and the end of it; and a seal of another one."""
    copies = events(30)
    store.keep_originals(ACME, EPOCH, KEY, "n", (0, 7), batch_of(copies[:10]), has_hot_rows=True)
    acked.append("first page")
    store.keep_originals(ACME, EPOCH, KEY, "n", (7, 0), batch_of(copies[10:]), has_hot_rows=True)
    acked.append("second page")
    store.seal_key(ACME, EPOCH, ("other", DAY), "m", has_hot_rows=False)
    acked.append("seal")
    done = put(store, copies, home=NOTHING, overflow=ALL, hot=True)
    if isinstance(done, EvenshardError):
        raise done
    acked.append("copies")
    store.compact(ACME)
    store.hide_users(ACME, EPOCH, "op", [USER], [KEY])
    acked.append("deleted")


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_after_a_power_cut_at_any_operation_what_was_acked_is_kept_and_the_rest_can_be_done_again(every: int) -> None:
    operations = [0]

    def count(operation: str, name: str) -> None:
        operations[0] += 1

    store = open_store(MemoryDisk(hook=count))
    begun = operations[0]
    hand_over(store, [])
    for number in range(begun, operations[0], every):
        survivor = cut_at(number)
        store, acked = open_store(survivor[0]), survivor[1]
        held = {each.key: each for each in store.held_keys(ACME, [USER, "other"])}
        visible = [event for event, _ in all_events(store.snapshot(ACME))]
        if "deleted" in acked:
            assert (set(held), visible) == ({("other", DAY)}, [])
        elif "copies" in acked and KEY in held:
            assert visible == events(30)
        if "second page" in acked and KEY in held:
            assert held[KEY].is_ready
            assert duplicates(put(store, events(30), home=NOTHING, overflow=ALL, hot=True)) == [True] * 30
        elif "first page" in acked and "deleted" not in acked and "copies" not in acked:
            assert held[KEY].has(0, 7)
        if "seal" in acked:
            assert ("other", DAY) in held
            assert code(put(store, events(1, user="other"))) == "KEY_SEALED"
        hand_over(store, [])
        assert [each.key for each in store.held_keys(ACME, [USER, "other"])] == [("other", DAY)]
        assert [event for event, _ in all_events(store.snapshot(ACME)) if event.distinct_id == USER] == []


def cut_at(number: int) -> tuple[MemoryDisk, list[str]]:
    """The disk after power was lost at this operation, and what was acked."""
    left = [number]
    survivors: list[MemoryDisk] = []

    def cut(operation: str, name: str) -> None:
        if left[0] == 0 and not survivors:
            survivors.append(disk.crash(Random(number)))
        left[0] -= 1

    disk, acked = MemoryDisk(hook=cut), list[str]()
    store = open_store(disk)
    with contextlib.suppress(OSError, EvenshardError, sqlite3.Error):
        hand_over(store, acked)
    return (survivors[0] if survivors else disk.crash(Random(number))), acked
