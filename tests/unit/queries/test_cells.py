"""Counts over many batches equal counts over all rows at once."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from evenshard.queries.cell_values import PairCounts
from evenshard.queries.cells import CellCounts, CellUsers


@pytest.mark.parametrize("wait", [1, 50, 1 << 20])
def test_distinct_users_of_many_batches_equal_sets(monkeypatch: pytest.MonkeyPatch, wait: int) -> None:
    monkeypatch.setattr(CellUsers, "_WAIT_MIN", wait)
    seed = 5
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    names = ["", "", "user-0", *(f"user-{number}" for number in range(40))]  # an id may occur twice
    counted, expected = CellUsers(), {cell: set[str]() for cell in range(12)}
    for _ in range(20):
        ids = rng.permutation(names)[: rng.integers(1, 30)].tolist()
        cells, users = rng.integers(0, 12, 25), rng.integers(0, len(ids), 25).astype(np.int32)
        counted.add(cells, users, pa.array(ids))
        for cell, user in zip(cells.tolist(), users.tolist(), strict=True):
            expected[cell] |= {ids[user]} - {""}
    assert counted.counts(np.arange(12)).tolist() == [len(expected[cell]) for cell in range(12)]
    by_group = [len(set.union(*(expected[group * 4 + at] for at in range(4)))) for group in range(3)]
    assert counted.counts_by_group(np.arange(3), 4).tolist() == by_group


@pytest.mark.parametrize("wait", [1, 1 << 20])
def test_sums_of_many_batches_equal_a_dict(monkeypatch: pytest.MonkeyPatch, wait: int) -> None:
    monkeypatch.setattr(CellCounts, "_WAIT_MIN", wait)
    rng = np.random.default_rng(6)
    counted, expected = CellCounts(), dict[int, int]()
    for _ in range(20):
        keys, counts = rng.permutation(30)[:9], rng.integers(1, 5, 9)
        counted.add(keys, counts)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            expected[key] = expected.get(key, 0) + count
    keys, sums = counted.sums()
    assert dict(zip(keys.tolist(), sums.tolist(), strict=True)) == expected
    assert keys.tolist() == sorted(expected)


@pytest.mark.parametrize("wait", [1, 20, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_many_batches_are_counted_and_sorted(monkeypatch: pytest.MonkeyPatch, wait: int, seed: int) -> None:
    monkeypatch.setattr(PairCounts, "_WAIT_MIN", wait)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    counted, expected = PairCounts(), Counter[tuple[int, int]]()
    for _ in range(30):
        cells, keys = rng.integers(0, 4, 12), rng.choice([-(2**63), -5, 0, 3, 2**63 - 1], rng.integers(1, 12))
        counted.add(cells[: len(keys)], keys)
        expected.update(zip(cells.tolist(), keys.tolist(), strict=False))
    assert list(zip(*(column.tolist() for column in counted.sums()), strict=True)) == [
        (cell, key, expected[cell, key]) for cell, key in sorted(expected)
    ]
