"""Levels of ordered funnels equal ClickHouse's ``windowFunnel(W, 'strict_once')``, and with ``'strict_increase'``, on
random streams."""

import random
from typing import Any

import numpy as np
import pytest
from evenshard.queries.funnel_exclusions import best_attempts_excluding
from evenshard.queries.funnel_kernel import best_attempts
from evenshard.testing import clickhouse

pytestmark = pytest.mark.skipif(
    not clickhouse.available(), reason="SKIPPED: NO CLICKHOUSE: chdb is not installed (the bench extra)"
)
Users = list[list[tuple[int, int]]]


def our_levels(users: Users, steps: int, window: int, *, strict_increase: bool) -> list[int]:
    starts = np.append(0, np.cumsum([len(rows) for rows in users])).astype(np.int64)
    times = np.array([time for rows in users for time, _ in rows], np.int64)
    masks = np.array([mask for rows in users for _, mask in rows], np.uint64)
    levels, filled = np.zeros(len(users), np.int8), np.zeros(len(times), np.int32)
    funnel = (starts, times, masks, steps, window, np.array([0, 1 << 60], np.int64))
    if strict_increase:
        no_spans = np.zeros(0, np.int64)
        best_attempts_excluding(*funnel, no_spans, no_spans, True, False, levels, filled)
    else:
        best_attempts(*funnel, levels, filled)
    return levels.tolist()


def random_query(chance: random.Random) -> tuple[Users, int, int]:
    """Users whose events match one or several of 2 to 8 steps, sparse or with many ties."""
    steps = chance.choice([2, 2, 3, 3, 4, 5, 8])
    last_ms = chance.choice([1, 5, 20, 1000])
    shared = chance.choice([0.0, 0.1, 0.5, 1.0])

    def mask() -> int:
        if chance.random() < shared:
            return chance.randrange(1, 1 << steps)
        return 1 << chance.randrange(steps)

    users = [
        sorted(((chance.randint(0, last_ms), mask()) for _ in range(chance.randint(1, 12))), key=lambda row: row[0])
        for _ in range(chance.randint(1, 60))
    ]
    return users, steps, chance.randint(0, last_ms)


def check(seed: int, queries: int, *, strict_increase: bool) -> None:
    print(f"seed {seed}, strict_increase {strict_increase}")
    chance = random.Random(seed)
    reached: set[int] = set()
    for number in range(queries):
        users, steps, window = random_query(chance)
        expected = clickhouse.window_funnel_levels(users, steps, window, strict_increase=strict_increase)
        got = our_levels(users, steps, window, strict_increase=strict_increase)
        assert got == expected, _difference(number, users, steps, window, got, expected)
        reached.update(got)
    assert reached >= {0, 1, 2, 3, 4, 5}


def _difference(number: int, users: Users, steps: int, window: int, got: list[int], expected: list[int]) -> Any:
    wrong = next(at for at, (one, other) in enumerate(zip(got, expected, strict=True)) if one != other)
    return f"query {number}: {users[wrong]}, {steps} steps, window {window}: {got[wrong]}, not {expected[wrong]}"


@pytest.mark.parametrize("strict_increase", [False, True])
def test_a_hundred_random_funnels_equal_clickhouse(strict_increase: bool) -> None:
    check(seed=1, queries=100, strict_increase=strict_increase)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strict_increase", [False, True])
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_random_funnels_equal_clickhouse(seed: int, strict_increase: bool) -> None:
    check(seed, queries=1000, strict_increase=strict_increase)
