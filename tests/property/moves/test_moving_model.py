"""Moves in whatever order people and faults come: every acknowledged event is answered exactly once, at most one shard
takes a slot's rows, and everything goes on once the faults are over."""

import pytest
from evenshard.testing.moves_model.machine import Moving
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

QUICK = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_whatever_happens_every_acknowledged_event_is_answered_once() -> None:
    run_state_machine_as_test(Moving, settings=QUICK)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_for_very_many_lives() -> None:
    run_state_machine_as_test(
        Moving, settings=settings(QUICK, max_examples=2_000, stateful_step_count=60, derandomize=False)
    )
