"""What ``evenshard up`` runs: which processes, on which ports, in which directories. Decides, starts nothing."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evenshard.directory.service import Kind
from evenshard.errors import EvenshardError

HOST: Final = "127.0.0.1"
PORT_MAX: Final = 65_535
ETCD_NAME: Final = "etcd-0"
DRAIN_STAGES: Final[Mapping[Kind, int]] = {"router": 0, "gateway": 0, "shard": 1, "counter": 1, "etcd": 2}
"""In which order processes are drained: first who calls, then who is called, then the directory of both."""


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """How many of each."""

    shards: int
    routers: int
    gateways: int
    counters: int


@dataclass(frozen=True, slots=True)
class PlannedProcess:
    """One process to run."""

    name: str
    kind: Kind
    port: int
    data_dir: Path | None = None
    peer_port: int | None = None
    """Of etcd: where its members meet."""
    metrics_port: int | None = None
    """Where it tells its metrics; None: nowhere."""

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """All processes, and the etcd they use."""

    data_dir: Path
    processes: Sequence[PlannedProcess]
    etcd_endpoints: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings, as ``EVENSHARD_*``."""
    service_program: tuple[str, ...] = (sys.executable, "-m", "evenshard.cli.main")
    """What is run, with ``serve KIND …``."""

    def of_kind(self, kind: Kind) -> list[PlannedProcess]:
        return [each for each in self.processes if each.kind == kind]

    @property
    def own_etcd(self) -> PlannedProcess | None:
        """``None``: somebody else's is used."""
        return next(iter(self.of_kind("etcd")), None)

    def ports(self) -> dict[int, str]:
        """Every port needed and who needs it."""
        needed = {each.port: each.name for each in self.processes}
        metrics = {each.metrics_port: each.name for each in self.processes if each.metrics_port is not None}
        return needed | metrics | {each.peer_port: each.name for each in self.processes if each.peer_port is not None}


def plan_cluster(
    size: ClusterSize,
    base_port: int,
    data_dir: Path,
    etcd_endpoints: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    metrics_port: int | None = None,
) -> ClusterPlan:
    """The first router on ``base_port``, the first gateway on the next one, then one port after the other. Without
    ``etcd_endpoints`` an etcd of its own. In the same order services tell their metrics from ``metrics_port`` on.
    Raises ``USAGE`` where ports run out."""
    names: list[tuple[Kind, int]] = [("router", 0), ("gateway", 0)]
    names += [("router", number) for number in range(1, size.routers)]
    names += [("gateway", number) for number in range(1, size.gateways)]
    names += [("counter", number) for number in range(size.counters)]
    names += [("shard", number) for number in range(size.shards)]
    processes = []
    port = base_port
    for kind, number in names:
        name = f"{kind}-{number}"
        keeps_files = kind in ("shard", "counter")
        told_at = None if metrics_port is None else metrics_port + port - base_port
        processes.append(
            PlannedProcess(name, kind, port, data_dir / name if keeps_files else None, metrics_port=told_at)
        )
        port += 1
    if not etcd_endpoints:
        processes.append(PlannedProcess(ETCD_NAME, "etcd", port, data_dir / "etcd", peer_port=port + 1))
        etcd_endpoints = (f"{HOST}:{port}",)
        port += 2
    if port - 1 > PORT_MAX:
        raise EvenshardError("USAGE", f"--base-port {base_port}: ports up to {port - 1} would be needed")
    if metrics_port is not None and metrics_port + len(names) - 1 > PORT_MAX:
        raise EvenshardError(
            "USAGE", f"--metrics-port {metrics_port}: ports up to {metrics_port + len(names) - 1} would be needed"
        )
    if metrics_port is not None and metrics_port < port and base_port < metrics_port + len(names):
        raise EvenshardError(
            "USAGE",
            f"--metrics-port {metrics_port}: {base_port} to {port - 1} are for the services themselves",
            hint=f"choose another: --metrics-port {port if port + len(names) <= PORT_MAX else 'PORT'}",
        )
    return ClusterPlan(data_dir, processes, etcd_endpoints, environment or {})


def service_command(plan: ClusterPlan, process: PlannedProcess, restarts: int) -> list[str]:
    """The command line of a service."""
    command = [*plan.service_program, "serve", process.kind]
    command += ["--name", process.name, "--listen", process.address, "--restarts", str(restarts)]
    if process.metrics_port is not None:
        command += ["--metrics-listen", f"{HOST}:{process.metrics_port}"]
    for endpoint in plan.etcd_endpoints:
        command += ["--etcd", endpoint]
    if process.data_dir is not None:
        command += ["--data-dir", str(process.data_dir)]
    return command


def etcd_command(program: Sequence[str], process: PlannedProcess) -> list[str]:
    """The command line of an etcd of one member."""
    client, peer = f"http://{process.address}", f"http://{HOST}:{process.peer_port}"
    return [
        *program,
        f"--name={process.name}",
        f"--data-dir={process.data_dir}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={process.name}={peer}",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--logger=zap",
        "--log-outputs=stderr",
    ]
