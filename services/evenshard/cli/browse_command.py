"""``evenshard query schema`` and ``query timeline``: what there is to ask about, and what one user did."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption, finish, print_result
from evenshard.cli.query_flags import account, flag, read_request
from evenshard.cli.query_options import (
    TIMEOUT_DEFAULT,
    NoCacheOption,
    PartialOption,
    QueryOption,
    TenantOption,
    TimeoutOption,
    WhereOption,
)
from evenshard.cli.values import duration_s, shown, table
from evenshard.errors import EvenshardError, ExitStatus

_WIDTH: Final = 100
"""Characters of values a line."""

FromOption = Annotated[str | None, typer.Option("--from", metavar="D", help="First day, YYYY-MM-DD; none: any.")]
ToOption = Annotated[str | None, typer.Option("--to", metavar="D", help="Last day, inclusive; none: any.")]
DuplicatesOption = Annotated[bool, typer.Option("--include-duplicates", help="Copies too.")]


def schema(
    tenant: TenantOption = None,
    from_date: FromOption = None,
    to_date: ToOption = None,
    include_hidden: Annotated[bool, typer.Option("--include-hidden", help="Reserved events too.")] = False,
    include_duplicates: DuplicatesOption = False,
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
        "include_duplicates": include_duplicates, "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given, timeout_s = _given(flags, query, "tenant"), duration_s(timeout)
    with connect(gateway=gateway) as client:
        if query is not None:
            result = client.schema_of(read_request(query), timeout=timeout_s)
        else:
            result = client.schema(**given, timeout=timeout_s)
    _end(result, json_output, _schema_table)


def timeline(
    tenant: TenantOption = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="The user's distinct_id.")] = None,
    from_date: FromOption = None,
    to_date: ToOption = None,
    where: WhereOption = None,
    page_size: Annotated[int | None, typer.Option(min=1, help="Events a page; default 100, at most 10,000.")] = None,
    page_token: Annotated[str | None, typer.Option(metavar="T", help="The next_page_token of the page before.")] = None,
    include_duplicates: DuplicatesOption = False,
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
        "allow_partial": allow_partial, "no_cache": no_cache,
    }  # fmt: skip
    given, timeout_s = _given(flags, query, "tenant", "user"), duration_s(timeout)
    with connect(gateway=gateway) as client:
        if query is not None:
            result = client.timeline_of(read_request(query), timeout=timeout_s)
        else:
            result = client.timeline(given.pop("user"), **given, timeout=timeout_s)
    _end(result, json_output, _timeline_table)


def _given(flags: Mapping[str, Any], query: str | None, *needed: str) -> dict[str, Any]:
    """The flags that were given. Raises ``USAGE`` where they are too few, or there are some besides a whole request."""
    given = {name: value for name, value in flags.items() if value}
    if query is not None and given:
        raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
    missing = [name for name in needed if name not in given and query is None]
    if missing:
        raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
    return given


def _end(result: Any, json_output: bool, human: Any) -> None:
    print_result(result.to_dict(), as_json=json_output, human=human)
    if not result.meta["complete"]:
        finish(ExitStatus.PARTIAL)


def _schema_table(document: Mapping[str, Any]) -> str:
    events = [
        [each["name"], each["count"], each["display_name"] if each["display_name"] != each["name"] else ""]
        for each in document["events"]
    ]
    properties = [
        [each["name"], ", ".join(each["types"]), _cut(", ".join(map(_value, each["top_values"])))]
        for each in document["properties"]
    ]
    return "\n\n".join(
        [
            table(["event", "count", ""], events),
            table(["property", "types", "most frequent values"], properties),
            account(document["meta"]),
        ]
    )


def _timeline_table(document: Mapping[str, Any]) -> str:
    rows = []
    for event in document["events"]:
        properties = {
            name: value
            for name, value in event["properties"].items()
            if name not in ("distinct_id", "time", "$insert_id")
        }
        texts = [f"{name}={_value(value)}" for name, value in properties.items()]
        mark = "duplicate" if event.get("duplicate") else ""
        rows.append([_moment(event["properties"]["time"]), event["event"], _cut("  ".join(texts)), mark])
    parts = [table(["time (UTC)", "event", "properties", ""], rows)]
    if document["next_page_token"]:
        parts.append(f"there are more: --page-token {document['next_page_token']}")
    return "\n\n".join([*parts, account(document["meta"])])


def _moment(time_ms: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{time_ms % 1000:03}"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | float) else shown(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
