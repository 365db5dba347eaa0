"""Repairing hot keys from the command line: plans, questions, documents, exit statuses."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.cli.main import run
from evenshard.testing.fake_cluster import FakeCluster

REPAIR = ["admin", "repair", "acme", "--user", "hot", "--from", "2026-01-01", "--to", "2026-01-02"]
REASSIGN = [*REPAIR, "--action", "reassign", "--distinct-id-from", "mail"]
PLAN = {"kept_rows", "rewritten_rows", "bytes", "days", "examples", "left_rows", "left"}

Ask = Callable[..., tuple[int, Any]]


class Terminal(io.StringIO):
    """Somebody at a keyboard."""

    def isatty(self) -> bool:
        return True


def test_a_dry_run_is_the_plan(ask: Ask, cluster: FakeCluster) -> None:
    status, plan = ask(*REASSIGN, "--include-earlier", "--dry-run")
    assert (status, set(plan)) == (0, PLAN)
    assert plan["examples"] == [
        {
            "before": {
                "event": "$hotshard_events",
                "properties": {"distinct_id": "", "mp_original_event_name": "e"},
            },
            "after": {"event": "e", "properties": {"distinct_id": "u"}},
        }
    ]
    [sent] = cluster.repairs
    asked = (sent.distinct_id, sent.from_date, sent.to_date, sent.action, sent.distinct_id_from, sent.include_earlier)
    assert asked == (
        "hot", "2026-01-01", "2026-01-02", "reassign", "mail", True,
    )  # fmt: skip
    assert sent.options.dry_run
    assert cluster.operations == {}
    _, deleting = ask(*REPAIR, "--action", "delete", "--dry-run")
    assert deleting["examples"][0]["after"] is None


def test_a_repair_answers_with_the_operation_and_waits_if_told_to(ask: Ask, cluster: FakeCluster) -> None:
    status, operation = ask(*REASSIGN, "--yes")
    assert (status, operation["operation"], operation["kind"], operation["state"]) == (0, "op-0", "repair", "planned")
    status, undo = ask("admin", "repair-undo", "op-0", "--wait", "--yes")
    assert (status, undo["kind"], undo["state"]) == (0, "repair-undo", "complete")
    cluster.waits.append("failed")
    assert ask(*REASSIGN, "--wait", "--yes")[0] == 1


def test_a_question_tells_the_plan_first(
    cluster: FakeCluster, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(REASSIGN) == 1
    said = capfd.readouterr().err
    assert "moves 7 events of it to the ids that 'mail' holds; 1 without one are left (1,200 bytes)" in said
    assert '"mp_original_event_name":"e"' in said
    assert cluster.operations == {}
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run([*REPAIR, "--action", "delete"]) == 0
    said_both = capfd.readouterr()
    assert "hides 12 events of it at once: 5 kept and 7 rewritten" in said_both.err
    assert "(deleted)" in said_both.err
    assert "evenshard admin repair-undo op-0" in said_both.out


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ([*REPAIR, "--action", "destroy", "--yes"], 2, "USAGE"),
        ([*REPAIR, "--yes"], 2, "USAGE"),
        ([*REASSIGN], 2, "USAGE"),
        ([*REASSIGN, "--out", "f", "--yes"], 2, "USAGE"),
        (["admin", "repair", "nobody", *REASSIGN[3:], "--yes"], 4, "TENANT_NOT_FOUND"),
        (["admin", "repair", "acme", "--user", "cool", *REASSIGN[5:], "--yes"], 4, "HOT_KEY_NOT_FOUND"),
        (["admin", "repair", "acme", "--user", "many", *REASSIGN[5:], "--yes"], 4, "OPERATION_CONFLICT"),
        (["admin", "repair-undo", "none", "--yes"], 4, "OPERATION_NOT_FOUND"),
        (["admin", "pause", "none", "--yes"], 4, "OPERATION_NOT_FOUND"),
    ],
)
def test_what_cannot_be_is_refused(ask: Ask, arguments: list[str], status: int, code: str) -> None:
    found, document = ask(*arguments)
    assert (found, document["error"]["code"]) == (status, code)


def test_an_export_is_lines_or_a_file(ask: Ask, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export = [*REPAIR, "--action", "export", "--distinct-id-from", "mail"]
    capfd.readouterr()
    assert run(export) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert lines == [{"event": "e", "properties": {"distinct_id": "mail", "n": number}} for number in range(2)]
    out = tmp_path / "fixed.ndjson"
    status, document = ask(*export, "--out", str(out))
    assert (status, document) == (0, {"rows": 2, "bytes": out.stat().st_size, "complete": True})
    status, document = ask(*export, "--out", str(tmp_path / "no" / "such"))
    assert (status, document["error"]["code"]) == (2, "USAGE")


def test_operations_are_held_let_go_and_compared(ask: Ask, cluster: FakeCluster) -> None:
    ask(*REASSIGN, "--yes")
    for command, paused in (("pause", True), ("resume", False)):
        status, document = ask("admin", command, "op-0", "--yes")
        assert (status, document["paused"]) == (0, paused)
    assert ask("admin", "verify", "op-0")[1]["verify"] == {"equal": True, "differences": []}
    cluster.verified = admin_pb2.OperationVerify(equal=False, differences=["shard-1: 3 events where 4 were planned"])
    status, document = ask("admin", "verify", "op-0")
    assert (status, document["verify"]["differences"]) == (1, ["shard-1: 3 events where 4 were planned"])
