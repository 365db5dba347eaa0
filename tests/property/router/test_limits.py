"""Import limits: a rate is kept, any call passes in the end, a call passes whole or takes nothing."""

import hypothesis.strategies as st
import pytest
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.router.limits import Cost, ImportLimits, costs_of
from evenshard.runtime.bucket import BURST_MS, TURNS_AHEAD_MS_MAX
from hypothesis import given

RATE = 1000
LIMITED = TenantSettings(events_per_second=RATE)
calls = st.lists(st.tuples(st.floats(0, 3000), st.integers(0, 5000)), min_size=1, max_size=60)
"""How long after the one before, in ms, and its events."""


def wait_of(limits: ImportLimits, costs: list[Cost], now_ms: float) -> float:
    """What a call is told to wait; 0: it passed."""
    try:
        limits.take(costs, now_ms)
    except EvenshardError as error:
        return error.retry_after_ms or 1e9
    return 0.0


@given(calls)
def test_what_passes_in_any_time_is_the_rate_times_it_and_a_burst_and_a_call(
    given_calls: list[tuple[float, int]],
) -> None:
    limits, now_ms, passed = ImportLimits(), 0.0, []
    for pause_ms, events in given_calls:
        now_ms += pause_ms
        if not wait_of(limits, [Cost("a", LIMITED, events, 1)], now_ms):
            passed.append((now_ms, events))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            events = sum(events for _, events in passed[first : last + 1])
            time_ms = passed[last][0] - passed[first][0]
            assert events <= RATE * (time_ms + BURST_MS) / 1000 + passed[last][1] + 1e-6


@given(calls, st.integers(1, 100_000))
def test_a_call_of_any_size_passes_when_it_comes_at_its_turn(given_calls: list[tuple[float, int]], events: int) -> None:
    limits, now_ms = ImportLimits(), 0.0
    for pause_ms, others in given_calls:
        now_ms += pause_ms
        wait_of(limits, [Cost("a", LIMITED, others, 1)], now_ms)
    wait_ms = wait_of(limits, [Cost("a", LIMITED, events, 1)], now_ms)
    assert wait_ms <= max(events for _, events in given_calls) * 1000 / RATE + TURNS_AHEAD_MS_MAX + 1
    if wait_ms:
        assert wait_of(limits, [Cost("a", LIMITED, events, 1)], now_ms + wait_ms) == 0


def test_callers_that_wait_are_given_turns_one_after_the_other() -> None:
    limits = ImportLimits()
    call = [Cost("a", LIMITED, 2000, 1)]
    assert [wait_of(limits, call, 0.0) for _ in range(4)] == [0, 1000, 3000, 5000]
    assert wait_of(limits, call, 1000.0) == 0
    assert wait_of(limits, call, 3000.0) == 0
    assert wait_of(limits, call, 5000.0) == 0


def test_turns_of_callers_that_never_come_back_put_nobody_off_for_long() -> None:
    limits = ImportLimits()
    call = [Cost("a", LIMITED, 2000, 1)]
    waits = [wait_of(limits, call, 0.0) for _ in range(100)]
    assert max(waits) == 1000 + TURNS_AHEAD_MS_MAX
    assert wait_of(limits, call, 1000.0) == 0


def test_a_call_of_several_tenants_is_refused_whole_and_takes_nothing_of_any() -> None:
    limits = ImportLimits()
    both = TenantSettings(events_per_second=100, bytes_per_second=1000)
    limits.take([Cost("a", both, 300, 10)], 0.0)
    with pytest.raises(EvenshardError) as caught:
        limits.take([Cost("a", both, 1, 1), Cost("b", both, 500, 10)], 0.0)
    error = caught.value
    assert (error.code, error.retry_after_ms, error.retryable, error.in_doubt) == ("LIMIT_EXCEEDED", 2000, True, False)
    assert error.details == {"tenant": "a", "limit": "events_per_second", "per_second": "100"}
    assert error.message == (
        "tenant 'a' is over its limit of 100 events a second on this router; nothing was stored, "
        "its turn comes in 2,000 ms"
    )
    assert wait_of(limits, [Cost("b", both, 500, 10)], 0.0) == 0  # nothing was taken of b
    assert wait_of(limits, [Cost("c", both, 1, 3000)], 0.0) == 0
    assert wait_of(limits, [Cost("c", both, 1, 1)], 0.0) == 2000  # by bytes


def test_a_tenant_without_limits_is_never_in_debt() -> None:
    limits = ImportLimits()
    assert {wait_of(limits, [Cost("a", TenantSettings(), 1 << 40, 1 << 40)], 0.0) for _ in range(3)} == {0}


def test_a_new_rate_counts_at_once_and_forgives_the_debt_of_the_old() -> None:
    limits = ImportLimits()
    limits.take([Cost("a", LIMITED, 100_000, 1)], 0.0)
    faster = TenantSettings(events_per_second=2 * RATE)
    assert wait_of(limits, [Cost("a", faster, 4000, 1)], 1.0) == 0
    assert wait_of(limits, [Cost("a", faster, 1, 1)], 1.0) == 1000


def test_a_payload_is_paid_for_by_rows_and_unknown_tenants_pay_nothing() -> None:
    settings = {"a": LIMITED, "b": LIMITED}
    assert costs_of({"a": 1, "b": 3, "gone": 4}, settings, 80) == [Cost("a", LIMITED, 1, 10), Cost("b", LIMITED, 3, 30)]
    assert costs_of({}, settings, 80) == []
    assert costs_of({"a": 0}, settings, 80) == [Cost("a", LIMITED, 0, 80)]


def test_tenants_of_long_ago_are_forgotten() -> None:
    limits = ImportLimits()
    for number in range(10_000):
        limits.take([Cost(f"t{number}", LIMITED, 1, 1)], 10.0 * number)
    assert len(limits._buckets) <= 1024
