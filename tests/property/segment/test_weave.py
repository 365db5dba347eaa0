"""Rows in another order, weaving and numbering users, and identities by placement, against naive Python."""

from itertools import pairwise
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.hashing import hash_events, identity_hashes
from evenshard.events.scan import DUPLICATE, PLACEMENT_HASH
from evenshard.ids import TenantId
from evenshard.storage.compaction.merge import conformed, merge_sorted, merged_schema, sort_table
from evenshard.storage.rows import take_rows, take_strings
from evenshard.storage.segment import order as order_module
from evenshard.testing.tail_tables import TailRow, event_batch, in_segment_order, random_rows, rows_of, tail_table
from hypothesis import given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
texts = st.lists(st.one_of(st.none(), st.text(max_size=12)), max_size=30)


@given(texts, st.integers(0, 2**32), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_strings_are_taken_as_arrow_takes_them(values: list[str | None], seed: int, skipped: int) -> None:
    array = pa.array(values, pa.utf8()).slice(min(skipped, len(values)))
    rows = np.array([Random(seed + n).randrange(len(array)) for n in range(40 if len(array) else 0)], np.int64)
    taken = take_strings(array, rows)
    taken.validate(full=True)
    assert taken.to_pylist() == array.take(pa.array(rows)).to_pylist()
    record = pa.record_batch({"s": array, "n": pa.array(range(len(array)), pa.int64())})
    assert take_rows(record, rows) == record.take(pa.array(rows))


def colliding(table: pa.Table, seed: int) -> pa.Table:
    """The same rows as if few placement hashes were shared by several users."""
    few = np.random.default_rng(seed).integers(0, 1 << 64, 3, dtype=np.uint64)
    users = {name: few[number % 3] for number, name in enumerate(sorted(set(table.column("distinct_id").to_pylist())))}
    hashes = np.array([users[name] for name in table.column("distinct_id").to_pylist()], np.uint64)
    return table.set_column(table.schema.get_field_index(PLACEMENT_HASH), PLACEMENT_HASH, pa.array(hashes))


@given(st.integers(0, 2**32), st.lists(st.integers(1, 60), min_size=1, max_size=6), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_sorted_parts_are_woven_stably_whatever_users_share_a_hash(
    seed: int, sizes: list[int], shared: bool, crowded: bool
) -> None:
    random = Random(seed)
    parts = [random_rows(random, size, [100, 101], users=random.choice([1, 4, 50])) for size in sizes]
    tables = [tail_table(ACME, rows) for rows in parts]
    schema = merged_schema([], tables)
    tables = [conformed(table, schema) for table in tables]
    if shared:
        tables = [colliding(pa.concat_tables(tables).unify_dictionaries().combine_chunks(), seed)]
        bounds = np.cumsum([0, *sizes]).tolist()
        tables = [tables[0].slice(start, end - start) for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        if crowded:
            patch.setattr(order_module, "_BUCKET_BITS_MAX", 1)
        tables = [sort_table(table) for table in tables]
    woven = merge_sorted(tables, schema)
    whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    keys = [
        (row[PLACEMENT_HASH], row["distinct_id"].encode(), row["time"], row["event"].encode(),
         row["insert_id"] is not None, (row["insert_id"] or "").encode())
        for row in whole.to_pylist()
    ]  # fmt: skip
    expected = whole.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__)))
    assert rows_of(woven) == rows_of(expected)
    assert woven.column(PLACEMENT_HASH).to_pylist() == expected.column(PLACEMENT_HASH).to_pylist()
    users = woven.column("distinct_id").combine_chunks()
    values = users.dictionary.to_pylist()
    assert len(values) == len(set(values))
    if "" not in values:
        assert set(np.diff(users.indices.to_numpy())) <= {0, 1}
    if not shared:
        assert rows_of(woven) == in_segment_order(ACME, [row for table in tables for row in rows_of(table)])


@given(st.integers(0, 2**32), st.integers(1, 120))
@settings(max_examples=40, deadline=None)
def test_identities_follow_from_placement_hashes(seed: int, count: int) -> None:
    batch = event_batch(random_rows(Random(seed), count, [100], users=5))
    hashes, record = hash_events(ACME, batch), batch.record
    found = identity_hashes(
        ACME,
        record.column("event"),
        hashes.placement,
        np.array([name == "" for name in record.column("distinct_id").to_pylist()]),
        record.column("time").to_numpy(),
        record.column("insert_id"),
    )
    assert found.tolist() == hashes.identity.tolist()


def test_many_events_of_two_users_in_one_bucket_are_sorted() -> None:
    rows = [TailRow("e", f"u{n % 2}", 8_640_000_000 + n // 2, f"i{n}", n, None) for n in range(1_000)]
    Random(5).shuffle(rows)
    table = colliding(tail_table(ACME, rows), 1)
    assert rows_of(sort_table(table)) == sorted(rows, key=lambda row: (_hash_of(table, row), row.time_ms))
    assert table.column(DUPLICATE).to_pylist().count(True) == 0


def _hash_of(table: pa.Table, row: TailRow) -> int:
    at = table.column("distinct_id").to_pylist().index(row.distinct_id)
    return int(table.column(PLACEMENT_HASH)[at].as_py())
