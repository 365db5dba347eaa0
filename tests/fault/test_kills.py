"""kill -9 at random moments on real processes, under import, retry and compaction: nothing acked is lost or doubled.

Events derive from a number, moments and victims from a seed that is printed.
"""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import evenshard
import pytest
from evenshard.testing.processes import ClusterProcess

pytestmark = pytest.mark.cluster

TENANT = "acme"
START_MS = 1_767_225_600_000  # 2026-01-01
BATCH = 250
VICTIMS = ("shard-0", "shard-1", "router-0")
PAUSE_S_MAX = 1.5


def event(number: int) -> dict[str, Any]:
    """The same event for the same number, always."""
    return {
        "event": ("view", "click", "buy")[number % 3],
        "distinct_id": f"user-{number % 97}",
        "time": START_MS + number * 700,
        "insert_id": f"event-{number:08d}",
        "properties": {"number": number},
    }


class Importer(threading.Thread):
    """Imports batch after batch until told to stop, now and then an old one again; every batch ends accepted."""

    def __init__(self, cluster: ClusterProcess, seed: int) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.random = Random(seed)
        self.acked = 0
        self.again = 0
        self.failure: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            with evenshard.connect(
                router=self.cluster.router, gateway=self.cluster.gateway, tenant=TENANT, timeout=90
            ) as client:
                while not self.stopping.is_set():
                    first = self.acked
                    if first and self.random.random() < 0.25:
                        first = BATCH * self.random.randrange(self.acked // BATCH)
                        self.again += 1
                    self._accepted(client, first)
                    self.acked = max(self.acked, first + BATCH)
        except BaseException as error:
            self.failure = error
            raise

    def _accepted(self, client: Any, first: int) -> None:
        """Sends the batch again, as the contract says, until all of it is accepted."""
        deadline = time.monotonic() + 90
        while True:
            result = client.import_events([event(number) for number in range(first, first + BATCH)])
            if not result.rejected:
                return
            assert all(rejected["retryable"] for rejected in result.errors), result
            assert time.monotonic() < deadline, result


def pid_of(cluster: ClusterProcess, name: str) -> int | None:
    """The process of a service, found without asking the cluster."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                environment = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            parent = int(environment[1])
            if name.encode() in words and b"serve" in words and cluster._process and parent == cluster._process.pid:
                return int(folder.name)
    return None


def kills(tmp_path: Path, cycles: int, seconds: float) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    random = Random(seed)
    killed: Counter[str] = Counter()
    settings = ("compact_rows=1000", "compact_age_seconds=1")
    with ClusterProcess(tmp_path / "data", settings=settings) as cluster:
        assert cluster.run("admin", "create-tenant", TENANT).exit_status == 0
        importer = Importer(cluster, seed)
        importer.start()
        end = time.monotonic() + seconds
        while killed.total() < cycles and time.monotonic() < end:
            time.sleep(random.random() * PAUSE_S_MAX)  # the moment is what is random
            victim = random.choice(VICTIMS)
            pid = pid_of(cluster, victim)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed[victim] += 1
            assert importer.is_alive(), importer.failure
        importer.stopping.set()
        importer.join(150)
        assert not importer.is_alive()
        assert importer.failure is None
        cluster.wait_healthy()
        with evenshard.connect(router=cluster.router, gateway=cluster.gateway, tenant=TENANT, timeout=60) as client:
            rows = client.export(START_MS - 1, START_MS + 1_000_000_000)
            stored = Counter(row["properties"]["number"] for row in rows)
    print(f"seed {seed}: {killed.total()} kills {dict(killed)}, {importer.acked} events, {importer.again} sent again")
    assert killed.total() > 2
    lost = [number for number in range(importer.acked) if number not in stored]
    doubled = {number: count for number, count in stored.items() if count > 1}
    assert (lost, doubled, len(stored)) == ([], {}, importer.acked)


@pytest.mark.timeout(300)
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kills(tmp_path, cycles=4, seconds=6)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_two_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kills(tmp_path, cycles=200, seconds=7200)
