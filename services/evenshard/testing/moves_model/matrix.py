"""Faults of real processes in the middle of a move: who is hurt, how, in which state of the move; and what became of
it. One cell is one move under imports and queries. The cluster reaches its etcd through a door, from which one process,
or everybody, can be cut off.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import evenshard
from evenshard.errors import EvenshardError
from evenshard.runtime.etcd_binary import find_etcd
from evenshard.testing.account import Account
from evenshard.testing.etcd import EtcdProcess
from evenshard.testing.moves_model.load import Load, counted
from evenshard.testing.partition import Partition
from evenshard.testing.processes import ClusterProcess

Fault = Literal["kill", "stop", "cut"]
"""kill -9; SIGSTOP for ``STOPPED_S``; cut off from etcd for ``CUT_S``: etcd itself from everybody."""
Victim = Literal["source", "target", "router", "etcd"]
FAULTS: Final[tuple[Fault, ...]] = ("kill", "stop", "cut")
VICTIMS: Final[tuple[Victim, ...]] = ("source", "target", "router", "etcd")
STATES: Final = ("copying", "catching_up", "fenced", "switched")
STOPPED_S: Final = 3.0
CUT_S: Final = 12.0
"""So long that leases end."""
HEALED_WITHIN_S: Final = 30.0
PATIENCE_S: Final = 60.0
TENANT: Final = "acme"


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of one move."""

    fault: Fault
    victim: Victim
    state: str
    met: str
    """The state it was in when the fault came, as far as could be seen."""
    ended: str
    healed_s: float
    """From the end of the fault until the move had switched, or was rolled back, and every event was answered."""
    acked: int
    problem: str = ""

    def row(self) -> str:
        return (
            f"{self.fault:<5} {self.victim:<7} {self.state:<12} {self.met:<12} {self.ended:<12}"
            f" {self.healed_s:>6.1f} s {self.acked:>9,} {self.problem or 'nothing lost or doubled'}"
        )


HEADER: Final = f"{'fault':<5} {'whom':<7} {'wanted in':<12} {'met in':<12} {'ended':<12} {'healed':>8} {'acked':>9}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where cells are lived."""

    cluster: ClusterProcess
    etcd: EtcdProcess
    door: Partition


@contextmanager
def stage_for_cells(place: Path) -> Iterator[Stage]:
    """Two shards and two routers, and an etcd behind a door."""
    (place / "directory").mkdir()
    etcd = EtcdProcess(place / "directory", find_etcd().flags)
    etcd.start()
    try:
        with Partition(etcd.address) as door:
            account = Account(environment={**os.environ, "ETCD_ENDPOINTS": door.address})
            with ClusterProcess(place / "data", shards=2, routers=2, account=account) as cluster:
                with evenshard.connect(cluster.router, cluster.gateway) as client:
                    client.create_tenant(TENANT)
                    name = client.merge_tenant(TENANT, "shard-0")["operation"]
                    client.wait_operation(name, timeout=PATIENCE_S)
                    client.complete_operation(name)
                    client.wait_operation(name, timeout=PATIENCE_S)
                yield Stage(cluster, etcd, door)
    finally:
        etcd.stop()


def cell(stage: Stage, fault: Fault, victim: Victim, state: str, known: Load) -> Cell:
    """Moves the tenant to the shard where it is not, and hurts somebody when the move is in ``state``. ``known``: of
    what was sent before; goes on."""
    cluster = stage.cluster
    with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=PATIENCE_S) as client:
        source = client.tenant(TENANT)["placement"]["slots"][0]["shard"]
        target = "shard-1" if source == "shard-0" else "shard-0"
        pids = {name: cluster.pid(name) for name in (source, target, "router-0", "router-1")}
        driving = leader(cluster)
        # So that it can be met, and yet takes but some seconds, however much has come.
        slow = max(2_000_000, 10 * known.acked) if state == "copying" else 0
        name = client.move_tenant(TENANT, target, bytes_per_second=slow)["operation"]
        met = _when(client, name, state)
        if victim == "etcd":
            _hurt_etcd(stage, fault)
        else:
            _hurt(stage, fault, pids[{"source": source, "target": target, "router": driving}[victim]])
        over_s = time.monotonic()
        problem, ended = "", "?"
        try:
            ended = _ended(client, name, over_s + HEALED_WITHIN_S)
            acked, found = _answered(client, known, over_s + HEALED_WITHIN_S)
            if not acked <= found <= known.sent:
                problem = f"{found} events where {acked} were acknowledged, {known.sent} sent"
        except (EvenshardError, TimeoutError) as error:
            problem = str(error)
        healed_s = time.monotonic() - over_s
        if ended == "switched":
            _patiently(lambda: client.complete_operation(name))
            completed = _patiently(lambda: client.wait_operation(name, timeout=PATIENCE_S))
            if completed["state"] != "complete" and not problem:
                problem = f"completing it, it is {completed['state']}: {completed['error']}"
        cluster.wait_healthy()
        return Cell(fault, victim, state, met, ended, healed_s, known.acked, problem)


def _hurt(stage: Stage, fault: Fault, pid: int) -> None:
    """Returns when the fault is over."""
    match fault:
        case "kill":
            os.kill(pid, signal.SIGKILL)
        case "stop":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
        case "cut":
            stage.door.cut_off(pid)
            time.sleep(CUT_S)
            stage.door.heal()


def _hurt_etcd(stage: Stage, fault: Fault) -> None:
    """Returns when the fault is over."""
    match fault:
        case "kill":
            stage.etcd.crash()
            stage.etcd.start()
        case "stop":
            stage.etcd.freeze()
            time.sleep(STOPPED_S)
            stage.etcd.thaw()
        case "cut":
            stage.door.cut_off(*(each["pid"] for each in stage.cluster.services().values() if each["pid"] is not None))
            time.sleep(CUT_S)
            stage.door.heal()


def leader(cluster: ClusterProcess) -> str:
    """The router that drives, as the logs say."""
    newest = {}
    for name in ("router-0", "router-1"):
        lines = [line for line in cluster.log(name) if line["event"] in ("leads", "leads no more")]
        if lines and lines[-1]["event"] == "leads":
            newest[name] = int(lines[-1]["revision"])
    return max(newest, key=lambda name: newest[name]) if newest else "router-0"


def _when(client: evenshard.Client, name: str, state: str) -> str:
    """The state as last seen: the one wanted, unless it went by unseen."""
    order = ["planned", *STATES]
    until_s = time.monotonic() + PATIENCE_S
    while True:
        now = str(client.operation(name)["state"])
        if order.index(now) >= order.index(state) or time.monotonic() > until_s:
            return now
        time.sleep(0.001)


def _ended(client: evenshard.Client, name: str, until_s: float) -> str:
    """``switched``, or how else nothing more happens to it."""
    while True:
        try:
            found: dict[str, Any] = client.operation(name)
            if found["state"] in ("switched", "complete", "rolled_back", "cancelled", "failed") or found["paused"]:
                return str(found["state"])
        except EvenshardError:
            found = {}
        if time.monotonic() > until_s:
            raise TimeoutError(f"the move is {found.get('state')}: {found.get('error')}")
        time.sleep(0.1)


def _answered(client: evenshard.Client, load: Load, until_s: float) -> tuple[int, int]:
    """How many were acknowledged before the question, and how many there are."""
    while True:
        acked = load.acked
        try:
            return acked, counted(client)
        except EvenshardError:
            if time.monotonic() > until_s:
                raise
        time.sleep(0.1)


def _patiently(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A router may be starting again."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except EvenshardError:
            if time.monotonic() > until_s:
                raise
        time.sleep(0.2)
