"""Questions about a past week while a quarter of what can be imported is imported into the same tenant.

Two things are asked in turn: a question over the fixed past range, which is timed, and how many events there are of the
days that are being imported, which has to be at least what was acknowledged before it was sent.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

import evenshard
from evenshard.client.batches import Batch
from evenshard.client.importer import Progress
from evenshard.testing.bench.compare import AnswersDifferError
from evenshard.testing.bench.dataset import COPIES_SHARE, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import DAYS, sessions_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import EVENTS_DEFAULT, connected
from evenshard.testing.bench.sending import SEED, SHARDS, TENANT, send
from evenshard.testing.processes import ClusterProcess

SECONDS_DEFAULT: Final = 60
SHARE_OF_MAXIMUM: Final = 0.25
MAXIMUM_EVENTS: Final = 2_000_000
"""Imported at full speed to learn what that is."""
BATCH_ROWS: Final = 10_000
P99_MS_MAX: Final = 250.0
TIMES_IDLE_MAX: Final = 3.0
FIRST_PAST, LAST_PAST = "2026-01-08", "2026-01-14"
FIRST_INCOMING, LAST_INCOMING = "2026-02-01", "2026-03-02"
_SHIFT_MS: Final = (DAYS + 1) * 86_400_000
"""The imported days follow those that were there before."""
STEPS: Final = ("view", "add to cart", "buy")


def _segmented(client: evenshard.Client, measure: str) -> Any:
    return client.segmentation(from_date=FIRST_PAST, to_date=LAST_PAST, measure=measure, no_cache=True)


QUESTIONS: Final[dict[str, Callable[[evenshard.Client], Any]]] = {
    "total_by_day": lambda client: _segmented(client, "total"),
    "unique_by_day": lambda client: _segmented(client, "unique"),
    "funnel": lambda client: client.funnel(STEPS, from_date=FIRST_PAST, to_date=LAST_PAST, window="1d", no_cache=True),
}


class EventsMissedError(Exception):
    """An answer lacks events that were acknowledged before the question was sent."""


@dataclass(slots=True)
class _Asked:
    """What was asked for some time."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in QUESTIONS})
    counts: int = 0
    """How often acknowledged events were looked for."""

    def p99_ms(self) -> float:
        return _quantile_ms([each for some in self.seconds.values() for each in some], 0.99)

    def detail(self) -> dict[str, Any]:
        return {
            name: {
                "asked": len(some),
                **{f"p{q}_ms": round(1e3 * float(np.quantile(some, q / 100)), 2) for q in (50, 99)},
            }
            for name, some in self.seconds.items()
            if some
        }


def _quantile_ms(seconds: Sequence[float], quantile: float) -> float:
    return round(1e3 * float(np.quantile(seconds, quantile)), 2)


def query_under_ingest(options: Options) -> list[Figure]:
    """Raises ``EventsMissedError``, and ``AnswersDifferError`` where an answer about the past changes."""
    events, seconds = options.events or EVENTS_DEFAULT, options.seconds or SECONDS_DEFAULT
    most = min(MAXIMUM_EVENTS, events)
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        past = write_dataset(
            place / "past", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=COPIES_SHARE,
        )  # fmt: skip
        fast = write_dataset(place / "fast", most, _incoming(SEED + 1, most), seed=SEED + 1, batch_rows=BATCH_ROWS)
        with ClusterProcess(place / "evenshard", shards=SHARDS) as cluster, connected(cluster) as client:
            client.create_tenant(TENANT, hot_key_threshold=1 << 40)
            send(cluster.router, past.batches())
            client.compact(wait=True, timeout=3_600)
            answers = {name: ask(client).to_dict() for name, ask in QUESTIONS.items()}
            idle = _ask_for(seconds, client, answers, lambda: 0)
            started_s = time.perf_counter()
            send(cluster.router, fast.batches())
            maximum = fast.events / (time.perf_counter() - started_s)
            rate = SHARE_OF_MAXIMUM * maximum
            paced = int(min(rate * seconds * 1.5, 40 * most)) // BATCH_ROWS * BATCH_ROWS + BATCH_ROWS
            slow = write_dataset(
                place / "slow", paced, _incoming(SEED + 2, paced), seed=SEED + 2, batch_rows=BATCH_ROWS
            )
            busy, took_s, sent = _while_importing(cluster, client, slow, rate, seconds, fast.events, answers)
        p99_ms, idle_ms = busy.p99_ms(), idle.p99_ms()
        detail = {
            "idle_p99_ms": round(idle_ms, 2),
            "times_idle": round(p99_ms / idle_ms, 3),
            "within": p99_ms <= min(P99_MS_MAX, TIMES_IDLE_MAX * idle_ms),
            "misses": 0,
            "counted": busy.counts,
            "maximum_events_per_second": round(maximum),
            "imported_events_per_second": round(sent / took_s),
            "seconds": round(took_s, 1),
            "questions": busy.detail(),
            "idle": idle.detail(),
            "batch_rows": BATCH_ROWS,
            "shards": SHARDS,
            "seed": SEED,
        }
        return [Figure("query_under_ingest", round(p99_ms / 1e3, 6), "s", events, detail=detail)]
    finally:
        shutil.rmtree(place)


def _incoming(seed: int, events: int) -> Callable[[int, int], pa.RecordBatch]:
    def make(first: int, rows: int) -> pa.RecordBatch:
        record = sessions_of(seed, first, rows, of=events)
        times = pa.array(record.column("time").to_numpy() + _SHIFT_MS)
        ids = pa.array([f"{seed}-{first + at}" for at in range(rows)])
        at = record.schema.get_field_index
        return record.set_column(at("time"), "time", times).set_column(at("insert_id"), "insert_id", ids)

    return make


def _while_importing(
    cluster: ClusterProcess,
    client: evenshard.Client,
    data: Dataset,
    rate: float,
    seconds: float,
    before: int,
    answers: dict[str, Any],
) -> tuple[_Asked, float, int]:
    """What was asked, how long events were imported, and how many. ``before``: events of those days already there."""
    acknowledged = [0]
    over = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as importers:
        started_s = time.perf_counter()
        importing = importers.submit(
            send,
            cluster.router,
            _paced(data, rate, over),
            stopping=over.is_set,
            on_progress=lambda at: _note(acknowledged, at),
        )
        try:
            asked = _ask_for(seconds, client, answers, lambda: before + acknowledged[0])
        finally:
            over.set()
        result = importing.result(600)
        took_s = time.perf_counter() - started_s
    if result.accepted != result.events_read or result.duplicates:
        raise RuntimeError(f"{result.events_read} sent, {result.accepted} accepted, {result.duplicates} duplicates")
    return asked, took_s, result.accepted


def _note(acknowledged: list[int], at: Progress) -> None:
    acknowledged[0] = at.accepted


def _paced(data: Dataset, rate: float, over: threading.Event) -> Iterator[Batch]:
    """Batches when their time has come, until it is over."""
    started_s, sent = time.perf_counter(), 0
    for batch in data.batches():
        if over.wait(max(0.0, started_s + sent / rate - time.perf_counter())):
            return
        yield batch
        sent += batch.rows


def _ask_for(
    seconds: float, client: evenshard.Client, answers: dict[str, Any], acknowledged: Callable[[], int]
) -> _Asked:
    """Asks in turn for some time. ``acknowledged``: how many events of the incoming days must be there."""
    asked = _Asked()
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        for name, ask in QUESTIONS.items():
            started_s = time.perf_counter()
            answer = ask(client)
            asked.seconds[name].append(time.perf_counter() - started_s)
            if {**answer.to_dict(), "meta": None} != {**answers[name], "meta": None}:
                raise AnswersDifferError(f"{name}: the past has changed")
        at_least = acknowledged()
        found = client.segmentation(from_date=FIRST_INCOMING, to_date=LAST_INCOMING, no_cache=True)
        there = found.series[0]["overall"] if found.series else 0
        if there < at_least:
            raise EventsMissedError(f"{there} events found, {at_least} were acknowledged before")
        asked.counts += 1
    return asked
