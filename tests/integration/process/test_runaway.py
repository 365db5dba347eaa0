"""A runaway on four real shards, three of five events of one id: where its rows go in each mode, what is answered."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.client import Client, connect
from evenshard.directory.tenant import HotKeyMode
from evenshard.testing.processes import ClusterProcess

START_MS = 1_767_225_600_000
DAY = {"from_date": "2026-01-01", "to_date": "2026-01-01"}
EVENTS = int(os.environ.get("EVENSHARD_RUNAWAY_EVENTS", "5000000"))
THRESHOLD = 100_000
TABLE_ROWS = 250_000
USERS = 200_000
HOT = "runaway"
SEED = 20261126
PATIENCE_S = 60.0
ANSWER_S = 300.0
MODES: tuple[HotKeyMode, ...] = ("observe", "rewrite", "salt")
OTHERS = '$distinct_id != "runaway" and $event != "$hotshard_events"'

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1_500)]


def events(numbers: np.ndarray, users: np.ndarray) -> pa.Table:
    """``users``: a number each; -1 is the runaway."""
    names = pa.array([HOT, *(f"user-{number}" for number in range(USERS))])
    codes = pa.array((users + 1).astype(np.int32))
    kinds = pa.DictionaryArray.from_arrays(pa.array((numbers % 3).astype(np.int32)), pa.array(["view", "buy", "rate"]))
    return pa.table(
        {
            "event": kinds,
            "distinct_id": pa.DictionaryArray.from_arrays(codes, names),
            "time": pa.array(START_MS + numbers % EVENTS * 86_000_000 // EVENTS),
            "insert_id": pa.array(numbers).cast(pa.utf8()),
            "number": pa.array(numbers % 1_000),
        }
    )


def mixed(first: int, rows: int) -> pa.Table:
    """Three of five are the runaway's; the same for every tenant."""
    random = np.random.default_rng(SEED + first)
    users = random.integers(0, USERS, rows)
    users[random.random(rows) < 0.6] = -1
    return events(np.arange(first, first + rows), users)


def rows_by_shard(client: Client) -> dict[str, int]:
    return {shard["shard"]: int(shard["rows"]) for shard in client.shards()["shards"]}


def answers(client: Client, **asked: Any) -> list[Any]:
    """Everything but how it was found."""
    options = {**DAY, "timeout": ANSWER_S, **asked}
    return [
        client.segmentation(**options).series,
        client.segmentation(**options, measure="unique", by="$event").series,
        client.segmentation(**options, measure="p90", property="number", by="$event").series,
        client.segmentation(**options, by="$distinct_id", limit=5).series,
        client.funnel(steps=["view", "buy", "rate"], window="1h", **options).to_dict()["overall"],
        client.retention(birth="view", return_="buy", unit="day", buckets=1, **options).to_dict()["cohorts"],
        client.flows(anchor="view", steps=2, **options).to_dict()["edges"],
    ]


def until(met: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    settings = ("shard_memory_bytes=2000000000",)
    with ClusterProcess(tmp_path_factory.mktemp("runaway") / "data", shards=4, settings=settings) as running:
        yield running


def crossed(client: Client, mode: HotKeyMode) -> None:
    """The key crosses; from then on its events go where its mode says."""
    first = np.arange(EVENTS, EVENTS + THRESHOLD + 1_000)
    client.import_table(events(first, np.full(first.size, -1)))

    def is_there() -> bool:
        """A thousand more, the same each time, come to their shards: to all, or home."""
        before = rows_by_shard(client)
        client.import_table(events(np.arange(2 * EVENTS, 2 * EVENTS + 1_000), np.full(1_000, -1)))
        after = rows_by_shard(client)
        grew = [shard for shard in after if after[shard] > before[shard]]
        return len(grew) == (1 if mode == "observe" else 4)

    until(is_there)


def test_a_runaway_is_spread_over_four_shards_and_every_answer_is_that_of_observe(cluster: ClusterProcess) -> None:
    for mode in MODES:
        with connect(cluster.router, cluster.gateway, tenant=mode, timeout=120) as client:
            client.create_tenant(mode, hot_key_threshold=THRESHOLD, hot_key_mode=mode)
            crossed(client, mode)
            before, began_s = rows_by_shard(client), time.monotonic()
            for first in range(0, EVENTS, TABLE_ROWS):
                result = client.import_table(mixed(first, min(TABLE_ROWS, EVENTS - first)))
                assert (result.rejected, result.duplicates) == (0, 0)
            took_s = time.monotonic() - began_s
            came = {shard: rows - before[shard] for shard, rows in rows_by_shard(client).items()}
            mean = sum(came.values()) / len(came)
            shares = ", ".join(f"{shard} {rows / mean:.3f}" for shard, rows in sorted(came.items()))
            print(f"{mode}: {EVENTS:,} events in {took_s:.0f} s; of the mean load: {shares}")
            assert sum(came.values()) == EVENTS
            if mode == "observe":
                assert max(came.values()) >= 2 * mean
            else:
                assert all(abs(rows - mean) <= 0.15 * mean for rows in came.values())
    for indexed in (False, True):
        found: dict[HotKeyMode, list[Any]] = {}
        others: dict[HotKeyMode, list[Any]] = {}
        for mode in MODES:
            with connect(cluster.router, cluster.gateway, tenant=mode, timeout=120) as client:
                if indexed:
                    assert cluster.run("admin", "compact", "--tenant", mode, "--wait", timeout_s=600).exit_status == 0
                began_s = time.monotonic()
                found[mode] = answers(client, restore_hot=True)
                others[mode] = answers(client, where=OTHERS)
                print(f"{mode}: fourteen questions in {time.monotonic() - began_s:.1f} s, indexed: {indexed}")
        assert found["salt"] == found["observe"]
        assert found["rewrite"] == found["observe"]
        assert others["rewrite"] == others["salt"] == others["observe"]
