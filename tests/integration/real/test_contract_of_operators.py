"""As ``test_contract``, the commands that operators look and act with: operations, hot keys, traces, reports."""

import json
import time
from pathlib import Path

import evenshard
import orjson
import pyarrow as pa
import pytest
from evenshard.events.hashing import SLOT_SHIFT, hash_of
from evenshard.testing.few_events import DAYS, TIME_MS, Call, lines
from evenshard.testing.json_shapes import (
    ANY_TENANT,
    CHANGE,
    COMPACTION,
    ERROR,
    IMPORTED,
    META,
    OPERATION,
    PLAN,
    REPORT,
    REPORTS,
    SENT,
    SERIES,
    SHARDS,
    SLOW,
    TENANT,
    TOP,
    TRACES,
    WRONG,
    Empty,
    misfits,
)
from evenshard.testing.report_servers import MailServer, WebhookServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


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


def import_now(tenant: str, ids: list[str], **columns: list[str]) -> None:
    """An event an id, all of this moment."""
    now = pa.array([int(time.time() * 1000)] * len(ids), pa.int64())
    table = pa.table({"event": pa.array(["view"] * len(ids)), "distinct_id": pa.array(ids), "time": now, **columns})
    with evenshard.connect(tenant=tenant) as client:
        assert client.import_table(table).accepted == len(ids)


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
