"""``evenshard query funnel``: how far users come, as bars or JSON."""

from typing import Annotated, Any, Literal

import typer

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
from evenshard.cli.values import duration_s


def funnel(
    tenant: TenantOption = None,
    from_date: Annotated[str | None, typer.Option("--from", metavar="D", help="First day of entries.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", metavar="D", help="Last day of entries, inclusive.")] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help='NAME, NAME|NAME or *, perhaps with " where EXPR"; 2 to 32 of them.'),
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="DURATION", help="From the first step, inclusive; default 30d, at most 366d.")
    ] = None,
    order: Annotated[
        Literal["ordered", "strict", "any"] | None,
        typer.Option(help="Others may lie between (default), the next event must be the next step, or any order."),
    ] = None,
    attempt: Annotated[
        Literal["best", "first"] | None, typer.Option(help="The deepest of any entry (default), or the first alone.")
    ] = None,
    count: Annotated[
        Literal["unique", "total", "session"] | None,
        typer.Option(help="Users (default), attempts one after the other, or sessions."),
    ] = None,
    strict_increase: Annotated[
        bool, typer.Option("--strict-increase", help="Each step later than the one before, not in the same ms.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP@1-2", help="What ends an attempt between two of its steps; up to 32."),
    ] = None,
    exclude_user: Annotated[
        bool, typer.Option("--exclude-user", help="An exclusion drops its user from all counts instead.")
    ] = False,
    hold: Annotated[
        list[str] | None, typer.Option(metavar="PROP", help="All steps share the value of this property; up to 3.")
    ] = None,
    by: ByOption = None,
    by_step: Annotated[
        str | None,
        typer.Option(metavar="first|last|N", help="The step whose values count; default the first with any."),
    ] = None,
    explain_user: Annotated[
        str | None, typer.Option(metavar="ID", help="Tell which of this user's events filled which step, and why.")
    ] = None,
    where: WhereOption = None,
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
    """Counts users who do the steps within a window; other events may lie between, unless --order says otherwise."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    flags: dict[str, Any] = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "step": step, "window": window, "order": order,
        "attempt": attempt, "count": count, "strict_increase": strict_increase, "exclude": exclude,
        "exclude_user": exclude_user, "hold": hold, "by": by, "by_step": by_step, "explain_user": explain_user,
        "where": where, "limit": limit, "include_duplicates": include_duplicates,
        "restore_hot": restore_hot, "allow_partial": allow_partial,
        "no_cache": no_cache,
    }  # fmt: skip
    with connect(gateway=gateway) as client:
        result = answer_of(
            flags,
            query,
            ("tenant", "from_date", "to_date", "step"),
            lambda given: client.funnel(given.pop("step"), **given, timeout=timeout_s),
            lambda document: client.funnel_of(document, timeout=timeout_s),
        )
    end_with(result, result.blocks(), as_json=json_output)
