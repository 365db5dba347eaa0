"""A shard stays within its memory by peak RSS: while it imports, compacts, starts again, answers, meets old events."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import evenshard
import numpy as np
import pyarrow as pa
import pytest
from evenshard.runtime.process_info import processor_s
from evenshard.testing.bench.generator import START_MS, record_of
from evenshard.testing.peak import Peak
from evenshard.testing.processes import ClusterProcess

MEMORY_BYTES = 1 << 30
SEED = 20_261_125
BATCH_ROWS = 50_000
DAY = "2026-01-01"
DAY_MS = 86_400_000
HISTORY_DAYS = 3650
HISTORY_FROM, HISTORY_TO = "2016-01-05", DAY
HISTORY_START_MS = START_MS - (HISTORY_DAYS - 1) * DAY_MS


def one_day(events: int) -> Iterator[pa.RecordBatch]:
    """Different events of one UTC day."""
    for first in range(0, events, BATCH_ROWS):
        record = record_of(SEED, first, min(BATCH_ROWS, events - first))
        at = record.schema.get_field_index("time")
        times = START_MS + (record.column("time").to_numpy() - START_MS) % DAY_MS
        yield record.set_column(at, "time", pa.array(times))


def reader(records: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    first = next(records)

    def all_of() -> Iterator[pa.RecordBatch]:
        yield first
        yield from records

    return pa.RecordBatchReader.from_batches(first.schema, all_of())


def history(first: int, events: int, of: int) -> Iterator[pa.RecordBatch]:
    """Different events, evenly spread over ``HISTORY_DAYS`` in the order of time: ``events`` from ``first`` on, as of a
    stream of ``of``; it begins anew where that ends."""
    for at in range(first, first + events, BATCH_ROWS):
        record = record_of(SEED, at, min(BATCH_ROWS, first + events - at))
        numbers = np.arange(at, at + record.num_rows) % of
        times = HISTORY_START_MS + (numbers * (HISTORY_DAYS * DAY_MS // of))
        yield record.set_column(record.schema.get_field_index("time"), "time", pa.array(times))


def total(client: evenshard.Client, from_date: str = DAY, to_date: str = DAY) -> int:
    return sum(client.segmentation(from_date=from_date, to_date=to_date).to_arrow().column("value").to_pylist())


@pytest.mark.timeout(1800)
@pytest.mark.slow
@pytest.mark.parametrize("events", [300_000, 20_000_000], ids=lambda events: f"{events // 1000}k")
def test_one_tenants_day_is_imported_compacted_restarted_and_queried_within_its_memory(
    tmp_path: Path, events: int
) -> None:
    peaks: dict[str, int] = {}
    settings = [f"shard_memory_bytes={MEMORY_BYTES}", "compact_rows=100000"] if events < 10**6 else []
    with ClusterProcess(tmp_path / "c", shards=1, settings=settings) as cluster:
        peak = Peak(cluster.pid("shard-0"))
        with evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=300) as client:
            client.create_tenant("acme")
            result = client.import_table(reader(one_day(events)))
            assert (result.accepted, result.duplicates, result.rejected) == (events, 0, 0)
            peaks["import"] = peak.take()
            assert total(client) == events
            peaks["query beside compaction"] = peak.take()
            client.compact("acme", wait=True, timeout=600)
            peaks["compaction"] = peak.take()
            for name in ("first query", "query"):
                assert total(client) == events
                client.funnel(steps=["view", "buy"], window="1d", from_date=DAY, to_date=DAY)
                peaks[name] = peak.take()
        assert cluster.stop() == 0
        cluster.start()
        shard = cluster.pid("shard-0")
        peak = Peak(shard)
        with evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=300) as client:
            assert total(client) == events
            peaks["restart and query"] = peak.take()
            began_s, before_s = time.monotonic(), processor_s(shard) or 0.0
            again = client.import_table(reader(one_day(events)))
            spent_s = (processor_s(shard) or 0.0) - before_s
            print(f"again: {time.monotonic() - began_s:.1f} s, the shard {1e9 * spent_s / events:.0f} ns an event")
            assert (again.accepted, again.duplicates, again.rejected) == (events, events, 0)
            assert total(client) == events
            peaks["all events again"] = peak.take()
            (memory,) = client.storage("acme")["memory"]
        parts = {part["part"]: part for part in memory["parts"]}
        assert set(parts) == {"base", "tail", "compaction", "queue", "cache", "columns", "scans"}
        assert sum(part["bytes_max"] for part in parts.values()) <= memory["bytes_max"] == MEMORY_BYTES
        assert all(part["bytes"] <= part["bytes_max"] for name, part in parts.items() if name != "base"), parts
        assert parts["cache"]["bytes"] > 0
        assert 0 < memory["resident_bytes"] <= memory["resident_bytes_peak"]
    print({name: f"{size >> 20} MiB" for name, size in peaks.items()})
    assert {name: size for name, size in peaks.items() if size > MEMORY_BYTES} == {}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "a_day", [20, pytest.param(3_000, marks=pytest.mark.slow)], ids=lambda events: f"{events} events a day"
)
@pytest.mark.slow
def test_ten_years_of_one_tenant_are_imported_compacted_restarted_and_queried_within_its_memory(
    tmp_path: Path, a_day: int
) -> None:
    """And so are late events, one for ten, of all days at once."""
    events, late = HISTORY_DAYS * a_day, HISTORY_DAYS * a_day // 10
    peaks: dict[str, int] = {}
    with ClusterProcess(tmp_path / "c", shards=1, settings=[f"shard_memory_bytes={MEMORY_BYTES}"]) as cluster:
        peak = Peak(cluster.pid("shard-0"))
        with evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=300) as client:
            client.create_tenant("acme")
            assert client.import_table(reader(history(0, events, events))).accepted == events
            peaks["import"] = peak.take()
            client.compact("acme", wait=True, timeout=600)
            peaks["compaction"] = peak.take()
            done = client.import_table(reader(history(events, late, late)))
            assert (done.accepted, done.duplicates) == (late, 0)
            client.compact("acme", wait=True, timeout=600)
            peaks["late events"] = peak.take()
            assert total(client, HISTORY_FROM, HISTORY_TO) == events + late
            client.funnel(steps=["view", "buy"], window="1d", from_date=HISTORY_FROM, to_date=HISTORY_TO)
            peaks["query"] = peak.take()
            stored = client.storage("acme")
        assert cluster.stop() == 0
        cluster.start()
        peak = Peak(cluster.pid("shard-0"))
        with evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=300) as client:
            assert total(client, HISTORY_FROM, HISTORY_TO) == events + late
            peaks["restart and query"] = peak.take()
            some = list(islice(history(0, events, events), 10))
            again = client.import_table(reader(iter(some)))
            assert again.duplicates == sum(record.num_rows for record in some)
            peaks["events of before"] = peak.take()
    print(stored)
    print({name: f"{size >> 20} MiB" for name, size in peaks.items()})
    assert {name: size for name, size in peaks.items() if size > MEMORY_BYTES} == {}
