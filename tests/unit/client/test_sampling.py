"""What the client samples, and what it exports: by the user a question is about, by an event of an import."""

import asyncio
from collections.abc import Iterator
from typing import Any

import evenshard
import orjson
import pyarrow as pa
import pytest
from evenshard.client import sampling
from evenshard.client.batches import Batch, encode_record
from evenshard.client.sampling import Sampling, key_of, observe
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.testing.fake_cluster import FakeCluster
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

DAYS = {"from_date": "2026-01-01", "to_date": "2026-01-02"}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as cluster:
        yield cluster


def ndjson(*events: dict[str, Any]) -> Batch:
    return Batch("ndjson", b"\n".join(map(orjson.dumps, events)), len(events), 0)


def test_a_batch_is_about_the_event_that_chance_chooses() -> None:
    batch = ndjson({"properties": {"distinct_id": "a"}}, {"distinct_id": 7, "tenant": "own"})
    assert [key_of(batch, "acme", chance) for chance in (0.0, 0.49, 0.5, 0.999, 1.0)] == [
        ("acme", "a"), ("acme", "a"), ("own", "7"), ("own", "7"), ("own", "7"),
    ]  # fmt: skip
    record = pa.RecordBatch.from_pydict({"distinct_id": pa.array(["x", None, "z"])})
    arrow = Batch("arrow", encode_record(record), 3, 0)
    assert [key_of(arrow, "acme", chance) for chance in (0.0, 0.4, 0.9)] == [("acme", "x"), ("acme", ""), ("acme", "z")]


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b"3", b"\xff"])
def test_what_cannot_be_read_is_about_its_tenant(payload: bytes) -> None:
    assert key_of(Batch("ndjson", payload, 1, 0), "acme", 0.5) == ("acme", "")
    assert key_of(Batch("arrow", payload, 1, 0), "acme", 0.5) == ("acme", "")


def test_calls_are_sampled_by_user_tenant_and_event(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, cluster.address, tenant="acme", sample_every=1) as client:
        client.create_tenant("acme")
        for _ in range(20):
            client.import_events([{"event": "e", "properties": {"distinct_id": "sent", "time": 1_767_225_600_000}}])
            client.timeline("asked", **DAYS)
            client.segmentation(**DAYS)
        found = client._client._sampling.latencies.p99s()
        assert {key: samples for key, (_, samples) in found.items()} == {
            ("acme", "sent"): 20, ("acme", "asked"): 20, ("acme", ""): 20,
        }  # fmt: skip
        assert client.detect() == []


def test_by_default_one_call_in_a_thousand_is_sampled(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, cluster.address, tenant="acme") as client:
        for _ in range(5):
            client.segmentation(**DAYS)
        assert client._client._sampling.latencies.keys == 0
    with pytest.raises(EvenshardError, match="sample_every is 0"):
        evenshard.connect(sample_every=0)


def values_in(reader: InMemoryMetricReader) -> dict[float, dict[str, Any]]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    return {point.value: dict(point.attributes) for point in metric.data.data_points}


async def test_what_is_exported_is_what_was_found_last_and_names_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    observe(MeterProvider([reader]).get_meter("test"))
    monkeypatch.setattr(sampling, "is_exporting", lambda: True)
    sampled = Sampling(1)
    for name, latency_ms in (("a", 1.0), ("b", 1.0), ("ann@example.org", 512.0)):
        for _ in range(20):
            sampled.latencies.record(("acme", name), latency_ms)
    assert values_in(reader) == {}
    with sampled.call("acme", "new"):
        pass
    await asyncio.sleep(0)  # the task that exports has its first turn
    hashed = hash_of("ann@example.org")
    assert values_in(reader) == {
        512.0: {
            "evenshard.tenant": "acme", "evenshard.median_ms": 1.0, "evenshard.key": f"{hashed:016x}",
            "evenshard.slot": hashed >> 52, "evenshard.samples": 20,
        }
    }  # fmt: skip
    await sampled.close()
    assert values_in(reader) == {}


def test_without_a_collector_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert sampling.meter_of_program() is None
