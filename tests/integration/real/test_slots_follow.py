"""Two real shard processes: one follows the other, both are killed, and both hold the same at the fence."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import evenshard
import grpc
import pytest
from evenshard.api.v1 import shard_pb2, shard_pb2_grpc
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TENANT, START_MS, DAY_MS = "acme", 1_767_225_600_000, 86_400_000
ROWS = 5_000
WAIT_S = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    running = ClusterProcess(tmp_path_factory.mktemp("follow") / "data")
    running.start()
    try:
        assert running.run("admin", "create-tenant", TENANT).exit_status == 0
        yield running
    finally:
        running.kill_all()


class Shards:
    """Asks both as the driver of a move does."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self.cluster = cluster
        self.revision = 100

    def stub(self, name: str) -> shard_pb2_grpc.ShardServiceStub:
        return shard_pb2_grpc.ShardServiceStub(grpc.insecure_channel(self.address(name)))

    def address(self, name: str) -> str:
        return str(self.cluster.services()[name]["address"])

    @property
    def moved(self) -> shard_pb2.MovedSlots:
        slots = [shard_pb2.SlotSpan(first=0, last=1500)]
        return shard_pb2.MovedSlots(tenant=TENANT, operation="op", revision=self.revision, slots=slots)

    def follow(self) -> shard_pb2.FollowSlotsResponse:
        request = shard_pb2.FollowSlotsRequest(
            moved=self.moved, epoch=1, source="shard-0", source_address=self.address("shard-0")
        )
        found: shard_pb2.FollowSlotsResponse = self.stub("shard-1").FollowSlots(
            request, timeout=10, wait_for_ready=True
        )
        return found

    def until_at(self, position: int) -> shard_pb2.FollowSlotsResponse:
        deadline_s = time.monotonic() + WAIT_S
        while True:
            now = self.follow()
            if now.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP and now.position >= position:
                return now
            assert time.monotonic() < deadline_s, now
            time.sleep(0.02)

    def fence(self) -> int:
        request = shard_pb2.FenceSlotsRequest(moved=self.moved, epoch=1)
        return int(self.stub("shard-0").FenceSlots(request, timeout=10, wait_for_ready=True).position)

    def digest(self, name: str, position: int) -> tuple[int, int, int, int]:
        request = shard_pb2.GetDigestRequest(moved=self.moved, position=position)
        found = self.stub(name).GetDigest(request, timeout=20, wait_for_ready=True)
        return found.rows, found.digest, found.digest_high, found.state_digest

    def kill(self, name: str) -> None:
        before = self.cluster.services()[name]
        os.kill(before["pid"], signal.SIGKILL)
        self.cluster.wait_healthy({name: before["restarts"] + 1})


def load(cluster: ClusterProcess, first: int) -> None:
    with evenshard.connect(router=cluster.router, tenant=TENANT) as client:
        events = [
            {
                "event": "view",
                "distinct_id": f"u{number % 997}",
                "time": START_MS + number % 3 * DAY_MS + number,
                "insert_id": f"{number}",
                "properties": {"n": number},
            }
            for number in range(first, first + ROWS)
        ]
        assert client.import_events(events).accepted == ROWS


@pytest.mark.slow
def test_a_follower_holds_what_its_source_does(cluster: ClusterProcess, tmp_path: Path) -> None:
    del tmp_path
    shards = Shards(cluster)
    load(cluster, 0)
    assert cluster.run("admin", "compact", "--tenant", TENANT, "--wait").exit_status == 0
    load(cluster, ROWS // 2)
    shards.follow()
    shards.kill("shard-1")
    shards.until_at(1)
    load(cluster, ROWS)
    shards.kill("shard-0")
    shards.until_at(1)
    position = shards.fence()
    shards.kill("shard-1")
    shards.until_at(position)
    rows, *sums = shards.digest("shard-0", position)
    assert [rows, *sums] == list(shards.digest("shard-1", position))
    assert rows > ROWS // 3
    shards.revision += 1
    shards.stub("shard-0").LiftFence(shard_pb2.LiftFenceRequest(moved=shards.moved), timeout=10)
    load(cluster, 2 * ROWS)
