"""Real processes on a disk that fails: a full one is gone on with by itself; after a failed sync reads go on, nothing
is taken, and ``status`` says so until a restart."""

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from evenshard.client import connect
from evenshard.errors import EvenshardError
from evenshard.testing import faults
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FAILING_PROCESS = Path(faults.__file__).parent / "failing_process"
START_MS = 1_767_225_600_000
BATCH = 300
PATIENCE_S = 30.0


def send(cluster: ClusterProcess, batch: int, timeout_s: float) -> tuple[int, set[str]]:
    """Accepted events, and the codes and messages of what was not."""
    rows = [
        {"event": "view", "distinct_id": f"user-{n % 7}", "time": START_MS + n, "insert_id": f"i{n}"}
        for n in range(batch * BATCH, (batch + 1) * BATCH)
    ]
    try:
        with connect(cluster.router, cluster.gateway, tenant="acme", timeout=timeout_s) as client:
            result = client.import_events(rows)
    except EvenshardError as error:
        return 0, {f"{error.code} {error.message} {error.hint}"}
    return result.accepted, {f"{each['code']} {each['message']}" for each in result.errors}


def total(cluster: ClusterProcess) -> float:
    with connect(cluster.router, cluster.gateway, tenant="acme", timeout=PATIENCE_S) as client:
        (series,) = client.segmentation(from_date="2026-01-01", to_date="2026-01-01").series
    overall: float = series["overall"]
    return overall


def shard_of(cluster: ClusterProcess, status: str) -> dict[str, Any]:
    """What ``status`` says of the shard, once it says this."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := cluster.services()["shard-0"])["status"] != status:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_real_shard_whose_disk_fails_says_what_is_wrong_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = tmp_path / "orders"
    monkeypatch.setenv("FAILING_DISK", str(orders))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(FAILING_PROCESS), os.environ.get("PYTHONPATH", ""))))
    with ClusterProcess(tmp_path / "data", shards=1) as cluster:
        with connect(cluster.router, cluster.gateway, tenant="acme") as client:
            client.create_tenant("acme")
        assert send(cluster, 0, PATIENCE_S) == (BATCH, set())

        for code, told in ((errno.ENOSPC, "DISK_FULL"), (errno.EIO, "SHARD_UNAVAILABLE")):
            orders.write_text(f"write {code} /shard-0/log/")
            accepted, refused = send(cluster, 1, 2.0)
            assert (accepted, len(refused)) == (0, 1)
            assert told in refused.pop()
            assert total(cluster) == BATCH
            orders.unlink()
        assert send(cluster, 1, PATIENCE_S) == (BATCH, set())  # by itself, once the disk does
        assert total(cluster) == 2 * BATCH
        assert cluster.services()["shard-0"]["status"] == "SERVING"

        orders.write_text(f"sync {errno.EIO} /shard-0/log/")
        assert send(cluster, 2, 2.0)[0] == 0
        orders.unlink()
        said = shard_of(cluster, "NOT_SERVING")["reason"]
        assert "shard-0 takes no events: a sync of log/0000000001.log failed" in said
        assert "reads go on" in said
        assert "restart the shard" in said
        assert cluster.run("status").exit_status == 3
        assert send(cluster, 2, 2.0)[0] == 0  # whatever the disk does now
        assert total(cluster) == 2 * BATCH

        os.kill(cluster.pid("shard-0"), signal.SIGKILL)
        cluster.wait_healthy({"shard-0": 1})
        assert send(cluster, 2, PATIENCE_S) == (BATCH, set())
        assert total(cluster) == 3 * BATCH
