"""Moving slots from the command line: plans, questions, waiting, and how it ends."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.cli import move_progress
from evenshard.cli.main import run
from evenshard.testing.fake_cluster import FakeCluster

Ask = Callable[..., tuple[int, Any]]
MOVE = ["admin", "move", "acme", "--to", "shard-1"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_progress, "LOOK_EVERY_S", 0.0)


def test_a_dry_run_is_the_plan_and_begins_nothing(ask: Ask, cluster: FakeCluster) -> None:
    status, plan = ask(*MOVE, "--slots", "5-9", "--throttle-mb", "20", "--expect-revision", "3", "--dry-run")
    assert (status, plan["moves"]) == (
        0,
        [
            {
                "tenant": "acme", "slots": [0, 2047], "from": "shard-0", "to": "shard-1", "overflow": False,
                "rows": 7, "bytes": 900, "reason": "x",
            }
        ],
    )  # fmt: skip
    assert (plan["plan_id"], plan["directory_revision"], plan["skew_before"], plan["skew_after"]) == ("p", 5, 2.0, 1.0)
    [sent] = cluster.moves
    assert (sent.slots.first, sent.slots.last, sent.bytes_per_second, sent.options.expected_revision) == (
        5, 9, 20_000_000, 3,
    )  # fmt: skip
    assert (sent.options.dry_run, cluster.operations) == (True, {})


def test_a_move_answers_with_its_operation_and_waits_until_it_has_switched(ask: Ask, cluster: FakeCluster) -> None:
    status, document = ask(*MOVE, "--yes", "--request-id", "mine")
    assert (status, document["operation"], document["state"]) == (0, "op-0", "copying")
    assert cluster.moves[0].options.request_id == "mine"
    cluster.move_states = ["planned", "copying", "catching_up", "switched"]
    status, document = ask(*MOVE, "--yes", "--wait")
    assert (status, document["operation"], document["state"]) == (0, "op-1", "switched")
    cluster.move_states = ["planned", "copying", "cancelled"]
    status, document = ask(*MOVE, "--yes", "--wait")
    assert (status, document["state"]) == (1, "cancelled")
    cluster.move_states = ["planned", "copying"]
    status, document = ask(*MOVE, "--yes", "--wait", "--timeout", "1ms")
    assert (status, document["error"]["code"]) == (3, "DEADLINE_EXCEEDED")


def test_what_is_switched_is_completed_or_rolled_back_and_nothing_else(ask: Ask, cluster: FakeCluster) -> None:
    ask(*MOVE, "--yes", "--wait")
    assert ask("admin", "rollback", "op-0", "--yes")[1]["state"] == "rolled_back"
    status, document = ask("admin", "complete", "op-0", "--yes")
    assert (status, document["error"]["code"]) == (4, "OPERATION_STATE")


def test_a_drain_that_goes_on_is_taken_back_and_one_that_is_over_is_not(
    ask: Ask, cluster: FakeCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    drain = admin_pb2.Operation(operation="op-0", kind="drain", state="running", rows_total=7, requested_by="somebody")
    cluster.operations["op-0"] = drain
    status, document = ask("admin", "rollback", "op-0", "--yes")
    assert (status, document["kind"], document["tenant"], document["state"]) == (0, "drain", "", "running")
    assert document["error"] == "is being rolled back"
    assert run(["admin", "rollback", "op-0", "--yes"]) == 0
    shown = capfd.readouterr().out
    assert "op-0: running, 0 of 7 rows, is being rolled back" in shown
    assert "drain, asked for by somebody" in shown
    cluster.waits = ["rolled_back"]
    status, document = ask("admin", "wait", "op-0")
    assert (status, document["state"]) == (1, "rolled_back")
    status, document = ask("admin", "rollback", "op-0", "--yes")
    assert (status, document["error"]["code"]) == (4, "OPERATION_STATE")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ([*MOVE], 2, "USAGE"),  # nobody can be asked
        ([*MOVE, "--slots", "9-5", "--yes"], 2, "QUERY_INVALID"),
        (["admin", "move", "acme", "--yes"], 2, "USAGE"),
        (["admin", "move", "nobody", "--to", "shard-1", "--yes"], 4, "TENANT_NOT_FOUND"),
        (["admin", "move", "acme", "--to", "shard-9", "--yes"], 4, "SHARD_NOT_FOUND"),
        ([*MOVE, "--throttle-mb", "1", "--yes"], 2, "USAGE"),
        (["admin", "rollback", "op-7", "--yes"], 4, "OPERATION_NOT_FOUND"),
    ],
)
def test_errors_are_one_document_with_their_exit_status(ask: Ask, arguments: list[str], status: int, code: str) -> None:
    found, document = ask(*arguments)
    assert (found, document["error"]["code"]) == (status, code)


def test_people_see_the_plan_and_what_to_do_next(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*MOVE, "--dry-run"]) == 0
    shown = capfd.readouterr().out
    for words in ("0-2047", "skew 2.00 → 1.00", "held for about 100 ms", "rows then"):
        assert words in shown
    assert run([*MOVE, "--yes", "--wait"]) == 0
    shown = capfd.readouterr().out
    assert "evenshard admin complete op-0" in shown
    assert "evenshard admin rollback op-0" in shown
    assert run(["admin", "cordon", "shard-1"]) == 0
    assert "shard-1 at 127.0.0.1:1 is cordoned" in capfd.readouterr().out
    assert run(["admin", "delete-tenant", "acme", "--yes"]) == 0
    assert "undelete-tenant acme" in capfd.readouterr().out
    assert cluster.tenants == {}


def test_a_deleted_tenant_is_shown_as_it_was(ask: Ask, cluster: FakeCluster) -> None:
    status, document = ask("admin", "delete-tenant", "acme", "--yes")
    assert (status, document["tenant"], json.dumps(document).count("kept_until")) == (0, "acme", 0)
