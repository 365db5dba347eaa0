"""``evenshard top``: the largest keys, the load of every shard, and what is wrong, anew every few seconds."""

import sys
import time
from typing import Annotated, Any, Final

import typer

from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_blocks
from evenshard.cli.values import duration_s
from evenshard.errors import ExitStatus

_TO_THE_TOP: Final = "\x1b[H\x1b[2J"
"""Moves to the first line of a terminal and clears it."""


def command(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end; so do --json and a pipe.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="Keys.")] = 20,
    tenant: Annotated[str | None, typer.Option(help="Only keys of this one.")] = None,
    interval: Annotated[str, typer.Option(metavar="DURATION", help="Between two looks.")] = "2s",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows which keys and shards have most to do in the last 30 s, and what is wrong; until Ctrl-C.

    Exit status 1 where a shard is down or no counter answers."""
    from evenshard.client import connect

    pause_s = duration_s(interval)
    live = not (once or json_output) and is_terminal()
    with connect(router) as client:
        document = client.top(limit=limit, tenant=tenant)
        _show(document, as_json=json_output, live=live)
        while live:
            time.sleep(pause_s)
            document = client.top(limit=limit, tenant=tenant)
            _show(document, as_json=False, live=True)
    if document["counters"] == "down" or any(each["state"] == "down" for each in document["shards"]):
        finish(ExitStatus.PARTIAL)


def is_terminal() -> bool:
    """Whether somebody looks who can be shown something else in the same place."""
    return sys.stdout.isatty()


def _show(document: dict[str, Any], *, as_json: bool, live: bool) -> None:
    from evenshard.text.heat import top_blocks

    if live:
        sys.stdout.write(_TO_THE_TOP)
    print_blocks(document, top_blocks(document), as_json=as_json)
