"""import, query, export and admin: documents shaped as the contract says, errors as documents, exit statuses."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.cli import import_progress
from evenshard.cli.main import run
from evenshard.client import connect
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.testing.fake_state import Refuse, ShardSilent

START_MS = 1_767_225_600_000
COUNTS = {"accepted", "duplicates", "hot_events_rewritten", "rejected"}
META = {
    "complete", "missing_shards", "placement_epoch", "data_version", "duplicates_skipped", "hot_events_rewritten",
    "rows_scanned", "bytes_scanned", "shards", "cache", "elapsed_ms", "trace_id", "warnings",
}  # fmt: skip
TENANT = {
    "tenant", "hot_key_threshold", "hot_key_mode", "timezone", "dedupe", "retention_days", "strict",
    "events_per_second", "bytes_per_second", "owners", "report_sink", "required_labels", "placement",
}  # fmt: skip
SEGMENTATION = ["query", "segmentation", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-31"]
EXPORT = ["export", "--tenant", "acme", "--start", "0", "--end", "2027-01-01T00:00:00Z"]

Answer = tuple[int, Any]
Run = Callable[..., Answer]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Where commands look by default."""
    with FakeCluster() as running:
        running.add_tenant("acme")
        monkeypatch.setenv("EVENSHARD_ROUTER", running.address)
        monkeypatch.setenv("EVENSHARD_GATEWAY", running.address)
        yield running


@pytest.fixture
def ask(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with ``--json``: its exit status and its one document."""

    def asked(*arguments: str) -> Answer:
        capfd.readouterr()
        status = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return status, json.loads(out)

    return asked


@pytest.fixture
def events_file(tmp_path: Path) -> Path:
    """Five events of two tenants, one line that is no JSON."""
    path = tmp_path / "events.ndjson"
    lines = [
        orjson.dumps(
            {
                "tenant": "acme" if number < 4 else "other",
                "event": "view",
                "properties": {
                    "distinct_id": f"u{number % 2}",
                    "time": START_MS + number,
                    "$insert_id": f"id-{number}",
                },
            }
        )
        for number in range(5)
    ]
    path.write_bytes(b"\n".join([*lines, b"no json"]) + b"\n")
    return path


def test_import_answers_in_the_contracts_shape(ask: Run, events_file: Path) -> None:
    status, document = ask("import", str(events_file), "--create-tenant", "--batch-rows", "2", "--in-flight", "2")
    assert status == 1
    assert set(document) == COUNTS | {
        "events_read", "errors", "errors_by_code", "by_tenant", "warnings", "seconds", "events_per_second", "trace_id",
    }  # fmt: skip
    assert (document["events_read"], document["accepted"], document["rejected"]) == (6, 5, 1)
    assert document["errors"] == [
        {"index": 5, "tenant": "", "insert_id": "", "field": "", "code": "INVALID_JSON", "message": "invalid_json",
         "retryable": False},
    ]  # fmt: skip
    assert document["errors_by_code"] == {"INVALID_JSON": 1}
    assert {tenant: set(counts) for tenant, counts in document["by_tenant"].items()} == {
        "acme": COUNTS,
        "other": COUNTS,
    }
    assert [set(each) for each in document["warnings"]] == [{"code", "message", "count"}]
    assert len(document["trace_id"]) == 32


def test_import_without_rejects_is_whole(ask: Run, events_file: Path) -> None:
    events_file.write_bytes(b"\n".join(events_file.read_bytes().splitlines()[:4]))
    assert ask("import", str(events_file), "--tenant", "acme")[0] == 0
    status, document = ask("import", str(events_file))
    assert (status, document["duplicates"], document["by_tenant"]["acme"]["duplicates"]) == (0, 4, 4)


def test_import_reads_standard_input(ask: Run, events_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(events_file.read_bytes())))
    assert ask("import", "-", "--create-tenant")[1]["accepted"] == 5


def test_import_strict_and_formats_are_passed_on(ask: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "table"
    table = pa.table({"event": ["a"], "distinct_id": ["u"], "time": [START_MS]})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    status, document = ask("import", str(path), "--tenant", "acme", "--format", "arrow", "--strict")
    assert (status, document["errors_by_code"]) == (1, {"INSERT_ID_MISSING": 1})
    assert ask("import", str(path), "--tenant", "acme", "--format", "parquet")[1]["error"]["code"] == "PAYLOAD_INVALID"


def test_segmentation_answers_in_the_contracts_shape(ask: Run, events_file: Path, cluster: FakeCluster) -> None:
    ask("import", str(events_file), "--create-tenant")
    status, document = ask(*SEGMENTATION)
    assert status == 0
    assert (document["buckets"], document["series"]) == (["2026-01-01"], [{"by": [], "values": [4], "overall": 4}])
    assert set(document["meta"]) == META
    assert document["meta"]["duplicates_skipped"] == {"log": 0, "segment": 0}
    assert document["meta"]["warnings"] == [{"code": "FAKE", "message": "no real cluster"}]
    status, document = ask(
        *SEGMENTATION, "--event", "view", "--event", "a b", "--unit", "hour", "--measure", "unique", "--by",
        "distinct_id", "--by", "nothing", "--where", 'x == "y"', "--limit", "3", "--include-duplicates",
        "--timeout", "500ms",
    )  # fmt: skip
    assert (status, [line["by"] for line in document["series"]]) == (0, [["u0", None], ["u1", None]])
    asked = cluster.queries[-1]
    assert (list(asked.events), asked.unit, asked.measure, asked.where, asked.limit) == (
        ["view", "a b"], "hour", "unique", 'x == "y"', 3,
    )  # fmt: skip
    assert (asked.options.include_duplicates, asked.options.allow_partial) == (True, False)


def test_a_partial_answer_is_exit_status_1(ask: Run) -> None:
    status, document = ask(*SEGMENTATION, "--allow-partial")
    assert (status, document["meta"]["complete"]) == (1, False)


def test_segmentation_takes_a_whole_request_from_a_file(ask: Run, tmp_path: Path, cluster: FakeCluster) -> None:
    path = tmp_path / "query.json"
    path.write_text('{"tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-02", "by": ["ext"], "limit": 5}')
    assert ask("query", "segmentation", "--query", str(path))[0] == 0
    assert (cluster.queries[0].to_date, list(cluster.queries[0].by), cluster.queries[0].limit) == (
        "2026-01-02",
        ["ext"],
        5,
    )
    status, document = ask("query", "segmentation", "--query", str(path), "--tenant", "acme")
    assert (status, document["error"]["code"]) == (2, "USAGE")
    path.write_text('{"tenant": "acme", "window_ms": 3}')
    assert ask("query", "segmentation", "--query", str(path))[1]["error"]["code"] == "QUERY_INVALID"


def test_export_writes_rows_or_a_file_and_its_account(
    ask: Run, events_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ask("import", str(events_file), "--create-tenant")
    assert run([*EXPORT, "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["properties"]["time"] - START_MS for row in rows] == list(range(4))
    out = tmp_path / "rows"
    status, document = ask(*EXPORT, "--out", str(out))
    assert (status, document) == (0, {"rows": 4, "bytes": out.stat().st_size, "cursor": "4", "complete": True})
    assert [json.loads(line) for line in out.read_bytes().splitlines()] == rows
    assert ask(*EXPORT, "--out", str(out), "--cursor", "2")[1]["rows"] == 2
    assert [json.loads(line) for line in out.read_bytes().splitlines()] == rows + rows[2:]
    status, document = ask(*EXPORT, "--format", "arrow", "--out", str(out))
    assert (status, document["bytes"]) == (0, out.stat().st_size)
    assert pa.ipc.open_stream(out.read_bytes()).read_all().num_rows == 4
    assert ask(*EXPORT, "--format", "arrow", "--out", str(out), "--cursor", "2")[0] == 2
    assert ask(*EXPORT, "--format", "arrow")[1]["error"]["code"] == "USAGE"
    assert ask(*EXPORT, "--out", str(tmp_path / "no" / "folder"))[0] == 2


def test_retention_and_limits_are_null_where_they_are_none(ask: Run) -> None:
    names = ("retention_days", "events_per_second", "bytes_per_second")
    flags = ("--retention-days", "--events-per-second", "--bytes-per-second")
    status, made = ask("admin", "create-tenant", "shop", flags[0], "30", flags[1], "1000", flags[2], "2000000")
    assert (status, [made[name] for name in names]) == (0, [30, 1000, 2_000_000])
    assert ask("admin", "set-tenant", "shop", flags[1], "0") == (0, made | {"events_per_second": None})
    status, ended = ask("admin", "set-tenant", "shop", flags[0], "0", flags[2], "0")
    assert (status, [ended[name] for name in names]) == (0, [None, None, None])
    assert ask("admin", "tenant", "shop") == (0, ended)


def test_owners_and_sinks_stay_until_they_are_set_to_nothing(ask: Run) -> None:
    flags = ("--owner", "ann@example.org", "--owner", "bo@example.org", "--report-sink", "smtp:mail.example.org")
    status, made = ask("admin", "create-tenant", "shop", *flags)
    assert (status, made["owners"], made["report_sink"]) == (
        0, ["ann@example.org", "bo@example.org"], "smtp:mail.example.org",
    )  # fmt: skip
    assert ask("admin", "set-tenant", "shop", "--owner", "cy@example.org") == (0, made | {"owners": ["cy@example.org"]})
    status, ended = ask("admin", "set-tenant", "shop", "--owner", "", "--report-sink", "")
    assert (status, ended) == (0, made | {"owners": [], "report_sink": None})


def test_labels_are_required_until_they_are_set_to_nothing(ask: Run) -> None:
    status, made = ask("admin", "create-tenant", "shop", "--require-label", "zone=a", "--require-label", "tier=ssd")
    assert (status, made["required_labels"]) == (0, ["zone=a", "tier=ssd"])
    assert ask("admin", "set-tenant", "shop", "--strict") == (0, made | {"strict": True})
    status, ended = ask("admin", "set-tenant", "shop", "--no-strict", "--require-label", "")
    assert (status, ended) == (0, made | {"required_labels": []})


def test_admin_answers_in_the_contracts_shape(ask: Run) -> None:
    status, made = ask("admin", "create-tenant", "shop", "--timezone", "Asia/Tokyo", "--dedupe", "off", "--strict")
    assert (status, set(made), set(made["placement"])) == (0, TENANT, {"epoch", "slots", "overflow"})
    assert (made["tenant"], made["timezone"], made["dedupe"], made["strict"]) == ("shop", "Asia/Tokyo", False, True)
    assert [name for name in TENANT if made[name] is None] == [
        name for name in TENANT if name.startswith(("retention", "events_", "bytes_", "report_"))
    ]
    assert made["placement"]["slots"][0] == {"first": 0, "last": 2047, "shard": "shard-0"}
    status, changed = ask("admin", "set-tenant", "shop", "--dedupe", "on", "--no-strict")
    assert (status, changed) == (0, made | {"dedupe": True, "strict": False})
    assert ask("admin", "tenant", "shop") == (0, changed)
    status, listed = ask("admin", "tenants")
    assert (status, [each["tenant"] for each in listed["tenants"]], listed["tenants"][1]) == (
        0,
        ["acme", "shop"],
        changed,
    )
    status, compacted = ask("admin", "compact", "--tenant", "shop", "--day", "2026-01-01", "--wait")
    assert (status, set(compacted)) == (0, {"segments_written", "rows", "duplicates_marked", "backlog_rows"})
    status, stored = ask("admin", "storage")
    assert (status, [set(each) for each in stored["tenants"]]) == (
        0, [{"tenant", "log_rows", "segment_rows", "duplicate_rows", "segments", "files", "bytes"}] * 2,
    )  # fmt: skip
    assert [each["tenant"] for each in ask("admin", "storage", "--tenant", "shop")[1]["tenants"]] == ["shop"]


def test_compaction_is_paused_and_resumed(ask: Run, cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    state = {
        "shard": "shard-0", "paused": True, "paused_tenants": [], "failing_tenants": [], "backlog_rows": 7,
        "log_files": 1, "log_kept_by": [],
    }  # fmt: skip
    assert ask("admin", "compact", "--pause") == (0, {"compaction": [state]})
    assert ask("admin", "storage")[1]["compaction"] == [state]
    both = state | {"paused_tenants": ["acme"]}
    assert ask("admin", "compact", "--pause", "--tenant", "acme") == (0, {"compaction": [both]})
    assert ask("admin", "compact", "--resume") == (0, {"compaction": [both | {"paused": False}]})
    capfd.readouterr()
    assert run(["admin", "storage"]) == 0
    assert "shard-0  paused for acme             7" in capfd.readouterr().out
    assert ask("admin", "compact", "--resume", "--tenant", "acme")[0] == 0
    assert cluster.paused == set()
    for wrong in (["--pause", "--resume"], ["--pause", "--wait"], ["--resume", "--day", "2026-01-01"], []):
        status, document = ask("admin", "compact", *wrong)
        assert (status, document["error"]["code"]) == (2, "USAGE")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["admin", "tenant", "nobody"], 4, "TENANT_NOT_FOUND"),
        (["admin", "create-tenant", "acme"], 4, "TENANT_EXISTS"),
        (["import", "no-such-file"], 2, "USAGE"),
        (["import"], 2, "USAGE"),
        (["query"], 2, "USAGE"),
        (["query", "funnel"], 2, "USAGE"),
        (["query", "segmentation", "--tenant", "acme"], 2, "USAGE"),
        ([*SEGMENTATION, "--timeout", "soon"], 2, "USAGE"),
        ([*SEGMENTATION, "--timeout", "0s"], 2, "USAGE"),
        ([*SEGMENTATION, "--measure", "p42"], 2, "USAGE"),
        (["admin", "create-tenant", "t", "--retention-days", "-1"], 2, "USAGE"),
        (["admin", "set-tenant", "acme", "--events-per-second", str(1 << 70)], 2, "USAGE"),
        (["admin", "set-tenant", "acme", "--bytes-per-second", "fast"], 2, "USAGE"),
        (["import", __file__, "--from-line", "-1"], 2, "USAGE"),
        (["import", __file__, "--errors-to", "/no/folder/rejects"], 2, "USAGE"),
        ([*EXPORT[:-1], "yesterday"], 2, "RANGE_INVALID"),
        (["import", __file__, "--tenant", "nobody"], 4, "TENANT_NOT_FOUND"),
        (["query", "segmentation", "--query", "no-such-file"], 2, "USAGE"),
    ],
)
def test_errors_are_one_document_with_their_exit_status(ask: Run, arguments: list[str], status: int, code: str) -> None:
    found, document = ask(*arguments)
    assert (found, list(document), document["error"]["code"]) == (status, ["error"], code)
    assert set(document["error"]) == {"code", "message", "hint", "retryable", "trace_id", "details"}


@pytest.mark.parametrize(("arguments", "flag"), [(SEGMENTATION, "--gateway"), (["import", __file__], "--router")])
def test_a_wrong_address_says_how_to_start_a_cluster(ask: Run, arguments: list[str], flag: str) -> None:
    status, document = ask(*arguments, flag, "127.0.0.1:1")
    assert (status, document["error"]["code"], document["error"]["retryable"]) == (3, "UNREACHABLE", True)
    assert "evenshard up" in document["error"]["hint"]


def test_a_refused_import_tells_its_doubt_and_progress(ask: Run, cluster: FakeCluster, events_file: Path) -> None:
    cluster.script = [Refuse(EvenshardError("DATA_DAMAGED", "log 3", in_doubt=True))]
    status, document = ask("import", str(events_file), "--tenant", "acme")
    assert (status, document["error"]["code"], document["error"]["details"]) == (
        5, "DATA_DAMAGED", {"accepted": "0", "rejected": "0", "answered_to": "0", "in_doubt": True},
    )  # fmt: skip


def test_a_failed_export_names_the_cursor_to_go_on_from(ask: Run, cluster: FakeCluster, events_file: Path) -> None:
    ask("import", str(events_file), "--create-tenant")
    cluster.export_error_after = 1
    status, document = ask(*EXPORT, "--out", str(events_file.parent / "rows"))
    assert (status, document["error"]["code"]) == (5, "DATA_DAMAGED")
    assert (document["error"]["details"]["cursor"], document["error"]["details"]["rows"]) == ("2", "2")


def test_people_are_told_in_words(cluster: FakeCluster, events_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cluster.script = [ShardSilent(frozenset(["u1"]), stored=True)]
    assert run(["import", str(events_file), "--create-tenant"]) == 1
    said = capfd.readouterr().out
    assert "6 events read: 5 accepted (2 of them duplicates), 1 rejected" in said
    assert "line 5: INVALID_JSON" in said
    assert run([*SEGMENTATION, "--by", "distinct_id", "--by", "nothing"]) == 0
    said = capfd.readouterr().out
    assert "u0 (not set) 2 50.0 %" in " ".join(said.split())
    assert run([*SEGMENTATION, "--allow-partial"]) == 1
    assert "PARTIAL" in capfd.readouterr().out
    for arguments in (["admin", "tenants"], ["admin", "storage"], ["admin", "tenant", "acme"]):
        assert run(arguments) == 0
        assert "acme" in capfd.readouterr().out
    assert run(EXPORT) == 0
    exported = capfd.readouterr()
    assert (exported.out.count("\n"), "4 rows" in exported.err) == (4, True)


def test_progress_is_said_in_lines_or_drawn_as_a_bar(
    cluster: FakeCluster, events_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_progress, "LINE_EVERY_S", 0.0)
    assert run(["import", str(events_file), "--tenant", "acme", "--json", "--batch-rows", "2"]) == 1
    said = capfd.readouterr()
    assert (said.out.count("\n"), said.err.count(" rejected\n")) == (1, 3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(["import", str(events_file), "--tenant", "acme", "--json"]) == 1
    assert capfd.readouterr().out.count("\n") == 1


def test_the_first_interrupt_finishes_what_is_in_flight(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "many.ndjson"
    path.write_bytes(b"".join(b'{"event":"e","distinct_id":"u","time":%d}\n' % number for number in range(200_000)))
    command = [sys.executable, "-m", "evenshard.cli.main", "import", str(path), "--tenant", "acme", "--json"]
    process = subprocess.Popen([*command, "--batch-rows", "10"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + 20
        while len(cluster.imports) < 5 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    document = json.loads(out)
    assert (process.returncode, document["rejected"]) == (1, 0)
    assert 50 <= document["accepted"] == len(cluster.stored) < 200_000
    assert b"the rest was not sent" in err


def test_whoever_reads_an_export_may_stop(cluster: FakeCluster, tmp_path: Path) -> None:
    with connect(cluster.address, tenant="acme") as client:
        client.import_events({"event": "e" * 200, "distinct_id": "u", "time": number} for number in range(2_000))
    command = [sys.executable, "-m", "evenshard.cli.main", *EXPORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(20), process.stderr.read()) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert (done.returncode, b"No space left" in done.stderr) == (2, True)
