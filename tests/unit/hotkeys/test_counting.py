"""Counting of keys against a dict."""

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.hashing import hash_of
from evenshard.hotkeys.aggregate import DAY_MS, KEY_SCHEMA, NAME_SCHEMA, aggregate
from evenshard.hotkeys.counting import Counts, KeyCount
from evenshard.hotkeys.saved_counts import decoded, encoded
from evenshard.hotkeys.to_count import to_be_counted
from evenshard.ids import TenantId
from hypothesis import given, settings
from hypothesis import strategies as st

IDS = st.sampled_from(["", "a", "b", "ab", "ba", "user-1", "user-2", "ü" * 20])
EVENTS = st.lists(st.tuples(IDS, st.integers(400 * DAY_MS, 403 * DAY_MS), st.booleans()), max_size=60)

START_MS = 399 * 86_400_000 - 3_600_001
"""So that days from 399 on are counted whole."""
NOW_MS = 402 * DAY_MS


def keys(*rows: tuple[str, int, int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([row[column] for row in rows], KEY_SCHEMA.types[column]) for column in range(3)], schema=KEY_SCHEMA
    )


@settings(deadline=None)
@given(EVENTS)
def test_aggregate_counts_new_events_of_known_users_by_utc_day(events: list[tuple[str, int, bool]]) -> None:
    ids, times, new = [list(column) for column in zip(*events, strict=True)] if events else ([], [], [])
    hashes = np.array([hash_of(id_) for id_ in ids], np.uint64)
    counted = aggregate(pa.array(ids, pa.utf8()), np.array(times, np.int64), hashes, np.array(new, np.bool_))
    expected = Counter((id_, time // DAY_MS) for id_, time, is_new in events if id_ and is_new)
    columns = [column.to_pylist() for column in counted.record.columns]
    assert dict(zip(zip(*columns[:2], strict=True), columns[2], strict=True)) == expected
    assert counted.hashes.tolist() == [hash_of(id_) for id_ in columns[0]]


@pytest.mark.parametrize(("users", "told_by_row"), [(200_000, True), (5_000, False), (10, False)])
def test_what_counters_are_told_adds_up_whether_keys_come_again_or_not(users: int, told_by_row: bool) -> None:
    random = np.random.default_rng(users)
    rows = 20_000
    ids = pa.array([f"user-{number}" if number % 9 else "" for number in random.integers(0, users, rows).tolist()])
    times = 400 * DAY_MS + random.integers(0, 2 * DAY_MS, rows)
    hashes = np.array([hash_of(id_) for id_ in ids.to_pylist()], np.uint64)
    for new in (np.ones(rows, np.bool_), random.random(rows) < 0.7):
        record, hashes_of = to_be_counted(ids, times, hashes, new)
        expected = aggregate(ids, times, hashes, new).record
        assert hashes_of.tolist() == [hash_of(id_) for id_ in record.column("distinct_id").to_pylist()]
        assert (record.num_rows > expected.num_rows) == told_by_row
        assert (record.schema == NAME_SCHEMA) == told_by_row
        if told_by_row:
            record = record.append_column("count", pa.array(np.ones(record.num_rows, np.int64)))
        sums = [
            pa.Table.from_batches([each]).group_by(["distinct_id", "day"]).aggregate([("count", "sum")])
            for each in (record, expected)
        ]
        assert (
            sums[0]
            .sort_by([("distinct_id", "ascending"), ("day", "ascending")])
            .equals(sums[1].sort_by([("distinct_id", "ascending"), ("day", "ascending")]))
        )


ADDITIONS = st.lists(
    st.tuples(
        st.sampled_from(["t", "u"]),
        st.lists(st.tuples(IDS.filter(bool), st.integers(400, 402), st.integers(1, 9)), max_size=12),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(ADDITIONS)
def test_counts_equal_a_dict_while_nothing_is_forgotten(
    additions: list[tuple[str, list[tuple[str, int, int]]]],
) -> None:
    counts = Counts(10_000, START_MS)
    expected: Counter[tuple[str, str, int]] = Counter()
    for tenant, rows in additions:
        counts.add(TenantId(tenant), keys(*rows), NOW_MS)
        for id_, day, count in rows:
            expected[tenant, id_, day] += count
    for tenant in ("t", "u", None):
        wanted = [
            KeyCount(TenantId(name), id_, date(1970, 1, 1) + timedelta(days=day), count)
            for (name, id_, day), count in expected.items()
            if tenant in (None, name)
        ]
        wanted.sort(key=lambda key: (-key.count, key.tenant, key.distinct_id, key.day))
        found = counts.top(None if tenant is None else TenantId(tenant), 1000)
        assert list(found) == wanted
        assert [key.count for key in counts.top(None if tenant is None else TenantId(tenant), 3)] == [
            key.count for key in wanted[:3]
        ]


@settings(deadline=None)
@given(ADDITIONS, st.lists(st.tuples(st.sampled_from("tu"), st.lists(IDS, max_size=3)), min_size=12, max_size=12))
def test_users_who_are_deleted_begin_at_nothing(
    additions: list[tuple[str, list[tuple[str, int, int]]]], deletions: list[tuple[str, list[str]]]
) -> None:
    for keys_max in (10_000, 6):
        counts = Counts(keys_max, START_MS)
        expected: Counter[tuple[str, str, int]] = Counter()
        for (tenant, rows), (of_tenant, users) in zip(additions, deletions, strict=False):
            counts.add(TenantId(tenant), keys(*rows), NOW_MS)
            for id_, day, count in rows:
                expected[tenant, id_, day] += count
            counts.forget(TenantId(of_tenant), users)
            for key in [key for key in expected if key[0] == of_tenant and key[1] in users]:
                del expected[key]
            for tenant_now in "tu":
                asked = [(id_, day, 0) for id_ in ("a", "b", "ab", "ba", "user-1") for day in (400, 401)]
                found = counts.counts_of(TenantId(tenant_now), keys(*asked)).tolist()
                wanted = [expected[tenant_now, id_, day] for id_, day, _ in asked]
                if keys_max > 6:
                    assert found == wanted
                else:
                    assert all(have <= want for have, want in zip(found, wanted, strict=True))


@settings(deadline=None)
@given(ADDITIONS, st.sampled_from(["t", "u", None]), st.integers(1, 15), st.integers(1, 4), st.integers(8, 40))
def test_pages_of_keys_near_a_threshold_have_each_of_them_once(
    additions: list[tuple[str, list[tuple[str, int, int]]]],
    tenant: str | None,
    count_min: int,
    limit: int,
    keys_max: int,
) -> None:
    counts = Counts(keys_max, START_MS)
    for name, rows in additions:
        counts.add(TenantId(name), keys(*rows), NOW_MS)
    whole = [key for key in counts.top(TenantId(tenant) if tenant else None, 1000) if key.count >= count_min]
    found: list[KeyCount] = []
    hash_from = 0
    for _ in range(1000):
        page, hash_next = counts.near(TenantId(tenant) if tenant else None, count_min, hash_from, limit)
        assert len({key.distinct_id for key in page}) <= limit
        found += page
        if not hash_next:
            break
        assert hash_next > hash_from
        hash_from = hash_next
    assert sorted(found, key=lambda key: (-key.count, key.tenant, key.distinct_id, key.day)) == list(whole)


def test_a_key_counted_often_survives_many_that_are_not() -> None:
    counts = Counts(8, START_MS)
    for number in range(100):
        counts.add(TenantId("t"), keys(("hot", 400, 10), (f"cold-{number}", 400, 1)), NOW_MS)
    assert counts.top(None, 1) == [KeyCount(TenantId("t"), "hot", date(1970, 1, 1) + timedelta(days=400), 1000)]


def test_how_much_is_missing_of_days_that_had_begun_is_not_known() -> None:
    """Counting began an hour and a bit before day 399: none of its events can have come earlier."""

    def missing(start_ms: int, *days: int) -> int | None:
        counts = Counts(100, start_ms)
        counts.add(TenantId("t"), keys(*(("a", day, 5) for day in days)), NOW_MS)
        return counts.missing_max(counts.top(None, 10))

    assert missing(START_MS, 399, 400) == 0
    assert missing(START_MS, 398, 400) is None
    assert missing(START_MS + 1, 399) is None
    assert missing(START_MS + 1, 400) == 0
    assert missing(START_MS) is None


def test_a_table_is_as_large_as_its_keys_need_and_saved_at_each_size_comes_back_whole() -> None:
    keys_max, step = 3_000_000, 40_000
    counts, sizes = Counts(2 * keys_max, START_MS, heavy_keys_max=1_000), []
    for first in range(0, 1_000_000, step):
        counts.add(
            TenantId("t"),
            keys(*((f"user-{number}", 400, 1 + number % 3) for number in range(first, first + step))),
            NOW_MS,
        )
        sizes.append(counts._young.counts.bytes)
        if sizes[-1] != (sizes[-2] if first else 0):
            counts = Counts.restore(decoded(b"".join(encoded(counts.save()))), START_MS, heavy_keys_max=1_000)
            assert counts._young.counts.bytes == sizes[-1]
    everybody = keys(*((f"user-{number}", 400, 0) for number in range(1_000_100))).select(["distinct_id", "day"])
    expected = [1 + number % 3 for number in range(1_000_000)] + [0] * 100
    assert counts.counts_of(TenantId("t"), everybody).tolist() == expected
    assert sizes[0] < 4 << 20 < sizes[-1] < 40 << 20
    assert len(set(sizes)) == 4
