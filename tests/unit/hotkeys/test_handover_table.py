"""The table of a hand-over: what is next, and what a mark becomes."""

from dataclasses import replace
from typing import get_args

import pytest
from evenshard.hotkeys.handover import (
    TRANSITIONS,
    HandedOver,
    Placed,
    Recorded,
    Signal,
    after,
    next_effect,
    record_insert_id,
)
from evenshard.hotkeys.marks import Mark, Mode, Overflow, State
from evenshard.ids import ShardId, TenantId

OVERFLOW: Overflow = ((0, 4095, ShardId("shard-1")),)
OTHER: Overflow = ((0, 4095, ShardId("shard-2")),)
CROSSING = Mark("rewrite", 10, 11, "n", "crossing", "rewrite", 5)


@pytest.mark.parametrize("mode", ["rewrite", "salt"])
def test_a_key_is_placed_handed_over_and_active(mode: Mode) -> None:
    mark = replace(CROSSING, mode=mode, born=mode)
    assert next_effect(mark, ()) == next_effect(mark, OVERFLOW) == "place"
    mark = after(mark, Placed(OVERFLOW))
    assert mark == replace(CROSSING, mode=mode, born=mode, overflow=OVERFLOW)
    assert next_effect(mark, OVERFLOW) == "hand over"
    assert next_effect(mark, OTHER) == next_effect(mark, ()) == "place"  # the tenant's has changed since
    mark = after(mark, HandedOver())
    assert mark.is_spread
    assert next_effect(mark, OTHER) is None
    for signal in (Placed(OTHER), HandedOver(), Recorded()):
        with pytest.raises(ValueError, match="a mark that is active cannot be"):
            after(mark, signal)


def test_an_observed_key_is_only_recorded() -> None:
    mark = replace(CROSSING, mode="observe", born="observe")
    assert next_effect(mark, ()) == next_effect(mark, OVERFLOW) == "record"
    mark = after(mark, Recorded())
    assert (mark.state, mark.overflow, next_effect(mark, OVERFLOW)) == ("active", (), None)


def test_every_state_and_signal_is_in_the_table_or_refused() -> None:
    listed = {(state, signal) for state in get_args(State) for signal in get_args(Signal)}
    assert set(TRANSITIONS) < listed
    assert {state for state, _ in set(TRANSITIONS)} == {"crossing"}


def test_the_insert_id_of_a_record_is_of_the_key_alone() -> None:
    key = (TenantId("acme"), "Zoë ✓", 20_000)
    assert record_insert_id(key) == record_insert_id((TenantId("acme"), "Zoë ✓", 20_000))
    others = [
        (TenantId("acme"), "Zoë ✓", 20_001),
        (TenantId("acme"), "Zoe ✓", 20_000),
        (TenantId("b"), "Zoë ✓", 20_000),
    ]
    assert len({record_insert_id(each) for each in (key, *others)}) == 4
    assert record_insert_id(key).isascii()
    assert record_insert_id(key).isprintable()
    assert len(record_insert_id(key)) <= 64
