"""``evenshard query flows``: what users do next, as a tree of bars or JSON."""

from typing import Annotated, Any, Literal

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption
from evenshard.cli.query_flags import end_with, flag, read_request
from evenshard.cli.query_options import (
    TIMEOUT_DEFAULT,
    DuplicatesOption,
    NoCacheOption,
    PartialOption,
    QueryOption,
    RestoreOption,
    TenantOption,
    TimeoutOption,
    WhereOption,
)
from evenshard.cli.values import duration_s
from evenshard.errors import EvenshardError, FieldFault


def flows(
    tenant: TenantOption = None,
    from_date: Annotated[str | None, typer.Option("--from", metavar="D", help="First day of anchors.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", metavar="D", help="Last day of anchors, inclusive.")] = None,
    anchor: Annotated[
        str | None, typer.Option(metavar="STEP", help='NAME, NAME|NAME or *, perhaps with " where EXPR".')
    ] = None,
    direction: Annotated[
        Literal["forward", "backward"] | None, typer.Option(help="What follows (default), or what leads to it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Events to follow; 1 to 10, default 3.")] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="DURATION|session", help="From the anchor, inclusive; default 30d, at most 366d."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help='Names to show at each step, the rest is "$other"; default 10.')
    ] = None,
    collapse_repeats: Annotated[
        bool, typer.Option("--collapse-repeats", help="Equal neighbours count as one, the anchor included.")
    ] = False,
    where: WhereOption = None,
    include_duplicates: DuplicatesOption = False,
    restore_hot: RestoreOption = False,
    allow_partial: PartialOption = False,
    no_cache: NoCacheOption = False,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    query: QueryOption = None,
    by: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    limit: Annotated[int | None, typer.Option(hidden=True)] = None,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Follows users from their first anchor event through what they do next."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    _refuse("by", by, "flows are not broken down", "filter with --where instead")
    _refuse("limit", limit, "flows have no groups", "names shown at each step: --top")
    flags: dict[str, Any] = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "anchor": anchor, "direction": direction,
        "steps": steps, "window": window, "top": top, "collapse_repeats": collapse_repeats, "where": where,
        "include_duplicates": include_duplicates,
        "restore_hot": restore_hot, "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    with connect(gateway=gateway) as client:
        if query is not None:
            if given:
                raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
            result = client.flows_of(read_request(query), timeout=timeout_s)
        else:
            missing = [name for name in ("tenant", "from_date", "to_date", "anchor") if name not in given]
            if missing:
                raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
            result = client.flows(given.pop("anchor"), **given, timeout=timeout_s)
    end_with(result, result.blocks(), as_json=json_output)


def _refuse(field: str, value: Any, problem: str, hint: str) -> None:
    if value:
        raise EvenshardError("QUERY_INVALID", f"{field}: {problem}", hint=hint, fields=(FieldFault(field, problem),))
