"""``evenshard slow-queries``: what took longer than ``slow_query_ms``, by where, whose or what it was."""

from typing import Annotated, Literal

import typer

from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_blocks
from evenshard.errors import ExitStatus


def command(
    by: Annotated[
        Literal["shard", "tenant", "event"] | None,
        typer.Option(help="One group a shard, tenant or event; none: by all of these and the kind of query."),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Groups.")] = 20,
    tenant: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    each: Annotated[bool, typer.Option("--each", help="The queries too, with their traces, the newest first.")] = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows slow queries: the newest 1,000 of each process; exit status 1 where a process did not answer."""
    from evenshard.client import connect
    from evenshard.text.heat import slow_query_blocks

    with connect(router) as client:
        document = client.slow_queries(by or "", limit=limit, tenant=tenant, each=each)
    print_blocks(document, slow_query_blocks(document), as_json=json_output)
    if document["missing"]:
        finish(ExitStatus.PARTIAL)
