"""Meters against what they would say if they kept everything."""

from collections import Counter

import numpy as np
import pytest
from evenshard.hotkeys.meters import (
    LATENCY_MS_MIN,
    SlidingLatencies,
    SlidingSum,
    bucket_of,
    upper_edge_ms,
)
from evenshard.hotkeys.slow_queries import nearest_rank
from evenshard.hotkeys.warm_keys import SAMPLE_ROWS_MAX, WarmKeys, sampled
from evenshard.ids import TenantId
from hypothesis import given
from hypothesis import strategies as st

WINDOW_MS, SLICES = 1_000.0, 5
SLICE_MS = WINDOW_MS / SLICES
STEPS = st.lists(st.tuples(st.floats(0, 700), st.integers(0, 100)), max_size=60)


@given(STEPS)
def test_a_sum_is_of_the_slices_that_the_window_touches(steps: list[tuple[float, int]]) -> None:
    meter, now_ms, added = SlidingSum(0.0, WINDOW_MS, SLICES), 0.0, []
    for pause_ms, amount in steps:
        now_ms += pause_ms
        meter.add(now_ms, amount)
        added.append((now_ms, amount))
        first_slice = int((now_ms - WINDOW_MS) // SLICE_MS)
        expected = sum(amount for at_ms, amount in added if at_ms // SLICE_MS >= first_slice)
        assert meter.total(now_ms) == expected
        assert meter.per_second(now_ms) <= 1000 * expected / max(1_000.0, min(now_ms, WINDOW_MS)) + 1e-9
    assert meter.total(now_ms + WINDOW_MS + 2 * SLICE_MS) == 0


def test_a_rate_is_of_the_time_that_was_watched() -> None:
    meter = SlidingSum(100_000.0, 30_000.0, 15)
    meter.add(101_000.0, 500)
    assert meter.per_second(105_000.0) == 100.0
    assert meter.per_second(100_500.0) == 500.0
    assert meter.per_second(200_000.0) == 0.0


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_exact_one_or_at_most_a_bucket_above(latencies: list[float], share: float) -> None:
    meter = SlidingLatencies(WINDOW_MS, SLICES)
    for latency in latencies:
        meter.note(10.0, latency)
    exact, found = nearest_rank(latencies, share), meter.quantile(10.0, share)
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= max(LATENCY_MS_MIN, exact * 2 ** (1 / 8) * (1 + 1e-9))


def test_latencies_leave_the_window() -> None:
    meter = SlidingLatencies(WINDOW_MS, SLICES)
    assert meter.quantile(0.0, 0.99) is None
    meter.note(0.0, 800.0)
    meter.note(900.0, 8.0)
    assert meter.quantile(1_000.0, 0.99) == pytest.approx(800, rel=0.1)
    assert meter.quantile(1_300.0, 0.99) == pytest.approx(8, rel=0.1)
    assert meter.quantile(9_999.0, 0.99) is None
    assert [bucket_of(each) for each in (0.0, LATENCY_MS_MIN, 1e12)] == [0, 0, 216]
    assert upper_edge_ms(8) == 2 * LATENCY_MS_MIN


NAMES = st.integers(0, 40).map(lambda number: (TenantId("acme"), f"u{number}"))


@given(st.lists(st.tuples(st.floats(0, 300), st.lists(st.tuples(NAMES, st.integers(1, 9)), max_size=12)), max_size=40))
def test_weights_of_keys_are_never_too_high_and_hardly_too_low(
    steps: list[tuple[float, list[tuple[tuple[TenantId, str], int]]]],
) -> None:
    keys_max = 8
    meter, now_ms = WarmKeys(WINDOW_MS, SLICES, keys_max), 0.0
    exact: list[tuple[float, tuple[TenantId, str], int]] = []
    for pause_ms, weighed in steps:
        now_ms += pause_ms
        meter.add(now_ms, weighed)
        exact += [(now_ms, key, weight) for key, weight in weighed]
    first_slice = int((now_ms - WINDOW_MS) // SLICE_MS)
    true: Counter[tuple[TenantId, str]] = Counter()
    for at_ms, key, weight in exact:
        if at_ms // SLICE_MS >= first_slice:
            true[key] += weight
    found = meter.largest(now_ms, 1_000)
    assert len(found) <= keys_max * (SLICES + 1) + 12
    assert [each.weight for each in found] == sorted((each.weight for each in found), reverse=True)
    held = {each.key: each.weight for each in found}
    too_low_max = 2 * sum(true.values()) / keys_max
    for key, weight in true.items():
        assert weight - too_low_max - 1e-9 <= held.get(key, 0.0) <= weight + 1e-9
    assert not set(held) - set(true)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3_000), st.integers(0, 10**9))
def test_a_sample_finds_every_key_of_a_batch_that_is_much_of_it(users: list[int], start: int) -> None:
    """Rows of a user stand anywhere: here shuffled by a seed, as a batch's are."""
    random = np.random.default_rng(start)
    placement = random.permutation(np.array(users, np.uint64) << np.uint64(40))
    places, weights = sampled(placement, start)
    assert places.size <= SAMPLE_ROWS_MAX
    assert np.unique(placement[places]).size == places.size
    assert (weights <= placement.size).all()
    if placement.size <= SAMPLE_ROWS_MAX:
        true = Counter(placement.tolist())
        found = dict(zip(placement[places].tolist(), weights.tolist(), strict=True))
        least = max(1.0, placement.size / 32)
        assert found == {key: count for key, count in true.items() if count >= least}


def test_a_runaway_of_a_large_batch_is_found_in_its_weight() -> None:
    random = np.random.default_rng(20261126)
    placement = random.integers(1 << 40, 1 << 60, 50_000, dtype=np.uint64)
    placement[random.random(50_000) < 0.6] = 7
    places, weights = sampled(placement, 12_345)
    assert placement[places].tolist() == [7]
    assert weights[0] == pytest.approx(30_000, rel=0.15)


def test_a_key_that_comes_in_bits_beside_heavier_ones_is_not_lost() -> None:
    """Who is put out again and again has to weigh on those who stay: otherwise it would never be held."""
    meter, keys_max = WarmKeys(WINDOW_MS, SLICES, 8), 8
    heavy = [100.0 + number for number in range(5)]
    meter.add(0.0, [((TenantId("acme"), f"heavy{weight}"), weight) for weight in heavy])
    bits, total = 60, sum(heavy)
    for number in range(bits):
        small = [((TenantId("acme"), f"small{number}-{each}"), 1.0) for each in range(4)]
        meter.add(0.0, [((TenantId("acme"), "bits"), 5.0), *small])
        total += 9
    held = {each.key[1]: each.weight for each in meter.largest(0.0, 100)}
    assert held["bits"] >= 5 * bits - 2 * total / keys_max
