"""Ports and names of a cluster on one machine; the log of a child stays bounded."""

import os
import signal
import sys
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime import child as child_module
from evenshard.runtime.child import Child
from evenshard.runtime.cluster_plan import ClusterSize, etcd_command, plan_cluster, service_command

DATA = Path("/data")


def test_ports_follow_each_other_router_and_gateway_first() -> None:
    plan = plan_cluster(ClusterSize(shards=3, routers=2, gateways=2, counters=1), 7400, DATA)
    assert plan.ports() == {
        7400: "router-0",
        7401: "gateway-0",
        7402: "router-1",
        7403: "gateway-1",
        7404: "counter-0",
        7405: "shard-0",
        7406: "shard-1",
        7407: "shard-2",
        7408: "etcd-0",
        7409: "etcd-0",
    }
    assert plan.etcd_endpoints == ("127.0.0.1:7408",)
    assert {each.name: each.data_dir for each in plan.processes if each.data_dir} == {
        name: DATA / folder
        for name, folder in [
            ("counter-0", "counter-0"),
            ("shard-0", "shard-0"),
            ("shard-1", "shard-1"),
            ("shard-2", "shard-2"),
            ("etcd-0", "etcd"),
        ]
    }


def test_an_etcd_given_is_used_and_none_started() -> None:
    plan = plan_cluster(ClusterSize(1, 1, 1, 1), 7400, DATA, ("a:1", "b:2"))
    assert (plan.own_etcd, sorted(plan.ports())) == (None, [7400, 7401, 7402, 7403])
    command = service_command(plan, plan.of_kind("shard")[0], restarts=3)
    assert command[1:] == [
        *("-m", "evenshard.cli.main", "serve", "shard", "--name", "shard-0", "--listen", "127.0.0.1:7403"),
        *("--restarts", "3", "--etcd", "a:1", "--etcd", "b:2", "--data-dir", "/data/shard-0"),
    ]


def test_metrics_are_told_at_ports_of_their_own_in_the_same_order() -> None:
    size = ClusterSize(shards=1, routers=1, gateways=1, counters=1)
    plan = plan_cluster(size, 7400, DATA, metrics_port=9464)
    assert {port: name for port, name in plan.ports().items() if port > 9000} == {
        9464: "router-0", 9465: "gateway-0", 9466: "counter-0", 9467: "shard-0",
    }  # fmt: skip
    command = service_command(plan, plan.of_kind("counter")[0], restarts=0)
    assert command[command.index("--metrics-listen") + 1] == "127.0.0.1:9466"
    untold = plan_cluster(size, 7400, DATA)
    assert "--metrics-listen" not in service_command(untold, untold.of_kind("counter")[0], restarts=0)
    for taken in (7397, 7400, 7405, 65_533):
        with pytest.raises(EvenshardError, match=f"--metrics-port {taken}"):
            plan_cluster(size, 7400, DATA, metrics_port=taken)
    assert plan_cluster(size, 7400, DATA, metrics_port=7396).ports().keys() >= {7396, 7399, 7400}
    assert plan_cluster(size, 7400, DATA, metrics_port=7406).ports().keys() >= {7406, 7409}


def test_the_last_port_is_65535() -> None:
    size = ClusterSize(1, 1, 1, 1)
    own = plan_cluster(size, 65_530, DATA).own_etcd
    assert own is not None
    assert own.peer_port == 65_535
    assert "--listen-peer-urls=http://127.0.0.1:65535" in etcd_command(["etcd"], own)
    with pytest.raises(EvenshardError) as caught:
        plan_cluster(size, 65_531, DATA)
    assert caught.value.code == "USAGE"


def run_to_end(child: Child, program: str) -> None:
    child.start([sys.executable, "-c", program], os.environ)
    while child.alive():
        pass


def test_a_log_that_has_grown_moves_out_of_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES_MAX", 1000)
    log = tmp_path / "a.log"
    child = Child("a", log, signal.SIGKILL)
    run_to_end(child, "print('x' * 999)")
    child.rotate_log()
    assert log.stat().st_size == 1000
    run_to_end(child, "print('y')")
    child.rotate_log()
    assert (log.read_text(), (tmp_path / "a.log.1").read_text()) == ("", "x" * 999 + "\ny\n")


def test_the_error_of_a_child_is_that_of_its_last_start(tmp_path: Path) -> None:
    child = Child("shard-0", tmp_path / "shard-0.log", signal.SIGKILL)
    run_to_end(child, 'print(\'{"error":{"code":"DATA_DAMAGED","message":"old"}}\'); raise SystemExit(5)')
    assert (child.error().code, child.error().message) == ("DATA_DAMAGED", "old")
    run_to_end(child, "print('[1]'); print('some words'); raise SystemExit(7)")
    error = child.error()
    assert (error.code, error.message) == ("INTERNAL", "shard-0 ended with status 7: some words")
    run_to_end(child, "import os; os.kill(os.getpid(), 9)")
    assert child.error().message == "shard-0 was ended by signal 9: it said nothing"
