"""``evenshard query schema`` and ``query timeline``: what there is to ask about, and what one user did."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption
from evenshard.cli.query_flags import end_with, flag, read_request
from evenshard.cli.query_options import (
    TIMEOUT_DEFAULT,
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

FromOption = Annotated[str | None, typer.Option("--from", metavar="D", help="First day, YYYY-MM-DD; none: any.")]
ToOption = Annotated[str | None, typer.Option("--to", metavar="D", help="Last day, inclusive; none: any.")]
DuplicatesOption = Annotated[bool, typer.Option("--include-duplicates", help="Copies too.")]


def schema(
    tenant: TenantOption = None,
    from_date: FromOption = None,
    to_date: ToOption = None,
    include_hidden: Annotated[bool, typer.Option("--include-hidden", help="Reserved events too.")] = False,
    include_duplicates: DuplicatesOption = False,
    restore_hot: RestoreOption = False,
    allow_partial: PartialOption = False,
    no_cache: NoCacheOption = False,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    query: QueryOption = None,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Lists events, and properties with their types and most frequent values."""
    from evenshard.client import connect

    flags = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "include_hidden": include_hidden,
        "include_duplicates": include_duplicates,
        "restore_hot": restore_hot, "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given, timeout_s = _given(flags, query, "tenant"), duration_s(timeout)
    with connect(gateway=gateway) as client:
        if query is not None:
            result = client.schema_of(read_request(query), timeout=timeout_s)
        else:
            result = client.schema(**given, timeout=timeout_s)
    end_with(result, result.blocks(), as_json=json_output)


def timeline(
    tenant: TenantOption = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="The user's distinct_id.")] = None,
    from_date: FromOption = None,
    to_date: ToOption = None,
    where: WhereOption = None,
    page_size: Annotated[int | None, typer.Option(min=1, help="Events a page; default 100, at most 10,000.")] = None,
    page_token: Annotated[str | None, typer.Option(metavar="T", help="The next_page_token of the page before.")] = None,
    include_duplicates: DuplicatesOption = False,
    restore_hot: RestoreOption = False,
    allow_partial: PartialOption = False,
    no_cache: NoCacheOption = False,
    timeout: TimeoutOption = TIMEOUT_DEFAULT,
    query: QueryOption = None,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows one user's events in order, a page at a time."""
    from evenshard.client import connect

    flags = {
        "tenant": tenant, "user": user, "from_date": from_date, "to_date": to_date, "where": where,
        "page_size": page_size, "page_token": page_token, "include_duplicates": include_duplicates,
        "restore_hot": restore_hot,
        "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given, timeout_s = _given(flags, query, "tenant", "user"), duration_s(timeout)
    with connect(gateway=gateway) as client:
        if query is not None:
            result = client.timeline_of(read_request(query), timeout=timeout_s)
        else:
            result = client.timeline(given.pop("user"), **given, timeout=timeout_s)
    end_with(result, result.blocks(), as_json=json_output)


def _given(flags: Mapping[str, Any], query: str | None, *needed: str) -> dict[str, Any]:
    """The flags that were given. Raises ``USAGE`` where they are too few, or there are some besides a whole request."""
    given = {name: value for name, value in flags.items() if value}
    if query is not None and given:
        raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
    missing = [name for name in needed if name not in given and query is None]
    if missing:
        raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
    return given
