"""Importing for a minute while compaction runs: the rate; where the rows that wait to be indexed grow, it fails.

ClickHouse then inserts exactly the batches that were imported, one INSERT a batch into a table whose merges are on
(several INSERTs at once were slower). It syncs nothing to disk; every event acknowledged by us is.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import evenshard
from evenshard.client.batches import Batch
from evenshard.runtime.settings import Settings
from evenshard.testing.bench.compare import Answer, check_equal, ratio
from evenshard.testing.bench.dataset import BATCH_ROWS, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import DAYS, record_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers import clickhouse_sql
from evenshard.testing.bench.peers.process import PeerProcess
from evenshard.testing.bench.segmentation import ask_total, total_of
from evenshard.testing.bench.sending import IN_FLIGHT, SEED, SHARDS, TENANT, send
from evenshard.testing.processes import ClusterProcess

SECONDS_DEFAULT: Final = 60
EVENTS_PER_SECOND_MAX: Final = 1_300_000
"""As many are prepared; where they run out before the time is over, the time it took counts."""
SAMPLE_EVERY_S: Final = 1.0
GROWTH_MAX: Final = 1.2
TIMEOUT_S: Final = 120.0


class BacklogGrowsError(Exception):
    """The rate that was measured could not have been held."""


def is_growing(samples: Sequence[int], due_rows: int) -> bool:
    """Whether a backlog, sampled at even times, grows at the end.

    It does if the most that waited in the last third of the time is over ``GROWTH_MAX`` times the most in the third
    before: a backlog that compaction keeps up with rises and falls, and its peaks stay. As many as ``due_rows`` may
    wait in any case: nothing has to be indexed before that.
    """
    third = len(samples) // 3
    if not third:
        return False
    return max(samples[-third:]) > max(due_rows, GROWTH_MAX * max(samples[-2 * third : -third]))


@dataclass(frozen=True, slots=True)
class _Imported:
    batches: int
    events: int
    seconds: float
    answer: Answer
    backlog_rows: Sequence[int]
    """That waited to be indexed, on all shards, each second."""
    due_rows: int
    detail: dict[str, Any]


def ingest_sustained(options: Options) -> list[Figure]:
    """Raises ``BacklogGrowsError``."""
    seconds = options.seconds or SECONDS_DEFAULT
    events = options.events or int(seconds * EVENTS_PER_SECOND_MAX)
    every_ms = max(1, (DAYS - 1) * 86_400_000 // events)
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        data = write_dataset(
            place / "data", events, lambda first, rows: record_of(SEED, first, rows, every_ms=every_ms), seed=SEED
        )
        ours = _import(data, place, seconds)
        rate = ours.events / ours.seconds
        if is_growing(ours.backlog_rows, ours.due_rows):
            raise BacklogGrowsError(
                f"{rate:,.0f} events/s were taken but not indexed: the rows that waited grew to the end, each second "
                f"{list(ours.backlog_rows)}"
            )
        if not options.peers:
            return [Figure("ingest_sustained", round(rate, 1), "events/s", ours.events, detail=ours.detail)]
        theirs = ours.events / _insert(data, place, ours)
        return [
            Figure(
                "ingest_sustained", round(rate, 1), "events/s", ours.events, "clickhouse_insert", round(theirs, 1),
                ratio(rate, theirs), ours.detail,
            )
        ]  # fmt: skip
    finally:
        shutil.rmtree(place)


def _import(data: Dataset, place: Path, seconds: float) -> _Imported:
    taken: list[int] = []
    marks: list[tuple[float, int]] = []
    with (
        ClusterProcess(place / "evenshard", shards=SHARDS) as cluster,
        evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=TIMEOUT_S) as client,
        ThreadPoolExecutor(max_workers=1) as samplers,
    ):
        client.create_tenant(TENANT)
        done = threading.Event()
        backlog_rows: list[int] = []
        sampling = samplers.submit(_sample, client, backlog_rows, done)
        started_s = time.perf_counter()
        try:
            result = send(
                cluster.router,
                _counted(data.batches(), taken),
                stopping=lambda: time.perf_counter() - started_s >= seconds,
                on_progress=lambda at: marks.append((time.perf_counter() - started_s, at.events)),
            )
            took_s = time.perf_counter() - started_s
        finally:
            done.set()
            sampling.result(TIMEOUT_S)
        answer = ask_total(client)
        stored = client.storage()["tenants"][0]
    events = sum(taken)
    found = (result.accepted, result.duplicates, result.rejected, sum(row[1] for row in answer))
    if found != (events, 0, 0, events):
        raise RuntimeError(f"accepted, duplicates, rejected, counted: {found}; sent {events}")
    due_rows = SHARDS * Settings().compact_rows
    return _Imported(len(taken), events, took_s, answer, backlog_rows, due_rows, {
        "seconds": round(took_s, 2),
        "batch_rows": BATCH_ROWS,
        "in_flight": IN_FLIGHT,
        "shards": SHARDS,
        "seed": SEED,
        "rate_by_sixth": _rates(marks, took_s, 6),
        "backlog_rows": backlog_rows,
        "backlog_rows_due": due_rows,
        "indexed_rows": stored["segment_rows"],
    })  # fmt: skip


def _counted(batches: Iterator[Batch], taken: list[int]) -> Iterator[Batch]:
    for batch in batches:
        taken.append(batch.rows)
        yield batch


def _sample(client: evenshard.Client, backlog_rows: list[int], done: threading.Event) -> None:
    """Every second until ``done``."""
    while not done.wait(SAMPLE_EVERY_S):
        tenants = client.storage()["tenants"]
        backlog_rows.append(sum(each["log_rows"] for each in tenants))


def _rates(marks: Sequence[tuple[float, int]], took_s: float, pieces: int) -> list[int]:
    """Events a second acknowledged in each piece of the time."""
    counts = [0] * pieces
    before = 0
    for at_s, events in marks:
        counts[min(pieces - 1, int(at_s / took_s * pieces))] += events - before
        before = events
    return [round(count / (took_s / pieces)) for count in counts]


def _insert(data: Dataset, place: Path, ours: _Imported) -> float:
    """Seconds ClickHouse takes for the same batches; raises unless it then answers the same."""
    with PeerProcess("clickhouse", place / "clickhouse") as clickhouse:
        for sql in clickhouse_sql.insert_table("inserted"):
            clickhouse.run(sql)
        started_s = time.perf_counter()
        for path in data.files[: ours.batches]:
            clickhouse.run(clickhouse_sql.insert("inserted", [path]))
        took_s = time.perf_counter() - started_s
        check_equal(ours.answer, clickhouse.run(total_of("inserted")), "totals: evenshard and ClickHouse")
    return took_s
