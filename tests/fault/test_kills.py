"""kill -9 at random moments on real processes, under import, retry, compaction and deletion: nothing acked is lost,
doubled, or back.

Events derive from a number; moments, victims and users to delete from a seed that is printed. What must be shown
follows from when something was sent and when it was acked, never from what the cluster says.
"""

import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import evenshard
import pytest
from evenshard.errors import EvenshardError
from evenshard.testing.processes import ClusterProcess

pytestmark = pytest.mark.cluster

TENANT = "acme"
START_MS = 1_767_225_600_000  # 2026-01-01
BATCH = 250
USERS = 97
VICTIMS = ("shard-0", "shard-1", "router-0")
PATIENCE_S = 90.0
KILLS_WITHOUT_ACK_MAX = 5
"""After so many the next one waits for an ack: on a slow machine nobody would get anything done between kills."""
USERS_MAX, AGAIN_MAX = 5, 100
"""So many users are deleted at once, and so many of their events come again."""


def user_of(number: int) -> str:
    return f"user-{number % USERS}"


def event(number: int) -> dict[str, Any]:
    """The same event for the same number, always."""
    return {
        "event": ("view", "click", "buy")[number % 3],
        "distinct_id": user_of(number),
        "time": START_MS + number * 700,
        "insert_id": f"event-{number:08d}",
        "properties": {"number": number},
    }


@dataclass(frozen=True, slots=True)
class Span:
    """From before something was first sent until after its ack, in seconds of one clock."""

    begin_s: float
    end_s: float


class Expected:
    """What must be shown of each event; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: dict[int, list[Span]] = {}
        self._singles: dict[int, list[Span]] = {}
        self._deletions: dict[str, list[Span]] = {}

    def imported(self, numbers: "range | list[int]", span: Span) -> None:
        """A whole batch, or single events."""
        with self._lock:
            if isinstance(numbers, range):
                self._batches.setdefault(numbers.start, []).append(span)
            else:
                for number in numbers:
                    self._singles.setdefault(number, []).append(span)

    def deleted(self, user: str, span: Span) -> None:
        with self._lock:
            self._deletions.setdefault(user, []).append(span)

    def fate(self, number: int) -> Literal["shown", "hidden", "open"]:
        """A deletion hides what was acked before it began, nothing that was sent behind its ack, and perhaps what
        came meanwhile."""
        with self._lock:
            imports, deletions = self._imports(number), self._deletions.get(user_of(number), ())
        if any(all(sent.begin_s > each.end_s for each in deletions) for sent in imports):
            return "shown"
        if all(any(sent.end_s < each.begin_s for each in deletions) for sent in imports):
            return "hidden"
        return "open"

    def _imports(self, number: int) -> list[Span]:
        return self._batches.get(number - number % BATCH, []) + self._singles.get(number, [])


class Worker(threading.Thread, ABC):
    """Does one thing over and over until told to stop; what fails in it is kept."""

    def __init__(self, cluster: ClusterProcess, expected: Expected, random: Random) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.expected = expected
        self.random = random
        self.failure: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            with evenshard.connect(
                router=self.cluster.router, gateway=self.cluster.gateway, tenant=TENANT, timeout=PATIENCE_S
            ) as client:
                while not self.stopping.is_set():
                    self.once(client)
        except BaseException as error:
            self.failure = error
            raise

    @abstractmethod
    def once(self, client: Any) -> None:
        """The thing."""

    def finish(self) -> None:
        self.stopping.set()
        self.join(2 * PATIENCE_S)
        assert not self.is_alive()
        assert self.failure is None, self.failure

    def accepted(self, client: Any, numbers: "range | list[int]") -> int:
        """Sends events again, as the contract says, until all are accepted; returns how many were duplicates."""
        begin_s, duplicates = time.monotonic(), 0
        while True:
            result = client.import_events([event(number) for number in numbers])
            duplicates += result.duplicates
            if not result.rejected:
                self.expected.imported(numbers, Span(begin_s, time.monotonic()))
                return duplicates
            assert all(rejected["retryable"] for rejected in result.errors), result
            assert time.monotonic() < begin_s + PATIENCE_S, result


class Importer(Worker):
    """Imports batch after batch, now and then an old one again."""

    acked = 0
    again = 0
    acks = 0
    """Of batches, new or sent again."""

    def __init__(self, cluster: ClusterProcess, expected: Expected, random: Random) -> None:
        super().__init__(cluster, expected, random)
        self.old_batches = threading.Lock()
        """Held while one is sent again."""
        self._more = threading.Condition()

    def once(self, client: Any) -> None:
        if self.acked and self.random.random() < 0.25:
            with self.old_batches:
                first = BATCH * self.random.randrange(self.acked // BATCH)
                self.accepted(client, range(first, first + BATCH))
            self.again += 1
        else:
            self.accepted(client, range(self.acked, self.acked + BATCH))
            self.acked += BATCH
        with self._more:
            self.acks += 1
            self._more.notify_all()

    def wait_for_acks(self, count: int) -> None:
        """While nobody is killed, they come."""
        with self._more:
            assert self._more.wait_for(lambda: self.acks >= count or self.failure, PATIENCE_S), "no ack comes"


class Deleter(Worker):
    """Deletes users, and lets some of what they had done come again: as new, where nobody else has brought it."""

    def __init__(self, importer: Importer, killed: Counter[str], pause_s_max: float) -> None:
        super().__init__(importer.cluster, importer.expected, Random(importer.random.random()))
        self._importer = importer
        self._killed = killed
        self._pause_s_max = pause_s_max
        self.deleted = 0
        self.new = 0
        """Events that came again as new ones."""

    def once(self, client: Any) -> None:
        if self.stopping.wait(self.random.random() * self._pause_s_max) or not self._importer.acked:
            return
        users = self.random.sample(range(USERS), self.random.randint(1, USERS_MAX))
        if self.random.random() < 0.5:
            self.delete_users(client, users)
            return
        with self._importer.old_batches:
            there = [number for user in users for number in range(user, self._importer.acked, USERS)]
            self.delete_users(client, users)
            again = sorted(self.random.sample(there, min(AGAIN_MAX, len(there))))
            kills = self._killed.total()
            duplicates = self.accepted(client, again)
            if kills == self._killed.total():  # no ack was lost
                assert duplicates == 0, f"{duplicates} of {again} were deleted, and said to be duplicates"
                self.new += len(again)

    def delete_users(self, client: Any, users: list[int]) -> None:
        """Where it is in doubt whether a deletion began, it may hide something until it has ended."""
        begin_s, in_doubt = time.monotonic(), False
        while True:
            try:
                client.delete_users([user_of(user) for user in users])
                if in_doubt:
                    all_ended(client)
            except EvenshardError:
                if time.monotonic() > begin_s + PATIENCE_S:
                    raise
                in_doubt = True
            else:
                break
        for user in users:
            self.expected.deleted(user_of(user), Span(begin_s, time.monotonic()))
        self.deleted += len(users)


def all_ended(client: Any) -> None:
    """Waits until every operation has; all must have come to their end."""
    for operation in client.operations()["operations"]:
        ended = client.wait_operation(operation["operation"])
        assert (ended["state"], ended["error"]) == ("complete", None), ended


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


def kills(tmp_path: Path, cycles: int, pause_s_max: float) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    random, expected = Random(seed), Expected()
    killed: Counter[str] = Counter()
    settings = ("compact_rows=1000", "compact_age_seconds=1")
    with ClusterProcess(tmp_path / "data", settings=settings) as cluster:
        assert cluster.run("admin", "create-tenant", TENANT).exit_status == 0
        importer = Importer(cluster, expected, Random(random.random()))
        deleter = Deleter(importer, killed, pause_s_max / 4)
        for worker in (importer, deleter):
            worker.start()
        acks, kills_then = 0, 0
        while killed.total() < cycles:
            time.sleep(random.random() * pause_s_max)  # the moment is what is random
            if killed.total() >= kills_then + KILLS_WITHOUT_ACK_MAX:
                importer.wait_for_acks(acks + 1)
            if importer.acks > acks:
                acks, kills_then = importer.acks, killed.total()
            victim = random.choice(VICTIMS)
            pid = pid_of(cluster, victim)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed[victim] += 1
            for worker in (importer, deleter):
                assert worker.is_alive(), worker.failure
        importer.finish()
        deleter.finish()
        cluster.wait_healthy()
        with evenshard.connect(
            router=cluster.router, gateway=cluster.gateway, tenant=TENANT, timeout=PATIENCE_S
        ) as client:
            deleter.delete_users(client, [0])  # who does not come again, however little the kills let through
            before = shown(client)
            all_ended(client)
            assert shown(client) == before, "removing the bytes has changed what is shown"
    fates = Counter(expected.fate(number) for number in range(importer.acked))
    print(
        f"seed {seed}: {killed.total()} kills {dict(killed)}, {importer.acked} events, {importer.again} batches sent "
        f"again, {deleter.deleted} users deleted, {deleter.new} events new after one, {dict(fates)}"
    )
    wrong = {number: count for number, count in before.items() if count > 1 or number >= importer.acked}
    for number in range(importer.acked):
        fate = expected.fate(number)
        if fate != "open" and (fate == "shown") != (number in before):
            wrong[number] = before[number]
    assert wrong == {}
    assert fates["hidden"]


def shown(client: Any) -> Counter[int]:
    """How often each event is, by number."""
    rows = client.export(START_MS - 1, START_MS + 1_000_000_000)
    return Counter(row["properties"]["number"] for row in rows)


@pytest.mark.timeout(300)
def test_kills_lose_double_and_bring_back_nothing(tmp_path: Path) -> None:
    kills(tmp_path, cycles=10, pause_s_max=1.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(8))
def test_two_hundred_kills_lose_double_and_bring_back_nothing(tmp_path: Path, part: int) -> None:
    kills(tmp_path, cycles=25, pause_s_max=3.0)


def test_what_must_be_shown_follows_from_what_was_sent_and_acked() -> None:
    expected = Expected()
    expected.imported(range(BATCH), Span(0, 1))
    assert {expected.fate(number) for number in range(BATCH)} == {"shown"}
    expected.deleted(user_of(1), Span(0.5, 2))
    assert (expected.fate(1), expected.fate(2)) == ("open", "shown")
    expected.deleted(user_of(1), Span(3, 4))
    expected.imported([1 + USERS], Span(3.5, 5))
    assert (expected.fate(1), expected.fate(1 + USERS)) == ("hidden", "open")
    expected.imported([1 + USERS], Span(6, 7))
    assert (expected.fate(1), expected.fate(1 + USERS)) == ("hidden", "shown")
