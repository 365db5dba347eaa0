"""``evenshard query flows`` and the client's ``flows`` against a cluster that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster

FLOWS = ["query", "flows", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-02"]
ANCHOR = ["--anchor", 'view where plan in ["a"]']
Run = Callable[..., tuple[int, Any]]


def test_flows_answer_in_the_contracts_shape(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(*FLOWS, *ANCHOR)
    assert (status, list(document), document["anchors"]) == (0, ["anchors", "nodes", "edges", "meta"], 8)
    assert document["nodes"] == [
        {"step": 0, "name": "view", "count": 8, "dropoff": 1},
        {"step": 1, "name": "a", "count": 5, "dropoff": 0},
        {"step": 1, "name": "$other", "count": 2, "dropoff": 0},
    ]
    assert document["edges"] == [
        {"step": 1, "from": "view", "to": "a", "count": 5},
        {"step": 1, "from": "view", "to": "$other", "count": 2},
    ]
    asked = cluster.flows[-1]
    assert (list(asked.anchor.events), asked.anchor.where) == (["view"], 'plan in ["a"]')
    assert (asked.direction, asked.steps, asked.window_ms, asked.session, asked.top, asked.collapse_repeats) == (
        "forward", 3, 30 * 86_400_000, False, 10, False,
    )  # fmt: skip


def test_every_flag_is_passed_on(ask: Run, cluster: FakeCluster) -> None:
    status, _ = ask(
        *FLOWS, "--anchor", "*", "--direction", "backward", "--steps", "5", "--window", "session", "--top", "2",
        "--collapse-repeats", "--where", "b == 2", "--include-duplicates", "--timeout", "5s",
    )  # fmt: skip
    assert status == 0
    asked = cluster.flows[-1]
    assert (asked.HasField("anchor"), list(asked.anchor.events)) == (True, [])
    assert (asked.direction, asked.steps, asked.window_ms, asked.session, asked.top, asked.collapse_repeats) == (
        "backward", 5, 0, True, 2, True,
    )  # fmt: skip
    assert (asked.where, asked.options.include_duplicates) == ("b == 2", True)
    assert ask(*FLOWS, *ANCHOR, "--window", "2w")[0] == 0
    assert cluster.flows[-1].window_ms == 14 * 86_400_000
    assert ask(*FLOWS, *ANCHOR, "--window", "0d")[0] == 0
    assert (cluster.flows[-1].HasField("window_ms"), cluster.flows[-1].window_ms) == (True, 0)
    assert ask(*FLOWS, *ANCHOR, "--allow-partial")[0] == 1


def test_a_whole_request_from_a_file(ask: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "flows.json"
    request = {
        "tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-02", "anchor": {"events": ["a"]},
        "session": True, "steps": 4,
    }  # fmt: skip
    path.write_text(json.dumps(request))
    assert ask("query", "flows", "--query", str(path))[0] == 0
    assert (cluster.flows[-1].steps, cluster.flows[-1].session) == (4, True)
    status, document = ask("query", "flows", "--query", str(path), "--top", "3")
    assert (status, document["error"]["code"], "--top" in document["error"]["message"]) == (2, "USAGE", True)
    path.write_text(json.dumps(request | {"by": ["plan"]}))
    assert ask("query", "flows", "--query", str(path))[1]["error"]["code"] == "QUERY_INVALID"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], "USAGE", "--anchor must be given"),
        ([*ANCHOR, "--by", "plan"], "QUERY_INVALID", "by: flows are not broken down"),
        ([*ANCHOR, "--limit", "5"], "QUERY_INVALID", "limit: flows have no groups"),
        ([*ANCHOR, "--window", "-1"], "QUERY_INVALID", "window: '-1' is not a duration"),
        ([*ANCHOR, "--steps", "0"], "QUERY_INVALID", "steps: 0 is less than 1"),
        ([*ANCHOR, "--top", "0"], "QUERY_INVALID", "top: 0 is less than 1"),
        (["--anchor", "a where b ="], "QUERY_INVALID", "anchor.where, character 3"),
        ([*ANCHOR, "--direction", "up"], "USAGE", "direction"),
    ],
)
def test_wrong_flags_are_answered_by_a_sentence(
    ask: Run, cluster: FakeCluster, arguments: list[str], code: str, says: str
) -> None:
    status, document = ask(*FLOWS, *arguments)
    assert (status, document["error"]["code"]) == (2, code)
    assert says in document["error"]["message"]
    assert not cluster.flows


def test_people_see_a_tree_of_bars(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*FLOWS, "--anchor", "view"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:7] == [
        "8 users",
        "0  view       8  ██████████████████████████████",
        "   ├─ a       5  ██████████████████▊             62.5 %",
        "   ├─ $other  2  ███████▌                        25.0 %",
        "   └─ (end)   1  ███▊                            12.5 %",
        "1  a          5  ██████████████████▊",
        "1  $other     2  ███████▌",
    ]


def test_the_client_gives_values_and_tables(cluster: FakeCluster) -> None:
    with evenshard.connect(gateway=cluster.address, tenant="acme") as client:
        asked: dict[str, Any] = {"from_date": "2026-01-01", "to_date": "2026-01-02"}
        result = client.flows("a", **asked, steps=1)
        assert result.to_arrow().to_pylist() == [
            {"step": 0, "from": None, "to": "a", "count": 8},
            {"step": 1, "from": "a", "to": "a", "count": 5},
            {"step": 1, "from": "a", "to": "$other", "count": 2},
            {"step": 1, "from": "a", "to": None, "count": 1},
        ]
        assert repr(result).splitlines()[0] == "8 users"
        back = client.flows("a", **asked, steps=1, direction="backward")
        assert repr(back).splitlines()[0] == "8 users, by what they did before"
        with pytest.raises(EvenshardError, match="window"):
            client.flows("a", **asked, window="tomorrow")
        cluster.query_script.append(EvenshardError("QUERY_INVALID", "steps: 11 is not between 1 and 10"))
        with pytest.raises(EvenshardError, match="between 1 and 10"):
            client.flows("a", **asked, steps=11)
