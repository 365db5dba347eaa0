"""What is deleted leaves every file of every shard, the processes' logs included: looked for in all of their bytes."""

import sqlite3
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from evenshard.client import Client, connect
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

START_MS = 1_767_225_600_000
GONE = "person-4711-to-be-forgotten"
PATIENCE_S = 60.0
BOUND_S = 20.0
"""What docs/operations.md says a small tenant's takes, on a machine with other work."""


def send(client: Client, user: str, first: int, count: int) -> int:
    answer = client.import_events(
        {"event": "view", "distinct_id": user, "time": START_MS + n, "insert_id": f"{user}-{n}", "properties": {"n": n}}
        for n in range(first, first + count)
    )
    return answer.accepted


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


def test_nothing_of_a_deleted_user_is_in_any_file_of_a_shard_once_wait_answers(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path / "data", settings=("log_age_seconds=10",)) as cluster:
        with connect(cluster.router, cluster.gateway, timeout=PATIENCE_S) as anybody:
            anybody.create_tenant("acme")
            anybody.create_tenant("other")
        with (
            connect(cluster.router, cluster.gateway, tenant="acme", timeout=PATIENCE_S) as acme,
            connect(cluster.router, cluster.gateway, tenant="other", timeout=PATIENCE_S) as other,
        ):
            assert send(acme, GONE, 0, 50) == send(acme, "stays", 0, 50) == 50
            assert cluster.run("admin", "compact", "--tenant", "acme", "--wait").exit_status == 0
            assert cluster.run("admin", "compact", "--pause").exit_status == 0  # whose rows keep log files is paused
            assert send(acme, GONE, 50, 50) == send(other, "somebody", 0, 50) == 50
            before = traces(cluster.data_dir, GONE)
            assert {name.split("/")[1] for name in before if name.startswith("shard-")} == {"log", "segments"}
            began_s = time.monotonic()
            deleted = cluster.run("admin", "delete-users", "acme", GONE, "--yes")
            assert deleted.exit_status == 0, deleted
            waited = cluster.run("admin", "wait", deleted.document["operation"], "--timeout", "60s")
            assert (waited.exit_status, waited.document["state"]) == (0, "complete"), waited
            took_s = time.monotonic() - began_s
            left = [name for name in traces(cluster.data_dir, GONE) if not name.startswith("etcd")]
            print(f"deleted in {took_s:.1f} s; before: {before}")
            assert left == []
            assert took_s < BOUND_S
            assert len(list(acme.export(START_MS, START_MS + 1000))) == 50
            assert len(list(other.export(START_MS, START_MS + 1000))) == 50
