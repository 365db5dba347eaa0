"""The spans of one import and one query over two shards, from the trace file and from a collector, across processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from evenshard.testing.processes import free_base_port
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

EVENTS = 400
COPIES = 100
"""Of them: sent a second time."""
T0_MS = 1_767_225_600_000
SHARDS = ["shard-0", "shard-1"]
Span = dict[str, Any]


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Receives OTLP metrics; remembers the last value of each that is a total, by service."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], int] = {}

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            (service,) = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.HasField("sum"):
                    self.values[service, metric.name] = metric.sum.data_points[-1].as_int
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Receives OTLP; remembers which service sent which spans."""

    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.metrics = Metrics()
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self.metrics, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            (service,) = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            for scope in resource.scope_spans:
                self.names |= {(service, span.name) for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


class Cluster:
    """``evenshard up`` with two shards, its trace file, and its commands."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self.folder = folder
        self.trace_file = folder / "traces.jsonl"
        base = free_base_port()
        self.environment = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "EVENSHARD_ROUTER": f"127.0.0.1:{base}",
            "EVENSHARD_GATEWAY": f"127.0.0.1:{base + 1}",
            "EVENSHARD_TRACE_FILE": str(self.trace_file),
        }
        with (folder / "up.log").open("wb") as stderr:
            self.up = subprocess.Popen(
                [
                    *COMMAND,
                    "up",
                    "--json",
                    "--base-port",
                    str(base),
                    "--data-dir",
                    str(folder / "data"),
                    "--trace-file",
                    "traces.jsonl",
                    "--timeout",
                    "180s",
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self.environment,
                start_new_session=True,
            )
        assert self.up.stdout is not None
        ready = json.loads(self.up.stdout.readline())
        assert ready.get("status") == "ready", ready

    def run(self, *arguments: str) -> Any:
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=self.environment, timeout=60)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def spans(self) -> list[Span]:
        return [json.loads(line) for line in self.trace_file.read_text().splitlines()]

    def log(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "data" / "logs" / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def finish(self) -> int:
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(30)


COMMAND = [sys.executable, "-m", "evenshard.cli.main"]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.stop(0).wait()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> "Story":
    """One import, one query of each kind and a compaction; then a clean stop."""
    return Story(tmp_path_factory.mktemp("traces"), collector)


class Story:
    def __init__(self, folder: Path, collector: Collector) -> None:
        events = folder / "events.ndjson"
        lines = (
            {"event": "e", "properties": {"distinct_id": f"user {n % 60}", "time": T0_MS + n, "$insert_id": f"i{n}"}}
            for n in [*range(EVENTS - COPIES), *range(COPIES)]
        )
        events.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.cluster = cluster = Cluster(folder, collector)
        try:
            self.imported = cluster.run("import", str(events), "--tenant", "t", "--create-tenant", "--json")
            days = ("--from", "2026-01-01", "--to", "2026-01-01")
            self.answers = {
                "segmentation": cluster.run("query", "segmentation", "--tenant", "t", *days, "--json"),
                "funnel": cluster.run(
                    "query", "funnel", "--tenant", "t", *days, "--step", "e", "--step", "e", "--json"
                ),
            }
            out = folder / "out.ndjson"
            time_range = ("--start", str(T0_MS), "--end", str(T0_MS + EVENTS))
            self.export = cluster.run("export", "--tenant", "t", *time_range, "--out", str(out), "--json")
            cluster.run("admin", "compact", "--tenant", "t", "--wait", "--json")
            eventually(lambda: any(span["name"] == "counter.count" for span in cluster.spans()))
            self.exit_status = cluster.finish()
            self.spans = cluster.spans()
        finally:
            if cluster.up.poll() is None:
                os.killpg(cluster.up.pid, signal.SIGKILL)
                cluster.up.wait(10)

    def named(self, name: str, trace_id: str | None = None) -> list[Span]:
        return [span for span in self.spans if span["name"] == name and trace_id in (None, span["trace_id"])]

    def one(self, name: str, trace_id: str) -> Span:
        (span,) = self.named(name, trace_id)
        return span

    def ancestors(self, span: Span) -> list[str]:
        """From the direct parent to the root, each of the same trace and around its child in time."""
        by_id = {each["span_id"]: each for each in self.spans}
        names = []
        while span["parent_span_id"] is not None:
            parent = by_id[span["parent_span_id"]]
            assert parent["trace_id"] == span["trace_id"]
            assert parent["start_unix_ns"] <= span["start_unix_ns"] <= span["end_unix_ns"]
            names.append(parent["name"])
            span = parent
        return names


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.05)


def attributes(span: Span, *names: str) -> list[Any]:
    return [span["attributes"].get(f"evenshard.{name}") for name in names]


def test_an_import_is_one_tree_from_the_client_to_every_shard(story: Story) -> None:
    trace_id = story.imported["trace_id"]
    assert (story.imported["accepted"], story.imported["duplicates"]) == (EVENTS, COPIES)
    root = story.one("client.import", trace_id)
    assert (root["service"], root["parent_span_id"], root["status"]) == ("client", None, "OK")
    assert attributes(root, "tenant", "rows") == ["t", EVENTS]
    router = story.one("router.import", trace_id)
    assert router["service"] == "router-0"
    assert story.ancestors(router)[-1] == "client.import"
    assert attributes(router, "tenant", "rows", "duplicates") == ["t", EVENTS, COPIES]
    appends = story.named("shard.append", trace_id)
    assert sorted(span["service"] for span in appends) == SHARDS
    for span in appends:
        lineage = [name for name in story.ancestors(span) if not name.startswith("evenshard.v1.")]
        assert lineage == ["router.import", "client.import"]
        assert attributes(span, "tenant", "shard", "epoch") == ["t", span["service"], 1]
        assert span["attributes"]["evenshard.bytes"] > 0
    assert sum(span["attributes"]["evenshard.rows"] for span in appends) == EVENTS
    assert sum(span["attributes"]["evenshard.duplicates"] for span in appends) == COPIES


def test_every_append_is_linked_to_the_sync_that_made_it_durable(story: Story) -> None:
    syncs = {(span["trace_id"], span["span_id"]): span for span in story.named("shard.log.sync")}
    for append in story.named("shard.append"):
        (link,) = append["links"]
        sync = syncs[link["trace_id"], link["span_id"]]
        assert (sync["parent_span_id"], sync["service"]) == (None, append["service"])
        assert sync["trace_id"] != append["trace_id"]
        assert sync["end_unix_ns"] <= append["end_unix_ns"]
        assert attributes(sync, "rows", "shard") == [append["attributes"]["evenshard.rows"], append["service"]]


def test_a_count_is_a_trace_of_its_own_linked_to_the_import(story: Story) -> None:
    trace_id = story.imported["trace_id"]
    router = story.one("router.import", trace_id)
    (count,) = story.named("counter.count")
    assert count["trace_id"] != trace_id
    assert (count["service"], count["links"]) == ("counter-0", [{"trace_id": trace_id, "span_id": router["span_id"]}])


def test_a_compaction_is_linked_to_the_appends_it_indexed(story: Story) -> None:
    appends = {span["service"]: span for span in story.named("shard.append")}
    compactions = [span for span in story.named("shard.compaction") if span["links"]]
    assert sorted(span["service"] for span in compactions) == SHARDS
    for span in compactions:
        append = appends[span["service"]]
        assert span["links"] == [{"trace_id": append["trace_id"], "span_id": append["span_id"]}]
        assert attributes(span, "tenant", "rows") == ["t", append["attributes"]["evenshard.rows"]]


@pytest.mark.parametrize("kind", ["segmentation", "funnel"])
def test_a_query_is_one_tree_from_the_client_to_every_shard(story: Story, kind: str) -> None:
    meta = story.answers[kind]["meta"]
    trace_id = meta["trace_id"]
    root = story.one("client.query", trace_id)
    assert (root["service"], root["parent_span_id"]) == ("client", None)
    gateway = story.one("gateway.query", trace_id)
    assert (gateway["service"], story.ancestors(gateway)[-1]) == ("gateway-0", "client.query")
    expected = ["t", kind, 1, meta["rows_scanned"], False]
    assert attributes(gateway, "tenant", "query", "epoch", "rows", "cache_hit") == expected
    scans = story.named("shard.scan", trace_id)
    assert sorted(span["service"] for span in scans) == SHARDS
    for span in scans:
        lineage = [name for name in story.ancestors(span) if not name.startswith("evenshard.v1.")]
        assert lineage == ["gateway.query", "client.query"]
        assert attributes(span, "tenant", "shard", "epoch") == ["t", span["service"], 1]
    assert sum(span["attributes"]["evenshard.rows"] for span in scans) == meta["rows_scanned"]


def test_an_export_is_a_query_too(story: Story) -> None:
    (gateway,) = [span for span in story.named("gateway.query") if span["attributes"]["evenshard.query"] == "export"]
    assert story.ancestors(gateway)[-1] == "client.query"
    assert attributes(gateway, "rows", "bytes") == [story.export["rows"], story.export["bytes"]]
    scans = story.named("shard.scan", gateway["trace_id"])
    assert sorted({span["service"] for span in scans}) == SHARDS
    assert all("gateway.query" in story.ancestors(span) for span in scans)


def test_lines_are_whole_spans_with_ids_of_their_own(story: Story) -> None:
    assert story.exit_status == 0
    keys = {"trace_id", "span_id", "parent_span_id", "name", "service", "start_unix_ns", "end_unix_ns", "status"}
    for span in story.spans:
        assert set(span) == keys | {"attributes", "links"}
        assert (len(span["trace_id"]), len(span["span_id"])) == (32, 16)
        assert 0 < span["start_unix_ns"] <= span["end_unix_ns"]
    assert max(Counter(span["span_id"] for span in story.spans).values()) == 1


def test_every_log_line_names_its_trace_or_says_there_is_none(story: Story) -> None:
    compactions = {span["service"]: span["trace_id"] for span in story.named("shard.compaction") if span["links"]}
    for name in ("router-0", "gateway-0", "counter-0", *SHARDS):
        lines = story.cluster.log(name)
        assert lines
        assert all("trace_id" in line for line in lines)
        assert [line["trace_id"] for line in lines if line["event"] == "compacted"][:1] == (
            [compactions[name]] if name in SHARDS else []
        )


def test_a_collector_receives_the_spans_of_every_process(story: Story, collector: Collector) -> None:
    expected = {(span["service"], span["name"]) for span in story.spans}
    assert {name for _, name in expected} >= {"client.import", "router.import", "shard.append", "counter.count"}
    assert collector.names == expected


def test_a_collector_is_told_that_no_kernel_was_compiled_and_no_count_dropped(
    story: Story, collector: Collector
) -> None:
    services = ("router-0", "gateway-0", "counter-0", *SHARDS)
    assert story.spans
    compiled = {(service, "evenshard.kernels.compiled"): 0 for service in services}
    told = collector.metrics.values
    names = ("evenshard.kernels.compiled", "evenshard.router.counts.dropped")
    assert {key: value for key, value in told.items() if key[1] in names} == compiled | {
        ("router-0", "evenshard.router.counts.dropped"): 0
    }
    assert told.keys() >= {("shard-0", "evenshard.shard.events"), ("gateway-0", "evenshard.query.answers")}
