"""Every delivered command with ``--json``: one document, exactly the fields and types written down, the exit status."""

import json
import socket
from pathlib import Path

import orjson
import pytest
from evenshard.cli.main import COMMANDS, HIDDEN, run
from evenshard.testing.few_events import DAYS, START_END, TIME_MS, Call, lines
from evenshard.testing.json_shapes import (
    BARS,
    COHORT,
    COMPACTED,
    EDGE,
    ERROR,
    EXPLAINED,
    EXPORTED,
    IMPORTED,
    MAYBE_NUMBER,
    META,
    NODE,
    NULL,
    REJECTED,
    ROW,
    SAVED_COHORT,
    SERIES,
    SERVICE,
    SETTING,
    STEP,
    STORAGE,
    TENANT,
    UNREACHABLE_SERVICE,
    UP,
    WRONG,
    Empty,
    misfits,
)
from evenshard.testing.notebook import outputs_as_text, run_notebook, with_outputs
from evenshard.testing.processes import ClusterProcess, free_base_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ONE_TREND = {"buckets": [str], "series": [{**SERIES, "by": Empty}], "meta": META}
TOUR = Path(__file__).resolve().parents[3] / "docs/tour.ipynb"


def test_up_and_status(shared_cluster: ClusterProcess, call: Call) -> None:
    assert misfits(shared_cluster.ready, UP) == []
    assert (shared_cluster.ready["status"], sorted(shared_cluster.ready["shards"])) == ("ready", ["shard-0", "shard-1"])
    status = call("status", shape={"healthy": bool, "directory_revision": int, "services": [SERVICE]})
    services = {each["name"]: each for each in status["services"]}
    assert {name: each["kind"] for name, each in services.items()} == {
        "router-0": "router", "gateway-0": "gateway", "counter-0": "counter", "shard-0": "shard", "shard-1": "shard",
        "etcd-0": "etcd",
    }  # fmt: skip
    assert {name: each["address"] for name, each in services.items()} == {
        "router-0": shared_cluster.ready["routers"][0],
        "gateway-0": shared_cluster.ready["gateways"][0],
        "counter-0": shared_cluster.ready["counters"][0],
        "etcd-0": shared_cluster.ready["etcd"][0],
        **shared_cluster.ready["shards"],
    }
    assert {(each["status"], each["restarts"]) for each in services.values()} == {("SERVING", 0)}
    assert status["healthy"]


def test_tenants_imports_queries_exports_and_storage(call: Call, tmp_path: Path) -> None:
    """One after the other: each looks at what those before have made."""
    make_a_tenant(call)
    import_events(call, tmp_path)
    ask_for_trends(call)
    ask_for_funnels(call)
    ask_for_retention_and_flows(call)
    save_and_use_a_cohort(call)
    export_events(call, tmp_path)
    compact_and_look_at_storage(call)


def make_a_tenant(call: Call) -> None:
    made = call("admin", "create-tenant", "acme", "--timezone", "Europe/Berlin", shape=TENANT)
    assert (made["tenant"], made["timezone"], made["dedupe"], made["strict"]) == ("acme", "Europe/Berlin", True, False)
    changed = call("admin", "set-tenant", "acme", "--timezone", "UTC", "--hot-key-threshold", "5000", shape=TENANT)
    assert changed == made | {"timezone": "UTC", "hot_key_threshold": 5000}
    assert call("admin", "tenant", "acme", shape=TENANT) == changed
    assert changed in call("admin", "tenants", shape={"tenants": [TENANT]})["tenants"]


def import_events(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*range(10), 0))
    whole = {**IMPORTED, "errors": Empty, "warnings": Empty}
    assert call("import", str(path), "--tenant", "acme", shape=whole)["duplicates"] == 1
    placeholder = {"distinct_id": "null", "time": TIME_MS, "$insert_id": "p", "shop": "s"}
    path.write_bytes(b"{\n" + lines(11, properties=placeholder) + lines(12, tenant="other"))
    rejected_path = tmp_path / "rejected.ndjson"
    partial = call("import", str(path), "--tenant", "acme", "--errors-to", str(rejected_path), shape=IMPORTED, status=1)
    assert (partial["events_read"], partial["accepted"], partial["rejected"]) == (3, 1, 2)
    assert partial["errors_by_code"] == {"INVALID_JSON": 1, "TENANT_MISMATCH": 1}
    assert [each["index"] for each in partial["errors"]] == [0, 2]
    told = [json.loads(line) for line in rejected_path.read_text().splitlines()]
    assert [{name: each[name] for name in REJECTED} for each in told] == partial["errors"]
    assert {frozenset(each) for each in told} == {frozenset([*REJECTED, "event"])}


def ask_for_trends(call: Call) -> None:
    answer = call("query", "segmentation", *DAYS, shape=ONE_TREND)
    assert (answer["buckets"], answer["series"]) == (
        ["2026-01-01", "2026-01-02"],
        [{"by": [], "values": [11, 0], "overall": 11}],
    )
    assert answer["meta"]["duplicates_skipped"] == {"log": 1, "segment": 0}
    by = call("query", "segmentation", *DAYS, "--by", "shop", shape={**ONE_TREND, "series": [SERIES]})
    assert [len(each["by"]) for each in by["series"]] == [1] * 4


def ask_for_funnels(call: Call) -> None:
    steps = ("--step", "view", "--step", "buy", "--window", "1d")
    funnel = {"overall": {"steps": [STEP]}, "groups": Empty, "meta": META}
    answer = call("query", "funnel", *DAYS, *steps, shape=funnel)
    assert [(each["step"], each["name"], each["count"]) for each in answer["overall"]["steps"]] == [
        (1, "view", 5),
        (2, "buy", 5),
    ]
    assert (answer["overall"]["steps"][0]["histogram"], misfits(answer["overall"]["steps"][1]["histogram"], BARS)) == (
        [],
        [],
    )
    call("query", "funnel", *DAYS, *steps, "--by", "shop", shape={**funnel, "groups": [{"by": [str], "steps": [STEP]}]})
    for order, name in (("strict", str), ("any", NULL)):
        shape = {**funnel, "overall": {"steps": [{**STEP, "name": name}]}}
        call(
            "query", "funnel", *DAYS, *steps, "--order", order, "--count", "session", "--attempt", "first", shape=shape
        )
    excluding = (
        "--exclude",
        "nothing@1-2",
        "--exclude-user",
        "--strict-increase",
        "--hold",
        "shop",
        "--by-step",
        "last",
    )
    told = {**funnel, "explain": EXPLAINED, "meta": {**META, "warnings": [{"code": str, "message": str}]}}
    call("query", "funnel", *DAYS, *steps, *excluding, "--count", "total", "--explain-user", "u0", shape=told)


def ask_for_retention_and_flows(call: Call) -> None:
    birth = ("--birth", "view", "--return", "*", "--buckets", "2")
    retention = {"cohorts": [COHORT], "average": [MAYBE_NUMBER], "groups": Empty, "meta": META}
    answer = call("query", "retention", *DAYS, *birth, shape=retention)
    assert [(each["start"], each["size"]) for each in answer["cohorts"]] == [("2026-01-01", 5), ("2026-01-02", 0)]
    group = {"by": [str], "cohorts": [COHORT], "average": [MAYBE_NUMBER]}
    call("query", "retention", *DAYS, *birth, "--by", "shop", shape={**retention, "groups": [group]})
    flows = {"anchors": int, "nodes": [NODE], "edges": [EDGE], "meta": META}
    answer = call("query", "flows", *DAYS, "--anchor", "view", "--window", "session", shape=flows)
    assert (answer["anchors"], answer["nodes"][0]["name"], answer["nodes"][0]["count"]) == (5, "view", 5)


def save_and_use_a_cohort(call: Call) -> None:
    cohort = ("cohort", "save", "two views", *DAYS, "--did", "view", "--at-least", "2")
    saved = call(*cohort, shape={"cohorts": [SAVED_COHORT]})
    assert [(each["name"], each["version"]) for each in saved["cohorts"]] == [("two views", 1)]
    assert call("cohorts", "--tenant", "acme", shape={"cohorts": [SAVED_COHORT]}) == saved
    member = ("--where", "`$cohort:two views` == true", "--measure", "unique")
    answer = call("query", "segmentation", *DAYS, *member, shape=ONE_TREND)
    assert answer["series"][0]["overall"] == saved["cohorts"][0]["users"]
    call("cohort", "delete", "two views", "--tenant", "acme", shape={"cohorts": Empty})
    call("cohort", "delete", "x", "--tenant", "acme", shape=ERROR, status=4, code="COHORT_NOT_FOUND")
    call("query", "segmentation", *DAYS, *member, shape=WRONG, status=2, code="QUERY_INVALID")


def export_events(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    exported = call("export", *START_END, "--out", str(out), shape=EXPORTED)
    assert (exported["rows"], exported["bytes"], exported["complete"]) == (11, out.stat().st_size, True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert misfits(rows, [ROW]) == []


def compact_and_look_at_storage(call: Call) -> None:
    assert call("admin", "compact", "--tenant", "acme", shape=COMPACTED)["backlog_rows"] >= 0
    assert call("admin", "compact", "--tenant", "acme", "--wait", shape=COMPACTED)["backlog_rows"] == 0
    storage = call("admin", "storage", "--tenant", "acme", shape=STORAGE)
    (stored,) = storage["tenants"]
    assert [each["shard"] for each in storage["compaction"]] == ["shard-0", "shard-1"]
    assert [each["shard"] for each in storage["memory"]] == ["shard-0", "shard-1"]
    assert (stored["log_rows"], stored["segment_rows"], stored["duplicate_rows"]) == (0, 12, 1)
    assert stored in call("admin", "storage", shape={**STORAGE, "compaction": [dict]})["tenants"]
    assert call("query", "segmentation", *DAYS, shape=ONE_TREND)["meta"]["duplicates_skipped"] == {
        "log": 0,
        "segment": 1,
    }


def test_measures_schema_and_timeline(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*range(10)))
    imported = {**IMPORTED, "errors": Empty, "warnings": Empty}
    call("import", str(path), "--tenant", "asked", "--create-tenant", shape=imported)
    days = ("--tenant", "asked", *DAYS[2:])
    one = {"buckets": [str], "series": [{"by": Empty, "values": [(int, float, NULL)], "overall": (int, float)}]}
    for measure, values, overall in (("average", [2.0, None], 2.0), ("unique", [5, 0], 5)):
        answer = call("query", "segmentation", *days, "--measure", measure, shape={**one, "meta": META})
        assert (answer["series"][0]["values"], answer["series"][0]["overall"]) == (values, overall)
    of_time = ("--property", "$time", "--where", 'shop matches "^s[01]$" and $time >= "2026-01-01T00:00:01Z"')
    for measure, overall in (("min", TIME_MS + 1000), ("p50", TIME_MS + 5000.0), ("max", TIME_MS + 9000)):
        answer = call("query", "segmentation", *days, "--measure", measure, *of_time, shape={**one, "meta": META})
        assert answer["series"][0]["overall"] == overall
    warned = {**META, "warnings": [{"code": str, "message": str}]}
    answer = call("query", "segmentation", *days, "--event", "veiw", shape={**one, "meta": warned})
    assert [each["code"] for each in answer["meta"]["warnings"]] == ["UNKNOWN_EVENT"]
    assert "is 'view' meant?" in answer["meta"]["warnings"][0]["message"]

    named = {"name": str, "display_name": str}
    schema = {
        "events": [{**named, "count": int, "hidden": bool}],
        "properties": [{**named, "types": [str], "top_values": [str]}],
        "meta": META,
    }
    for compacted in (False, True):
        if compacted:
            call("admin", "compact", "--tenant", "asked", "--wait", shape=COMPACTED)
        found = call("query", "schema", *days, shape=schema)
        assert [(each["name"], each["count"]) for each in found["events"]] == [("buy", 5), ("view", 5)]
        assert [(each["name"], each["types"], each["top_values"]) for each in found["properties"]] == [
            ("shop", ["string"], ["s0", "s1", "s2"])
        ]
        page = {"events": [ROW], "next_page_token": str, "meta": META}
        first = call("query", "timeline", *days, "--user", "u3", "--page-size", "1", shape=page)
        rest = call(
            "query", "timeline", *days, "--user", "u3", "--page-token", first["next_page_token"],
            shape={**page, "next_page_token": NULL},
        )  # fmt: skip
        seconds = [(each["properties"]["time"] - TIME_MS) // 1000 for each in first["events"] + rest["events"]]
        assert (seconds, first["meta"]["shards"]) == ([6, 7], 1)
    fields = {"code": str, "message": str, "hint": str, "retryable": bool, "trace_id": str,
              "details": {"fields": [{"field": str, "description": str}]}}  # fmt: skip
    call("query", "timeline", *days, shape=ERROR, status=2, code="USAGE")
    wrong = ("--user", "u3", "--page-token", "x")
    call("query", "timeline", *days, *wrong, shape={"error": fields}, status=2, code="QUERY_INVALID")
    call("query", "segmentation", *days, "--measure", "sum", shape={"error": fields}, status=2, code="QUERY_INVALID")


def test_an_export_to_stdout_is_a_line_a_row(call: Call, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(0, 1, 2, 2))
    assert run(["import", str(path), "--tenant", "rows", "--create-tenant", "--json"]) == 0
    capfd.readouterr()
    there = ("--tenant", "rows", *START_END[2:])
    assert run(["export", *there, "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (misfits(rows, [ROW]), [row["properties"]["$insert_id"] for row in rows]) == ([], ["i0", "i1", "i2"])
    assert run(["export", *there, "--include-duplicates", "--json"]) == 0
    copies = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert copies == [*rows, rows[-1] | {"duplicate": True}]


def test_config_and_version(call: Call) -> None:
    settings = call("config", shape={"settings": [SETTING]})["settings"]
    assert {"compact_rows", "compact_age_seconds"} <= {each["name"] for each in settings}
    assert call("version", shape={"version": str, "format_version": int, "hash_version": int})["hash_version"] == 1


def test_errors_are_one_document_with_the_exit_status_of_their_kind(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(0))
    nobody = ("--tenant", "nobody", *DAYS[2:])
    call("query", "segmentation", *DAYS, "--unit", "fortnight", shape=ERROR, status=2, code="USAGE")
    call("admin", "create-tenant", "../x", shape=ERROR, status=2, code="TENANT_NAME_INVALID")
    call("import", str(tmp_path / "none"), "--tenant", "t", shape=ERROR, status=2, code="USAGE")
    call("admin", "tenant", "nobody", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("query", "segmentation", *nobody, shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("query", "funnel", *nobody, "--step", "a", "--step", "b", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("query", "retention", *nobody, "--birth", "a", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("query", "flows", *nobody, "--anchor", "a", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("query", "flows", *DAYS, "--anchor", "a", "--by", "b", shape=WRONG, status=2, code="QUERY_INVALID")
    call("query", "retention", *DAYS, "--birth", "a", "--buckets", "0", shape=WRONG, status=2, code="QUERY_INVALID")
    call("query", "retention", *DAYS, "--birth", "a", "--buckets", "367", shape=WRONG, status=2, code="QUERY_INVALID")
    call("export", "--tenant", "nobody", *START_END[2:], shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("import", str(path), "--tenant", "nobody", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("admin", "compact", "--tenant", "nobody", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("admin", "storage", "--tenant", "nobody", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    call("admin", "create-tenant", "errors", shape=TENANT)
    call("admin", "create-tenant", "errors", shape=ERROR, status=4, code="TENANT_EXISTS")
    there = ("--tenant", "errors")
    call(
        "query", "segmentation", *there, *DAYS[2:], "--where", "shop ==", shape=WRONG, status=2,
        code="QUERY_INVALID",
    )  # fmt: skip
    backwards = ("--from", "2026-01-02", "--to", "2026-01-01")
    call("query", "segmentation", *there, *backwards, shape=WRONG, status=2, code="RANGE_INVALID")


def test_commands_without_a_cluster_exit_with_3(call: Call) -> None:
    nowhere = f"127.0.0.1:{free_base_port()}"
    unreachable = {"healthy": bool, "directory_revision": NULL, "services": [UNREACHABLE_SERVICE]}
    (service,) = call("status", "--router", nowhere, shape=unreachable, status=3)["services"]
    assert (service["address"], service["status"]) == (nowhere, "UNREACHABLE")
    call("admin", "tenants", "--router", nowhere, shape=ERROR, status=3, code="UNREACHABLE")


def test_up_that_cannot_start_is_one_error(shared_cluster: ClusterProcess, call: Call, tmp_path: Path) -> None:
    base_port = free_base_port()
    with socket.create_server(("127.0.0.1", base_port)):
        flags = ("--data-dir", str(tmp_path / "data"), "--base-port", str(base_port))
        call("up", *flags, shape=ERROR, status=4, code="PORT_IN_USE")
    flags = ("--data-dir", str(shared_cluster.data_dir), "--base-port", str(base_port))
    call("up", *flags, shape=ERROR, status=4, code="DATA_DIR_LOCKED")
    call("up", "--set", "no_such=1", shape=ERROR, status=2, code="USAGE")


def test_the_tour_runs_and_shows_what_is_committed(
    shared_cluster: ClusterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("matplotlib", "pandas", "polars"):
        pytest.importorskip(module, reason="TOUR NOT TRIED: scripts/setup.sh --bench has not been run")
    monkeypatch.setenv("EVENSHARD_ROUTER", shared_cluster.router)
    monkeypatch.setenv("EVENSHARD_GATEWAY", shared_cluster.gateway)
    committed = orjson.loads(TOUR.read_bytes())
    shown = run_notebook(committed)
    printed = "".join(each.printed for each in shown)
    assert "new events: 0\nthe same funnel: True\n" in printed
    charts = [chart for each in shown for chart in each.charts]
    assert len(charts) == 7
    assert all(chart.startswith(b"\x89PNG") and len(chart) > 8_000 for chart in charts)
    again = "evenshard.testing.notebook writes what is shown now"
    assert outputs_as_text(with_outputs(committed, shown)) == outputs_as_text(committed), again


def test_every_command_is_among_these() -> None:
    walked = {"up", "status", "import", "query", "export", "admin", "config", "version", "fsck", "cohort", "cohorts"}
    assert set(COMMANDS) - HIDDEN == walked | {"top", "slow-queries", "report", "traces"}
