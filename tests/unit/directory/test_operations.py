"""Operations as records: the table of states is the whole truth, and is what the docs show."""

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from evenshard.directory.deletion import DAY_MS, Block, DeletionRequest, Users, horizon_ms, users_to_delete
from evenshard.directory.keys import BLOCKED, blocked_key, blocked_name
from evenshard.directory.operations import (
    ENDED,
    FINISHED_KEPT_MS,
    FINISHED_MAX,
    STATES,
    TRANSITIONS,
    Cancelled,
    Done,
    Dropped,
    Failed,
    Hidden,
    Noted,
    Operation,
    Paused,
    Purged,
    Resumed,
    Signal,
    Started,
    Undone,
    after,
    next_effect,
    operation_id,
    prunable,
)
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId
from hypothesis import given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
PLANNED = Operation(OperationId("0000000003e8-ab"), "delete-users", ACME, 2, "me", 1000, 1000, "n")
SIGNALS: list[Signal] = [
    Started(),
    Cancelled(),
    Hidden(7),
    Noted("shard-1: gone", (ShardId("shard-1"),), 3, 9),
    Purged(9),
    Done(9),
    Dropped(),
    Undone("some stay"),
    Paused(),
    Resumed(),
    Failed("no"),
]


def code_of(call: object) -> str:
    with pytest.raises(EvenshardError) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


def test_there_is_a_sample_of_every_signal() -> None:
    assert [type(signal) for signal in SIGNALS] == list(get_args(Signal))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: type(signal).__name__)
def test_a_signal_leads_where_the_table_says_and_nowhere_else(state: str, signal: Signal) -> None:
    operation = replace(PLANNED, state=state)  # type: ignore[arg-type]
    wanted = TRANSITIONS.get((operation.state, type(signal)))
    if wanted is None:
        assert code_of(lambda: after(operation, signal, 2000, "m")) == "OPERATION_STATE"
        return
    changed = after(operation, signal, 2000, "m")
    assert (changed.state, changed.changed_ms, changed.nonce) == (wanted, 2000, "m")
    assert (changed.id, changed.kind, changed.tenant, changed.users, changed.created_ms) == (
        operation.id, "delete-users", ACME, 2, 1000,
    )  # fmt: skip


def test_the_table_is_the_one_of_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    rows = [re.findall(r"`(\w+)`", line) for line in text.splitlines() if line.startswith("| `")]
    assert [tuple(row) for row in rows] == [
        (state, signal.__name__.lower(), following) for (state, signal), following in TRANSITIONS.items()
    ]


def test_what_has_hidden_something_cannot_be_cancelled_and_what_has_ended_stays() -> None:
    assert {state for state, signal in TRANSITIONS if signal is Cancelled} == {"planned"}
    assert set(ENDED) == {"complete", "cancelled", "rolled_back", "failed"}


def test_an_operation_without_troubles_goes_from_effect_to_effect() -> None:
    operation, seen = PLANNED, []
    for signal in (Started(), Hidden(7), Noted("", (), 3, 9), Purged(9)):
        seen.append((operation.state, next_effect(operation)))
        operation = after(operation, signal, operation.changed_ms + 1, "m")
    assert seen == [("planned", "start"), ("running", "hide"), ("running", "purge"), ("running", "purge")]
    assert operation == replace(
        PLANNED, state="complete", changed_ms=1004, nonce="m", hidden_ms=1002, rows_done=9, rows_total=9
    )
    assert next_effect(operation) is None


def test_troubles_are_told_and_forgotten_when_they_are_over() -> None:
    shard = ShardId("shard-1")
    troubled = after(after(PLANNED, Started(), 2, "m"), Noted("shard-1: away", (shard,), 0, 0), 3, "m")
    assert (troubled.state, troubled.error, troubled.shards_left) == ("running", "shard-1: away", (shard,))
    hidden = after(troubled, Hidden(1), 4, "m")
    assert (hidden.error, hidden.shards_left, hidden.hidden_ms) == ("", (), 4)
    failed = after(troubled, Failed("no tenant"), 5, "m")
    assert (failed.state, failed.error, failed.shards_left, next_effect(failed)) == ("failed", "no tenant", (), None)


@settings(deadline=None)
@given(
    st.builds(
        Operation,
        st.text(max_size=20).map(OperationId),
        st.just("delete-users"),
        st.just(ACME),
        st.integers(1, 1000),
        st.text(max_size=20),
        st.integers(0, 1 << 50),
        st.integers(0, 1 << 50),
        st.text("0123456789abcdef", max_size=16),
        st.sampled_from(STATES),
        st.none() | st.integers(0, 1 << 50),
        st.lists(st.text(max_size=5).map(ShardId), max_size=3).map(tuple),
        st.integers(0, 1 << 50),
        st.integers(0, 1 << 50),
        st.text(max_size=40),
    )
)
def test_records_come_back_as_they_were_written(operation: Operation) -> None:
    assert Operation.from_json(operation.to_json()) == operation


def test_a_record_of_a_newer_release_is_refused() -> None:
    for change in ({"version": 4}, {"kind": "fold"}):
        data = json.dumps(json.loads(PLANNED.to_json()) | change).encode()
        with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
            Operation.from_json(data)


def test_ids_sort_by_time() -> None:
    times = [0, 1, 15, 16, 1 << 20, 1_767_225_600_000, (1 << 48) - 1]
    ids = [operation_id(at, chance) for at, chance in zip(times, "fedcba9", strict=True)]
    assert sorted(ids) == ids


def test_old_and_surplus_operations_are_pruned_and_no_others() -> None:
    random, now_ms = Random(7), 10 * FINISHED_KEPT_MS
    fresh = now_ms - FINISHED_KEPT_MS
    operations = [
        replace(
            PLANNED,
            id=operation_id(number, "x"),
            tenant=TenantId(("a", "b")[number % 2]),
            state=random.choice(STATES),
            changed_ms=fresh + random.choice([-1, 0, 1]),
        )
        for number in range(6 * FINISHED_MAX)
    ]
    pruned = {operation.id for operation in prunable(random.sample(operations, len(operations)), now_ms)}
    for tenant in ("a", "b"):
        ended = [each for each in operations if each.tenant == tenant and each.state in ENDED][::-1]
        kept = {each.id for each in ended[:FINISHED_MAX] if each.changed_ms >= fresh}
        assert {each.id for each in ended} - pruned == kept
    assert not pruned & {each.id for each in operations if each.state not in ENDED}


def test_users_are_taken_once_in_their_order() -> None:
    users = users_to_delete(ACME, ["b", "a", "b", "ü/ %"])
    assert users == Users(ACME, ("b", "a", "ü/ %"))
    assert Users.from_json(users.to_json()) == users


def test_a_request_is_the_same_whatever_the_order_and_holds_no_ids() -> None:
    request = DeletionRequest.of(OperationId("o"), users_to_delete(ACME, ["alice", "bob"]), block=False)
    same = DeletionRequest.of(OperationId("p"), users_to_delete(ACME, ["bob", "alice", "bob"]), block=False)
    request.check_same("r", same)
    assert b"alice" not in request.to_json()
    assert DeletionRequest.from_json(request.to_json(), "r") == request
    for other in (
        DeletionRequest.of(OperationId("p"), users_to_delete(ACME, ["alice"]), block=False),
        DeletionRequest.of(OperationId("p"), users_to_delete(ACME, ["alice", "bob"]), block=True),
        DeletionRequest.of(OperationId("p"), users_to_delete(TenantId("b"), ["alice", "bob"]), block=False),
    ):
        assert code_of(lambda other=other: request.check_same("r", other)) == "OPERATION_CONFLICT"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_the_key_of_a_block_tells_who_is_blocked(distinct_id: str) -> None:
    key = blocked_key(ACME, distinct_id)
    assert key.isascii()
    assert blocked_name(key.removeprefix(BLOCKED)) == (ACME, distinct_id)
    assert Block.from_json(Block(OperationId("o")).to_json()) == Block(OperationId("o"))


@settings(deadline=None)
@given(st.integers(0, 1 << 45), st.integers(1, 36_525))
def test_a_horizon_is_a_start_of_day_so_many_days_ago(now_ms: int, days: int) -> None:
    horizon = horizon_ms(now_ms, days)
    assert horizon % DAY_MS == 0
    assert horizon + days * DAY_MS <= now_ms < horizon + (days + 1) * DAY_MS
