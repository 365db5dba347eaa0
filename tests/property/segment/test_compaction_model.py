"""Compaction, indexed identities and time order against naive Python, over random histories on a disk in memory."""

import itertools
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import NO_IDENTITY, EventHashes, hash_events
from evenshard.events.scan import ScannedRows
from evenshard.ids import TenantId
from evenshard.storage.compaction import plan as plan_module
from evenshard.storage.compaction.compact import Compaction, Limits, compact
from evenshard.storage.compaction.merge import sort_table
from evenshard.storage.segment import writer as segment_writer
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.filter import BucketFilter
from evenshard.storage.segment.identities import IndexedIdentities, read_filter, stored_identities
from evenshard.storage.segment.info import SegmentInfo, day_of
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.time_order import rows_in_time_order
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.tail_tables import (
    DAY_MS,
    TailRow,
    event_batch,
    in_segment_order,
    random_rows,
    rows_of,
    tail_table,
    waiting_table,
    with_bits,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
LIMITS = Limits(segment_rows=150, window_rows=120, window_bytes=1 << 30)
FIELDS = ("event", "distinct_id", "time", "insert_id")


@pytest.fixture(autouse=True, scope="module")
def small_numbers() -> object:
    """Limits so low that a few hundred rows meet all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "SHARED_ROWS_MAX", 200)
        patch.setattr(plan_module, "SMALL_ROWS", 60)
        patch.setattr("evenshard.storage.compaction.compact.SHARED_ROWS_MAX", 200)
        patch.setattr(segment_writer, "ROW_GROUP_ROWS", 32)
        yield


class Indexed:
    """A tenant's segments on a disk in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.live: tuple[SegmentInfo, ...] = ()
        self.stored: set[tuple[str, str, int, str]] = set()
        self.rows: list[TailRow] = []
        self._ids = itertools.count(1)

    def compact(self, batches: Sequence[Sequence[TailRow]], now_day: int) -> Compaction:
        tables = [(waiting_table, tail_table)[number % 2](ACME, rows) for number, rows in enumerate(batches)]
        done = compact(self.disk, lambda: next(self._ids), ACME, tables, self.live, now_day, limits=LIMITS)
        self.live = (*(info for info in self.live if info.id not in done.removed), *done.added)
        self.rows += [row for rows in batches for row in rows]
        for info in done.added:
            self._check_filter(info)
        return done

    def _check_filter(self, info: SegmentInfo) -> None:
        """It has the identities of the segment's rows, and no others'."""
        of_rows = stored_identities(SegmentReader(self.disk, info))
        of_rows = of_rows[of_rows != NO_IDENTITY]
        found = read_filter(self.disk, info)
        assert found.may_contain(of_rows).all()
        assert isinstance(found, BucketFilter)
        assert np.unique(of_rows).size <= found.keys <= of_rows.size

    def scan(
        self, fields: Sequence[str], properties: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> list[ScannedRows]:
        return [
            part
            for info in self.live
            for part in SegmentReader(self.disk, info).scan(fields, properties, start_ms, end_ms)
        ]

    def known(self, batch: EventBatch, hashes: EventHashes, cache_bytes: int = 1 << 20) -> list[bool]:
        identities = IndexedIdentities(
            self.disk, self.live, SegmentCache(cache_bytes, KeyScratch(self.disk, cache_bytes))
        )
        first: list[bool] = identities.known(ACME, batch, hashes).tolist()
        assert identities.known(ACME, batch, hashes).tolist() == first  # from scratch, where there is room
        return first


def sorted_rows(rows: Sequence[TailRow]) -> list[str]:
    return sorted(map(repr, rows))


steps = st.lists(
    st.tuples(st.integers(0, 2**32), st.lists(st.integers(1, 120), max_size=3), st.integers(0, 8)),
    min_size=1,
    max_size=6,
)


@given(steps)
@settings(max_examples=15, deadline=None)
def test_compaction_keeps_every_row_and_its_bits(history: list[tuple[int, list[int], int]]) -> None:
    indexed, now_day = Indexed(), 110
    for seed, sizes, days_passed in history:
        random = Random(seed)
        now_day += days_passed
        batches = [with_bits(random_rows(random, n, range(100, 110)), indexed.stored) for n in sizes]
        done = indexed.compact(batches, now_day)
        assert (done.rows, done.duplicates_marked) == (
            sum(sizes),
            sum(row.duplicate for rows in batches for row in rows),
        )
        check(indexed)


def check(indexed: Indexed) -> None:
    """Everything a reader may rely on."""
    found = [row for part in indexed.scan(FIELDS, None, 0, 1 << 62) for row in rows_of(part.record)]
    assert sorted_rows(found) == sorted_rows(indexed.rows)
    runs: dict[tuple[int, int, int], list[SegmentInfo]] = {}
    for info in sorted(indexed.live, key=lambda info: (info.slot_first, info.id)):
        assert info.rows <= LIMITS.segment_rows
        assert info.first_day <= day_of(info.min_time_ms) <= day_of(info.max_time_ms) <= info.last_day
        runs.setdefault((info.first_day, info.last_day, info.run), []).append(info)
    for infos in runs.values():
        rows = [
            row
            for info in infos
            for part in SegmentReader(indexed.disk, info).scan(FIELDS, None, 0, 1 << 62)
            for row in rows_of(part.record)
        ]
        assert [r.time_key for r in rows] == [r.time_key for r in in_segment_order(ACME, rows)]
    files = {name for info in indexed.live for name in info.files}
    assert files <= {f"segments/{name}" for name in indexed.disk.list("segments")}
    ranges = sorted({(info.first_day, info.last_day) for info in indexed.live})
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


@given(st.integers(0, 2**32), st.sampled_from([0, 4000, 1 << 20]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_indexed_identities_are_exactly_those_stored(seed: int, cache_bytes: int, colliding: bool) -> None:
    random, indexed = Random(seed), Indexed()
    for now_day in (110, 110, 112):
        indexed.compact([with_bits(random_rows(random, 150, range(100, 110)), indexed.stored)], now_day)
    rows = random_rows(random, 300, range(98, 112), users=25) + random.sample(indexed.rows, 50)
    batch = event_batch(rows)
    hashes = hash_events(ACME, batch)
    if colliding:  # each new event bears the hash of some stored one
        others = [random.choice([row for row in indexed.rows if row.insert_id]) for _ in rows]
        new = np.array([row.insert_id is not None and row.identity not in indexed.stored for row in rows])
        stolen = hash_events(ACME, event_batch(others)).identity
        hashes = EventHashes(hashes.placement, np.where(new, stolen, hashes.identity))
    assert indexed.known(batch, hashes, cache_bytes) == [row.identity in indexed.stored for row in rows]


def test_another_tenants_segments_hold_nothing() -> None:
    indexed = Indexed()
    rows = with_bits(random_rows(Random(1), 50, [100]), indexed.stored)
    indexed.compact([rows], 110)
    batch = event_batch(rows)
    identities = IndexedIdentities(indexed.disk, indexed.live)
    assert not identities.known(TenantId("bolt"), batch, hash_events("acme", batch)).any()


@given(
    st.integers(0, 2**32),
    st.integers(99 * DAY_MS, 111 * DAY_MS),
    st.integers(0, 12 * DAY_MS),
    st.sampled_from([(), ("a",), ("é", "z.z"), ("absent",)]),
    st.booleans(),
    st.sampled_from([7, 50, 100_000]),
)
@settings(max_examples=25, deadline=None)
def test_rows_come_in_time_order(
    seed: int, start_ms: int, length_ms: int, events: tuple[str, ...], duplicates: bool, window_rows: int
) -> None:
    random, indexed = Random(seed), Indexed()
    batches = [with_bits(random_rows(random, 100, range(100, 110)), indexed.stored) for _ in range(3)]
    indexed.compact(batches[:2], 110)
    indexed.compact(batches[2:], 110)
    end_ms = start_ms + length_ms
    expected = [
        row
        for row in sorted(indexed.rows, key=lambda row: row.time_key)
        if start_ms <= row.time_ms < end_ms
        and (not events or row.event in events)
        and (duplicates or not row.duplicate)
    ]
    parts = list(
        rows_in_time_order(indexed, start_ms, end_ms, events, duplicates, window_rows=window_rows, batch_rows=16)
    )
    rows = [row for part in parts for row in rows_of(part)]
    assert [row.time_key for row in rows] == [row.time_key for row in expected]
    assert sorted_rows(rows) == sorted_rows(expected)
    assert all(0 < part.num_rows <= 16 for part in parts)
    assert all(part.schema.names[:4] == list(FIELDS) and part.schema.names[-1] == "duplicate" for part in parts)


@given(st.integers(0, 2**32), st.integers(1, 200))
@settings(max_examples=25, deadline=None)
def test_a_table_is_sorted_as_naive_python_sorts_it(seed: int, count: int) -> None:
    random = Random(seed)
    rows = random_rows(random, count, [100, 101], users=random.choice([1, 3, 50]))
    assert rows_of(sort_table(tail_table(ACME, rows))) == in_segment_order(ACME, rows)


def test_two_originals_of_one_identity_are_damage_and_nothing_is_replaced() -> None:
    indexed = Indexed()
    row = TailRow("a", "u", 100 * DAY_MS, "i1", 1, "x")
    indexed.compact([[row]], 110)
    before = indexed.live
    files = indexed.disk.list("segments")
    with pytest.raises(EvenshardError, match="both marked as the first") as caught:
        indexed.compact([[row]], 110)
    assert caught.value.code == "DATA_DAMAGED"
    assert (indexed.live, indexed.disk.list("segments")) == (before, files)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory"])
def test_a_failing_disk_leaves_no_file_behind(operation: str) -> None:
    indexed = Indexed()
    indexed.compact([with_bits(random_rows(Random(1), 300, range(100, 110)), indexed.stored)], 110)
    files = indexed.disk.list("segments")
    batch = with_bits(random_rows(Random(2), 300, range(100, 110)), indexed.stored)
    for number in itertools.count(1):
        left = [number]

        def fail(done: str, name: str, left: list[int] = left) -> None:
            left[0] -= done == operation
            if left[0] == 0 and done == operation:
                raise OSError(5, "the disk fails", name)

        indexed.disk.hook = fail
        try:
            done = indexed.compact([batch], 110)
        except OSError:
            assert indexed.disk.list("segments") == files
            continue
        assert number > 1
        assert done.rows == 300
        break
    indexed.disk.hook = None
    check(indexed)
