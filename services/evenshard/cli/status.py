"""``evenshard status``: every process of the cluster and its health."""

import asyncio
from collections.abc import Mapping
from typing import Any

from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_note, print_result
from evenshard.errors import ExitStatus

_MIB = 1 << 20


def command(router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Shows every process of the cluster and its health; exit status 3 unless all serve."""
    from evenshard.runtime.cluster_status import fetch_status

    document = asyncio.run(fetch_status(router))
    print_result(document, as_json=json_output, human=_table)
    if not document["healthy"]:
        if all(each["status"] == "UNREACHABLE" for each in document["services"]):
            print_note("nobody answers there: is the cluster up? start one: evenshard up")
        finish(ExitStatus.UNREACHABLE)


def _table(document: Mapping[str, Any]) -> str:
    health = "healthy" if document["healthy"] else "NOT HEALTHY"
    lines = [f"{health}, directory revision {_or(document, 'directory_revision')}"]
    for each in document["services"]:
        memory = "-" if each["rss_bytes"] is None else f"{each['rss_bytes'] / _MIB:.0f} MiB"
        lines.append(
            f"{each['name']:<12} {each['status']:<12} {each['address']:<22} pid {_or(each, 'pid'):<8} "
            f"restarts {_or(each, 'restarts'):<4} {memory:>9}  {each['reason'] or ''}".rstrip()
        )
    return "\n".join(lines)


def _or(values: Mapping[str, Any], name: str) -> str:
    return "-" if values[name] is None else str(values[name])
