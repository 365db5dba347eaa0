"""``evenshard query schema`` and ``timeline``, and the client's, against a cluster that is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.testing.fake_cluster import FakeCluster

SCHEMA = ["query", "schema", "--tenant", "acme"]
TIMELINE = ["query", "timeline", "--tenant", "acme", "--user", "ann"]
Run = Callable[..., tuple[int, Any]]


def test_a_schema_answers_in_the_contracts_shape(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(*SCHEMA)
    assert (status, set(document)) == (0, {"events", "properties", "meta"})
    assert document["events"] == [{"name": "view", "display_name": "view", "count": 1200, "hidden": False}]
    assert document["properties"] == [
        {"name": "ext", "display_name": "ext", "types": ["number", "string"], "top_values": ["py", 2.5]},
        {"name": "id", "display_name": "id", "types": ["json"], "top_values": []},
    ]
    asked = cluster.schemas[-1]
    assert (asked.tenant, asked.from_date, asked.to_date, asked.include_hidden) == ("acme", "", "", False)
    days = ["--from", "2026-01-01", "--to", "2026-01-31"]
    status, document = ask(*SCHEMA, *days, "--include-hidden", "--include-duplicates", "--allow-partial")
    assert (status, [event["name"] for event in document["events"]]) == (1, ["view", "$hotshard_events"])
    asked = cluster.schemas[-1]
    assert (asked.from_date, asked.to_date, asked.include_hidden) == ("2026-01-01", "2026-01-31", True)
    assert (asked.options.include_duplicates, asked.options.allow_partial) == (True, True)


def test_a_timeline_answers_in_the_contracts_shape_and_is_paged(ask: Run, cluster: FakeCluster) -> None:
    status, document = ask(*TIMELINE, "--page-size", "2", "--where", "n >= 0", "--from", "2026-01-01")
    assert (status, set(document), document["next_page_token"]) == (0, {"events", "next_page_token", "meta"}, "2")
    assert document["events"][1] == {
        "event": "view",
        "properties": {"distinct_id": "ann", "time": 1_767_225_600_001, "$insert_id": "i1", "n": 1},
    }
    asked = cluster.timelines[-1]
    assert (asked.user, asked.where, asked.page_size, asked.from_date) == ("ann", "n >= 0", 2, "2026-01-01")
    status, document = ask(*TIMELINE, "--page-token", "2")
    assert (status, len(document["events"]), document["next_page_token"]) == (0, 1, None)


def test_whole_requests_come_from_files(ask: Run, tmp_path: Path, cluster: FakeCluster) -> None:
    path = tmp_path / "query.json"
    path.write_text('{"tenant": "acme", "user": "bob", "page_size": 1}')
    assert ask("query", "timeline", "--query", str(path))[1]["next_page_token"] == "1"
    assert ask("query", "timeline", "--query", str(path), "--user", "x")[1]["error"]["code"] == "USAGE"
    assert ask("query", "schema", "--query", str(path))[1]["error"]["code"] == "QUERY_INVALID"
    path.write_text('{"tenant": "acme", "include_hidden": true}')
    assert len(ask("query", "schema", "--query", str(path))[1]["events"]) == 2


@pytest.mark.parametrize("arguments", [["query", "schema"], TIMELINE[:-2], ["query", "timeline", "--user", "u"]])
def test_what_is_missing_is_usage(ask: Run, arguments: list[str]) -> None:
    status, document = ask(*arguments)
    assert (status, document["error"]["code"]) == (2, "USAGE")


def test_people_see_tables(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*SCHEMA, "--include-hidden"]) == 0
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert lines[:7] == [
        "event             count",
        "view              1,200",
        "$hotshard_events      3  Hotshard Events",
        "",
        "property  types           most frequent values",
        "ext       number, string  py, 2.5",
        "id        json",
    ]
    assert run([*TIMELINE, "--page-size", "2"]) == 0
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert lines[:5] == [
        "time (UTC)               event  properties",
        "2026-01-01 00:00:00.000  view   n=0",
        "2026-01-01 00:00:00.001  view   n=1",
        "",
        "there are more, from page token 2",
    ]


def test_the_client_gives_values_and_tables(cluster: FakeCluster) -> None:
    with evenshard.connect(gateway=cluster.address, tenant="acme") as client:
        schema, page = client.schema(include_hidden=True), client.timeline("ann", page_size=2)
    assert schema.to_arrow().select(["kind", "name", "count", "top_values"]).to_pylist() == [
        {"kind": "event", "name": "view", "count": 1200, "top_values": None},
        {"kind": "event", "name": "$hotshard_events", "count": 3, "top_values": None},
        {"kind": "property", "name": "ext", "count": None, "top_values": ['"py"', "2.5"]},
        {"kind": "property", "name": "id", "count": None, "top_values": []},
    ]
    table = page.to_arrow()
    assert table.column_names == ["event", "time", "insert_id", "properties"]
    assert table.column("properties").to_pylist() == ['{"n":0}', '{"n":1}']
    assert page.next_page_token == "2"
