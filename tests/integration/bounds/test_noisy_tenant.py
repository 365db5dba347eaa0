"""A tenant far over its limit is told to wait and finishes by waiting; its neighbour hardly notices. Real processes."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.errors import EvenshardError
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE, record_of
from evenshard.testing.processes import ClusterProcess

SEED = 20_261_125
NOISY, QUIET = "noisy", "quiet"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path / "c", shards=1) as running:
        yield running


def connect(cluster: ClusterProcess, tenant: str) -> evenshard.Client:
    return evenshard.connect(cluster.router, cluster.gateway, tenant=tenant, timeout=30)


def total(client: evenshard.Client) -> int:
    counted = client.segmentation(from_date=FROM_DATE, to_date=TO_DATE)
    return sum(counted.to_arrow().column("value").to_pylist())


@dataclass
class Flood:
    """A client that imports ``events`` of the noisy tenant as fast as it can, and what came of it."""

    cluster: ClusterProcess
    events: int
    batch_rows: int

    def run(self) -> tuple[int, int, int]:
        """Accepted, duplicates and rejected, once everything is answered for."""
        with connect(self.cluster, NOISY) as client:
            done = client.import_table(record_of(SEED, 0, self.events), batch_rows=self.batch_rows, in_flight=4)
        return done.accepted, done.duplicates, done.rejected


def impatient(cluster: ClusterProcess) -> tuple[str, str, bool] | None:
    """What a caller of the noisy tenant who does not wait is told; None: the call passed."""
    with connect(cluster, NOISY) as client:
        try:
            client.import_table(record_of(SEED + 1, 0, 10), timeout=0.2)
        except EvenshardError as error:
            return error.code, error.details.get("tenant", ""), (error.retry_after_ms or 0) > 0
    return None


def test_a_flooding_client_finishes_by_waiting_and_no_event_of_its_neighbour_is_refused(
    cluster: ClusterProcess,
) -> None:
    limit, events = 5_000, 20_000
    with connect(cluster, QUIET) as quiet, ThreadPoolExecutor(1) as pool:
        quiet.create_tenant(NOISY, events_per_second=limit)
        quiet.create_tenant(QUIET)
        began_s = time.monotonic()
        flood = pool.submit(Flood(cluster, events, 2_000).run)
        told = set()
        sent = 0
        while not flood.done():
            answer = quiet.import_table(record_of(SEED, sent, 500), timeout=10)
            assert (answer.accepted, answer.duplicates, answer.rejected) == (500, 0, 0)
            sent += 500
            told.add(impatient(cluster))
        took_s = time.monotonic() - began_s
        assert flood.result() == (events, 0, 0)
        assert ("LIMIT_EXCEEDED", NOISY, True) in told
        assert told <= {("LIMIT_EXCEEDED", NOISY, True), None}
        assert took_s >= (events - limit - 2_000) / limit
        assert total(quiet) == sent
        with connect(cluster, NOISY) as noisy:
            assert total(noisy) in range(events, events + 1 + 10)  # and, once, what the impatient caller got in


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def measured(cluster: ClusterProcess, first: int, rounds: int) -> tuple[list[float], list[float]]:
    """How long the neighbour's imports and queries took, one of each after the other."""
    imports, queries = [], []

    def timed(took: list[float], act: Callable[[], object]) -> None:
        began_s = time.perf_counter()
        act()
        took.append(time.perf_counter() - began_s)

    with connect(cluster, QUIET) as quiet:
        for number in range(rounds):
            record = record_of(SEED, first + number * 500, 500)
            timed(imports, lambda record=record: quiet.import_table(record))  # type: ignore[misc]
            timed(queries, lambda: quiet.funnel(steps=["view", "buy"], from_date=FROM_DATE, to_date=TO_DATE))
    return imports, queries


def flood(router: str, gateway: str, rows: int, stop: Any) -> tuple[int, int]:
    """Offers ``rows`` events, and again, as one who has as much ready, and comes when he is told to; how many were
    accepted, and sent. In a process of its own: a neighbour in this one would wait for its interpreter."""
    accepted = sent = 0
    with evenshard.connect(router, gateway, tenant=NOISY, timeout=30) as noisy:
        while not stop.is_set():
            done = noisy.import_table(record_of(SEED, sent, rows), batch_rows=5_000, in_flight=4)
            accepted, sent = accepted + done.accepted - done.duplicates, sent + rows
    return accepted, sent


def total_of(cluster: ClusterProcess, tenant: str) -> int:
    with connect(cluster, tenant) as client:
        return total(client)


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_tenant_at_ten_times_its_limit_costs_its_neighbour_at_most_half_as_much_again(
    cluster: ClusterProcess,
) -> None:
    limit, seconds, rounds = 20_000, 40, 300
    with connect(cluster, QUIET) as quiet:
        quiet.create_tenant(NOISY, events_per_second=limit)
        quiet.create_tenant(QUIET)
        quiet.import_table(record_of(SEED + 2, 0, 500_000))
        quiet.compact(QUIET, wait=True, timeout=120)
    measured(cluster, 0, 50)  # warm
    alone = measured(cluster, 100_000, rounds)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as shared, ProcessPoolExecutor(1, mp_context=spawn) as pool:
        stop = shared.Event()
        flooding = pool.submit(flood, cluster.router, cluster.gateway, 10 * limit, stop)
        began_s = time.monotonic()
        while not total_of(cluster, NOISY):
            assert time.monotonic() - began_s < 60
        began_s = time.monotonic()
        beside = measured(cluster, 500_000, rounds)
        while time.monotonic() - began_s < seconds / 2:
            more = measured(cluster, 700_000 + len(beside[0]) * 500, 50)
            beside = beside[0] + more[0], beside[1] + more[1]
        stop.set()
        accepted, sent = flooding.result(timeout=120)
    with connect(cluster, NOISY) as noisy:
        assert total(noisy) == accepted == sent
    figures = {}
    for what, before, after in (("import", alone[0], beside[0]), ("query", alone[1], beside[1])):
        figures[what] = {
            "alone_ms": (round(1000 * statistics.median(before), 2), round(1000 * p99(before), 2)),
            "beside_ms": (round(1000 * statistics.median(after), 2), round(1000 * p99(after), 2)),
            "p99_ratio": round(p99(after) / p99(before), 2),
        }
    print(figures)
    assert all(float(str(figure["p99_ratio"])) <= 1.5 for figure in figures.values()), figures
