"""A million hot events are reassigned on real processes that are killed three times meanwhile, and come back."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.client import Client, connect
from evenshard.errors import EvenshardError
from evenshard.testing.processes import ClusterProcess

START_MS = 1_767_225_600_000
THRESHOLD = 1_000
BATCH_ROWS = 50_000
USERS = 5_000
PATIENCE_S = 240.0
HOT = "undefined"
DAY = {"from_date": "2026-01-01", "to_date": "2026-01-01"}

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


def events(first: int, rows: int) -> pa.Table:
    """Of the runaway; a twentieth have no insert_id, a hundredth no user to be told by."""
    numbers = np.arange(first, first + rows)
    inserts = pa.array([None if number % 20 == 0 else f"i{number}" for number in numbers.tolist()], pa.utf8())
    mails = pa.array([None if number % 100 == 7 else f"u{number % USERS}@x" for number in numbers.tolist()], pa.utf8())
    return pa.table(
        {
            "event": pa.array(["view"] * rows),
            "distinct_id": pa.array([HOT] * rows),
            "time": pa.array(START_MS + numbers // 50),
            "insert_id": inserts,
            "mail": mails,
            "number": pa.array(numbers),
        }
    )


def answers(client: Client) -> list[Any]:
    """Uniques, names, users, sums and steps: what a wrong repair would change."""
    return [
        client.segmentation(**DAY).series,
        client.segmentation(**DAY, measure="unique").series,
        client.segmentation(**DAY, by="$event").series,
        client.segmentation(**DAY, measure="sum", property="number", by="$event").series,
        client.segmentation(**DAY, by="$distinct_id", limit=50).series,
        client.funnel(steps=["view", "view"], **DAY).overall,
    ]


def sent_until(cluster: ClusterProcess, call: Any) -> Any:
    """What a call answers, asked again while the cluster comes back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with connect(cluster.router, cluster.gateway, tenant="acme", timeout=60) as client:
                return call(client)
        except EvenshardError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    settings = ("shard_memory_bytes=1000000000",)
    with ClusterProcess(tmp_path_factory.mktemp("runaway") / "data", settings=settings) as running:
        yield running


def killed_thrice(cluster: ClusterProcess, operation: str) -> list[str]:
    """A router, a shard, everything: each when the operation is further than before. What was killed."""
    killed: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(killed) < 3 and time.monotonic() < deadline:
        found = sent_until(cluster, lambda client: client.operation(operation))
        if found["state"] not in ("planned", "running"):
            return killed
        share = found["rows_done"] / max(1, found["rows_total"])
        if len(killed) == 0 and found["rows_total"]:
            cluster.signal("router-0", signal.SIGKILL)
            killed.append("router-0")
        elif len(killed) == 1 and share > 0:
            cluster.signal("shard-1", signal.SIGKILL)
            killed.append("shard-1")
        elif len(killed) == 2:
            cluster.kill_all()
            cluster.start()
            killed.append("all")
        cluster.wait_healthy()
        time.sleep(0.5)
    return killed


def test_a_repair_that_is_killed_three_times_ends_as_planned_and_its_undo_gives_the_former_answers(
    cluster: ClusterProcess,
) -> None:
    rows = int(os.environ.get("EVENSHARD_RUNAWAY_ROWS", "1000000"))
    with connect(cluster.router, cluster.gateway, tenant="acme", timeout=60) as client:
        client.create_tenant("acme", hot_key_threshold=THRESHOLD)
        client.import_table(events(0, 2 * THRESHOLD))
        deadline = time.monotonic() + 30
        while not client.import_table(events(rows, 10)).hot_events_rewritten and time.monotonic() < deadline:
            time.sleep(0.2)
        for first in range(2 * THRESHOLD, rows, BATCH_ROWS):
            client.import_table(events(first, min(BATCH_ROWS, rows - first)))
        before = answers(client)
        plan = client.repair_plan(
            HOT, "2026-01-01", "2026-01-01", "reassign", distinct_id_from="mail", include_earlier=True, timeout=120
        )
        began_s = time.monotonic()
        operation = client.repair(
            HOT, "2026-01-01", "2026-01-01", "reassign", distinct_id_from="mail", include_earlier=True, timeout=120
        )["operation"]
    meant = plan["kept_rows"] + plan["rewritten_rows"]
    killed = killed_thrice(cluster, operation)
    ended = sent_until(cluster, lambda client: client.wait_operation(operation, timeout=PATIENCE_S))
    print(f"{meant:,} of {rows:,} events reassigned in {time.monotonic() - began_s:.1f} s, killed: {killed}")
    assert (ended["state"], killed) == ("complete", ["router-0", "shard-1", "all"])
    verified = sent_until(cluster, lambda client: client.verify_operation(operation, timeout=120))
    assert verified["verify"] == {"equal": True, "differences": []}
    shown = sent_until(cluster, lambda client: client.segmentation(**DAY, measure="unique").series)
    assert shown[0]["overall"] == USERS - USERS // 100 + 1  # those of no event with a mail; the key itself
    left = sent_until(cluster, lambda client: client.segmentation(**DAY, event="$hotshard_events").series)
    assert 0 < left[0]["overall"] <= plan["left_rows"]

    began_s = time.monotonic()
    undo = sent_until(cluster, lambda client: client.undo_repair(operation, timeout=60))["operation"]
    ended = sent_until(cluster, lambda client: client.wait_operation(undo, timeout=PATIENCE_S))
    print(f"taken back in {time.monotonic() - began_s:.1f} s")
    assert ended["state"] == "complete"
    assert sent_until(cluster, answers) == before
