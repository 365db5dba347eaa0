"""Real processes killed, frozen and started again in the middle of an import: nothing acked is lost or doubled."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import evenshard
import pytest
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TENANT = "acme"
DAY_MS = 1_767_225_600_000  # 2026-01-01
EVENTS = 60_000
BATCH = 1_000


def event(number: int) -> dict[str, Any]:
    """The same event for the same number, always."""
    return {
        "event": ("view", "click", "buy")[number % 3],
        "distinct_id": f"user-{number % 997}",
        "time": DAY_MS + number * 1000,
        "insert_id": f"event-{number:08d}",
        "properties": {"number": number, "shop": f"shop-{number % 7}"},
    }


def stored_numbers(cluster: ClusterProcess, **options: Any) -> list[int]:
    """The numbers of all events the cluster exports, sorted."""
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway, tenant=TENANT) as client:
        rows = client.export(DAY_MS - 1, DAY_MS + 10 * EVENTS * 1000, **options)
        return sorted(row["properties"]["number"] for row in rows)


class Importer(threading.Thread):
    """Imports events in batches, one call after the other, each until all of it is accepted."""

    def __init__(self, cluster: ClusterProcess) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.acked = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with evenshard.connect(
                router=self.cluster.router, gateway=self.cluster.gateway, tenant=TENANT, timeout=90
            ) as client:
                for first in range(0, EVENTS, BATCH):
                    result = client.import_events(event(number) for number in range(first, first + BATCH))
                    assert (result.accepted, result.rejected) == (BATCH, 0), result
                    self.acked = first + BATCH
        except BaseException as error:
            self.failure = error
            raise

    def wait_for(self, events: int) -> None:
        deadline = time.monotonic() + 120
        while self.acked < events and self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.failure is None, self.failure
        assert self.acked >= events


@pytest.fixture
def tenant_cluster(cluster: ClusterProcess) -> ClusterProcess:
    assert cluster.run("admin", "create-tenant", TENANT).exit_status == 0
    return cluster


def test_kill_of_every_service_loses_and_doubles_nothing(tenant_cluster: ClusterProcess) -> None:
    importer = Importer(tenant_cluster)
    importer.start()
    for number, victim in enumerate(["shard-0", "router-0", "counter-0", "shard-1", "gateway-0"], start=1):
        importer.wait_for(EVENTS * number // 8)
        tenant_cluster.signal(victim, signal.SIGKILL)
        tenant_cluster.wait_healthy()
    importer.join(180)
    assert (importer.failure, importer.acked) == (None, EVENTS)
    assert stored_numbers(tenant_cluster) == list(range(EVENTS))


def test_kill_of_everything_loses_and_doubles_nothing(tenant_cluster: ClusterProcess) -> None:
    importer = Importer(tenant_cluster)
    importer.start()
    importer.wait_for(EVENTS // 3)
    tenant_cluster.kill_all()
    acked = importer.acked
    tenant_cluster.start()
    assert set(range(acked)) <= set(stored_numbers(tenant_cluster))
    importer.join(180)
    assert (importer.failure, importer.acked) == (None, EVENTS)
    assert stored_numbers(tenant_cluster) == list(range(EVENTS))


def test_a_frozen_shard_fails_only_its_own_events(tenant_cluster: ClusterProcess) -> None:
    batch = [event(number) for number in range(5_000)]
    with evenshard.connect(
        router=tenant_cluster.router, gateway=tenant_cluster.gateway, tenant=TENANT, timeout=6
    ) as client:
        tenant_cluster.signal("shard-1", signal.SIGSTOP)
        try:
            started = time.monotonic()
            result = client.import_events(batch)
            took_s = time.monotonic() - started
        finally:
            pid = next(
                service["pid"]
                for service in tenant_cluster.run("status").document["services"]
                if service["name"] == "shard-1"
            )
            os.kill(pid, signal.SIGCONT)
        assert took_s < 7
        assert result.accepted + result.rejected == len(batch)
        assert 1_000 < result.accepted < 4_000
        assert result.errors_by_code == {"SHARD_UNAVAILABLE": result.rejected}
        tenant_cluster.wait_healthy()
        settled = client.import_events(batch)
        assert (settled.accepted, settled.rejected) == (len(batch), 0)
        assert settled.duplicates >= result.accepted
    assert stored_numbers(tenant_cluster) == list(range(len(batch)))


def test_every_acked_event_is_in_the_next_answer(tenant_cluster: ClusterProcess) -> None:
    tries, askers = 10_000, 8

    def ask(asker: int) -> list[tuple[int, int]]:
        """Imports events of one kind, one by one, and counts that kind after each; returns the wrong counts."""
        misses: list[tuple[int, int]] = []
        with evenshard.connect(router=tenant_cluster.router, gateway=tenant_cluster.gateway, tenant=TENANT) as client:
            for done, number in enumerate(range(asker, tries, askers), start=1):
                client.import_events([event(number) | {"event": f"kind-{asker}"}])
                answer = client.segmentation(f"kind-{asker}", from_date="2026-01-01", to_date="2026-01-02")
                total = sum(line["overall"] for line in answer.series)
                if total != done:
                    misses.append((number, total))
        return misses

    with ThreadPoolExecutor(askers) as pool:
        assert list(pool.map(ask, range(askers))) == [[]] * askers
