"""A cluster as an operator sees it: every metric is told, the skew alert fires on a skewed load and not on an even one,
and the worst traces name the shard that did not answer."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.directory.service import Kind
from evenshard.errors import EvenshardError
from evenshard.runtime.metric_table import METRICS, prometheus_name
from evenshard.testing.chart import documents, of_kind, render
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.promql import Sample, evaluate, samples_of

pytest.importorskip("opentelemetry.exporter.prometheus", reason="NO METRICS TESTED: scripts/setup.sh")
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

TENANT = "observed"
TIME_MS = 1_767_225_600_000  # 2026-01-01
EVENTS = 60_000
OF_ONE_USER = 95_000
"""Below the threshold from which a key is spread."""
STALLED_MS = 3_000
DAYS = {"from_date": "2026-01-01", "to_date": "2026-01-02"}
FOR_MINUTES = 30
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
NEVER_CALL: Mapping[Kind, frozenset[str]] = {
    "shard": frozenset(["rpc.client.call.duration"]),
    "counter": frozenset(["rpc.client.call.duration"]),
}
"""What these have nothing to say of in this run: they call nobody."""
Page = list[Sample]


@dataclass
class Story:
    """What was seen while it ran."""

    cluster: ClusterProcess
    even: Page
    skewed: Page
    pages: dict[str, Page]
    stopped: dict[str, Any] = field(default_factory=dict)
    stopped_status: int = 0
    after: dict[str, Any] = field(default_factory=dict)
    sent_on: list[dict[str, Any]] = field(default_factory=list)
    """The trace file, of a cluster that samples nothing."""


def told(address: str) -> Page:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        return samples_of(page.read().decode())


def import_lines(client: evenshard.Client, prefix: str, events: int, users: int) -> None:
    result = client.import_events(
        {
            "event": "e",
            "properties": {"distinct_id": f"{prefix}{n % users}", "time": TIME_MS + n, "$insert_id": f"{prefix}{n}"},
        }
        for n in range(events)
    )
    assert (result.accepted, result.rejected) == (events, 0)


def in_vain(call: Callable[[], Any]) -> None:
    """A call that needs the shard that is stopped."""
    with pytest.raises(EvenshardError, match=r"SHARD_UNAVAILABLE|DEADLINE_EXCEEDED"):
        call()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("observed")
    sent_on = folder / "spans.jsonl"
    settings = [f"shard_append_timeout_ms={STALLED_MS}", "trace_sample_percent=0", "slow_trace_ms=2000"]
    settings.append(f"trace_file={sent_on}")
    with ClusterProcess(folder / "data", has_metrics=True, settings=settings) as cluster:
        pages = cluster.ready["metrics"]
        shards = [address for name, address in pages.items() if name.startswith("shard-")]
        with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=60) as client:
            client.create_tenant(TENANT)
            import_lines(client, "user ", EVENTS, users=6_000)
            even = [each for address in shards for each in told(address)]
            import_lines(client, "one", OF_ONE_USER, users=1)
            skewed = [each for address in shards for each in told(address)]
            _keep_record(even=even, skewed=skewed)
            client.segmentation(**DAYS)
            client.segmentation(**DAYS)
            client.compact(TENANT, wait=True)
            again = {"event": "e", "properties": {"distinct_id": "user 0", "time": TIME_MS, "$insert_id": "user 0"}}
            wrong = {"event": "e", "properties": {"distinct_id": "user 0"}}
            answer = client.import_events([again, wrong])
            assert (answer.duplicates, answer.errors_by_code) == (1, {"TIME_MISSING": 1})
            client.segmentation(**DAYS)
            counted = f"{prometheus_name('evenshard.counter.events')}"
            until_s = time.monotonic() + 20
            while not any(each.name == counted for each in told(pages["counter-0"])):
                assert time.monotonic() < until_s
                time.sleep(0.1)
            found = Story(cluster, even, skewed, {name: told(address) for name, address in pages.items()})
        cluster.signal("shard-1", signal.SIGSTOP)
        try:
            with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=STALLED_MS / 1000) as client:
                lines = [
                    {"event": "e", "properties": {"distinct_id": f"late {n}", "time": TIME_MS + n}} for n in range(50)
                ]
                calls = [
                    threading.Thread(target=in_vain, args=(lambda: client.segmentation(**DAYS, no_cache=True),)),
                    threading.Thread(target=in_vain, args=(lambda: client.schema(**DAYS),)),
                    threading.Thread(target=client.import_events, args=(lines,)),
                ]
                for call in calls:
                    call.start()
                for call in calls:
                    call.join(60)
            asked = cluster.run("traces", "--slowest", "3")
            found.stopped, found.stopped_status = asked.document, asked.exit_status
        finally:
            cluster.signal("shard-1", signal.SIGCONT)
        found.after = cluster.run("traces", "--slowest", "3").document
        until_s = time.monotonic() + 20
        while not any(each["name"] == "shard.scan" for each in _spans(sent_on)):
            assert time.monotonic() < until_s, "no shard was told to keep its part"
            time.sleep(0.1)
        found.sent_on = _spans(sent_on)
        yield found


def _keep_record(**pages: Page) -> None:
    """Writes what shards told of their load to ``RECORD_METRICS_TO``, for tests without a cluster."""
    folder = os.environ.get("RECORD_METRICS_TO")
    for name, page in pages.items() if folder else ():
        lines = [f"{_series(each)} {each.value!r}\n" for each in page if each.name.startswith("evenshard_shard_load_")]
        (Path(str(folder)) / f"{name}.prom").write_text("".join(lines))


def _spans(path: Path) -> list[dict[str, Any]]:
    """Of whole lines: somebody may be writing."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_the_three_worst_traces_name_the_shard_that_did_not_answer(story: Story) -> None:
    assert (story.stopped_status, story.stopped["missing"]) == (1, ["shard-1"])
    for document in (story.stopped, story.after):
        assert len(document["traces"]) == 3
        for trace in document["traces"]:
            assert trace["duration_ms"] > 0.7 * STALLED_MS
            waited = [span for span in trace["spans"] if span["end_unix_ns"] - span["start_unix_ns"] > 2_000_000_000]
            calls = [span for span in waited if "server.address" in span["attributes"]]
            assert {span["attributes"]["evenshard.shard"] for span in calls} == {"shard-1"}
            assert {span["status"] for span in calls} == {"ERROR"}
    assert {trace["root"].rpartition("/")[2] for trace in story.after["traces"]} == {
        "ImportEvents", "QuerySegmentation", "GetSchema",
    }  # fmt: skip


def test_a_slow_trace_is_sent_on_with_its_quick_parts_and_no_quick_one_is(story: Story) -> None:
    stalled = {trace["trace_id"] for trace in story.after["traces"]}
    by_trace: dict[str, set[tuple[str, str]]] = {}
    for span in story.sent_on:
        by_trace.setdefault(span["trace_id"], set()).add((span["service"], span["name"]))
    assert stalled <= set(by_trace)
    quick = {trace_id for trace_id, found in by_trace.items() if ("shard-0", "shard.scan") in found}
    # The shard that answered at once had forgotten nothing when the gateway, seconds later, said what it keeps.
    assert len(quick & stalled) == 2
    names = {(span["trace_id"], span["span_id"]): span["name"] for span in story.sent_on}
    appends = [span for span in story.sent_on if (span["service"], span["name"]) == ("shard-0", "shard.append")]
    assert [span["trace_id"] in stalled for span in appends] == [True]
    assert [names[link["trace_id"], link["span_id"]] for link in appends[0]["links"]] == ["shard.log.sync"]


def test_every_service_tells_every_metric_that_is_its_and_no_other_of_ours(story: Story) -> None:
    services = {name.rpartition("-")[0] for name in story.pages}
    assert services == {"router", "gateway", "counter", "shard"}
    for kind in services:
        seen = {
            each.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            for name, page in story.pages.items()
            if name.startswith(kind)
            for each in page
        }
        mine = {name for name, metric in METRICS.items() if kind in metric.told_by}
        silent = NEVER_CALL.get(kind, frozenset())  # type: ignore[call-overload]
        assert seen == {prometheus_name(name) for name in mine - silent}, kind


def test_no_label_names_a_tenant_or_a_user(story: Story) -> None:
    for page in story.pages.values():
        for each in page:
            assert not any("tenant" in name or "user" in name or "distinct" in name for name in each.labels), each
            assert TENANT not in each.labels.values()
    of_metrics = {attribute for metric in METRICS.values() for attribute in metric.attributes}
    allowed = {name.replace(".", "_") for name in of_metrics} | {"service_name", "le"}
    assert {name for page in story.pages.values() for each in page for name in each.labels} <= allowed


def value(page: Page, name: str, **labels: str) -> float:
    wanted = prometheus_name(name)
    return sum(each.value for each in page if each.name == wanted and labels.items() <= each.labels.items())


def test_what_is_told_is_what_was_done(story: Story) -> None:
    stored = EVENTS + OF_ONE_USER
    router, gateway = story.pages["router-0"], story.pages["gateway-0"]
    shards = [page for name, page in story.pages.items() if name.startswith("shard-")]
    assert value(router, "evenshard.import.events", evenshard_outcome="accepted") == stored + 1
    assert value(router, "evenshard.import.events", evenshard_outcome="duplicate") == 1
    assert value(router, "evenshard.import.rejected", evenshard_code="TIME_MISSING") == 1
    assert (value(router, "evenshard.tenants"), value(router, "evenshard.router.leader")) == (1, 1)
    assert sum(value(page, "evenshard.shard.events") for page in shards) == stored + 1
    assert sum(value(page, "evenshard.shard.duplicates") for page in shards) == 1
    assert sum(value(page, "evenshard.shard.rows") for page in shards) == stored + 1
    assert sum(value(page, "evenshard.shard.compaction.rows") for page in shards) >= stored
    assert value(gateway, "evenshard.query.answers", evenshard_cache="hit") == 1
    assert value(gateway, "evenshard.query.answers", evenshard_cache="miss") == 2
    assert value(gateway, "evenshard.query.duplicates") == 1
    for name, page in story.pages.items():
        assert value(page, "evenshard.service.ready", service_name=name) == 1
        assert value(page, "evenshard.kernels.compiled") == value(page, "evenshard.directory.lag") == 0
        assert value(page, "process.memory.usage") > 50 << 20
    calls = {
        (each.labels["rpc_method"], each.labels["rpc_response_status_code"]): each.value
        for each in gateway
        if each.name == f"{prometheus_name('rpc.server.call.duration')}_count"
    }
    assert calls == {("evenshard.v1.QueryService/QuerySegmentation", "OK"): 3}


def skew_rules() -> list[dict[str, Any]]:
    """As the chart installs them; series through a collector, which say nothing of a namespace."""
    pytest.importorskip("helm_python", reason="NO CHART TESTED: pip install evenshard[charts]")
    (rules,) = of_kind(documents(render({"prometheusRule": {"enabled": True}})), "PrometheusRule").values()
    found = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if rule["alert"] == "ShardSkew"]
    assert [rule["labels"]["load"] for rule in found] == ["busy", "cpu", "events_per_second"]
    return found


def test_the_skew_alert_fires_on_a_skewed_load_and_not_on_an_even_one(story: Story) -> None:
    (of_events,) = [rule for rule in skew_rules() if rule["labels"]["load"] == "events_per_second"]
    assert evaluate(of_events["expr"], story.even) == {}
    (most,) = evaluate(of_events["expr"], story.skewed).values()
    metric = prometheus_name("evenshard.shard.load.events")
    loads = sorted(each.value for each in story.skewed if each.name == metric)
    assert most == loads[-1] > 2 * loads[0]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: the expression was evaluated by evenshard.testing.promql")
def test_prometheus_itself_says_so_too(story: Story, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = skew_rules()
    rules_file, tests_file = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    rules_file.write_text(json.dumps({"groups": [{"name": "skew", "rules": rules}]}))
    tests = []
    for page in (story.even, story.skewed):
        alerts = [
            {
                "alertname": "ShardSkew",
                "eval_time": f"{FOR_MINUTES}m",
                "exp_alerts": [
                    {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
                    for rule in rules
                    if evaluate(rule["expr"], page)
                ],
            }
        ]
        series = [
            {"series": _series(each), "values": f"{each.value!r}+0x{FOR_MINUTES}"}
            for each in page
            if each.name.startswith("evenshard_shard_load_")
        ]
        tests.append({"interval": "1m", "input_series": series, "alert_rule_test": alerts})
    assert [len(test["alert_rule_test"][0]["exp_alerts"]) > 0 for test in tests] == [False, True]  # type: ignore[index]
    tests_file.write_text(json.dumps({"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(tests_file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(sample: Sample) -> str:
    return f"{sample.name}{{{', '.join(f'{name}={json.dumps(text)}' for name, text in sample.labels.items())}}}"
