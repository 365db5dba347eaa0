"""Deleting users and following operations from the command line: documents, questions, exit statuses, Ctrl-C."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.cli.audit_command import change
from evenshard.cli.main import run
from evenshard.client import async_admin
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster

OPERATION = {
    "operation", "kind", "tenant", "state", "paused", "rows_done", "rows_total", "bytes_done", "bytes_total",
    "lag_rows", "eta_seconds", "fenced_ms", "verify", "error", "requested_by", "asked",
}  # fmt: skip
DELETE = ["admin", "delete-users", "acme", "u1", "u2"]

Ask = Callable[..., tuple[int, Any]]


class Terminal(io.StringIO):
    """Somebody at a keyboard."""

    def isatty(self) -> bool:
        return True


def test_deleting_answers_with_the_operation(ask: Ask, cluster: FakeCluster) -> None:
    assert ask(*DELETE, "--block", "--yes") == (0, {"operation": "op-0"})
    [sent] = cluster.deletions
    assert (sent.tenant, list(sent.distinct_ids), sent.block, sent.options.dry_run) == (
        "acme",
        ["u1", "u2"],
        True,
        False,
    )
    assert len(sent.options.request_id) == 32
    status, shown = ask("admin", "operation", "op-0")
    assert (status, set(shown), shown["state"], shown["rows_total"], shown["error"]) == (
        0, OPERATION, "running", 7, None,
    )  # fmt: skip
    assert ask(*DELETE, "--yes") == (0, {"operation": "op-1"})
    status, listed = ask("admin", "operations")
    assert (status, list(listed), [each["operation"] for each in listed["operations"]]) == (
        0, ["operations"], ["op-1", "op-0"],
    )  # fmt: skip
    assert ask("admin", "operations", "--tenant", "other") == (0, {"operations": []})


def test_a_question_is_asked_before_anything_is_deleted(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert run(DELETE) == 1
        said = capfd.readouterr()
        assert "deletes 2 users of tenant acme: u1, u2" in said.err
        assert "nothing was changed" in said.err
        assert cluster.operations == {}
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run([*DELETE, "--json"]) == 0
    said = capfd.readouterr()
    assert (json.loads(said.out), "It cannot be undone" in said.err) == ({"operation": "op-0"}, True)
    many = [f"user-{number}" for number in range(12)]
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert run(["admin", "delete-users", "acme", *many, "--block"]) == 0
    said = capfd.readouterr()
    assert "user-9 and 2 more" in said.err
    assert "events of theirs are refused from then on" in said.err
    assert "evenshard admin wait op-1" in said.out


def test_without_a_terminal_it_must_be_said(ask: Ask, cluster: FakeCluster) -> None:
    cluster.operations["op"] = admin_pb2.Operation(operation="op", state="planned")
    for command in (DELETE, ["admin", "cancel", "op"]):
        status, document = ask(*command)
        assert (status, document["error"]["code"]) == (2, "USAGE")
        assert "nothing was changed" in document["error"]["message"]
        assert "--yes" in document["error"]["hint"]
    assert cluster.deletions == []
    assert cluster.operations["op"].state == "planned"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["admin", "delete-users", "acme", "--yes"], 2, "USAGE"),
        (["admin", "delete-users", "nobody", "u", "--yes"], 4, "TENANT_NOT_FOUND"),
        (["admin", "delete-users", "acme", "", "--yes"], 2, "QUERY_INVALID"),
        (["admin", "operation", "none"], 4, "OPERATION_NOT_FOUND"),
        (["admin", "wait", "none"], 4, "OPERATION_NOT_FOUND"),
        (["admin", "wait", "none", "--timeout", "soon"], 2, "USAGE"),
        (["admin", "cancel", "none", "--yes"], 4, "OPERATION_NOT_FOUND"),
        (["admin", "wait"], 2, "USAGE"),
    ],
)
def test_errors_are_one_document_with_their_exit_status(ask: Ask, arguments: list[str], status: int, code: str) -> None:
    found, document = ask(*arguments)
    assert (found, document["error"]["code"]) == (status, code)


def test_a_deletion_in_doubt_names_its_operation(ask: Ask, cluster: FakeCluster) -> None:
    details = {"operation": "op-7", "shards": "shard-1"}
    cluster.deletion_errors = [
        EvenshardError("SHARD_UNAVAILABLE", "not hidden yet", in_doubt=True, hint="it goes on", details=details)
        for _ in range(50)
    ]
    status, document = ask(*DELETE, "--yes", "--timeout", "1s")
    assert (status, document["error"]["code"], document["error"]["hint"]) == (3, "SHARD_UNAVAILABLE", "it goes on")
    assert document["error"]["details"] == details | {"in_doubt": True, "retry_after_ms": 100}
    assert len({sent.options.request_id for sent in cluster.deletions}) == 1 < len(cluster.deletions)


def test_waiting_ends_with_the_operation(ask: Ask, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_admin, "WAIT_MAX_S", 0.05)
    ask(*DELETE, "--yes")
    cluster.waits = ["", "", "complete"]
    status, document = ask("admin", "wait", "op-0")
    assert (status, set(document), document["state"], len(cluster.waits_asked_ms)) == (0, OPERATION, "complete", 3)
    cluster.operations["op-0"].error = "nobody knows"
    for state in ("failed", "cancelled"):
        cluster.waits = [state]
        status, document = ask("admin", "wait", "op-0")
        assert (status, document["state"], document["error"]) == (1, state, "nobody knows")


def test_waiting_has_an_end_and_says_how_to_go_on(
    ask: Ask, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_admin, "WAIT_MAX_S", 0.05)
    ask(*DELETE, "--yes")
    cluster.waits = [""] * 100
    cluster.operations["op-0"].error = "shard-1 waits"
    status, document = ask("admin", "wait", "op-0", "--timeout", "300ms")
    error = document["error"]
    assert (status, error["code"], error["details"]["state"]) == (3, "DEADLINE_EXCEEDED", "running")
    assert "shard-1 waits" in error["message"]
    assert "evenshard admin wait op-0" in error["hint"]
    assert len(cluster.waits_asked_ms) > 2


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_ends_the_waiting_and_cancels_nothing(cluster: FakeCluster, as_json: bool) -> None:
    cluster.operations["op-0"] = admin_pb2.Operation(operation="op-0", state="running")
    cluster.waits = [""] * 100
    command = [sys.executable, "-m", "evenshard.cli.main", "admin", "wait", "op-0", "--timeout", "60s"]
    waiting = subprocess.Popen(
        [*command, *(["--json"] if as_json else [])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    try:
        for _ in range(3000):
            if cluster.waits_asked_ms:
                break
            signal.sigtimedwait([], 0.01)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
    assert (waiting.returncode, cluster.operations["op-0"].state) == (1, "running")
    said = out.decode() if as_json else err.decode()
    assert "nothing was cancelled" in said
    assert "evenshard admin wait op-0" in said
    if as_json:
        error = json.loads(said)["error"]
        assert (error["code"], error["details"]) == ("INTERRUPTED", {"operation": "op-0"})


def test_cancelling_is_asked_about_and_refused_where_it_is_too_late(
    ask: Ask, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    operation = admin_pb2.Operation(operation="op", kind="delete-users", tenant="acme", state="planned")
    cluster.operations["op"] = operation
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert run(["admin", "cancel", "op"]) == 1
    assert "delete-users of tenant acme" in capfd.readouterr().err
    assert operation.state == "planned"
    status, document = ask("admin", "cancel", "op", "--yes")
    assert (status, set(document), document["state"]) == (0, OPERATION, "cancelled")
    operation.state = "running"
    status, document = ask("admin", "cancel", "op", "--yes")
    assert (status, document["error"]["code"]) == (4, "OPERATION_STATE")


def test_people_see_tables_and_sentences(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*DELETE, "--yes"]) == 0
    assert "to follow it: evenshard admin wait op-0" in capfd.readouterr().out
    cluster.operations["op-0"].error = "shard-1 waits"
    assert run(["admin", "operations"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].split() == ["operation", "kind", "tenant", "state", "rows_done", "rows_total", "error"]
    assert said[1].split() == ["op-0", "delete-users", "acme", "running", "0", "7", "shard-1", "waits"]
    assert run(["admin", "operation", "op-0"]) == 0
    assert "0 of 7 rows" in capfd.readouterr().out


def test_what_operators_changed_is_shown(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    status, document = ask("admin", "audit", "--subject", "bolt", "--verb", "set", "--limit", "2")
    change = {
        "revision": 12,
        "at_ms": 1_767_225_600_000,
        "who": "development",
        "verb": "set",
        "subject": "bolt",
        "before": {"strict": False, "epoch": 1},
        "after": {"strict": True, "epoch": 1},
    }
    assert (status, document) == (0, {"changes": [change], "left_out": 1})
    assert run(["admin", "audit", "--limit", "2"]) == 0
    shown = capfd.readouterr().out
    assert "2026-01-01 00:00:00" in shown
    assert "strict false → true" in shown
    assert "1 older ones are not shown" in shown


def test_a_change_is_told_by_what_is_not_as_it_was() -> None:
    move = {"tenant": "acme", "slots": [0, 2047], "overflow": False, "from": "shard-0", "to": "shard-1"}
    moved = {"moves": [move, {**move, "overflow": True}, move], "count": 3}
    assert change(moved, moved) == (
        "acme 0-2047: shard-0 → shard-1, acme 0-2047 of the overflow: shard-0 → shard-1 and 1 more"
    )
    assert change({}, {"state": "cordoned"}) == "state cordoned"
    assert change({"epoch": 3}, {}) == "epoch was 3"
    assert change({"state": "copying"}, {"asked": "cancel"}) == "state was copying, asked cancel"
    assert change({}, dict.fromkeys("abcdef", 1)) == "a 1, b 1, c 1, d 1 and 2 more"


def test_a_move_that_is_being_completed_is_waited_for(ask: Ask, cluster: FakeCluster) -> None:
    cluster.operations["op-0"] = admin_pb2.Operation(operation="op-0", kind="move", state="switched", asked="complete")
    cluster.waits = ["switched", "complete"]
    status, document = ask("admin", "wait", "op-0")
    assert (status, document["state"], len(cluster.waits_asked_ms)) == (0, "complete", 2)
    cluster.operations["op-1"] = admin_pb2.Operation(operation="op-1", kind="move", state="switched")
    cluster.waits = ["switched"]
    status, document = ask("admin", "wait", "op-1")
    assert (status, document["state"], document["asked"]) == (0, "switched", None)
