"""Deleting users on real processes: routers killed in the middle, waiting goes on, what comes again is new; and nothing
of them is in any byte of a shard's files once ``wait`` answers."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from evenshard.client import Client, connect
from evenshard.testing.processes import ClusterProcess

START_MS = 1_767_225_600_000
THRESHOLD = 50
PATIENCE_S = 60.0
GONE = "person-4711-to-be-forgotten"
BOUND_S = 30.0
"""Seconds, docs/operations.md says, for a small tenant; here on a machine with other work."""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster") / "data") as running:
        yield running


def sent(client: Client, user: str, count: int) -> tuple[int, int, int, int]:
    """Accepted, duplicates, rewritten, rejected."""
    answer = client.import_events(
        {
            "event": "view",
            "properties": {"distinct_id": user, "time": START_MS + number, "$insert_id": f"{user}-{number}"},
        }
        for number in range(count)
    )
    return answer.accepted, answer.duplicates, answer.hot_events_rewritten, answer.rejected


def shown(client: Client) -> list[Any]:
    """Counts by name and by user, and all rows."""
    found: list[Any] = [
        client.segmentation(from_date="2026-01-01", to_date="2026-01-01", by=by).series
        for by in ("$event", "$distinct_id")
    ]
    return [*found, list(client.export(0, START_MS + 1000))]


def begin(cluster: ClusterProcess, *arguments: str) -> "subprocess.Popen[bytes]":
    """A command that runs meanwhile."""
    return subprocess.Popen(
        [sys.executable, "-m", "evenshard.cli.main", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "EVENSHARD_ROUTER": cluster.router, "EVENSHARD_GATEWAY": cluster.gateway},
    )


def until_running(client: Client) -> str:
    """The operation, once somebody drives it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        operations = client.operations()["operations"]
        if operations and operations[0]["state"] == "running":
            return str(operations[0]["operation"])
    raise TimeoutError("no operation runs")


def test_a_deletion_outlives_routers_and_what_comes_again_is_new(cluster: ClusterProcess) -> None:
    with connect(cluster.router, cluster.gateway, tenant="acme", timeout=PATIENCE_S) as client:
        client.create_tenant("acme", hot_key_threshold=THRESHOLD)
        assert sent(client, "stays", 30) == (30, 0, 0, 0)
        assert sent(client, "bad", 5) == (5, 0, 0, 0)
        first = sent(client, "runaway", 2 * THRESHOLD)
        assert first == (2 * THRESHOLD, 0, THRESHOLD, 0)
        before = shown(client)

        # A shard is frozen, so that the deletion cannot be done when its router is killed.
        shard, router = cluster.pid("shard-1"), cluster.pid("router-0")
        os.kill(shard, signal.SIGSTOP)
        try:
            deleting = begin(cluster, "admin", "delete-users", "acme", "bad", "--block", "--yes", "--timeout", "60s")
            operation = until_running(client)
            os.kill(router, signal.SIGKILL)
        finally:
            os.kill(shard, signal.SIGCONT)
        out, err = deleting.communicate(timeout=2 * PATIENCE_S)
        assert (deleting.returncode, json.loads(out)) == (0, {"operation": operation}), (out, err)
        without = shown(client)
        assert [len(found[2]) for found in (before, without)] == [30 + 5 + 100, 30 + 100]
        cluster.signal("router-0", signal.SIGKILL)
        assert client.wait_operation(operation)["state"] == "complete"  # one who waits outlives routers
        waited = cluster.run("admin", "wait", operation, "--timeout", "60s")
        assert (waited.exit_status, waited.document["state"], waited.document["error"]) == (0, "complete", None), waited
        assert shown(client) == without
        assert sent(client, "bad", 5) == (0, 0, 0, 5)

        deleted = cluster.run("admin", "delete-users", "acme", "runaway", "--yes")
        assert deleted.exit_status == 0, deleted
        assert len(shown(client)[2]) == 30
        assert sent(client, "runaway", 2 * THRESHOLD) == first
        assert shown(client) == without
        waited = cluster.run("admin", "wait", deleted.document["operation"])
        assert (waited.exit_status, waited.document["state"]) == (0, "complete"), waited
        assert shown(client) == without
        assert sent(client, "runaway", 2 * THRESHOLD) == (100, 100, 0, 0)
        assert [each["state"] for each in client.operations()["operations"]] == ["complete", "complete"]


def traces(folder: Path, needle: str) -> list[str]:
    """Files that hold it: in their bytes, or in a decoded column."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        held = needle.encode() in path.read_bytes()
        if path.suffix == ".parquet":
            held = held or needle in str(pq.read_table(path).to_pydict())
        if path.suffix == ".sqlite":
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                held = held or needle in str(connection.execute("SELECT * FROM entries").fetchall())
        if held:
            found.append(str(path.relative_to(folder)))
    return found


def records(client: Client) -> int:
    """Audit events of keys that became hot."""
    rows = client.segmentation("$hotshard_record", from_date="2026-01-01", to_date="2030-12-31", unit="month").series
    return int(rows[0]["overall"])


def until_recorded(client: Client) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not records(client):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_nothing_of_a_deleted_user_is_in_any_file_of_a_shard_once_wait_answers(cluster: ClusterProcess) -> None:
    with connect(cluster.router, cluster.gateway, timeout=PATIENCE_S) as anybody:
        anybody.create_tenant("members", hot_key_threshold=THRESHOLD)
        anybody.create_tenant("other")
    with (
        connect(cluster.router, cluster.gateway, tenant="members", timeout=PATIENCE_S) as acme,
        connect(cluster.router, cluster.gateway, tenant="other", timeout=PATIENCE_S) as other,
    ):
        assert sent(acme, GONE, 50) == sent(acme, "stays", 50) == (50, 0, 0, 0)
        assert cluster.run("admin", "compact", "--tenant", "members", "--wait").exit_status == 0
        assert cluster.run("admin", "compact", "--pause").exit_status == 0  # whose rows keep log files is paused
        assert sent(acme, GONE, 100)[:2] == (100, 50)
        assert sent(other, "somebody", 50) == (50, 0, 0, 0)
        until_recorded(acme)  # the id is hot: originals of it are kept, and it is on record
        before = traces(cluster.data_dir, GONE)
        # Its key became hot: the catalog knows that it was handed over.
        assert {name.split("/")[1] for name in before if name.startswith("shard-")} == {
            "catalog.sqlite",
            "log",
            "segments",
        }
        began_s = time.monotonic()
        deleted = cluster.run("admin", "delete-users", "members", GONE, "--yes")
        assert deleted.exit_status == 0, deleted
        waited = cluster.run("admin", "wait", deleted.document["operation"], "--timeout", "60s")
        assert (waited.exit_status, waited.document["state"]) == (0, "complete"), waited
        took_s = time.monotonic() - began_s
        left = [name for name in traces(cluster.data_dir, GONE) if not name.startswith("etcd")]
        print(f"deleted in {took_s:.1f} s; before: {before}")
        assert left == []
        assert took_s < BOUND_S
        assert records(acme) == 0
        assert len(list(acme.export(START_MS, START_MS + 1000))) == 50
        assert len(list(other.export(START_MS, START_MS + 1000))) == 50
