"""``evenshard up``: a whole cluster on this machine, in the foreground, until Ctrl-C or SIGTERM."""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenshard.cli.output import JsonOption, finish, print_note, print_result
from evenshard.cli.settings import parse_settings
from evenshard.cli.values import duration_s
from evenshard.errors import EvenshardError, ExitStatus

if TYPE_CHECKING:
    from evenshard.runtime.cluster_plan import ClusterPlan

LOCK_FILE = "up.lock"
SHARDS_CATALOG = "catalog.sqlite"
PORTS_APART, TRIES_MAX, BASE_PORT_ELSEWHERE = 100, 20, 17_400
"""How far apart base ports are that are suggested where one is taken, how many are tried, and the last resort."""


def command(
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("evenshard-data"),
    shards: Annotated[int, typer.Option(min=1, help="How many shards.")] = 2,
    routers: Annotated[int, typer.Option(min=1, help="How many routers.")] = 1,
    gateways: Annotated[int, typer.Option(min=1, help="How many gateways.")] = 1,
    counters: Annotated[int, typer.Option(min=1, help="How many counters.")] = 1,
    base_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the first router; the first gateway is on the next one.")
    ] = 7400,
    trace_file: Annotated[
        Path | None,
        typer.Option(
            metavar="F",
            help="Append a JSON line for every span to F. Commands add their own where EVENSHARD_TRACE_FILE names it.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help="Tell metrics to Prometheus: the first router at this port's /metrics, the others at the next ones.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; see: evenshard config.")
    ] = None,
    timeout: Annotated[
        str,
        typer.Option(metavar="DURATION", help="How long to wait for services to serve that say nothing of getting on."),
    ] = "60s",
    json_output: JsonOption = False,
) -> None:
    """Starts a whole cluster on this machine, in the foreground."""
    started_s = time.monotonic()
    from evenshard.runtime.cluster_plan import ClusterSize, plan_cluster

    environment, timeout_s = dict(parse_settings(settings or [])), duration_s(timeout)
    if trace_file is not None:
        environment["EVENSHARD_TRACE_FILE"] = str(check_trace_file(trace_file))
    endpoints = tuple(each for each in os.environ.get("ETCD_ENDPOINTS", "").split(",") if each)
    size = ClusterSize(shards=shards, routers=routers, gateways=gateways, counters=counters)
    plan = plan_cluster(size, base_port, data_dir.resolve(), endpoints, environment, metrics_port)
    try:
        check_ports(plan.ports())
    except EvenshardError as error:
        error.hint = f"stop what listens there, or choose another: --base-port {_free_base_port(plan, base_port)}"
        raise
    lock = lock_data_dir(plan.data_dir)
    try:
        killed = _run(plan, timeout_s, lambda: _print_ready(plan, started_s, as_json=json_output))
    finally:
        os.close(lock)
    if killed:
        finish(ExitStatus.PARTIAL)


def check_ports(needed: Mapping[int, str]) -> None:
    """Raises ``PORT_IN_USE`` naming the first port somebody listens on."""
    from evenshard.runtime.cluster_plan import HOST

    for port, name in sorted(needed.items()):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError as error:
                message = f"port {port}, for {name}, cannot be used: {error.strerror}"
                raise EvenshardError("PORT_IN_USE", message, details={"port": str(port), "service": name}) from error


def check_trace_file(path: Path) -> Path:
    """Its absolute path, once it is there; raises ``USAGE`` where it cannot be written."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise EvenshardError(
            "USAGE", f"--trace-file {path}: {error.strerror}", hint="choose a file that can be written"
        ) from error
    return path.resolve()


def _free_base_port(plan: "ClusterPlan", base_port: int) -> int:
    """One that the same cluster could have now; where none is found near, one to begin looking at."""
    for shift in range(PORTS_APART, PORTS_APART * TRIES_MAX + 1, PORTS_APART):
        try:
            check_ports({port + shift: name for port, name in plan.ports().items()})
        except (EvenshardError, OverflowError):
            continue
        return base_port + shift
    return BASE_PORT_ELSEWHERE


def lock_data_dir(data_dir: Path) -> int:
    """A descriptor that holds the directory until it is closed; raises ``DATA_DIR_LOCKED``."""
    if (data_dir / SHARDS_CATALOG).exists():
        raise EvenshardError(
            "USAGE",
            f"{data_dir} is a shard's own directory",
            hint=f"name the one above it: --data-dir {data_dir.parent}",
        )
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EvenshardError("USAGE", f"cannot use {data_dir} as data directory: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise EvenshardError(
            "DATA_DIR_LOCKED", f"another evenshard up uses {data_dir}", details={"data_dir": str(data_dir)}
        ) from None
    return descriptor


def _run(plan: "ClusterPlan", timeout_s: float, on_ready: Callable[[], None]) -> bool:
    """True: it was ended by a second Ctrl-C."""
    import asyncio

    from evenshard.runtime.etcd_binary import find_etcd
    from evenshard.runtime.supervisor import Supervisor

    etcd_program: tuple[str, ...] = ()
    if plan.own_etcd is not None:
        found = find_etcd()
        etcd_program = (str(found.path), *found.flags)
        if found.may_lose_consistency:
            print_note(f"etcd {found.version} may lose consistency when it is killed: for trying out only")

    async def supervise() -> bool:
        stop, kill = asyncio.Event(), asyncio.Event()

        def on_signal(number: signal.Signals) -> None:
            if not stop.is_set():
                print_note("stopping: what is in flight is finished first; Ctrl-C again ends everything at once")
            elif number == signal.SIGINT and not kill.is_set():
                print_note("ended at once: what was acknowledged is on disk, the next evenshard up reads it back")
                kill.set()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal, number)
        await Supervisor(plan, etcd_program, print_note, timeout_s).run(on_ready, stop, kill)
        return kill.is_set()

    return asyncio.run(supervise())


def _print_ready(plan: "ClusterPlan", started_s: float, *, as_json: bool) -> None:
    from evenshard.runtime.cluster_plan import HOST

    document: dict[str, Any] = {
        "status": "ready",
        "routers": [each.address for each in plan.of_kind("router")],
        "gateways": [each.address for each in plan.of_kind("gateway")],
        "counters": [each.address for each in plan.of_kind("counter")],
        "shards": {each.name: each.address for each in plan.of_kind("shard")},
        "etcd": list(plan.etcd_endpoints),
        "data_dir": str(plan.data_dir),
        "seconds": round(time.monotonic() - started_s, 3),
    }
    metrics = {each.name: f"{HOST}:{each.metrics_port}" for each in plan.processes if each.metrics_port is not None}
    if metrics:
        document["metrics"] = metrics
    print_result(document, as_json=as_json, human=_ready_line)


def _ready_line(ready: Mapping[str, Any]) -> str:
    return (
        f"ready in {ready['seconds']:.1f} s: routers {', '.join(ready['routers'])}; gateways "
        f"{', '.join(ready['gateways'])}; {len(ready['shards'])} shards; data in {ready['data_dir']}"
    )
