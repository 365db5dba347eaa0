"""``evenshard up`` starts, restarts, drains and refuses, with real processes and a real etcd."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from evenshard.api.v1 import shard_pb2_grpc
from evenshard.cli.main import run
from evenshard.testing.probe import ask
from evenshard.testing.processes import free_base_port
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
ENDS_WITHIN_S = 90

Start = Callable[..., Any]


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Waits for what another process does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def group_members(group: int) -> set[int]:
    """The processes of a process group that have not ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if os.getpgid(pid) == group and not gone(pid):
                found.add(pid)
        except OSError:
            continue  # it has ended meanwhile
    return found


def only_document(up: Any) -> dict[str, Any]:
    """What a run that has ended printed: one document."""
    assert up.process.stdout is not None
    document: dict[str, Any] = json.loads(up.process.stdout.read())
    return document


def test_a_cluster_starts_serves_drains_and_starts_again(start_up: Start) -> None:
    up = start_up("--routers", "2", "--gateways", "2").wait_ready()
    base = up.base_port
    addresses = [f"127.0.0.1:{base + offset}" for offset in range(8)]
    assert (up.ready["routers"], up.ready["gateways"]) == (
        [addresses[0], addresses[2]],
        [addresses[1], addresses[3]],
    )
    assert up.ready["counters"] == [addresses[4]]
    assert (up.ready["shards"], up.ready["etcd"]) == (
        {"shard-0": addresses[5], "shard-1": addresses[6]},
        [addresses[7]],
    )
    assert (up.ready["data_dir"], 0 < up.ready["seconds"] < 180) == (str(up.data_dir), True)
    for address in addresses:
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
    pids = [up.pid(name) for name in ("router-0", "router-1", "gateway-1", "counter-0", "shard-0", "shard-1")]
    assert {os.getpgid(pid) for pid in pids} == {up.process.pid}
    began = time.monotonic()
    assert up.finish() == 0
    assert time.monotonic() - began < 30
    assert [gone(pid) for pid in pids] == [True] * len(pids)
    assert [(up.data_dir / name / "closed").exists() for name in ("shard-0", "shard-1", "counter-0")] == [True] * 3
    assert [line["event"] for line in up.log("shard-0")] == ["ready", "draining", "stopped"]
    assert [line["event"] for line in up.log("router-1")] == ["ready", "draining", "stopped"]
    again = start_up(base_port=base).wait_ready()
    assert again.finish(signal.SIGINT) == 0


def test_ctrl_c_in_a_terminal_reaches_everybody_and_all_drain_cleanly(start_up: Start) -> None:
    up = start_up().wait_ready()
    names = ("router-0", "gateway-0", "counter-0", "shard-0", "shard-1")
    pids = [up.pid(name) for name in names]
    os.killpg(up.process.pid, signal.SIGINT)  # etcd ends by it at once, and is needed until the services are drained
    assert up.process.wait(ENDS_WITHIN_S) == 0
    assert not [word for word in ("died", "did not end", "ended with") if word in up.errors.read_text()]
    assert [gone(pid) for pid in pids] == [True] * len(pids)
    for name in names:
        # "record not removed" would stand between them
        assert [line["event"] for line in up.log(name)] == ["ready", "draining", "stopped"]


@pytest.mark.slow
def test_a_child_that_drains_by_itself_is_started_again_and_said_plainly(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    os.kill(up.pid("gateway-0"), signal.SIGTERM)
    eventually(lambda: up.log("gateway-0")[-1].get("restarts") == 1)
    assert "gateway-0 ended (status 0), starting it again" in up.errors.read_text()
    assert "died" not in up.errors.read_text()
    assert up.finish() == 0


@pytest.mark.slow
def test_an_etcd_named_by_etcd_endpoints_is_used_and_none_started(start_up: Start) -> None:
    owner = start_up("--shards", "1").wait_ready()
    (etcd,) = owner.ready["etcd"]
    up = start_up(
        "--shards", "1", data_dir=owner.data_dir.with_name("guest"), base_port=owner.base_port + 50, ETCD_ENDPOINTS=etcd
    ).wait_ready()
    assert (up.ready["etcd"], (up.data_dir / "etcd").exists()) == ([etcd], False)
    assert up.finish() == 0
    assert owner.finish() == 0


def test_who_waits_no_longer_for_services_is_told_for_which(start_up: Start) -> None:
    up = start_up("--shards", "1", "--timeout", "6s", ETCD_ENDPOINTS="127.0.0.1:1")
    assert up.process.stdout is not None
    error = json.loads(up.process.stdout.read())["error"]
    assert (up.process.wait(ENDS_WITHIN_S), error["code"]) == (3, "DEADLINE_EXCEEDED")
    assert error["message"] == "not ready after 6 s: router-0, gateway-0, counter-0, shard-0"
    assert error["hint"] == "give it more time: --timeout"
    waiting = "waiting for router-0, gateway-0, counter-0, shard-0; kernels that are not compiled yet take"
    assert up.errors.read_text().count(waiting) == 1


def test_every_service_tells_its_services_by_reflection(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    with grpc.insecure_channel(up.ready["shards"]["shard-0"]) as channel:
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests, timeout=30)
        names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert names == {
        "evenshard.v1.ShardService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize(
    "victim", ["shard-1", *(pytest.param(each, marks=pytest.mark.slow) for each in ("router-0", "etcd-0"))]
)
def test_a_killed_child_is_restarted_and_said(start_up: Start, victim: str) -> None:
    up = start_up().wait_ready()

    def pids() -> list[int]:
        found = []
        for pid in group_members(up.process.pid):
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if victim.encode() in arguments or f"--name={victim}".encode() in arguments:
                found.append(pid)
        return found

    before = pids()
    assert len(before) == 1
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: pids() not in ([], before))
    eventually(lambda: f"{victim} died" in up.errors.read_text())
    if victim != "etcd-0":
        eventually(lambda: up.log(victim)[-1].get("restarts") == 1)
        assert up.pid(victim) == pids()[0]
    assert up.finish() == 0


def test_a_child_that_cannot_start_ends_up_with_its_error(start_up: Start) -> None:
    up = start_up(EVENSHARD_PROBE_START="refuse@shard-1")
    assert up.process.wait(ENDS_WITHIN_S) == 5
    error = only_document(up)["error"]
    assert (error["code"], error["message"], error["details"]) == (
        "DATA_DAMAGED",
        "frame 3 is damaged",
        {"file": "log/0001", "service": "shard-1"},
    )


def test_a_child_that_crashes_at_its_start_ends_up_with_exit_status_5(start_up: Start) -> None:
    up = start_up(EVENSHARD_PROBE_START="crash@router-0")
    assert up.process.wait(ENDS_WITHIN_S) == 5
    error = only_document(up)["error"]
    assert (error["code"], error["details"]["service"]) == ("INTERNAL", "router-0")
    assert "crashed as told" in error["message"]


def test_a_stop_while_starting_is_clean(start_up: Start) -> None:
    up = start_up(EVENSHARD_PROBE_START="hang@gateway-0")
    eventually(lambda: (up.data_dir / "logs" / "shard-0.log").exists() and "ready" in str(up.log("shard-0")))
    assert up.finish() == 0


@pytest.mark.parametrize("offset", [0, 3, 6])
def test_a_taken_port_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], offset: int
) -> None:
    base = free_base_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + offset))
        taken.listen()
        assert run(["up", "--json", "--base-port", str(base), "--data-dir", str(tmp_path / "data")]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["details"]["port"]) == ("PORT_IN_USE", str(base + offset))
    assert str(base + offset) in error["message"]
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_data_directory_belongs_to_one_cluster(start_up: Start) -> None:
    first = start_up("--shards", "1").wait_ready()
    second = start_up("--shards", "1", base_port=first.base_port + 100)
    assert second.process.wait(ENDS_WITHIN_S) == 4
    error = only_document(second)["error"]
    assert (error["code"], str(first.data_dir) in error["message"]) == ("DATA_DIR_LOCKED", True)
    assert first.finish() == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--set", "compact_rows=many"],
        ["--set", "no_such=1"],
        ["--set", "x"],
        ["--shards", "0"],
        ["--base-port", "65533"],
        ["--bogus"],
    ],
)
def test_wrong_flags_are_refused_with_exit_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run(["up", "--json", "--data-dir", str(tmp_path / "data"), *flags]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "USAGE"
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_children_end_with_a_killed_supervisor(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    pids = group_members(up.process.pid) - {up.process.pid}
    services = {up.pid(name) for name in ("router-0", "gateway-0", "counter-0", "shard-0")}
    assert (services <= pids, len(pids)) == (True, len(services) + 1)  # etcd
    up.process.kill()
    assert up.process.wait(ENDS_WITHIN_S) == -signal.SIGKILL
    eventually(lambda: group_members(up.process.pid) == set(), 5)
    assert [pid for pid in pids if not gone(pid)] == []


def test_calls_in_flight_end_before_the_service_does(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    address = up.ready["shards"]["shard-0"]
    with grpc.insecure_channel(address) as channel:
        stub = shard_pb2_grpc.ShardServiceStub(channel)
        flying = stub.Scan.future(ask("sleep", 2_000), timeout=20)
        time.sleep(0.3)
        os.kill(up.pid("shard-0"), signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(grpc.RpcError):
            stub.Scan(ask("echo"), timeout=1)
        assert flying.result().partial == b"woken"
    eventually(lambda: "shard-0 ended (status 0)" in up.errors.read_text())


@pytest.mark.slow
def test_a_frozen_child_does_not_hold_up_the_drain(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    os.kill(up.pid("shard-0"), signal.SIGSTOP)
    assert up.finish() == 0


def test_a_second_interrupt_ends_everything_at_once(start_up: Start) -> None:
    up = start_up("--shards", "1").wait_ready()
    with grpc.insecure_channel(up.ready["shards"]["shard-0"]) as channel:
        flying = shard_pb2_grpc.ShardServiceStub(channel).Scan.future(ask("sleep", 60_000), timeout=60)
        time.sleep(0.3)
        up.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        assert up.finish(signal.SIGINT) == 1
        assert time.monotonic() - began < 3
        assert flying.code() is grpc.StatusCode.UNAVAILABLE
