"""``evenshard query funnel`` and the client's ``funnel`` against a cluster that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.text.bars import bar
from evenshard.text.funnel import histogram
from evenshard.text.paint import paint

FUNNEL = ["query", "funnel", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-31"]
STEPS = ["--step", 'view|sign up where plan in ["a"]', "--step", "*", "--step", "buy"]
STEP_FIELDS = [
    "step", "name", "count", "conversion_from_previous", "conversion_from_first", "avg_seconds_from_previous",
    "median_seconds_from_previous", "avg_seconds_from_first", "median_seconds_from_first", "histogram",
]  # fmt: skip
Run = Callable[..., tuple[int, Any]]


def test_a_funnel_answers_in_the_contracts_shape(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(*FUNNEL, *STEPS)
    assert (status, set(document), document["groups"]) == (0, {"overall", "groups", "meta"}, [])
    steps = document["overall"]["steps"]
    assert [list(step) for step in steps] == [STEP_FIELDS] * 3
    assert [(step["step"], step["name"], step["count"]) for step in steps] == [
        (1, "view|sign up", 8), (2, "*", 4), (3, "buy", 2),
    ]  # fmt: skip
    assert (steps[0]["conversion_from_previous"], steps[1]["conversion_from_previous"]) == (None, 0.5)
    asked = cluster.funnels[-1]
    assert [(list(step.events), step.where) for step in asked.steps] == [
        (["view", "sign up"], 'plan in ["a"]'), ([], ""), (["buy"], ""),
    ]  # fmt: skip
    assert (asked.window_ms, asked.by_step, asked.limit) == (30 * 86_400_000, "first", 60)


def test_every_flag_is_passed_on(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(
        *FUNNEL, *STEPS, "--window", "2w", "--by", "plan", "--by", "dir", "--by-step", "2", "--where", "a == 1",
        "--limit", "3", "--include-duplicates", "--timeout", "5s",
    )  # fmt: skip
    assert (status, document["groups"][0]["by"]) == (0, [None, None])
    asked = cluster.funnels[-1]
    assert (asked.window_ms, list(asked.by), asked.by_step, asked.where, asked.limit) == (
        14 * 86_400_000, ["plan", "dir"], "2", "a == 1", 3,
    )  # fmt: skip
    assert (asked.options.include_duplicates, asked.options.allow_partial) == (True, False)
    status, document = ask(
        *FUNNEL, *STEPS, "--order", "strict", "--attempt", "first", "--count", "session", "--strict-increase",
        "--exclude", 'X|a@b where plan == "1-2"@1-2', "--exclude", "*@2-3", "--exclude-user", "--hold", "plan",
        "--hold", "dir", "--explain-user", "ann", "--window", "0s",
    )  # fmt: skip
    asked = cluster.funnels[-1]
    assert status == 0
    assert (asked.order, asked.attempt, asked.count_mode, asked.strict_increase, asked.exclude_user) == (
        "strict", "first", "session", True, True,
    )  # fmt: skip
    assert [(list(x.events), x.where, x.after_step, x.before_step) for x in asked.exclusions] == [
        (["X", "a@b"], 'plan == "1-2"', 1, 2), ([], "", 2, 3),
    ]  # fmt: skip
    assert (list(asked.hold_constant), asked.explain_user) == (["plan", "dir"], "ann")
    assert (asked.HasField("window_ms"), asked.window_ms) == (True, 0)
    assert document["explain"][-2:] == [
        {"event": "*", "time_ms": 2, "insert_id": None, "step": 2, "reason": "fills it"},
        {"event": "X", "time_ms": 9, "insert_id": "x", "step": None, "reason": "excluded here"},
    ]
    steps = document["overall"]["steps"]
    assert [step["histogram"] for step in steps] == [
        [], [{"up_to_seconds": 10.0, "count": 4}], [{"up_to_seconds": 20.0, "count": 2}],
    ]  # fmt: skip
    assert [step["name"] for step in ask(*FUNNEL, *STEPS, "--order", "any")[1]["overall"]["steps"]] == [None] * 3
    assert ask(*FUNNEL, *STEPS, "--allow-partial")[0] == 1


def test_a_whole_request_from_a_file(ask: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "funnel.json"
    request = {
        "tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-02", "window_ms": 5,
        "steps": [{"events": ["a"]}, {"events": [], "where": "x == 1"}], "by": ["ext"], "by_step": "last",
    }  # fmt: skip
    path.write_text(json.dumps(request))
    assert ask("query", "funnel", "--query", str(path))[0] == 0
    asked = cluster.funnels[-1]
    assert (asked.window_ms, list(asked.by), asked.by_step, asked.steps[1].where) == (5, ["ext"], "last", "x == 1")
    status, document = ask("query", "funnel", "--query", str(path), "--step", "a")
    assert (status, document["error"]["code"], "--step" in document["error"]["message"]) == (2, "USAGE", True)
    excluding = {"exclusions": [{"events": ["c"], "after_step": 1, "before_step": 2}], "explain_user": "ann"}
    path.write_text(json.dumps(request | excluding | {"order": "strict", "window_ms": 0}))
    status, document = ask("query", "funnel", "--query", str(path))
    asked = cluster.funnels[-1]
    assert (status, asked.order, asked.exclusions[0].before_step, len(document["explain"])) == (0, "strict", 2, 2)
    assert asked.HasField("window_ms")
    path.write_text(json.dumps(request | {"exclude": []}))
    assert ask("query", "funnel", "--query", str(path))[1]["error"]["code"] == "QUERY_INVALID"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], "USAGE", "--step must be given"),
        ([*STEPS, "--window", "-1"], "QUERY_INVALID", "window: '-1' is not a duration"),
        ([*STEPS, "--exclude", "X"], "QUERY_INVALID", "exclude[0]: 'X' does not end in the steps between which"),
        ([*STEPS, "--exclude", "X@2"], "QUERY_INVALID", "exclude[0]: 'X@2' does not end in the steps"),
        ([*STEPS, "--exclude", "@1-2"], "QUERY_INVALID", "exclude[0], character 1: the name of an event"),
        (["--step", "a", "--step", ""], "QUERY_INVALID", "steps[1], character 1: the name of an event"),
        (["--step", "a", "--step", "b where c ="], "QUERY_INVALID", "steps[1].where, character 3"),
        ([*STEPS, "--order", "backward"], "USAGE", "--order"),
        ([*STEPS, "--limit", "0"], "USAGE", "limit"),
    ],
)
def test_wrong_flags_are_answered_by_a_sentence(
    ask: Run, cluster: FakeCluster, arguments: list[str], code: str, says: str
) -> None:
    status, document = ask(*FUNNEL, *arguments)
    assert (status, document["error"]["code"]) == (2, code)
    assert says in document["error"]["message"]
    assert not cluster.funnels


def test_people_see_bars(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*FUNNEL, *STEPS, "--by", "plan"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[0].endswith("of first  of previous  dropped  median time  average")
    assert lines[1].endswith("█" * 30 + "   100.0 %")
    assert lines[3].endswith("█" * 7 + "▌" + " " * 22 + "    25.0 %       50.0 %        2       10.0 s   10.0 s")
    assert any(line.startswith("(not set)") for line in lines)
    assert f"up to 20.0 s         2  {'█' * 30}" in lines
    assert run([*FUNNEL, *STEPS, "--count", "total", "--order", "any", "--explain-user", "ann"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "attempts" in lines[0]
    assert lines[1].split()[1:5] == ["any", "of", "the", "steps"]
    assert "1970-01-01 00:00:00.009Z  X      x                excluded here" in lines


def test_of_many_bars_neighbours_are_put_together() -> None:
    bars = [{"up_to_seconds": float(at + 1), "count": 1} for at in range(40)]
    lines = paint([histogram(bars, "users")]).splitlines()
    assert len(lines) == 1 + 14
    assert lines[-1].split() == ["up", "to", "40.0", "s", "1", "█" * 10]


def test_a_bar_is_of_eighths() -> None:
    assert [bar(share) for share in (None, 0.0, 1 / 240, 0.1, 1.0)] == ["", "", "▏", "███", "█" * 30]


def test_the_client_gives_values_and_tables(cluster: FakeCluster) -> None:
    with evenshard.connect(gateway=cluster.address, tenant="acme") as client:
        asked: dict[str, Any] = {"from_date": "2026-01-01", "to_date": "2026-01-31"}
        result = client.funnel(["a", "b"], **asked, by="plan", by_step=2, window="1h")
        assert (result.overall["steps"][1]["count"], result.groups[0]["by"], result.meta["complete"]) == (
            4,
            [None],
            True,
        )
        table = result.to_arrow()
        assert table.column_names == ["plan", *STEP_FIELDS]
        assert table.select(["step", "count"]).to_pylist() == [{"step": 1, "count": 8}, {"step": 2, "count": 4}]
        assert client.funnel(["a", "b"], **asked).to_arrow().num_rows == 2
        assert (cluster.funnels[0].by_step, cluster.funnels[0].window_ms) == ("2", 3_600_000)
        with pytest.raises(EvenshardError, match="window"):
            client.funnel(["a", "b"], **asked, window="")
        cluster.query_script.append(EvenshardError("QUERY_INVALID", "steps: a funnel has 2 to 32 steps, not 1"))
        with pytest.raises(EvenshardError, match="2 to 32 steps"):
            client.funnel(["a"], **asked)
