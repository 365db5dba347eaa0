"""What a router tells of operations: so many in each state, and how long one has not come on."""

from dataclasses import replace

from evenshard.directory.operations import KINDS, STATES, Operation
from evenshard.ids import OperationId, TenantId
from evenshard.router.measuring import idle_s, operations_by_state

NOW_MS = 1_000_000
RUNNING = Operation(
    OperationId("1"), "delete-users", TenantId("t"), 1, "somebody", 0, NOW_MS - 5_000, "nonce", state="running"
)


def test_every_state_of_every_kind_is_told_also_where_there_is_none() -> None:
    found = operations_by_state([RUNNING, RUNNING, replace(RUNNING, kind="move", state="fenced")])
    told = {(labels["evenshard.kind"], labels["evenshard.state"]): number for number, labels in found}
    assert set(told) == {(kind, state) for kind in KINDS for state in STATES}
    assert {key: number for key, number in told.items() if number} == {
        ("delete-users", "running"): 2, ("move", "fenced"): 1,
    }  # fmt: skip
    assert all(isinstance(text, str) for _, labels in found for text in labels.values())


def test_an_operation_is_idle_since_it_last_changed_while_it_has_something_to_do() -> None:
    older = replace(RUNNING, changed_ms=NOW_MS - 60_000)
    assert idle_s([], NOW_MS) == 0.0
    assert idle_s([RUNNING], NOW_MS) == 5.0
    assert idle_s([RUNNING, older], NOW_MS) == 60.0
    for waits in (replace(older, paused=True), replace(older, state="complete"), replace(older, state="switched")):
        assert idle_s([RUNNING, waits], NOW_MS) == 5.0
    assert idle_s([replace(RUNNING, changed_ms=NOW_MS + 9_000)], NOW_MS) == 0.0  # by another machine's clock
