"""Metrics of a process: names and units as Prometheus knows them, what is counted and read, and what costs nothing."""

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime import histograms as histograms_module
from evenshard.runtime import metrics
from evenshard.runtime.histograms import Histograms
from evenshard.runtime.metric_table import METRICS, prometheus_name
from evenshard.runtime.metrics import (
    count,
    is_measuring,
    observe,
    record,
    record_call,
    start_metrics,
    stop_metrics,
    timed,
)
from evenshard.testing.promql import Sample, samples_of

pytest.importorskip("opentelemetry.exporter.prometheus", reason="NO METRICS TESTED: scripts/setup.sh")


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where this process tells its metrics."""
    for name in metrics.OTLP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    yield address
    stop_metrics()


def told(address: str) -> list[Sample]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        return samples_of(page.read().decode())


def values(page: list[Sample], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """By labels, but for the process's own name; an empty one is none."""
    return {
        tuple(sorted((key, text) for key, text in each.labels.items() if text and key != "service_name")): each.value
        for each in page
        if each.name == name
    }


def test_where_nobody_is_told_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in metrics.OTLP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    start_metrics("shard-0")
    assert not is_measuring()
    observe("evenshard.tenants", lambda: 1 / 0)
    record("evenshard.shard.sync.duration", 1.0)
    count("evenshard.shard.events", 1)
    record_call("server", "/a/b", "", "OK", 1.0)


def test_what_is_told_is_what_was_counted_recorded_and_read(listen: str) -> None:
    start_metrics("shard-7", listen)
    count("evenshard.shard.events", 3)
    count("evenshard.shard.events", 4)
    count("evenshard.shard.duplicates", 0)
    observe("evenshard.directory.lag", lambda: 2.5)
    observe("evenshard.shard.load.query.p99", lambda: None)
    observe("evenshard.shard.rows", lambda: [(1, {"evenshard.place": "log"}), (2, {"evenshard.place": "segment"})])
    record("evenshard.shard.sync.duration", 0.003)
    record_call("server", "/evenshard.v1.ShardService/Scan", "", "OK", 0.02)
    record_call("server", "/evenshard.v1.ShardService/Scan", "DISK_FULL", "RESOURCE_EXHAUSTED", 0.02)
    clock = iter([1.0, 3.0, 5.0, 5.5])
    with timed("evenshard.shard.compaction.duration", lambda: next(clock)):
        pass
    with pytest.raises(EvenshardError), timed("evenshard.shard.compaction.duration", lambda: next(clock)):
        raise EvenshardError("DISK_FULL", "no room")
    page = told(listen)
    assert {each.labels["service_name"] for each in page} == {"shard-7"}
    assert values(page, "evenshard_shard_events_total") == {(): 7}
    assert values(page, "evenshard_shard_duplicates_total") == {}
    assert values(page, "evenshard_directory_lag_seconds") == {(): 2.5}
    assert values(page, "evenshard_shard_load_query_p99_milliseconds") == {}
    assert values(page, "evenshard_shard_rows") == {
        (("evenshard_place", "log"),): 1, (("evenshard_place", "segment"),): 2,
    }  # fmt: skip
    buckets = values(page, "evenshard_shard_sync_duration_seconds_bucket")
    assert [buckets[(("le", le),)] for le in ("0.0025", "0.005", "+Inf")] == [0, 1, 1]
    call = (
        ("rpc_method", "evenshard.v1.ShardService/Scan"),
        ("rpc_response_status_code", "OK"),
        ("rpc_system_name", "grpc"),
    )
    failed = (("error_type", "DISK_FULL"), call[0], ("rpc_response_status_code", "RESOURCE_EXHAUSTED"), call[2])
    assert values(page, "rpc_server_call_duration_seconds_count") == {call: 1, failed: 1}
    assert values(page, "evenshard_shard_compaction_duration_seconds_sum") == {
        (): 2.0, (("error_type", "DISK_FULL"),): 0.5,
    }  # fmt: skip


def test_every_metric_is_told_by_the_name_the_table_says(listen: str) -> None:
    start_metrics("shard-0", listen)
    for name, metric in METRICS.items():
        attributes = dict.fromkeys(metric.attributes, "x")
        match metric.form:
            case "histogram":
                record(name, 1.0, attributes)
            case "gauge":
                observe(name, lambda attributes=attributes: [(1.0, attributes)])  # type: ignore[misc]
            case "total":
                count(name, 1, attributes)
    seen: dict[str, set[str]] = {}
    for each in told(listen):
        seen.setdefault(each.name.removesuffix("_bucket"), set()).update(each.labels)
    for name, metric in METRICS.items():
        labels = {attribute.replace(".", "_") for attribute in metric.attributes} | {"service_name"}
        labels |= {"le"} if metric.form == "histogram" else set()
        assert seen.get(prometheus_name(name)) == labels, name


def test_a_port_that_is_taken_is_named(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen(1)
        with pytest.raises(EvenshardError, match=rf"PORT_IN_USE: cannot listen at {listen} for metrics"):
            start_metrics("router-0", listen)
    for wrong in ("9464", "host:", "host:port", "host:99999"):
        with pytest.raises(EvenshardError, match="USAGE: metrics_listen"):
            start_metrics("router-0", wrong)
    assert not is_measuring()


def test_the_endpoint_ends_with_the_process(listen: str) -> None:
    start_metrics("router-0", listen)
    assert told(listen) == []
    stop_metrics()
    with pytest.raises(OSError, match="refused"):
        told(listen)


def test_what_a_collector_is_sent_has_the_histograms_beside_what_is_read() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader, histograms = InMemoryMetricReader(), Histograms()
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("evenshard").create_counter("read")
    counter.add(1)
    for value in (1.0, 2.0, 3.0, 1_000.0):
        histograms.series("evenshard.shard.group.batches", ()).add(value)
    data = reader.get_metrics_data()
    assert data is not None
    ((scope,),) = ([each for of in histograms.added_to(data).resource_metrics for each in of.scope_metrics],)
    assert [metric.name for metric in scope.metrics] == ["read", "evenshard.shard.group.batches"]
    (point,) = scope.metrics[1].data.data_points
    assert (point.count, point.sum, list(point.bucket_counts)) == (4, 1_006.0, [1, 1, 1, 0, 0, 0, 0, 0, 0, 1])
    assert list(point.explicit_bounds) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]


def test_of_a_metric_with_too_many_series_the_last_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms_module, "SERIES_MAX", 2)
    made = Histograms()
    for code in ("A", "B", "C", "D", "A"):
        made.series("evenshard.shard.compaction.duration", (("error.type", code),)).add(1.0)
    ((_, found),) = made.all()
    assert [(dict(key), sum(series.counts)) for key, series in found] == [
        ({"error.type": "A"}, 2), ({"error.type": "B"}, 1), ({"otel.metric.overflow": "true"}, 2),
    ]  # fmt: skip
