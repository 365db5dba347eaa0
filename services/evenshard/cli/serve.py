"""``evenshard serve``: one service process; what ``up`` and the chart run."""

import importlib
import sys
from enum import StrEnum
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Annotated, Final

import typer

from evenshard.cli.output import finish
from evenshard.cli.settings import load_settings
from evenshard.errors import EvenshardError, ExitStatus

EVERYWHERE: Final = ("0.0.0.0", "[::]", "")
"""Hosts that stand for all addresses of a machine."""


class ServiceKind(StrEnum):
    """What can be served."""

    ROUTER = "router"
    COUNTER = "counter"
    SHARD = "shard"
    GATEWAY = "gateway"


def command(
    kind: ServiceKind,
    name: Annotated[str, typer.Option(help="The service's name, as shard-0.")],
    listen: Annotated[str, typer.Option(help="host:port to bind.")],
    etcd: Annotated[list[str], typer.Option(envvar="ETCD_ENDPOINTS", help="host:port of etcd; repeat for several.")],
    data_dir: Annotated[Path | None, typer.Option(help="Where it keeps its files.")] = None,
    restarts: Annotated[int, typer.Option(min=0, help="How often it was restarted.")] = 0,
    advertise: Annotated[str, typer.Option(help="host:port others reach it at; none: where it listens.")] = "",
    metrics_listen: Annotated[str, typer.Option(help="host:port where it tells its metrics to Prometheus.")] = "",
) -> None:
    """Runs one service process."""
    from evenshard.runtime.processor import check_processor

    check_processor()  # before anything is imported that would die of it without a word
    if not advertise and listen.rpartition(":")[0] in EVERYWHERE:
        raise EvenshardError(
            "USAGE",
            f"--listen {listen} is nobody's address",
            hint="say where others reach it: --advertise HOST:PORT",
        )
    sys.meta_path.insert(0, _NoPandas)
    from evenshard.runtime.process import run_process
    from evenshard.runtime.service import Ports, Running, ServiceOptions

    async def build(ports: Ports, options: ServiceOptions) -> Running:
        # Imported here, so that a service that cannot even be imported says so in its log as any other that fails.
        running: Running = await importlib.import_module(f"evenshard.{kind.value}.build").build(ports, options)
        return running

    endpoints = tuple(each for one in etcd for each in one.split(",") if each)
    options = ServiceOptions(
        kind.value, name, listen, endpoints, data_dir, restarts, load_settings(), advertise, metrics_listen
    )
    finish(ExitStatus(run_process(options, build)))


class _NoPandas(MetaPathFinder):
    """pyarrow imports pandas, where there is one, with the first array it makes: 0.3 s and 40 MB no service needs."""

    @staticmethod
    def find_spec(fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("services do without pandas", name=fullname)
