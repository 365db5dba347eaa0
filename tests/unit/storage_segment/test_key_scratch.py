"""Old events are looked up at little cost: what was decoded once is kept on the disk, and read in small pieces."""

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Final

import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import NO_IDENTITY, EventHashes
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.choosing import key_rows
from evenshard.storage.segment import identities
from evenshard.storage.segment import writer as segment_writer
from evenshard.storage.segment.cache import WRITTEN
from evenshard.storage.segment.filter import BucketFilter
from evenshard.storage.segment.info import DAY_MS
from evenshard.storage.segment.key_scratch import FREE_BYTES_MIN
from evenshard.storage.segment.written_keys import WrittenKeys
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk, MemoryFile
from evenshard.testing.events import Event, append_of

TENANT = TenantId("acme")
DAY_START_MS = 1_767_225_600_000
EVENTS, BATCH, GROUP_ROWS = 40_000, 2_000, 2_048


class CountingFile(MemoryFile):
    """Counts the bytes that are read, by name."""

    _disk: "CountingDisk"

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        self._disk.read_bytes[self._name] += len(data)
        return data

    def read_pieces(self, offsets, lengths):  # type: ignore[no-untyped-def]
        data = super().read_pieces(offsets, lengths)
        self._disk.read_bytes[self._name] += data.size
        return data


class CountingDisk(MemoryDisk):
    def __init__(self) -> None:
        super().__init__()
        self.read_bytes: Counter[str] = Counter()

    def open(self, name: str, *, create: bool = False) -> MemoryFile:
        return CountingFile(self, name, super().open(name, create=create)._open())

    def taken(self, ends: str) -> int:
        """Bytes read since it was asked before, of files whose names end so."""
        names = [name for name in self.read_bytes if name.endswith(ends)]
        return sum(self.read_bytes.pop(name) for name in names)


def events(first: int, count: int, seed: int = 4) -> list[Event]:
    """Different ones, of one day and of all users at once."""
    random = Random(f"{seed}/{first}")
    return [
        Event(
            random.choice(["view", "buy", "search"]), f"user-{random.randrange(2_000)}", DAY_START_MS + each, f"i{each}"
        )
        for each in range(first, first + count)
    ]


@pytest.fixture(autouse=True, scope="module")
def _small_row_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_writer, "ROW_GROUP_ROWS", GROUP_ROWS)
        yield


NO_MEMORY: Final = 1
"""Bytes of a cache that has room for nothing: all is kept on scratch."""


def opened(disk: MemoryDisk, **bounds: int) -> Store:
    settings = StorageSettings(compact_rows=1 << 30, **bounds)
    return Store.open(disk, ManualClock(), ShardId("s"), settings, lambda _: None)


def duplicates(store: Store, rows: list[Event]) -> list[bool]:
    (done,) = store.append([append_of(rows, TENANT)])
    assert not isinstance(done, EvenshardError), done
    return list(done.duplicates.tolist())


def test_events_that_come_again_read_each_segment_once_however_small_the_cache() -> None:
    """Filters alone fill it. Of what was decoded, a look-up reads a few hundred bytes."""
    disk = CountingDisk()
    store = opened(disk, identity_cache_bytes=120_000)
    index(store)
    disk.read_bytes.clear()
    (stored,) = store.storage()
    looked_up = []
    for first in range(0, EVENTS, BATCH):
        assert all(duplicates(store, events(first, BATCH)))
        looked_up.append(disk.taken("keys"))
    read = disk.taken(".parquet")
    print(read, stored.bytes, looked_up)
    assert read < 3 * stored.bytes  # blocks of 16 KiB, row groups hardly larger; footers do not stay in the cache
    assert max(looked_up) < 1_500 * BATCH
    new = events(EVENTS, BATCH - 10) + events(0, BATCH)[17:27]
    assert duplicates(store, new) == [False] * (BATCH - 10) + [True] * 10
    assert disk.taken("keys") < 1_500 * 10
    store.close()


def index(store: Store, count: int = EVENTS) -> None:
    for first in range(0, count, BATCH):
        assert not any(duplicates(store, events(first, BATCH)))
    store.compact(TENANT)


SOME = 3 * BATCH


def alike(rows: list[Event]) -> list[Event]:
    """Others, which differ from these in one field each."""
    others = [
        lambda row: replace(row, event="other"),
        lambda row: replace(row, distinct_id=row.distinct_id + "x"),
        lambda row: replace(row, time=row.time + 86_000_000),
        lambda row: replace(row, insert_id=f"{row.insert_id}x"),
        lambda row: replace(row, insert_id=None),
    ]
    return [others[number % len(others)](row) for number, row in enumerate(rows)]


@pytest.mark.parametrize(("cache_bytes", "restarted"), [(NO_MEMORY, False), (64 << 20, True), (64 << 20, False)])
def test_an_event_that_differs_in_one_field_is_another_one_and_one_without_insert_id_is_none(
    cache_bytes: int, restarted: bool
) -> None:
    """Also one whose hash is that of another: hashes are taken for equal here."""
    disk = MemoryDisk()
    store = opened(disk, identity_cache_bytes=cache_bytes)
    index(store, SOME)
    if restarted:
        store = again(store, disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BucketFilter, "may_contain", lambda _, identity: identity != NO_IDENTITY)
        for _ in range(2):
            old, others = events(0, BATCH), alike(events(0, BATCH))
            assert duplicates(store, old) == [True] * BATCH
            known = store._state.tenants[TENANT].indexed.known
            append = append_of(others, TENANT).prepared()
            assert append.hashes is not None
            forced = EventHashes(append.hashes.placement, append_of(old, TENANT).prepared().hashes.identity)
            for hashes in (append.hashes, forced):
                assert not known(TENANT, append.batch, hashes).any()
    assert (store._state.cache.scratch.bytes > 0) == (cache_bytes == NO_MEMORY)
    store.close()


def again(store: Store, disk: MemoryDisk) -> Store:
    """The store after a restart: nothing is in memory of what was indexed."""
    store.close()
    return opened(disk, identity_cache_bytes=64 << 20)


def test_what_was_just_indexed_is_found_without_decoding_it_and_goes_with_its_segment() -> None:
    """Also where copies are merged with their originals."""
    store = opened(MemoryDisk(), identity_cache_bytes=64 << 20)
    index(store, SOME)
    old = [row for first in range(0, SOME, BATCH) for row in events(first, BATCH)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "read_columns", None)
        assert duplicates(store, [*old, *alike(old)]) == [True] * SOME + [False] * SOME
        before = {info.id for info in store._state.tenants[TENANT].visible.segments}
        store.compact(TENANT)
        assert not [key for key in store._state.cache._entries if isinstance(key, tuple) and key[0] in before]
        known = [row.insert_id is not None for row in alike(old)]
        assert duplicates(store, [*old, *alike(old)]) == [True] * SOME + known
    store.close()


def test_what_a_compaction_had_in_its_hands_gives_way_to_whatever_else_needs_the_room() -> None:
    """As a whole: row groups of a segment share memory. What was of use is as anything else."""
    store = opened(MemoryDisk(), identity_cache_bytes=1 << 20)
    index(store, SOME)
    cache = store._state.cache
    (written,) = [key for key in cache._entries if isinstance(key, tuple) and key[1] == WRITTEN]
    assert len(cache.peek(written)) == -(-SOME // GROUP_ROWS) > 1
    assert cache.has_room(cache.bytes_max)
    cache.put("a filter", None, cache.bytes_max - cache.bytes)
    assert cache.peek(written) is not None
    cache.put("another filter", None, 1)
    assert cache.peek(written) is None
    assert all(duplicates(store, events(0, BATCH)))
    store.close()


@pytest.mark.parametrize(("yields", "kept_groups"), [(False, 2), (True, 0)])
def test_of_a_segment_nothing_is_kept_behind_a_row_group_that_found_no_room(yields: bool, kept_groups: int) -> None:
    """The number of a row group is its place. Where others come to need the room, all of the segment goes."""
    room = 1 << 20
    written = WrittenKeys(lambda: room)
    batch = append_of(sorted(events(0, 500), key=lambda row: row.distinct_id), TENANT).prepared()
    assert batch.hashes is not None
    columns = dict(zip(batch.batch.record.schema.names, batch.batch.record.columns, strict=True))
    rows = pa.table({**columns, PLACEMENT_HASH: batch.hashes.placement})
    for number in range(4):
        room = 0 if number == 2 else 1 << 20
        if yields and number == 2:
            written.yield_room()
        written.add(7, rows)
    written.add(8, rows)
    kept = {segment: len(groups) for segment, groups in written.take().items()}
    assert (kept, written.bytes) == ({8: 1} | ({7: kept_groups} if kept_groups else {}), 0)


def test_what_memory_has_room_for_is_read_once_and_not_written_and_goes_with_its_segment() -> None:
    disk = CountingDisk()
    store = opened(disk, identity_cache_bytes=64 << 20)
    index(store, SOME)
    store = again(store, disk)
    old = [row for first in range(0, SOME, BATCH) for row in events(first, BATCH)]
    assert all(duplicates(store, old))
    disk.read_bytes.clear()
    assert all(duplicates(store, old))
    assert (disk.taken(".parquet"), disk.taken("keys")) == (0, 0)
    before = {info.id for info in store._state.tenants[TENANT].visible.segments}
    store.compact(TENANT)
    assert not [key for key in store._state.cache._entries if isinstance(key, tuple) and key[0] in before]
    assert all(duplicates(store, old))
    store.close()


def purge(store: Store, user: str) -> None:
    store.hide_users(TENANT, Epoch(1), "op-1", [user])
    while store.purge_step(TENANT):
        pass
    assert store.purge_status(TENANT, "op-1").purged


def set_apart(store: Store, user: str) -> None:
    """Rows that wait are indexed for it first, and what is written then is held."""
    assert all(duplicates(store, events(0, BATCH)))
    store.repairs.take(TENANT, "op.taken", key_rows(user, [DAY_START_MS // DAY_MS]))


def segments_of(store: Store) -> set[int]:
    return {info.id for info in store._state.tenants[TENANT].visible.segments}


def held_segments(store: Store) -> set[int]:
    """Those of which memory holds something."""
    return {key[0] for key in store._state.cache._entries if isinstance(key, tuple)}


@pytest.mark.parametrize("written_anew", [purge, set_apart])
def test_nothing_is_kept_in_memory_of_what_was_written_anew_without_some_rows(
    written_anew: Callable[[Store, str], None],
) -> None:
    store = opened(MemoryDisk(), identity_cache_bytes=64 << 20)
    index(store, SOME)
    before = segments_of(store)
    assert held_segments(store) == before
    written_anew(store, events(0, 1)[0].distinct_id)
    assert before - segments_of(store)
    assert held_segments(store) <= segments_of(store)
    store.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_one_user_with_many_events_of_one_ms_and_anonymous_ones_are_found_in_memory(restarted: bool) -> None:
    """Times that leap, copies, events without insert_id; each is asked for, and one like it that is none."""
    disk = MemoryDisk()
    store = opened(disk, identity_cache_bytes=64 << 20)
    chance = Random(8)
    rows = [
        Event(
            chance.choice(["view", "buy"]),
            chance.choice(["", "ann", "ann", "ann", f"user-{number}"]),
            DAY_START_MS + chance.choice([0, 1, 1, number]),
            None if number % 9 == 0 else f"i{number}",
        )
        for number in range(3 * GROUP_ROWS)
    ]
    asked = [*rows, *alike(rows)]
    known = {row.identity for row in rows if row.identity}
    duplicates(store, [*rows, *rows[:50]])
    store.compact(TENANT)
    if restarted:
        store = again(store, disk)
    seen: set[object] = set(known)
    expected = []
    for row in asked:
        expected.append(row.identity is not None and row.identity in seen)
        seen.add(row.identity)
    assert duplicates(store, asked) == expected
    assert store._state.cache.scratch.bytes == 0
    store.close()


@pytest.mark.parametrize("scratch_bytes", [0, 200_000, 1_500_000, 1 << 30])
def test_what_is_found_does_not_depend_on_the_room_there_is(scratch_bytes: int) -> None:
    disk = MemoryDisk()
    store = opened(disk, identity_scratch_bytes=scratch_bytes, identity_cache_bytes=100_000)
    index(store, SOME)
    chance = Random(3)
    everything = events(0, BATCH) + events(BATCH, BATCH) + events(2 * BATCH, BATCH)
    fresh = EVENTS
    for _ in range(6):
        old = chance.sample(everything, 500)
        new = events(fresh, 500)
        fresh += 500
        mixed = [*((row, True) for row in old), *((row, False) for row in new)]
        chance.shuffle(mixed)
        assert duplicates(store, [row for row, _ in mixed]) == [known for _, known in mixed]
        assert store._state.cache.scratch.bytes <= scratch_bytes
    assert (store._state.cache.scratch.bytes > 0) == (scratch_bytes >= 1_500_000)
    assert disk.list("scratch") == []
    store.close()


def test_what_a_filter_lets_by_in_error_is_told_from_two_columns_and_nothing_is_kept_of_it() -> None:
    disk = CountingDisk()
    store = opened(disk)
    index(store, SOME)
    store = again(store, disk)
    assert duplicates(store, events(0, 1)) == [True]
    whole, kept = disk.taken(".parquet"), store._state.cache.scratch.bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BucketFilter, "may_contain", lambda _, identity: identity != NO_IDENTITY)
        for number in range(1, 7):
            assert duplicates(store, events(EVENTS + number, 1)) == [False]
    assert (disk.taken(".parquet") < 4 * whole, store._state.cache.scratch.bytes) == (True, kept)
    store.close()


def test_nothing_of_a_deleted_user_is_left_on_scratch_once_he_is_purged() -> None:
    """Also of a segment that was merged away before."""
    store = opened(MemoryDisk(), identity_cache_bytes=NO_MEMORY)
    index(store, BATCH)
    old = events(0, BATCH)
    assert all(duplicates(store, old))
    merged_away = scratch_file(store)
    store.compact(TENANT)
    assert all(duplicates(store, old))
    user = old[0].distinct_id
    store.hide_users(TENANT, Epoch(1), "operation", [user])
    assert f"{user}view".encode() in bytes(merged_away._open().data)
    while not store.purge_status(TENANT, "operation").purged:
        store.purge_step(TENANT)
    assert store._state.cache.scratch.bytes == 0
    with pytest.raises(OSError, match="closed"):
        merged_away.read(0, 1)
    assert duplicates(store, old) == [row.distinct_id != user for row in old]
    assert f"{user}view".encode() not in bytes(scratch_file(store)._open().data)
    store.close()


def scratch_file(store: Store) -> MemoryFile:
    (part,) = store._state.cache.scratch._parts
    assert isinstance(part.file, MemoryFile)
    return part.file


def test_what_was_deleted_is_not_left_on_scratch_when_it_is_said_to_be_gone() -> None:
    disk = MemoryDisk()
    store = opened(disk, identity_cache_bytes=NO_MEMORY)
    theirs = [replace(row, distinct_id="somebody-who-leaves") for row in events(EVENTS, 20)]
    assert not any(duplicates(store, theirs))
    index(store)
    assert all(duplicates(store, [*events(0, BATCH), *theirs]))
    held = scratch_file(store)
    assert b"somebody-who-leaves" in held.read(0, held.size())
    store.hide_users(TENANT, Epoch(1), "op-1", ["somebody-who-leaves"])
    while store.purge_step(TENANT):
        pass
    assert store.purge_status(TENANT, "op-1").purged
    assert store._state.cache.scratch.bytes == 0
    assert all(duplicates(store, events(0, BATCH)))
    assert not any(duplicates(store, theirs))
    store.close()


def test_a_flipped_bit_is_noticed_and_the_segment_asked() -> None:
    store = opened(MemoryDisk(), identity_cache_bytes=NO_MEMORY)
    index(store, BATCH)
    chance = Random(5)
    old = events(0, BATCH)
    assert all(duplicates(store, old))
    for _ in range(40):
        data = scratch_file(store)._open().data
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        assert duplicates(store, old) == [True] * BATCH
    store.close()


@pytest.mark.parametrize("operation", ["create", "unlink", "write", "read"])
def test_a_disk_that_refuses_is_told_of_once_and_what_is_found_is_right(operation: str) -> None:
    disk, told = MemoryDisk(), list[str]()
    settings = StorageSettings(compact_rows=1 << 30, identity_cache_bytes=NO_MEMORY)
    store = Store.open(disk, ManualClock(), ShardId("s"), settings, told.append)
    index(store, BATCH)
    failing = True

    def refuse(kind: str, name: str) -> None:
        if failing and kind == operation and name.startswith("scratch/"):
            raise OSError(errno.EIO, "the disk is worn")

    disk.hook = refuse
    for _ in range(3):
        assert duplicates(store, events(0, BATCH)) == [True] * BATCH
    assert len(told) == 1
    assert told[0].startswith("scratch/: what finds old duplicates fast could not be ")
    failing = False
    for _ in range(2):
        assert duplicates(store, events(0, BATCH)) == [True] * BATCH
    assert scratch_file(store).size() > 0
    assert len(told) == 1
    store.close()


def test_the_last_of_the_disk_is_left_to_events_and_a_leftover_is_no_obstacle() -> None:
    disk = MemoryDisk(capacity_bytes=FREE_BYTES_MIN)
    store = opened(disk, identity_cache_bytes=NO_MEMORY)
    index(store, BATCH)
    assert all(duplicates(store, events(0, BATCH)))
    assert store._state.cache.scratch.bytes == 0
    disk.capacity_bytes *= 2
    disk.open("scratch/keys", create=True)
    assert all(duplicates(store, events(0, BATCH)))
    assert store._state.cache.scratch.bytes > 0
    assert disk.list("scratch") == []
    store.age_log(0)
    file = scratch_file(store)
    disk.capacity_bytes = FREE_BYTES_MIN
    store.age_log(0)
    assert store._state.cache.scratch.bytes == 0
    with pytest.raises(OSError, match="closed"):
        file.read(0, 1)
    assert all(duplicates(store, events(0, BATCH)))
    disk.capacity_bytes *= 2
    store._state.cache.put("another filter", None, store._state.cache.bytes_max)
    assert all(duplicates(store, events(0, BATCH)))
    file = scratch_file(store)
    store.close()
    with pytest.raises(OSError, match="closed"):
        file.read(0, 1)
