"""``evenshard query``: questions and their answers, as tables or JSON."""

from typing import Annotated, Any, Literal

import typer

from evenshard.cli.browse_command import schema, timeline
from evenshard.cli.flows_command import flows
from evenshard.cli.funnel_command import funnel
from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption
from evenshard.cli.query_flags import answer_of, end_with
from evenshard.cli.query_options import (
    TIMEOUT_DEFAULT,
    ByOption,
    DuplicatesOption,
    LimitOption,
    NoCacheOption,
    PartialOption,
    QueryOption,
    RestoreOption,
    TenantOption,
    TimeoutOption,
    WhereOption,
)
from evenshard.cli.retention_command import retention
from evenshard.cli.values import duration_s

app = typer.Typer(help="Ask questions.")


@app.callback()
def _root() -> None:
    """Ask questions."""


app.command()(funnel)
app.command()(schema)
app.command()(timeline)
app.command()(retention)
app.command()(flows)


@app.command()
def segmentation(
    tenant: TenantOption = None,
    from_date: Annotated[str | None, typer.Option("--from", metavar="D", help="First day, YYYY-MM-DD.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", metavar="D", help="Last day, inclusive.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Any of these; none: any event.")] = None,
    unit: Annotated[
        Literal["minute", "hour", "day", "week", "month"] | None, typer.Option(help="Bucket; default day.")
    ] = None,
    measure: Annotated[
        Literal["total", "unique", "average", "sum", "min", "max", "avg", "p50", "p90", "p99"] | None,
        typer.Option(help="Default total; average: events a user; from sum on: of the numbers of --property."),
    ] = None,
    property_: Annotated[str | None, typer.Option("--property", metavar="PROP", help="Whose numbers.")] = None,
    where: WhereOption = None,
    by: ByOption = None,
    limit: LimitOption = None,
    include_duplicates: DuplicatesOption = False,
    restore_hot: RestoreOption = False,
    allow_partial: PartialOption = False,
    no_cache: NoCacheOption = False,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    query: QueryOption = None,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Counts or measures events by time bucket, optionally broken down by properties."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    flags: dict[str, Any] = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "event": event, "unit": unit, "measure": measure,
        "property": property_,
        "where": where, "by": by, "limit": limit, "include_duplicates": include_duplicates,
        "restore_hot": restore_hot,
        "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    with connect(gateway=gateway) as client:
        result = answer_of(
            flags,
            query,
            ("tenant", "from_date", "to_date"),
            lambda given: client.segmentation(**given, timeout=timeout_s),
            lambda document: client.segmentation_of(document, timeout=timeout_s),
        )
    end_with(result, result.blocks(), as_json=json_output)
