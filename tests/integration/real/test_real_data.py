"""The real history through real processes: every answer equals a naive reading of the file, again and again."""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import evenshard
import orjson
import pytest
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.real_data import RealData

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FROM, TO = "2010-01-01", "2026-12-31"
FILES_MAX = 48


def _month(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-01")


def naive_answers(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each tenant what the cluster is asked, by one loop over the rows."""
    answers: dict[str, Any] = {}
    for row in rows:
        tenant, properties = row["tenant"], row["properties"]
        mine = answers.setdefault(
            tenant,
            {"total": 0, "events": Counter(), "months": defaultdict(set), "users": set(), "dirs": Counter()},
        )
        mine["total"] += 1
        mine["events"][row["event"]] += 1
        mine["months"][_month(properties["time"])].add(properties["distinct_id"])
        mine["users"].add(properties["distinct_id"])
        mine["dirs"][properties.get("dir")] += 1
    for mine in answers.values():
        mine["months"] = {month: len(users) for month, users in mine["months"].items()}
        mine["users"] = len(mine["users"])
        mine["events"], mine["dirs"] = dict(mine["events"]), dict(mine["dirs"])
    return answers


def asked_answers(cluster: ClusterProcess, tenants: list[str]) -> dict[str, Any]:
    """The same from the cluster."""
    answers: dict[str, Any] = {}
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway) as client:
        for tenant in tenants:
            common: dict[str, Any] = {"tenant": tenant, "from_date": FROM, "to_date": TO, "unit": "month"}
            total = client.segmentation(**common).to_dict()["series"]
            users = client.segmentation(measure="unique", **common).to_dict()
            by_event = client.segmentation(by=["$event"], **common).to_dict()["series"]
            by_dir = client.segmentation(by=["dir"], limit=10_000, **common).to_dict()["series"]
            answers[tenant] = {
                "total": sum(line["overall"] for line in total),
                "events": {line["by"][0]: line["overall"] for line in by_event},
                "months": {
                    month: count
                    for month, count in zip(users["buckets"], users["series"][0]["values"], strict=True)
                    if count
                },
                "users": users["series"][0]["overall"],
                "dirs": {line["by"][0]: line["overall"] for line in by_dir},
            }
    return answers


def skipped_duplicates(cluster: ClusterProcess, tenants: list[str]) -> dict[str, int]:
    """How many copies the answers about everything say they left out, in logs and in segments."""
    skipped = {"log": 0, "segment": 0}
    with evenshard.connect(gateway=cluster.gateway) as client:
        for tenant in tenants:
            meta = client.segmentation(tenant=tenant, from_date=FROM, to_date=TO, unit="month").meta
            for where, count in meta["duplicates_skipped"].items():
                skipped[where] += count
    return skipped


def compact_all(cluster: ClusterProcess, tenants: list[str]) -> None:
    """Nothing is left in the logs then."""
    with evenshard.connect(router=cluster.router) as client:
        for tenant in tenants:
            assert client.compact(tenant, wait=True, timeout=60)["backlog_rows"] == 0


@pytest.fixture(scope="module")
def imported(shared_cluster: ClusterProcess, real_file: Path) -> ClusterProcess:
    answer = shared_cluster.run("import", str(real_file), "--create-tenant")
    assert answer.exit_status == 0, answer
    assert (answer.document["accepted"], answer.document["duplicates"], answer.document["rejected"]) == (244_248, 0, 0)
    return shared_cluster


def test_every_answer_equals_the_naive_reading(imported: ClusterProcess, real_data: RealData) -> None:
    expected = naive_answers(real_data.rows)
    assert asked_answers(imported, sorted(expected)) == expected


def test_sparse_days_become_few_files_and_answers_stay(imported: ClusterProcess, real_data: RealData) -> None:
    expected = naive_answers(real_data.rows)
    compact_all(imported, sorted(expected))
    storage = imported.run("admin", "storage").document["tenants"]
    assert {line["tenant"]: (line["log_rows"], line["segment_rows"]) for line in storage} == {
        tenant: (0, answers["total"]) for tenant, answers in expected.items()
    }
    assert 0 < sum(line["segments"] for line in storage) <= sum(line["files"] for line in storage) <= FILES_MAX
    assert asked_answers(imported, sorted(expected)) == expected


class Compacting(threading.Thread):
    """Compacts one tenant after the other, and asks everything of it, again and again."""

    def __init__(self, cluster: ClusterProcess, expected: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.rows = 0
        """That were compacted so far."""
        self.rounds = 0
        """How often all tenants have been compacted and asked."""
        self._cluster = cluster
        self._expected = expected
        self._finish = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            with evenshard.connect(router=self._cluster.router) as client:
                while not self._finish.is_set():
                    for tenant, answers in self._expected.items():
                        self.rows += client.compact(tenant, wait=True, timeout=60)["rows"]
                        assert asked_answers(self._cluster, [tenant]) == {tenant: answers}
                    self.rounds += 1
        except BaseException as failure:
            self._failure = failure
            raise

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.is_alive(), self._failure
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def finish(self) -> None:
        self._finish.set()
        self.join(60)
        assert (self.is_alive(), self._failure) == (False, None)


def import_while_compacting(
    cluster: ClusterProcess, lines: list[bytes], batch_rows: int, compacting: Compacting
) -> int:
    """One import, held in its middle until rows of its own have been compacted and every tenant has been asked; returns
    how many rows were compacted from before its first event to behind its last."""
    with evenshard.connect(router=cluster.router) as client:
        left = sum(line["log_rows"] for line in client.storage()["tenants"])
    before = compacting.rows
    command = [sys.executable, "-m", "evenshard.cli.main", "import", "-", "--batch-rows", str(batch_rows), "--json"]
    environment = {**os.environ, "EVENSHARD_ROUTER": cluster.router}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as importing:
        assert importing.stdin is not None
        assert importing.stdout is not None
        middle = len(lines) * 2 // 3
        importing.stdin.write(b"\n".join(lines[:middle]) + b"\n")
        rounds = compacting.rounds
        compacting.wait_until(lambda: compacting.rows > before + left and compacting.rounds >= rounds + 1)
        assert importing.poll() is None
        importing.stdin.write(b"\n".join(lines[middle:]) + b"\n")
        importing.stdin.close()
        document = orjson.loads(importing.stdout.read())
        compacted = compacting.rows - before
        assert importing.wait(60) == 0
    copies = len(lines)
    assert (document["accepted"], document["duplicates"], document["rejected"]) == (copies, copies, 0), document
    return compacted


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
@pytest.mark.slow
def test_the_same_file_again_shuffled_changes_no_answer(
    imported: ClusterProcess, real_data: RealData, seed: int
) -> None:
    """In other batch sizes; with compaction before, during and after."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    lines = list(real_data.lines)
    chance.shuffle(lines)
    expected = naive_answers(real_data.rows)
    tenants = sorted(expected)
    compact_all(imported, tenants)
    copies_before = skipped_duplicates(imported, tenants)
    assert copies_before["log"] == 0
    compacting = Compacting(imported, expected)
    compacting.start()
    parts = (lines[: len(lines) // 3], lines[len(lines) // 3 : len(lines) // 2], lines[len(lines) // 2 :])
    for part, batch_rows in zip(parts, chance.sample((777, 5_000, 20_000), 3), strict=True):
        assert import_while_compacting(imported, part, batch_rows, compacting) > 0
    compacting.finish()
    assert asked_answers(imported, tenants) == expected
    copies = skipped_duplicates(imported, tenants)
    assert copies["log"] + copies["segment"] == copies_before["segment"] + len(lines)
    compact_all(imported, tenants)
    assert asked_answers(imported, tenants) == expected
    assert skipped_duplicates(imported, tenants) == {"log": 0, "segment": copies_before["segment"] + len(lines)}
    storage = imported.run("admin", "storage").document["tenants"]
    assert sum(line["duplicate_rows"] for line in storage) == copies_before["segment"] + len(lines)


def test_export_gives_every_event_back(imported: ClusterProcess, real_data: RealData, tmp_path: Path) -> None:
    out = tmp_path / "export.ndjson"
    answer = imported.run(
        "export", "--tenant", "structlog", "--start", "2010-01-01T00:00:00Z", "--end", "2027-01-01T00:00:00Z",
        "--out", str(out),
    )  # fmt: skip
    assert answer.exit_status == 0, answer
    exported = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    mine = [row for row in real_data.rows if row["tenant"] == "structlog"]
    expected = [{"event": row["event"], "properties": row["properties"]} for row in mine]

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        fields = row["properties"]
        return fields["time"], fields["distinct_id"].encode(), row["event"].encode(), fields["$insert_id"].encode()

    assert exported == sorted(expected, key=order)
