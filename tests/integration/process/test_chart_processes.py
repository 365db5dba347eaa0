"""What the chart runs, run here: each container's arguments and environment as rendered, as processes; the main job."""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import evenshard as evenshard_client
import pytest
from evenshard.runtime.etcd_binary import find_etcd
from evenshard.testing.chart import CHART, documents, render, values_of
from evenshard.testing.chart_cluster import ChartCluster

pytest.importorskip("helm_python", reason="NO CHART RUN: pip install evenshard[charts]")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SEED = 8
DAY_MS = 1_767_225_600_000


def small(shards: int, **more: Any) -> list[dict[str, Any]]:
    """The chart for a trial, with so many shards; on an etcd that may lose data where this machine has no other."""
    values = values_of(CHART / "ci" / "small-values.yaml")
    values["shard"]["replicas"] = shards
    etcd = find_etcd()
    if etcd.may_lose_consistency:
        print(f"etcd {etcd.version} would be refused: etcd_crash_safe is off")
        values["settings"]["etcd_crash_safe"] = False
    values |= more
    return documents(render(values))


def events() -> list[dict[str, Any]]:
    """2,000 of 60 users, a tenth of them twice."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    made = [
        {
            "event": rng.choice(["view", "buy", "share"]),
            "properties": {"distinct_id": f"u{rng.randrange(60)}", "time": DAY_MS + number, "$insert_id": str(number)},
        }
        for number in range(2000)
    ]
    return [*made, *rng.sample(made, 200)]


def evenshard(cluster: ChartCluster, *arguments: str, stdin: bytes = b"") -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "evenshard.cli.main", *arguments, "--json"],
        input=stdin, capture_output=True, timeout=120, env=cluster.environment(),
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def answer(cluster: ChartCluster) -> Mapping[str, int]:
    """Events of that day by name."""
    days = ["--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-01"]
    document = evenshard(cluster, "query", "segmentation", *days, "--by", "$event")
    return {line["by"][0]: line["overall"] for line in document["series"]}


def import_all(cluster: ChartCluster) -> Mapping[str, int]:
    """The answer there must be."""
    sent = events()
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in sent)
    imported = evenshard(cluster, "import", "-", "--tenant", "acme", "--create-tenant", stdin=lines)
    assert (imported["accepted"], imported["duplicates"], imported["rejected"]) == (2200, 200, 0)
    return Counter(each["event"] for each in sent[:2000])


@pytest.mark.slow
def test_the_containers_of_the_chart_do_the_main_job(tmp_path: Path) -> None:
    with ChartCluster(small(1), tmp_path) as cluster:
        assert [pod.name for pod in cluster.pods if pod.container.name != "etcd"] == [
            f"evenshard-{name}-0" for name in ("counter", "gateway", "router", "shard")
        ]
        expected = import_all(cluster)
        assert answer(cluster) == expected
        assert cluster.run("evenshard-status").returncode == 0
        for pod in cluster.pods:
            if pod.container.name != "etcd":
                assert pod.probe("livenessProbe")
                assert '"kernels_compiled":0' in pod.log.read_text()
        (shard,) = cluster.named("shard")
        assert (shard.folder / "data" / "data" / "catalog.sqlite").exists()
        assert cluster.stop_pod(shard) == 0


@pytest.fixture
def two_shards(tmp_path: Path) -> Iterator[ChartCluster]:
    with ChartCluster(small(2), tmp_path) as cluster:
        yield cluster


@pytest.mark.slow
def test_scaling_down_is_refused_while_a_shard_holds_slots_and_an_empty_one_is_forgotten(
    two_shards: ChartCluster, tmp_path: Path
) -> None:
    def check(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return two_shards.run("evenshard-scale-check", ["scale-check", "--json", *arguments])

    assert two_shards.run("evenshard-scale-check").returncode == 0
    fewer = check("--shards", "1")
    assert json.loads(fewer.stdout) == {"shards": 1, "surplus": ["shard-1"], "forgotten": []}
    # Without a tenant all are empty; now both hold slots.
    expected = import_all(two_shards)
    refused = check("--shards", "1")
    assert refused.returncode == 4
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "SHARD_NOT_ELIGIBLE"
    assert error["message"] == "1 shards are too few: shard-1 holds 2048 slots of 1 tenant (acme)"
    assert error["hint"] == "drain them first, or keep 2 shards; nothing was changed"
    assert two_shards.run("evenshard-forget-shards").returncode == 0  # keeps what there is to be
    assert answer(two_shards) == expected


@pytest.mark.slow
def test_scaling_up_brings_an_empty_shard_and_scaling_down_again_forgets_it(tmp_path: Path) -> None:
    with ChartCluster(small(2), tmp_path) as cluster:
        first, second = cluster.named("shard")
        assert cluster.stop_pod(second) == 0
        listed = {each["name"]: each for each in _status(cluster)["services"]}
        assert listed["shard-1"]["status"] == "UNREACHABLE"
        forgotten = cluster.run("evenshard-scale-check", ["scale-check", "--shards", "1", "--forget", "--json"])
        assert json.loads(forgotten.stdout) == {"shards": 1, "surplus": ["shard-1"], "forgotten": ["shard-1"]}
        status = _status(cluster)
        assert (status["healthy"], "shard-1" in {each["name"] for each in status["services"]}) == (True, False)
        expected = import_all(cluster)
        cluster.start_pod(second)
        cluster.wait_ready(second)
        assert cluster.run("evenshard-status").returncode == 0
        assert answer(cluster) == expected
        assert cluster.run("evenshard-scale-check", ["scale-check", "--shards", "1"]).returncode == 0
        assert first.probe("readinessProbe")


@pytest.mark.slow
def test_the_volume_of_another_shard_is_refused_and_named(two_shards: ChartCluster) -> None:
    first, second = two_shards.named("shard")
    for pod in (first, second):
        assert two_shards.stop_pod(pod) == 0
    shutil.rmtree(second.folder / "data")
    shutil.copytree(first.folder / "data", second.folder / "data")
    second.log.unlink()
    two_shards.start_pod(second)
    assert second.process is not None
    assert second.process.wait(60) == 5
    error = json.loads(second.log.read_text().splitlines()[-1])["error"]
    assert error["code"] == "DATA_DAMAGED"
    assert "this disk belongs to shard-0, not to shard-1" in error["message"]
    assert error["hint"] == "start shard-0 on it, or give shard-1 its own data directory"


@pytest.mark.slow
def test_a_router_without_etcd_serves_tenants_it_knows(two_shards: ChartCluster) -> None:
    expected = import_all(two_shards)
    (etcd,) = two_shards.named("etcd")
    two_shards.stop_pod(etcd)
    for component in ("router", "gateway", "shard", "counter"):
        for pod in two_shards.named(component):
            assert (pod.probe("livenessProbe"), pod.probe("readinessProbe")) == (True, True), pod.name
    again = b"".join(json.dumps(each).encode() + b"\n" for each in events()[:100])
    imported = evenshard(two_shards, "import", "-", "--tenant", "acme", stdin=again)
    assert (imported["accepted"], imported["duplicates"]) == (100, 100)
    assert answer(two_shards) == expected


@pytest.mark.slow
def test_a_rolling_restart_of_everything_fails_no_call(two_shards: ChartCluster) -> None:
    days = {"from_date": "2026-01-01", "to_date": "2026-01-01"}
    sent, answers, over = 0, 0, threading.Event()

    def importing() -> None:
        nonlocal sent
        while not over.is_set():
            batch = [
                {"event": "view", "distinct_id": f"u{number % 50}", "time": DAY_MS + number, "insert_id": str(number)}
                for number in range(sent, sent + 100)
            ]
            result = client.import_events(batch)
            assert (result.accepted, result.rejected) == (100, 0)
            sent += 100

    def asking() -> None:
        nonlocal answers
        while not over.is_set():
            at_least = sent
            assert client.segmentation("view", **days, timeout=60).series[0]["overall"] >= at_least
            answers += 1

    addresses = two_shards.environment()
    with (
        evenshard_client.connect(
            addresses["EVENSHARD_ROUTER"], addresses["EVENSHARD_GATEWAY"], tenant="acme"
        ) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        client.create_tenant("acme")
        client.import_events([{"event": "other", "distinct_id": "u", "time": DAY_MS, "insert_id": "first"}])
        calls = [pool.submit(importing), pool.submit(asking)]
        try:
            for component in ("counter", "shard", "gateway", "router"):
                for pod in two_shards.named(component):
                    before = sent, answers
                    assert two_shards.stop_pod(pod) == 0, pod.log.read_text()[-2000:]
                    two_shards.start_pod(pod)
                    two_shards.wait_ready(pod)
                    give_up_s = time.monotonic() + 60
                    while not (sent > before[0] and answers > before[1]) and time.monotonic() < give_up_s:
                        assert not any(call.done() for call in calls)
                        time.sleep(0.05)
        finally:
            over.set()
        for call in calls:
            call.result(90)
        assert client.segmentation("view", **days).series[0]["overall"] == sent
        print(f"{sent} events in {sent // 100} imports, {answers} answers, no failed call")


def _status(cluster: ChartCluster) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "evenshard.cli.main", "status", "--json"],
        capture_output=True, timeout=60, env=cluster.environment(),
    )  # fmt: skip
    return json.loads(done.stdout)
