"""Every delivered command with ``--json``: one document, exactly the fields and types written down, the exit status."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import orjson
import pyarrow as pa
import pytest
from evenshard.cli.main import COMMANDS, HIDDEN, run
from evenshard.events.hashing import SLOT_SHIFT, hash_of
from evenshard.testing.json_shapes import (
    ANY_TENANT,
    BARS,
    CHANGE,
    COHORT,
    COMPACTED,
    COMPACTION,
    EDGE,
    ERROR,
    EXPLAINED,
    EXPORTED,
    IMPORTED,
    MAYBE_NUMBER,
    META,
    NODE,
    NULL,
    OPERATION,
    PLAN,
    REJECTED,
    REPORT,
    REPORTS,
    ROW,
    SAVED_COHORT,
    SENT,
    SERIES,
    SERVICE,
    SETTING,
    SHARDS,
    SLOW,
    STEP,
    STORAGE,
    TENANT,
    TOP,
    TRACES,
    UNREACHABLE_SERVICE,
    UP,
    WRONG,
    Empty,
    misfits,
)
from evenshard.testing.notebook import outputs_as_text, run_notebook, with_outputs
from evenshard.testing.processes import ClusterProcess, free_base_port
from evenshard.testing.report_servers import MailServer, WebhookServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TOUR = Path(__file__).resolve().parents[3] / "docs/tour.ipynb"
TIME_MS = 1_767_225_600_000  # 2026-01-01
DAYS = ("--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-02")
START_END = ("--tenant", "acme", "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z")

Call = Callable[..., Any]


@pytest.fixture
def call(shared_cluster: ClusterProcess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command with ``--json``; the document it printed, which is one line of the shape, with its exit status."""
    monkeypatch.setenv("EVENSHARD_ROUTER", shared_cluster.router)
    monkeypatch.setenv("EVENSHARD_GATEWAY", shared_cluster.gateway)
    capfd.readouterr()

    def call(*arguments: str, shape: Any, status: int = 0, code: str | None = None) -> Any:
        found = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert (found, out.count("\n")) == (status, 1), out
        document = json.loads(out)
        assert misfits(document, shape) == []
        if code is not None:
            assert document["error"]["code"] == code
        return document

    return call


def lines(*numbers: int, **changes: Any) -> bytes:
    return b"".join(
        orjson.dumps(
            {
                "event": ("view", "buy")[number % 2],
                "properties": {
                    "distinct_id": f"u{number // 2}",
                    "time": TIME_MS + number * 1000,
                    "$insert_id": f"i{number}",
                    "shop": f"s{number % 3}",
                },
            }
            | changes
        )
        + b"\n"
        for number in numbers
    )


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
    made = call("admin", "create-tenant", "acme", "--timezone", "Europe/Berlin", shape=TENANT)
    assert (made["tenant"], made["timezone"], made["dedupe"], made["strict"]) == ("acme", "Europe/Berlin", True, False)
    changed = call("admin", "set-tenant", "acme", "--timezone", "UTC", "--hot-key-threshold", "5000", shape=TENANT)
    assert changed == made | {"timezone": "UTC", "hot_key_threshold": 5000}
    assert call("admin", "tenant", "acme", shape=TENANT) == changed
    assert changed in call("admin", "tenants", shape={"tenants": [TENANT]})["tenants"]

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

    one = {"buckets": [str], "series": [{**SERIES, "by": Empty}], "meta": META}
    answer = call("query", "segmentation", *DAYS, shape=one)
    assert (answer["buckets"], answer["series"]) == (
        ["2026-01-01", "2026-01-02"],
        [{"by": [], "values": [11, 0], "overall": 11}],
    )
    assert answer["meta"]["duplicates_skipped"] == {"log": 1, "segment": 0}
    by = call("query", "segmentation", *DAYS, "--by", "shop", shape={**one, "series": [SERIES]})
    assert [len(each["by"]) for each in by["series"]] == [1] * 4

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

    birth = ("--birth", "view", "--return", "*", "--buckets", "2")
    retention = {"cohorts": [COHORT], "average": [MAYBE_NUMBER], "groups": Empty, "meta": META}
    answer = call("query", "retention", *DAYS, *birth, shape=retention)
    assert [(each["start"], each["size"]) for each in answer["cohorts"]] == [("2026-01-01", 5), ("2026-01-02", 0)]
    group = {"by": [str], "cohorts": [COHORT], "average": [MAYBE_NUMBER]}
    call("query", "retention", *DAYS, *birth, "--by", "shop", shape={**retention, "groups": [group]})
    flows = {"anchors": int, "nodes": [NODE], "edges": [EDGE], "meta": META}
    answer = call("query", "flows", *DAYS, "--anchor", "view", "--window", "session", shape=flows)
    assert (answer["anchors"], answer["nodes"][0]["name"], answer["nodes"][0]["count"]) == (5, "view", 5)

    cohort = ("cohort", "save", "two views", *DAYS, "--did", "view", "--at-least", "2")
    saved = call(*cohort, shape={"cohorts": [SAVED_COHORT]})
    assert [(each["name"], each["version"]) for each in saved["cohorts"]] == [("two views", 1)]
    assert call("cohorts", "--tenant", "acme", shape={"cohorts": [SAVED_COHORT]}) == saved
    member = ("--where", "`$cohort:two views` == true", "--measure", "unique")
    answer = call("query", "segmentation", *DAYS, *member, shape=one)
    assert answer["series"][0]["overall"] == saved["cohorts"][0]["users"]
    call("cohort", "delete", "two views", "--tenant", "acme", shape={"cohorts": Empty})
    call("cohort", "delete", "x", "--tenant", "acme", shape=ERROR, status=4, code="COHORT_NOT_FOUND")
    call("query", "segmentation", *DAYS, *member, shape=WRONG, status=2, code="QUERY_INVALID")

    out = tmp_path / "out.ndjson"
    exported = call("export", *START_END, "--out", str(out), shape=EXPORTED)
    assert (exported["rows"], exported["bytes"], exported["complete"]) == (11, out.stat().st_size, True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert misfits(rows, [ROW]) == []

    assert call("admin", "compact", "--tenant", "acme", shape=COMPACTED)["backlog_rows"] >= 0
    assert call("admin", "compact", "--tenant", "acme", "--wait", shape=COMPACTED)["backlog_rows"] == 0
    storage = call("admin", "storage", "--tenant", "acme", shape=STORAGE)
    (stored,) = storage["tenants"]
    assert [each["shard"] for each in storage["compaction"]] == ["shard-0", "shard-1"]
    assert [each["shard"] for each in storage["memory"]] == ["shard-0", "shard-1"]
    assert (stored["log_rows"], stored["segment_rows"], stored["duplicate_rows"]) == (0, 12, 1)
    assert stored in call("admin", "storage", shape={**STORAGE, "compaction": [dict]})["tenants"]
    assert call("query", "segmentation", *DAYS, shape=one)["meta"]["duplicates_skipped"] == {"log": 0, "segment": 1}


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


def test_users_are_deleted_by_an_operation_and_compaction_is_paused(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*range(10)))
    call(
        "import",
        str(path),
        "--tenant",
        "gone",
        "--create-tenant",
        shape={**IMPORTED, "errors": Empty, "warnings": Empty},
    )
    days = ("--tenant", "gone", *DAYS[2:])
    answer = {"buckets": [str], "series": [{**SERIES, "by": Empty}], "meta": META}
    operation = call("admin", "delete-users", "gone", "u0", "u4", "--yes", shape={"operation": str})["operation"]
    assert call("query", "segmentation", *days, shape=answer)["series"][0]["overall"] == 6
    done = call("admin", "wait", operation, "--timeout", "60s", shape=OPERATION)
    assert (done["operation"], done["kind"], done["tenant"], done["state"]) == (
        operation, "delete-users", "gone", "complete",
    )  # fmt: skip
    assert call("admin", "operation", operation, shape=OPERATION) == done
    assert done in call("admin", "operations", shape={"operations": [OPERATION]})["operations"]
    told = call("admin", "audit", "--limit", "1", shape={"changes": [CHANGE], "left_out": int})
    assert len(told["changes"]) == 1
    state = {**ERROR["error"], "details": {"operation": str, "state": str}}
    call("admin", "cancel", operation, "--yes", shape={"error": state}, status=4, code="OPERATION_STATE")
    call("admin", "operation", "none", shape=ERROR, status=4, code="OPERATION_NOT_FOUND")
    call("admin", "delete-users", "nobody", "u", "--yes", shape=ERROR, status=4, code="TENANT_NOT_FOUND")

    free = {**COMPACTION, "paused_tenants": list, "log_kept_by": list}
    paused = call("admin", "compact", "--pause", "--tenant", "gone", shape={"compaction": [free]})["compaction"]
    assert [each["paused_tenants"] for each in paused] == [["gone"]] * 2
    paused = call("admin", "compact", "--resume", shape={"compaction": [free]})["compaction"]
    assert [each["paused_tenants"] for each in paused] == [[]] * 2


def test_a_hot_key_is_repaired_by_an_operation_and_taken_back(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "runaway.ndjson"
    call("admin", "create-tenant", "runs", "--hot-key-threshold", "2", shape=ANY_TENANT)
    for first in (0, 10):
        numbers = range(first, first + 10)
        properties = [
            {"time": TIME_MS + number, "$insert_id": f"i{number}", "mail": f"m{number}"} for number in numbers
        ]
        rows = [{"event": "e", "properties": {"distinct_id": "0", **each}} for each in properties]
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        call("import", str(path), "--tenant", "runs", shape={**IMPORTED, "errors": Empty, "warnings": list})
        wait_until_marked(call)
    key = ("runs", "--user", "0", *DAYS[2:])
    plan = call("admin", "repair", *key, "--action", "delete", "--dry-run", shape=PLAN)
    assert (plan["kept_rows"] + plan["rewritten_rows"], plan["days"], plan["left_rows"]) == (20, ["2026-01-01"], 0)
    reassign = ("--action", "reassign", "--distinct-id-from", "mail", "--include-earlier")
    done = call("admin", "repair", *key, *reassign, "--wait", "--yes", shape=OPERATION)
    assert (done["kind"], done["tenant"], done["state"], done["rows_done"]) == ("repair", "runs", "complete", 20)
    verified = call(
        "admin", "verify", done["operation"], shape={**OPERATION, "verify": {"equal": bool, "differences": Empty}}
    )
    assert verified["verify"]["equal"]
    days = ("--tenant", "runs", *DAYS[2:])
    answer = {"buckets": [str], "series": [{**SERIES, "by": Empty}], "meta": META}
    unique = ("query", "segmentation", *days, "--measure", "unique")
    assert call(*unique, shape=answer)["series"][0]["overall"] == 20
    undone = call("admin", "repair-undo", done["operation"], "--wait", "--yes", shape=OPERATION)
    assert (undone["kind"], undone["state"]) == ("repair-undo", "complete")
    assert call(*unique, shape=answer)["series"][0]["overall"] == 1
    state = {"error": {**ERROR["error"], "details": {"operation": str, "state": str}}}
    for verb in ("repair-undo", "pause", "resume"):
        call("admin", verb, done["operation"], "--yes", shape=state, status=4, code="OPERATION_STATE")
    cool = ("admin", "repair", "runs", "--user", "nobody", *DAYS[2:], "--action", "delete", "--yes")
    call(*cool, shape=ERROR, status=4, code="HOT_KEY_NOT_FOUND")
    call("admin", "repair", *key, "--action", "reassign", "--yes", shape=WRONG, status=2, code="QUERY_INVALID")


def wait_until_marked(call: Call) -> None:
    """A key that has just crossed is handed over first."""
    deadline_s = time.monotonic() + 30
    while True:
        try:
            key = ("runs", "--user", "0", *DAYS[2:])
            call("admin", "repair", *key, "--action", "export", "--dry-run", shape=PLAN)
            return
        except AssertionError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.1)


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


def import_now(tenant: str, ids: list[str], **columns: list[str]) -> None:
    """An event an id, all of this moment."""
    now = pa.array([int(time.time() * 1000)] * len(ids), pa.int64())
    table = pa.table({"event": pa.array(["view"] * len(ids)), "distinct_id": pa.array(ids), "time": now, **columns})
    with evenshard.connect(tenant=tenant) as client:
        assert client.import_table(table).accepted == len(ids)


def test_a_hot_key_and_a_hot_shard_are_told_apart(call: Call) -> None:
    call("admin", "create-tenant", "heat", "--hot-key-mode", "observe", shape=TENANT)
    shards = {piece["shard"]: piece for piece in call("admin", "tenant", "heat", shape=TENANT)["placement"]["slots"]}

    def home(distinct_id: str) -> str:
        slot = hash_of(distinct_id) >> SLOT_SHIFT
        return next(shard for shard, piece in shards.items() if piece["first"] <= slot <= piece["last"])

    users = [f"u{number}" for number in range(3_000)]
    warm = [f"warm{number}" for number in range(4) for _ in range(1_500)]
    import_now("heat", ["runaway"] * 20_000 + warm + users)
    top = call("top", "--once", "--limit", "5", shape=TOP)
    [one] = top["diagnosis"]
    assert (one["kind"], one["subject"], one["tenant"], one["shard"]) == (
        "hot_key", "runaway", "heat", home("runaway"),
    )  # fmt: skip
    assert "caching or salting helps, no split does" in one["advice"]
    assert (top["keys"][0]["distinct_id"], len(top["keys"]), top["load_of"]) == ("runaway", 5, "events_per_second")

    other = next(shard for shard in shards if shard != home("runaway"))
    import_now("heat", [user for user in users if home(user) == other] * 80)
    [one] = call("top", shape=TOP)["diagnosis"]
    assert (one["kind"], one["subject"]) == ("hot_shard", other)
    assert "rebalance" in one["advice"]
    told = call("admin", "shards", shape=SHARDS)
    loads = {each["shard"]: each["events_per_second"] for each in told["shards"]}
    assert told["skew"] == max(loads.values()) / (sum(loads.values()) / len(loads)) > 1.5
    for by in ((), ("--by", "shard"), ("--by", "tenant"), ("--by", "event")):
        slow = call("slow-queries", *by, shape={"queries": list, "gateways": list, "missing": Empty})
        assert misfits(slow["queries"], [SLOW] if slow["queries"] else Empty) == []
    call("slow-queries", "--by", "user", shape=ERROR, status=2, code="USAGE")


def test_traces_are_told_without_a_collector(call: Call, tmp_path: Path) -> None:
    call("admin", "create-tenant", "traced", shape=TENANT)
    lines = tmp_path / "lines.ndjson"
    lines.write_text(json.dumps({"event": "e", "properties": {"distinct_id": "u", "time": TIME_MS}}) + "\n")
    trace_id = call("import", str(lines), "--tenant", "traced", shape=dict)["trace_id"]
    (found,) = call("traces", trace_id, shape=TRACES)["traces"]
    assert (found["trace_id"], {span["trace_id"] for span in found["spans"]}) == (trace_id, {trace_id})
    assert found["root"] == "evenshard.v1.IngestService/ImportEvents"
    by_name = {span["name"]: span for span in found["spans"]}
    assert (by_name["router.import"]["service"], by_name["shard.append"]["attributes"]["evenshard.rows"]) == (
        "router-0", 1,
    )  # fmt: skip
    assert by_name["router.import"]["attributes"]["evenshard.directory_revision"] > 0
    (again,) = call("traces", trace_id, "--linked", shape=dict)["traces"]
    assert [span["name"] for span in again["linked"]] == ["shard.log.sync"]
    slowest = call("traces", "--slowest", "2", shape=TRACES)["traces"]
    assert len(slowest) == 2
    assert slowest[0]["duration_ms"] >= slowest[1]["duration_ms"] > 0
    path = tmp_path / "spans.jsonl"
    path.write_bytes(b"".join(orjson.dumps(span) + b"\n" for span in found["spans"]))
    assert call("traces", trace_id, "--file", str(path), shape=TRACES) == {"traces": [found]}
    path.write_bytes(path.read_bytes() + b"{\n")
    assert call("traces", "--file", str(path), shape=dict, status=1) == {"traces": [found], "lines_unreadable": 1}
    call("traces", "f" * 32, shape=ERROR, status=4, code="TRACE_NOT_FOUND")
    call("traces", "nonsense", shape=WRONG, status=2, code="QUERY_INVALID")
    call("traces", "--file", str(tmp_path / "absent"), shape=ERROR, status=2, code="USAGE")


def test_a_report_of_hot_keys_is_mailed_and_posted_once(call: Call, tmp_path: Path) -> None:
    with MailServer() as mail, WebhookServer(answers=[503]) as webhook:
        sinks = {
            "mailed": f"smtp:127.0.0.1:{mail.port}",
            "posted": f"webhook:{webhook.url}",
            "kept": f"file:{tmp_path}",
        }
        for name, sink in sinks.items():
            flags = ("--hot-key-threshold", "100", "--owner", "ann@example.org", "--report-sink", sink)
            assert call("admin", "create-tenant", name, *flags, shape=TENANT)["report_sink"] == sink
            assert call("report", "send", "--tenant", name, shape=SENT)["outcome"] == "nothing_found"
            ids = ["runaway"] * 150 + [f"u{number}" for number in range(150)]
            import_now(name, ids, sdk=["4.2.0"] * 150 + ["4.1.9"] * 150)
        page = tmp_path / "page.html"
        document = call("report", "hot-keys", "--tenant", "mailed", "--html", str(page), shape=REPORT)
        [key] = document["hot_keys"]
        assert (key["distinct_id"], key["kept"], key["rewritten"], key["events"]) == ("runaway", 100, 50, {"view": 150})
        assert 'sdk is "4.2.0" in 100% of its events, and in 0% of all others' in key["likely_cause"]
        assert "runaway" in page.read_text()
        for outcome in ("sent", "already_sent", "already_sent"):
            sent = call("report", "send", shape=REPORTS)["reports"]
            assert {each["tenant"]: each["outcome"] for each in sent} == dict.fromkeys(sinks, outcome)
        assert {each["tenant"]: each["attempts"] for each in sent} == {"mailed": 1, "posted": 2, "kept": 1}
        [(recipients, _)] = mail.mails
        [(_, posted)] = webhook.posts
        assert (recipients, webhook.refused, posted["report"]["hot_keys"][0]["distinct_id"]) == (
            ["ann@example.org"], 1, "runaway",
        )  # fmt: skip
        assert json.loads((tmp_path / f"hot-keys-kept-{sent[0]['week']}.json").read_text())["tenant"] == "kept"
    call("report", "hot-keys", "--tenant", "kept", "--week", "2026-W99", shape=WRONG, status=2, code="RANGE_INVALID")
    call("report", "hot-keys", "--tenant", "nobody", shape=ERROR, status=4, code="TENANT_NOT_FOUND")
    wrong = ("--report-sink", "ftp:x")
    call("admin", "set-tenant", "kept", *wrong, shape=WRONG, status=2, code="QUERY_INVALID")


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
