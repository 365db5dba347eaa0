"""Durable events a second, from a client through the router into two shards.

Each round starts a cluster of its own on an empty directory. What is sent is encoded before the clock starts; it
stops when the last event is acknowledged, so synced. Then the cluster is asked how many events it has.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import evenshard
from evenshard.client.batches import Batch, encode_record
from evenshard.client.import_result import ImportResult
from evenshard.client.insert_ids import InsertIds, add_to_lines
from evenshard.client.sources import LINES_PER_BATCH
from evenshard.runtime.process_info import processor_s
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import BAD_SHARE, FROM_DATE, TO_DATE, lines_of, record_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.sending import IN_FLIGHT, SEED, SHARDS, TENANT, send
from evenshard.testing.processes import ClusterProcess

ARROW_BATCH_ROWS: Final = 50_000
LINE_BATCH_ROWS: Final = LINES_PER_BATCH
ROUNDS_DEFAULT: Final = 3
INDEX_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    batches: Sequence[Batch]
    events: int
    bad: int
    prepare: Callable[[Batch], Batch] = lambda batch: batch
    """What the client does to each batch while the clock runs."""
    strict: bool = False

    def __iter__(self) -> Iterator[Batch]:
        return map(self.prepare, self.batches)


def ingest_arrow(options: Options) -> list[Figure]:
    return [_figure("ingest_arrow", _arrow(options.events or 20_000_000), ARROW_BATCH_ROWS, options)]


def ingest_arrow_counting(options: Options) -> list[Figure]:
    """What it costs that keys are counted: rounds with counting on and off, in turns."""
    load = _arrow(options.events or 20_000_000)
    on, off = [], []
    for _ in range(options.rounds or ROUNDS_DEFAULT):
        off.append(_round(load, options.folder, ("count_keys=false",)))
        on.append(_round(load, options.folder))
    rate_on, rate_off = (statistics.median(load.events / each.took_s for each in rounds) for rounds in (on, off))
    spent_on, spent_off = (_processor_ns(rounds, load.events) for rounds in (on, off))
    detail = {
        "batch_rows": ARROW_BATCH_ROWS,
        "events_per_second_off": round(rate_off, 1),
        "lost_percent": round(100 * (1 - rate_on / rate_off), 1),
        "processor_ns": spent_on,
        "processor_ns_off": spent_off,
        "rounds": [round(load.events / each.took_s) for each in on],
        "rounds_off": [round(load.events / each.took_s) for each in off],
    }
    return [Figure("ingest_arrow_counting", round(rate_on, 1), "events/s", load.events, detail=detail)]


def reimport_cluster(options: Options) -> list[Figure]:
    """Everything is imported and indexed, then imported again."""
    load = _arrow(options.events or 20_000_000)
    return [
        _figure("reimport_cluster", load, ARROW_BATCH_ROWS, replace(options, rounds=options.rounds or 1), again=True)
    ]


def ingest_ndjson(options: Options) -> list[Figure]:
    clean = _figure("ingest_ndjson", _lines(options.events or 2_000_000, 0.0), LINE_BATCH_ROWS, options)
    return [clean, *ingest_ndjson_dirty(options)]


def ingest_ndjson_dirty(options: Options) -> list[Figure]:
    load = _lines(options.events or 2_000_000, BAD_SHARE)
    return [_figure("ingest_ndjson_dirty", load, LINE_BATCH_ROWS, options)]


def _arrow(events: int) -> Load:
    batches = []
    for first in range(0, events, ARROW_BATCH_ROWS):
        rows = min(ARROW_BATCH_ROWS, events - first)
        batches.append(Batch("arrow", encode_record(record_of(SEED, first, rows)), rows, first))
    return Load(batches, events, 0)


def _lines(events: int, bad_share: float) -> Load:
    batches, bad = [], 0
    for first in range(0, events, LINE_BATCH_ROWS):
        rows = min(LINE_BATCH_ROWS, events - first)
        payload, bad_here = lines_of(SEED, first, rows, bad_share=bad_share)
        batches.append(Batch("ndjson", payload, rows, first))
        bad += bad_here
    ids = InsertIds()

    def prepare(batch: Batch) -> Batch:
        return replace(batch, payload=add_to_lines(batch.payload, ids))

    # Some of the bad lines are bad in strict imports only.
    return Load(batches, events, bad, prepare, strict=bad_share > 0)


def _figure(name: str, load: Load, batch_rows: int, options: Options, *, again: bool = False) -> Figure:
    rounds = [_round(load, options.folder, again=again) for _ in range(options.rounds or ROUNDS_DEFAULT)]
    rates = [load.events / each.took_s for each in rounds]
    return Figure(
        name,
        round(statistics.median(rates), 1),
        "events/s",
        load.events,
        detail={
            "batch_rows": batch_rows,
            "in_flight": IN_FLIGHT,
            "shards": SHARDS,
            "bytes_sent": sum(len(batch.payload) for batch in load.batches),
            "bad_events": load.bad,
            "seed": SEED,
            "processor_ns": _processor_ns(rounds, load.events),
            "cores_busy": [round(sum(each.processor_s.values()) / each.took_s, 2) for each in rounds],
            "rounds": [round(rate) for rate in rates],
        },
    )


@dataclass(frozen=True, slots=True)
class _Round:
    took_s: float
    processor_s: Mapping[str, float]
    """Of the client and of each service, while the clock ran."""


def _processor_ns(rounds: Sequence[_Round], events: int) -> dict[str, int]:
    """An event's, by process and in all: what a loaded machine does not change as it does the rate."""
    each = {
        name: round(1e9 * statistics.median(of.processor_s[name] for of in rounds) / events)
        for name in rounds[0].processor_s
    }
    return {**each, "all": sum(each.values())}


def _spent(pids: Mapping[str, int]) -> dict[str, float]:
    return {"client": time.process_time(), **{name: processor_s(pid) or 0.0 for name, pid in pids.items()}}


def _round(load: Load, folder: Path | None, settings: Sequence[str] = (), *, again: bool = False) -> _Round:
    """One import into a new cluster, or the second of the same events; raises where its answers are wrong."""
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=folder))
    try:
        with ClusterProcess(place / "data", shards=SHARDS, settings=settings) as cluster:
            with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT) as client:
                client.create_tenant(TENANT)
                if again:
                    send(cluster.router, iter(load), strict=load.strict)
                    client.compact(TENANT, wait=True, timeout=INDEX_TIMEOUT_S)
            pids = {name: int(service["pid"]) for name, service in cluster.services().items() if service.get("pid")}
            before, started_s = _spent(pids), time.perf_counter()
            result = send(cluster.router, iter(load), strict=load.strict)
            took_s = time.perf_counter() - started_s
            spent = {name: after_s - before[name] for name, after_s in _spent(pids).items()}
            _check(cluster, load, result, load.events - load.bad if again else 0)
    finally:
        shutil.rmtree(place)
    return _Round(took_s, spent)


def _check(cluster: ClusterProcess, load: Load, result: ImportResult, duplicates: int) -> None:
    good = load.events - load.bad
    with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=120) as client:
        stored = client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, unit="month").series[0]["overall"]
    found = (result.accepted, result.duplicates, result.rejected, stored)
    if found != (good, duplicates, load.bad, good):
        raise RuntimeError(
            f"accepted, duplicates, rejected, counted: {found}, expected {(good, duplicates, load.bad, good)}; "
            f"{result.errors_by_code} {result.errors[:3]}"
        )
