"""Moves: the table of states is the whole truth; a placement is changed by whole moves, or not at all."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from evenshard.directory.move_table import (
    OF_MOVES,
    CancelAsked,
    CompleteAsked,
    Completed,
    Copied,
    CopiesAnew,
    Fenced,
    FencedBack,
    MoveSignal,
    Progressed,
    Recopies,
    RollbackAsked,
    RolledBack,
    Switched,
    SwitchedBack,
    Unfenced,
    UnfencedBack,
    allows,
    move_effect,
    unfencing,
)
from evenshard.directory.moves import FENCES_WITHOUT_SWITCH_MAX, Leg, Move, leg_name, placement_moved, slots_on
from evenshard.directory.operations import (
    ENDED,
    MOVE_TRANSITIONS,
    STATES,
    Cancelled,
    Dropped,
    Failed,
    Noted,
    Operation,
    Paused,
    Resumed,
    Signal,
    Started,
    after,
    next_effect,
)
from evenshard.directory.placement import Placement, SlotRange, even_placement
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, OperationId, ShardId, TenantId
from evenshard.testing.moves_drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

A, B, C, D = (ShardId(f"shard-{number}") for number in range(4))
LEG = Leg(A, B, ((0, 99),))
PLANNED = Operation(OperationId("op"), "move", TenantId("acme"), 0, "me", 1000, 1000, "n", move=Move((LEG,)))
SIGNALS: list[Signal | MoveSignal] = [
    Started(),
    Cancelled(),
    Noted("waits", (), 0, 0),
    Dropped(),
    Paused(),
    Resumed(),
    Failed("no"),
    Progressed(1, 2, 3, 4, 5),
    Copied(),
    Recopies(),
    CopiesAnew(),
    Fenced(),
    Unfenced("late"),
    Switched(20.0),
    FencedBack(),
    UnfencedBack("late"),
    SwitchedBack(30.0),
    CancelAsked(),
    RollbackAsked(),
    CompleteAsked(),
    RolledBack(),
    Completed(),
]


def through(operation: Operation, *signals: Signal | MoveSignal) -> Operation:
    for signal in signals:
        operation = after(operation, signal, operation.changed_ms + 1, "m")
    return operation


def effects(operation: Operation, *signals: Signal | MoveSignal) -> list[str | None]:
    """What is done in each state on the way."""
    found: list[str | None] = []
    for signal in signals:
        operation = through(operation, signal)
        assert operation.move is not None
        found.append(move_effect(operation.state, operation.move))  # type: ignore[arg-type]
    return found


def test_there_is_a_sample_of_every_signal_of_moves() -> None:
    assert {type(signal) for signal in SIGNALS} >= set(get_args(MoveSignal))
    assert {signal for _, signal in MOVE_TRANSITIONS} == {type(signal) for signal in SIGNALS}
    assert {signal for _, signal in OF_MOVES} == set(get_args(MoveSignal))


def test_a_signal_leads_where_the_table_says_and_nowhere_else() -> None:
    for state, signal, back, wish in product(STATES, SIGNALS, (False, True), ("", "cancel", "rollback", "complete")):
        move = Move((LEG,), wish=wish, back=back)  # type: ignore[arg-type]
        operation = replace(PLANNED, state=state, move=move)
        wanted = MOVE_TRANSITIONS.get((state, type(signal)))
        if wanted is None or not allows(move, signal):
            with pytest.raises(EvenshardError, match="OPERATION_STATE"):
                after(operation, signal, 2000, "m")
            continue
        changed = after(operation, signal, 2000, "m")
        assert (changed.state, changed.changed_ms, changed.nonce) == (wanted, 2000, "m")
        assert changed.move is not None
        assert changed.move.legs == (LEG,)


def test_a_move_without_troubles_goes_from_effect_to_effect() -> None:
    way = (Started(), Progressed(1, 2, 3, 4, 5), Copied(), Fenced(), Switched(20.0, (9,)), CompleteAsked(), Completed())
    assert effects(PLANNED, *way) == ["copy", "copy", "follow", "switch", "ship_back", "finish", None]
    complete = through(PLANNED, *way)
    assert complete == replace(
        PLANNED,
        state="complete",
        changed_ms=1007,
        nonce="m",
        rows_done=1,
        rows_total=2,
        bytes_total=4,
        move=Move((LEG,), wish="complete", bytes_done=3, fenced_ms=20.0, differences=(), positions=(9,)),
    )
    assert next_effect(complete) is None


def test_a_rollback_goes_the_same_way_in_reverse() -> None:
    switched = through(PLANNED, Started(), Copied(), Fenced(), Switched(20.0))
    way = (RollbackAsked(), FencedBack(), UnfencedBack("late"), FencedBack(), SwitchedBack(30.0), RolledBack())
    assert effects(switched, *way) == ["ship_back", "switch_back", "ship_back", "switch_back", "take_back", None]
    assert through(switched, *way).state == "rolled_back"


def test_what_was_asked_is_not_taken_back_and_ends_a_pause() -> None:
    switched = through(PLANNED, Started(), Copied(), Fenced(), Switched(20.0), Paused())
    assert next_effect(switched) is None
    rolling = through(switched, RollbackAsked())
    assert (rolling.paused, next_effect(rolling)) == (False, "move")
    for other in (CompleteAsked(), CancelAsked()):
        with pytest.raises(EvenshardError, match="OPERATION_STATE"):
            through(rolling, other)
    cancelled = through(PLANNED, Started(), CancelAsked())
    for other in (Fenced(), Copied(), Fenced()):
        if isinstance(other, Copied):
            cancelled = through(cancelled, other)
            continue
        with pytest.raises(EvenshardError, match="OPERATION_STATE"):
            through(cancelled, other)
    assert through(cancelled, Dropped()).state == "cancelled"


def test_the_driver_and_the_source_cannot_both_decide_a_fence() -> None:
    fenced = through(PLANNED, Started(), Copied(), Fenced())
    switched, unfenced = through(fenced, Switched(1.0)), through(fenced, unfencing(Move((LEG,))))
    for decided, late in ((switched, Unfenced()), (unfenced, Switched(1.0))):
        with pytest.raises(EvenshardError, match="OPERATION_STATE"):
            through(decided, late)


def test_a_move_whose_fences_keep_coming_to_nothing_is_paused_with_what_was_found() -> None:
    operation = through(PLANNED, Started(), Copied())
    for number in range(FENCES_WITHOUT_SWITCH_MAX):
        assert not operation.paused, f"after {number}"
        operation = through(operation, Fenced(), Unfenced("they differ", ("day 1: 3 rows, 4 rows",)))
    assert (operation.paused, operation.error) == (True, "they differ")
    assert operation.move is not None
    assert operation.move.differences == ("day 1: 3 rows, 4 rows",)


@pytest.mark.parametrize(
    ("state", "signal", "message", "hint"),
    [
        ("switched", CancelAsked(), "is switched: it cannot be cancelled any more", "evenshard admin rollback op"),
        ("copying", RollbackAsked(), "is copying: it cannot be rolled back yet", "evenshard admin cancel op"),
        ("copying", CompleteAsked(), "is copying: it cannot be completed yet", "evenshard admin cancel op"),
        ("complete", RollbackAsked(), "is complete: it cannot be rolled back any more", "plan a move back"),
    ],
)
def test_a_refusal_says_what_to_do_instead(state: str, signal: MoveSignal, message: str, hint: str) -> None:
    with pytest.raises(EvenshardError) as raised:
        through(replace(PLANNED, state=state), signal)  # type: ignore[arg-type]
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_records_of_moves_come_back_and_older_releases_refuse_them() -> None:
    legs = (LEG, Leg(C, D, ((7, 7), (9, 4095)), overflow=True))
    operation = replace(
        PLANNED, move=Move(legs, 5, "cancel", True, 1, 2, 3.5, 4, 5.5, ("x",), OperationId("g"), (6, 7))
    )
    assert Operation.from_json(operation.to_json()) == operation
    assert json.loads(operation.to_json())["version"] == 3
    assert leg_name(operation.id, Move(legs), 1) == "op.1"
    assert leg_name(operation.id, Move((LEG,)), 0) == "op"


def test_the_docs_show_the_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "moves.md").read_text()
    assert drawn() in text, "draw it anew: .venv/bin/python scripts/draw_moves.py"


def test_every_state_has_a_way_to_an_end() -> None:
    ends = set(ENDED)
    for _ in STATES:
        ends |= {state for (state, _), following in MOVE_TRANSITIONS.items() if following in ends}  # type: ignore[misc]
    assert ends >= {state for state, _ in MOVE_TRANSITIONS}


@settings(deadline=None)
@given(st.data())
def test_moving_slots_there_and_back_is_the_placement_before(data: st.DataObject) -> None:
    shards = (A, B, C)
    cuts = sorted(data.draw(st.sets(st.integers(1, SLOT_COUNT - 1), max_size=6)))
    bounds = [0, *cuts, SLOT_COUNT]
    owners = [data.draw(st.sampled_from(shards)) for _ in bounds[1:]]
    ranges = tuple(SlotRange(a, b - 1, owner) for a, b, owner in zip(bounds, bounds[1:], owners, strict=False))
    placement = Placement(Epoch(7), ranges, even_placement([B, C]).slots)
    first = data.draw(st.integers(0, SLOT_COUNT - 1))
    last = data.draw(st.integers(first, SLOT_COUNT - 1))
    legs = [
        Leg(source, D, found) for source in shards if (found := slots_on(placement.slots, source, (first, last)))
    ] + [Leg(B, D, ((0, 9),), overflow=True)]
    there = placement_moved(placement, legs)
    assert there.epoch == 8
    for slot in (0, first, last, SLOT_COUNT - 1, *cuts):
        before = placement.shards[placement.shard_of_slot[slot]]
        wanted = D if first <= slot <= last else before
        assert there.shards[there.shard_of_slot[slot]] == wanted
    assert [piece.shard for piece in there.overflow[:2]] == [D, B]
    back = placement_moved(there, legs, back=True)
    assert back.epoch == 9
    assert [back.shards[n] for n in back.shard_of_slot] == [placement.shards[n] for n in placement.shard_of_slot]
    assert back.overflow == placement.overflow


def test_a_placement_that_has_changed_is_not_moved() -> None:
    placement = even_placement([A, B])
    for leg in (Leg(A, C, ((0, 2048),)), Leg(C, A, ((0, 1),)), Leg(A, C, ((0, 1),), overflow=True)):
        with pytest.raises(EvenshardError, match="PLAN_STALE"):
            placement_moved(placement, [leg])


def test_a_move_whose_sides_are_not_the_same_is_copied_anew() -> None:
    fenced = through(PLANNED, Started(), Copied(), Fenced())
    differing = through(fenced, Unfenced("not the same", ("a row more",)))
    anew = through(differing, CopiesAnew())
    assert anew.move is not None
    assert (anew.state, anew.move.copies, anew.move.differences) == ("copying", 1, None)
    assert move_effect("copying", anew.move) == "copy"
    with pytest.raises(EvenshardError, match="OPERATION_STATE"):
        after(through(fenced, Unfenced("late")), CopiesAnew(), 2000, "m")
    back = through(fenced, Switched(20.0), RollbackAsked(), FencedBack(), UnfencedBack("no", ("a row less",)))
    again = through(back, CopiesAnew())
    assert again.move is not None
    assert (again.state, again.move.copies, move_effect("switched", again.move)) == ("switched", 1, "ship_back")
