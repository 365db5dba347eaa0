"""``evenshard query retention`` and the client's ``retention`` against a cluster that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.text.paint import paint
from evenshard.text.retention import triangle

RETENTION = ["query", "retention", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-02"]
BIRTH = ["--birth", 'view|sign up where plan in ["a"]']
Run = Callable[..., tuple[int, Any]]


def test_a_retention_answers_in_the_contracts_shape(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(*RETENTION, *BIRTH, "--buckets", "3")
    assert (status, list(document)) == (0, ["cohorts", "average", "groups", "meta"])
    assert (document["groups"], document["average"]) == ([], [1.0, 0.5, None])
    assert document["cohorts"] == [
        {"start": "2026-01-01", "size": 8, "returned": [8, 4, 2], "incomplete": [False, False, False]},
        {"start": "2026-01-02", "size": 8, "returned": [8, 4, 2], "incomplete": [False, False, True]},
    ]
    asked = cluster.retentions[-1]
    assert (list(asked.birth.events), asked.birth.where) == (["view", "sign up"], 'plan in ["a"]')
    assert (asked.HasField("return"), asked.unit, asked.mode, asked.align, asked.birth_scope, asked.limit) == (
        False, "day", "on", "rolling", "range", 60,
    )  # fmt: skip
    ask(*RETENTION, *BIRTH)
    assert cluster.retentions[-1].buckets == 8


def test_every_flag_is_passed_on(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(
        *RETENTION, "--birth", "*", "--return", "buy where a == 1", "--unit", "week", "--buckets", "2", "--mode",
        "on_or_after", "--align", "calendar", "--birth-scope", "lifetime", "--by", "plan", "--by", "dir", "--where",
        "b == 2", "--limit", "3", "--include-duplicates", "--timeout", "5s",
    )  # fmt: skip
    assert (status, document["groups"][0]["by"]) == (0, ["x", "x"])
    asked = cluster.retentions[-1]
    returning = getattr(asked, "return")
    assert (asked.HasField("birth"), list(asked.birth.events)) == (True, [])
    assert (list(returning.events), returning.where) == (["buy"], "a == 1")
    assert (asked.unit, asked.buckets, asked.mode, asked.align, asked.birth_scope) == (
        "week", 2, "on_or_after", "calendar", "lifetime",
    )  # fmt: skip
    assert (list(asked.by), asked.where, asked.limit) == (["plan", "dir"], "b == 2", 3)
    assert (asked.options.include_duplicates, asked.options.allow_partial) == (True, False)
    assert ask(*RETENTION, *BIRTH, "--allow-partial")[0] == 1


def test_a_whole_request_from_a_file(ask: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "retention.json"
    request = {
        "tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-02", "birth": {"events": ["a"]},
        "return": {"where": "x == 1"}, "unit": "month", "buckets": 4, "by": ["ext"],
    }  # fmt: skip
    path.write_text(json.dumps(request))
    assert ask("query", "retention", "--query", str(path))[0] == 0
    asked = cluster.retentions[-1]
    assert (asked.unit, list(asked.by), getattr(asked, "return").where) == ("month", ["ext"], "x == 1")
    status, document = ask("query", "retention", "--query", str(path), "--return", "a")
    assert (status, document["error"]["code"], "--return" in document["error"]["message"]) == (2, "USAGE", True)
    path.write_text(json.dumps(request | {"steps": []}))
    assert ask("query", "retention", "--query", str(path))[1]["error"]["code"] == "QUERY_INVALID"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], "USAGE", "--birth must be given"),
        ([*BIRTH, "--buckets", "0"], "QUERY_INVALID", "buckets: 0 is less than 1"),
        (["--birth", "a where b ="], "QUERY_INVALID", "birth.where, character 3"),
        ([*BIRTH, "--return", ""], "QUERY_INVALID", "return, character 1: the name of an event"),
        ([*BIRTH, "--unit", "hour"], "USAGE", "unit"),
        ([*BIRTH, "--limit", "0"], "USAGE", "limit"),
    ],
)
def test_wrong_flags_are_answered_by_a_sentence(
    ask: Run, cluster: FakeCluster, arguments: list[str], code: str, says: str
) -> None:
    status, document = ask(*RETENTION, *arguments)
    assert (status, document["error"]["code"]) == (2, code)
    assert says in document["error"]["message"]
    assert not cluster.retentions


def test_people_see_a_shaded_triangle(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*RETENTION, *BIRTH, "--by", "plan", "--buckets", "3"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:5] == [
        "day         users           0           1           2",
        "2026-01-01      8  █ 100.0 %   ▒  50.0 %   ░  25.0 %",
        "2026-01-02      8  █ 100.0 %   ▒  50.0 %   ░  25.0 %+",
        "average        16  █ 100.0 %   ▒  50.0 %",
        "+ not over yet",
    ]
    assert lines[6] == "plan = x"
    assert lines[7:11] == lines[:4]


def test_a_long_triangle_is_cut_and_says_so() -> None:
    cohorts = [
        {"start": f"c{number:03}", "size": number, "returned": [0] * 20, "incomplete": [number > 190] * 20}
        for number in range(200)
    ]
    lines = paint([triangle(cohorts, [0.0] * 20, "day")]).splitlines()
    assert [lines[1].split()[0], lines[30].split()[0], lines[31], lines[32].split()[0], lines[61].split()[0]] == [
        "c000", "c029", "…", "c170", "c199",
    ]  # fmt: skip
    assert lines[62].split()[:2] == ["average", "19,900"]
    assert lines[61].split() == ["c199", "199"]
    assert lines[-1] == "4 more buckets: --json, in Python to_dict(), has all"


def test_the_client_gives_values_and_tables(cluster: FakeCluster) -> None:
    with evenshard.connect(gateway=cluster.address, tenant="acme") as client:
        asked: dict[str, Any] = {"from_date": "2026-01-01", "to_date": "2026-01-02"}
        result = client.retention("a", return_="b", **asked, by="plan", buckets=2)
        assert (result.cohorts[1]["returned"], result.average, result.groups[0]["by"]) == ([8, 4], [1.0, None], ["x"])
        assert result.to_arrow().to_pylist()[3] == {
            "plan": "x", "start": "2026-01-02", "size": 8, "bucket": 1, "returned": 4, "share": 0.5, "incomplete": True,
        }  # fmt: skip
        assert client.retention("a", **asked).to_arrow().num_rows == 16
        assert (result.unit, client.retention("a", **asked, unit="week").unit) == ("day", "week")
        assert repr(result).splitlines()[1] == "2026-01-01      8  █ 100.0 %   ▒  50.0 %"
        with pytest.raises(EvenshardError, match="buckets: -1 is less than 1"):
            client.retention("a", **asked, buckets=-1)
        cluster.query_script.append(EvenshardError("QUERY_INVALID", "buckets: 400 is not between 1 and 366"))
        with pytest.raises(EvenshardError, match="between 1 and 366"):
            client.retention("a", **asked, buckets=400)
