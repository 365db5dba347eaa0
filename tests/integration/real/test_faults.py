"""Real processes killed, frozen and started again in the middle of an import: nothing acked is lost or doubled."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import evenshard
import grpc
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from evenshard.api.v1 import ingest_pb2, ingest_pb2_grpc
from evenshard.client import ImportResult
from evenshard.events.hashing import SLOT_SHIFT, hash_of
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TENANT = "acme"
DAY_MS = 1_767_225_600_000  # 2026-01-01
LAST_DAY = "2026-03-31"
BATCH, IN_FLIGHT = 100, 4
VICTIMS = ("router-0", "shard-0", "gateway-0", "counter-0", "shard-1")
WAIT_S = 90.0


def event(number: int) -> dict[str, Any]:
    """The same event for the same number, always."""
    return {
        "event": ("view", "click", "buy")[number % 3],
        "distinct_id": f"user-{number % 997}",
        "time": DAY_MS + number * 1000,
        "insert_id": f"event-{number:08d}",
        "properties": {"number": number, "shop": f"shop-{number % 7}"},
    }


def stored_numbers(cluster: ClusterProcess, tenant: str = TENANT) -> list[int]:
    """The numbers of all events the cluster exports, sorted."""
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway, tenant=tenant) as client:
        table = client.export(DAY_MS - 1, f"{LAST_DAY}T00:00:00Z", format="arrow").to_arrow()
    if not table.num_rows:
        return []
    return sorted(pc.cast(pc.utf8_slice_codeunits(table["insert_id"], len("event-")), pa.int64()).to_pylist())


def skipped_duplicates(cluster: ClusterProcess) -> int:
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway, tenant=TENANT) as client:
        answer = client.segmentation(from_date="2026-01-01", to_date=LAST_DAY, unit="month")
    return sum(answer.meta["duplicates_skipped"].values())


class Threaded(threading.Thread):
    """Goes on until it is told to finish; a failure is told then."""

    def __init__(self, cluster: ClusterProcess) -> None:
        super().__init__(daemon=True)
        self.failure: BaseException | None = None
        self._cluster = cluster
        self._finish = threading.Event()

    def go_on(self, client: evenshard.Client) -> None:
        raise NotImplementedError

    def run(self) -> None:
        cluster = self._cluster
        try:
            with evenshard.connect(
                router=cluster.router, gateway=cluster.gateway, tenant=TENANT, timeout=WAIT_S
            ) as client:
                self.go_on(client)
        except BaseException as failure:
            self.failure = failure
            raise

    def wait_until(self, name: str, least: int) -> None:
        """Returns when the attribute ``name`` is as large, with the thread at work all the time."""
        deadline = time.monotonic() + WAIT_S
        while getattr(self, name) < least:
            assert (self.is_alive(), self.failure) == (True, None)
            assert time.monotonic() < deadline, (name, getattr(self, name), least)
            time.sleep(0.005)

    def finish(self) -> None:
        assert (self.is_alive(), self.failure) == (True, None)
        self._finish.set()
        self.join(WAIT_S)
        assert (self.is_alive(), self.failure) == (False, None)


class Importer(Threaded):
    """One import of events 0, 1, 2 …: small batches, several in flight all the time."""

    result: ImportResult

    def __init__(self, cluster: ClusterProcess) -> None:
        super().__init__(cluster)
        self.sent = 0
        """Of the events given out, those before the last one."""

    @property
    def acked(self) -> int:
        """At least so many events are: the import makes no batch before all but the last few are answered for."""
        return max(0, self.sent // BATCH - IN_FLIGHT) * BATCH

    def go_on(self, client: evenshard.Client) -> None:
        def events() -> Any:
            while not self._finish.is_set():
                yield event(self.sent)
                self.sent += 1

        self.result = client.import_events(events(), batch_rows=BATCH, in_flight=IN_FLIGHT)


class Asker(Threaded):
    """Counts all events again and again: never fewer than were acked before the question, nor more than were sent."""

    def __init__(self, cluster: ClusterProcess, importer: Importer) -> None:
        super().__init__(cluster)
        self.answers = 0
        self._importer = importer

    def go_on(self, client: evenshard.Client) -> None:
        while not self._finish.wait(0.02):
            acked = self._importer.acked
            answer = client.segmentation(from_date="2026-01-01", to_date=LAST_DAY, unit="month")
            total = sum(line["overall"] for line in answer.series)
            assert acked <= total <= self._importer.sent + 1, (acked, total, self._importer.sent)
            self.answers += 1


@pytest.fixture
def tenant_cluster(cluster: ClusterProcess) -> ClusterProcess:
    assert cluster.run("admin", "create-tenant", TENANT).exit_status == 0
    return cluster


def kill_each_during_an_import(cluster: ClusterProcess, seed: int) -> int:
    """kill -9 of every service, one after the other, at moments by the seed, under one import and one who asks.
    Returns how many events a retry met stored already: their ack was lost with somebody killed."""
    chance = random.Random(seed)
    started = cluster.services()
    importer = Importer(cluster)
    asker = Asker(cluster, importer)
    importer.start()
    asker.start()
    victims = chance.sample(VICTIMS, len(VICTIMS))
    print(f"seed {seed}: kills {', '.join(victims)}")
    for victim in victims:
        importer.wait_until("acked", importer.acked + chance.randrange(1, 20) * BATCH)
        time.sleep(chance.uniform(0, 0.1))  # somewhere within a batch's way to the disk and back
        assert (importer.is_alive(), asker.is_alive()) == (True, True)
        os.kill(started[victim]["pid"], signal.SIGKILL)
        assert (importer.is_alive(), asker.is_alive()) == (True, True)
        cluster.wait_healthy({victim: 1})
        # Whatever was in flight when all were back is behind these.
        importer.wait_until("acked", importer.acked + (IN_FLIGHT + 2) * BATCH)
        asker.wait_until("answers", asker.answers + 2)
    asker.finish()
    importer.finish()
    found = cluster.services()
    assert {name: each["restarts"] for name, each in found.items()} == {name: int(name in VICTIMS) for name in started}
    assert {name for name in found if found[name]["pid"] != started[name]["pid"]} == set(VICTIMS)
    result = importer.result
    assert (result.events_read, result.accepted, result.rejected) == (importer.sent, importer.sent, 0)
    assert stored_numbers(cluster) == list(range(importer.sent))
    assert skipped_duplicates(cluster) >= result.duplicates
    print(f"seed {seed}: {importer.sent} events, {result.duplicates} met by a retry, {asker.answers} answers")
    return result.duplicates


def test_kill_of_every_service_loses_and_doubles_nothing(tenant_cluster: ClusterProcess) -> None:
    kill_each_during_an_import(tenant_cluster, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_at_many_moments_lose_nothing_and_some_retries_meet_their_original(tmp_path: Path) -> None:
    met = 0
    for seed in range(2, 14):
        # Indexing in small pieces: kills hit compactions too.
        with ClusterProcess(tmp_path / f"data-{seed}", settings=["compact_rows=5000"]) as cluster:
            assert cluster.run("admin", "create-tenant", TENANT).exit_status == 0
            met += kill_each_during_an_import(cluster, seed)
            assert (cluster.stop(), cluster.undrained()) == (0, [])
    assert met > 0


def test_kill_of_everything_loses_and_doubles_nothing(tenant_cluster: ClusterProcess) -> None:
    importer = Importer(tenant_cluster)
    importer.start()
    importer.wait_until("acked", 40 * BATCH)
    assert importer.is_alive()
    tenant_cluster.kill_all()
    acked = importer.acked
    assert importer.is_alive()
    tenant_cluster.start()
    stored = stored_numbers(tenant_cluster)
    assert len(set(stored)) == len(stored) >= acked
    importer.wait_until("acked", importer.acked + (IN_FLIGHT + 2) * BATCH)
    importer.finish()
    assert (importer.result.accepted, importer.result.rejected) == (importer.sent, 0)
    assert stored_numbers(tenant_cluster) == list(range(importer.sent))
    print(f"{importer.sent} events, {importer.result.duplicates} met by a retry")


def test_a_frozen_shard_fails_only_its_own_events(shared_cluster: ClusterProcess) -> None:
    tenant = "frozen"
    events = [event(number) for number in range(5_000)]
    with evenshard.connect(router=shared_cluster.router) as client:
        client.create_tenant(tenant)
        placement = client.tenant(tenant)["placement"]["slots"]
    frozen_slots = [range(each["first"], each["last"] + 1) for each in placement if each["shard"] == "shard-1"]
    frozen = [
        index
        for index, each in enumerate(events)
        if any(hash_of(each["distinct_id"]) >> SLOT_SHIFT in slots for slots in frozen_slots)
    ]
    assert 1_000 < len(frozen) < 4_000

    def request(indices: list[int]) -> ingest_pb2.ImportEventsRequest:
        lines = b"\n".join(orjson.dumps(events[index]) for index in indices)
        return ingest_pb2.ImportEventsRequest(tenant=tenant, ndjson=lines)

    with grpc.insecure_channel(shared_cluster.router) as channel:
        router = ingest_pb2_grpc.IngestServiceStub(channel)
        pid = shared_cluster.pid("shard-1")
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answer = router.ImportEvents(request(list(range(len(events)))), timeout=6)
            took_s = time.monotonic() - began
        finally:
            os.kill(pid, signal.SIGCONT)
        assert took_s < 6
        rejected = sorted(answer.errors, key=lambda each: each.index)
        assert [each.index for each in rejected] == frozen
        assert {(each.code, each.retryable, each.tenant) for each in rejected} == {("SHARD_UNAVAILABLE", True, tenant)}
        assert [each.insert_id for each in rejected] == [events[index]["insert_id"] for index in frozen]
        assert (answer.accepted, answer.duplicates, answer.rejected) == (len(events) - len(frozen), 0, len(frozen))
        shared_cluster.wait_healthy()
        assert set(range(len(events))) - set(frozen) <= set(stored_numbers(shared_cluster, tenant))
        settled = router.ImportEvents(request([each.index for each in answer.errors]), timeout=20)
    # Those the frozen shard had received it may have stored when it woke, each then a duplicate by now.
    assert (settled.accepted, settled.rejected, list(settled.errors)) == (len(frozen), 0, [])
    assert stored_numbers(shared_cluster, tenant) == list(range(len(events)))


@pytest.mark.parametrize("tries", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_acked_event_is_in_the_next_answer(shared_cluster: ClusterProcess, tries: int) -> None:
    askers, tenant = 8, f"asked-{tries}"
    assert shared_cluster.run("admin", "create-tenant", tenant).exit_status == 0

    def ask(asker: int) -> list[tuple[int, int]]:
        """Imports events of one kind, one by one, and counts that kind after each; returns the wrong counts."""
        misses: list[tuple[int, int]] = []
        with evenshard.connect(router=shared_cluster.router, gateway=shared_cluster.gateway, tenant=tenant) as client:
            for done, number in enumerate(range(asker, tries, askers), start=1):
                client.import_events([event(number) | {"event": f"kind-{tries}-{asker}"}])
                answer = client.segmentation(f"kind-{tries}-{asker}", from_date="2026-01-01", to_date="2026-01-02")
                total = sum(line["overall"] for line in answer.series)
                if total != done:
                    misses.append((number, total))
        return misses

    with ThreadPoolExecutor(askers) as pool:
        assert list(pool.map(ask, range(askers))) == [[]] * askers
