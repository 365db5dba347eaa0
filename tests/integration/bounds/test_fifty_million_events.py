"""Fifty million events of two and a half million users are asked everything within two shards of a gigabyte each, by
peak RSS, and answer as they do where everything fits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evenshard
import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.testing.bench.generator import DAYS, FROM_DATE, START_MS, TO_DATE, sessions_of
from evenshard.testing.peak import Peak
from evenshard.testing.processes import ClusterProcess

MEMORY_BYTES = 1 << 30
MEMORY_OF_ALL_BYTES = 8 << 30
SEED = 20_261_126
BATCH_ROWS = 50_000
DAY_MS = 86_400_000
TIMEOUT_S = 600.0

ASKED: dict[str, Callable[[evenshard.Client, dict[str, Any]], Any]] = {
    "users a day": lambda client, days: client.segmentation(measure="unique", **days),
    "events by country": lambda client, days: client.segmentation(by="country", **days),
    "median amount by country": lambda client, days: client.segmentation(
        measure="p50", property="amount", by="country", unit="week", **days
    ),
    "funnel": lambda client, days: client.funnel(["view", "add to cart", "buy"], window="7d", **days),
    "funnel by country": lambda client, days: client.funnel(["view", "buy"], window="1d", by="country", **days),
    "retention": lambda client, days: client.retention("sign up", "view", unit="week", buckets=4, **days),
    "flows": lambda client, days: client.flows("sign up", **days),
}

REFUSED: dict[str, Callable[[evenshard.Client, dict[str, Any]], Any]] = {
    "a group for each event": lambda client, days: client.segmentation(by="$insert_id", **days),
    "twelve million distinct amounts": lambda client, days: client.segmentation(
        measure="p50", property="amount", by="country", unit="day", **days
    ),
}
"""What would not fit: refused with the reason."""


class Stream:
    """The events, and what is counted of them as they go by."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.of_days = np.zeros(DAYS, np.int64)

    def records(self) -> Iterator[pa.RecordBatch]:
        for first in range(0, self.events, BATCH_ROWS):
            record = sessions_of(SEED, first, min(BATCH_ROWS, self.events - first), of=self.events)
            days = (record.column("time").to_numpy() - START_MS) // DAY_MS
            self.of_days += np.bincount(days, minlength=DAYS)
            yield record

    def reader(self) -> pa.RecordBatchReader:
        schema = sessions_of(SEED, 0, 1, of=self.events).schema
        return pa.RecordBatchReader.from_batches(schema, self.records())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_million_events_answer_within_memory_as_they_do_where_all_fits(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    stream, peaks, answers = Stream(50_000_000), dict[str, int](), dict[str, Any]()
    days = {"from_date": FROM_DATE, "to_date": TO_DATE, "no_cache": True}
    with ClusterProcess(tmp_path / "c", settings=[f"shard_memory_bytes={MEMORY_BYTES}"]) as cluster:
        of_shards = [Peak(cluster.pid(name)) for name in ("shard-0", "shard-1")]

        def note(what: str) -> None:
            peaks[what] = max(peak.take() for peak in of_shards)
            print(f"{what}: {peaks[what] >> 20} MiB", flush=True)

        with _connected(cluster) as client:
            client.create_tenant("acme")
            result = client.import_table(stream.reader())
            assert (result.accepted, result.duplicates, result.rejected) == (stream.events, 0, 0)
            note("import")
            client.compact("acme", wait=True, timeout=TIMEOUT_S)
            note("compaction")
            [total] = client.segmentation(**days).series
            assert total["values"] == stream.of_days.tolist()
            for name, ask in ASKED.items():
                answers[name] = _told(ask(client, days))
                note(name)
            for name, ask in REFUSED.items():
                with pytest.raises(EvenshardError) as raised:
                    ask(client, days)
                assert (raised.value.code, bool(raised.value.hint)) == ("QUERY_INVALID", True), name
                print(f"{name}: {raised.value.message} ({raised.value.hint})")
                note(name)
            assert _told(ASKED["funnel"](client, days)) == answers["funnel"]
        assert cluster.stop() == 0
    enough = ClusterProcess(tmp_path / "c", settings=[f"shard_memory_bytes={MEMORY_OF_ALL_BYTES}"])
    with enough as cluster, _connected(cluster) as client:
        assert {name: _told(ask(client, days)) for name, ask in ASKED.items()} == answers
    assert {name: size for name, size in peaks.items() if size > MEMORY_BYTES} == {}


def _connected(cluster: ClusterProcess) -> evenshard.Client:
    return evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=TIMEOUT_S)


def _told(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.to_dict().items() if name != "meta"}
