"""Stops and starts of the real services: each drains and exits 0; damage is set aside."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.ids import ShardId
from evenshard.storage.log.frame import Frame
from evenshard.storage.log.reader import read_log_file
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TENANT = "acme"
SERVICES = ("router-0", "gateway-0", "counter-0", "shard-0", "shard-1")
BATCHES = 8


def events(batch: int) -> list[dict[str, Any]]:
    return [
        {"event": "view", "distinct_id": f"u{number}", "time": 1_767_225_600_000 + batch, "insert_id": f"{batch}"}
        for number in range(100)
    ]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """With several frames in each shard's log. The tests stop it."""
    running = ClusterProcess(tmp_path_factory.mktemp("stops") / "data")
    running.start()
    try:
        assert running.run("admin", "create-tenant", TENANT).exit_status == 0
        with evenshard.connect(router=running.router, tenant=TENANT) as client:
            for batch in range(BATCHES):
                assert client.import_events(events(batch)).accepted == 100
        yield running
    finally:
        running.kill_all()


def frames_of(log: Path, shard: str) -> list[Frame]:
    return list(read_log_file(log.read_bytes(), log.name, int(log.stem), ShardId(shard), last=True).frames)


def test_every_service_drains_and_exits_with_0(cluster: ClusterProcess) -> None:
    with evenshard.connect(gateway=cluster.gateway, tenant=TENANT) as client:
        before = client.segmentation(from_date="2026-01-01", to_date="2026-01-01").series
    pids = {name: service["pid"] for name, service in cluster.services().items()}
    for name in SERVICES:
        os.kill(pids[name], signal.SIGTERM)
    cluster.wait_healthy(dict.fromkeys(SERVICES, 1))
    with evenshard.connect(gateway=cluster.gateway, tenant=TENANT) as client:
        assert client.segmentation(from_date="2026-01-01", to_date="2026-01-01").series == before
    assert before[0]["overall"] == BATCHES * 100
    said = cluster.up_log()
    assert {name: f"{name} ended (status 0), starting it again" in said for name in SERVICES} == dict.fromkeys(
        SERVICES, True
    )
    assert ("died" in said, "did not end in time" in said) == (False, False)
    began = time.monotonic()
    assert cluster.stop() == 0
    assert time.monotonic() - began < 30
    assert cluster.undrained() == []
    for name in SERVICES:
        story = [line["event"] for line in cluster.log(name) if line["event"] in ("ready", "draining", "stopped")]
        assert story == ["ready", "draining", "stopped"] * 2


@pytest.mark.slow
def test_damage_in_the_middle_of_a_log_is_set_aside_by_name_and_the_rest_goes_on(cluster: ClusterProcess) -> None:
    assert (cluster.stop(), cluster.undrained()) == (0, [])
    log = cluster.log_files("shard-0")[0]
    frames = frames_of(log, "shard-0")
    assert len(frames) == BATCHES
    hurt = frames[len(frames) // 2]
    with log.open("r+b") as file:
        file.seek((hurt.offset + hurt.end) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))

    checked = cluster.run("fsck", str(cluster.data_dir))
    assert (checked.exit_status, checked.document["ok"]) == (1, False)
    (finding,) = checked.document["findings"]
    assert set(finding) == {"file", "offset", "code", "lost_rows", "next"}
    assert (finding["offset"], finding["code"], finding["lost_rows"]) == (
        hurt.offset, "DATA_DAMAGED", hurt.rows,
    )  # fmt: skip
    assert finding["file"].endswith(f"shard-0/log/{log.name}")

    cluster.start()
    days = ("--from", "2026-01-01", "--to", "2026-01-01")
    refused = cluster.run("query", "segmentation", "--tenant", TENANT, *days)
    assert (refused.exit_status, refused.document["error"]["code"]) == (5, "DATA_DAMAGED")
    assert f"log/{log.name}" in refused.document["error"]["message"]
    partly = cluster.run("query", "segmentation", "--tenant", TENANT, *days, "--allow-partial")
    assert (partly.exit_status, partly.document["meta"]["complete"], partly.document["meta"]["missing_shards"]) == (
        1, False, ["shard-0"],
    )  # fmt: skip
    with evenshard.connect(cluster.router, cluster.gateway, tenant="other") as client:
        client.create_tenant("other")
        assert client.import_events([{"event": "a", "distinct_id": "u", "time": 1_767_225_600_000}]).accepted == 1
        assert client.segmentation(from_date="2026-01-01", to_date="2026-01-01").series[0]["overall"] == 1
