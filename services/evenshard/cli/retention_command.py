"""``evenshard query retention``: who comes back, as a shaded table or JSON."""

from typing import Annotated, Any, Literal

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption
from evenshard.cli.query_flags import end_with, flag, read_request
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
from evenshard.cli.values import duration_s
from evenshard.errors import EvenshardError


def retention(
    tenant: TenantOption = None,
    from_date: Annotated[str | None, typer.Option("--from", metavar="D", help="First day of births.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", metavar="D", help="Last day of births, inclusive.")] = None,
    birth: Annotated[
        str | None, typer.Option(metavar="STEP", help='NAME, NAME|NAME or *, perhaps with " where EXPR".')
    ] = None,
    return_: Annotated[str | None, typer.Option("--return", metavar="STEP", help="Default any event.")] = None,
    unit: Annotated[Literal["day", "week", "month"] | None, typer.Option(help="Default day.")] = None,
    buckets: Annotated[
        int | None, typer.Option(help="Units to follow, the birth's included; 1 to 366, default 8.")
    ] = None,
    mode: Annotated[
        Literal["on", "on_or_after"] | None, typer.Option(help="Back in that unit (default), or in that or any later.")
    ] = None,
    align: Annotated[
        Literal["rolling", "calendar"] | None,
        typer.Option(help="Units begin at the birth (default), or are those of the calendar."),
    ] = None,
    birth_scope: Annotated[
        Literal["range", "lifetime"] | None, typer.Option(help="First in the range (default), or first ever.")
    ] = None,
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
    """Of the users who did one thing, how many came back to do another, by the time since."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    flags: dict[str, Any] = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "birth": birth, "return_": return_, "unit": unit,
        "buckets": buckets, "mode": mode, "align": align, "birth_scope": birth_scope, "where": where, "by": by,
        "limit": limit, "include_duplicates": include_duplicates,
        "restore_hot": restore_hot, "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None and value is not False and value != []}
    with connect(gateway=gateway) as client:
        if query is not None:
            if given:
                raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
            result = client.retention_of(read_request(query), timeout=timeout_s)
        else:
            missing = [name for name in ("tenant", "from_date", "to_date", "birth") if name not in given]
            if missing:
                raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
            result = client.retention(given.pop("birth"), **given, timeout=timeout_s)
    end_with(result, result.blocks(), as_json=json_output)
