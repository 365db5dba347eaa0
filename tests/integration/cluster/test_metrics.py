"""A cluster in one process tells every metric of its services, and what they say is what was done; real processes are
asked in tests/integration/process/test_observed.py."""

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator

import pytest
from evenshard.runtime import metrics
from evenshard.runtime.metric_table import METRICS, prometheus_name
from evenshard.runtime.metrics import start_metrics, stop_metrics
from evenshard.runtime.process_metrics import observe_process
from evenshard.testing.clock import START_MS
from evenshard.testing.cluster import MemoryCluster
from evenshard.testing.promql import Sample, samples_of
from evenshard.testing.reference import Row, ndjson_of

pytest.importorskip("opentelemetry.exporter.prometheus", reason="NO METRICS TESTED: scripts/setup.sh")

EVENTS = 500
DAY = "2026-01-01"
TENANT = "acme"
OF_THE_WIRE = frozenset(["rpc.server.call.duration", "rpc.client.call.duration", "evenshard.disk.size"])
OF_THE_WIRE |= {"evenshard.disk.free"}
"""What there is no wire and no directory for here."""


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where this process tells its metrics."""
    for name in metrics.OTLP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    start_metrics("all", address)
    yield address
    await asyncio.to_thread(stop_metrics)


def rows(count: int) -> list[Row]:
    return [
        {
            "tenant": TENANT, "event": "e", "distinct_id": f"user {n % 50}", "time": START_MS + n,
            "insert_id": f"i{n}", "properties": {},
        }
        for n in range(count)
    ]  # fmt: skip


async def test_every_metric_is_told_and_says_what_was_done(told: str) -> None:
    async def page() -> list[Sample]:
        def read() -> list[Sample]:
            with urllib.request.urlopen(f"http://{told}/metrics", timeout=10) as found:
                return samples_of(found.read().decode())

        return await asyncio.to_thread(read)

    observe_process(None, lambda: True, lambda: 0)
    async with MemoryCluster(shards=1, seed=20261127) as cluster:
        tenant = await cluster.create_tenant(TENANT)
        assert (await cluster.import_events(TENANT, ndjson=ndjson_of(rows(EVENTS)))).rejected == 0
        wrong = ndjson_of([row | {"time": -1} for row in rows(2)])
        assert (await cluster.import_events(TENANT, ndjson=wrong)).rejected == 2
        await cluster.segmentation(TENANT, DAY, DAY)
        await cluster.segmentation(TENANT, DAY, DAY)
        await cluster.compact(tenant)
        assert (await cluster.import_events(TENANT, ndjson=ndjson_of(rows(1)))).duplicates == 1
        await cluster.segmentation(TENANT, DAY, DAY)

        async def counted() -> bool:
            return any(each.name == prometheus_name("evenshard.counter.events") for each in await page())

        await cluster.until(counted)
        found = await page()

        def value(name: str, **labels: str) -> float:
            wanted = prometheus_name(name)
            return sum(each.value for each in found if each.name == wanted and labels.items() <= each.labels.items())

        seen = {each.name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for each in found}
        # Nothing was dropped on the way to counters, and nobody had to be told of traces.
        assert seen == {prometheus_name(name) for name in METRICS.keys() - OF_THE_WIRE}
        assert value("evenshard.import.events", evenshard_outcome="accepted") == EVENTS + 1
        assert value("evenshard.import.events", evenshard_outcome="duplicate") == 1
        assert value("evenshard.import.events", evenshard_outcome="rejected") == 2
        assert value("evenshard.shard.events") == value("evenshard.shard.rows") == EVENTS + 1
        assert (value("evenshard.shard.duplicates"), value("evenshard.shard.compaction.backlog")) == (1, 1)
        assert value("evenshard.shard.compaction.rows") == EVENTS
        assert (value("evenshard.tenants"), value("evenshard.router.counts.dropped")) == (1, 0)
        assert value("evenshard.query.answers", evenshard_cache="miss") == 2
        assert value("evenshard.query.answers", evenshard_cache="hit") == 1
        assert value("evenshard.query.duplicates", evenshard_place="log") == 1
        assert value("evenshard.counter.events") in (EVENTS, EVENTS + 1)
        syncs = [each.value for each in found if each.name == "evenshard_shard_sync_duration_seconds_count"]
        assert len(syncs) == 1
        assert syncs[0] >= 2
        for each in found:
            assert TENANT not in each.labels.values()
