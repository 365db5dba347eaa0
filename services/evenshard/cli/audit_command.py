"""``evenshard admin audit``: who changed what."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, print_result
from evenshard.cli.values import table

VALUES_SHOWN_MAX: Final = 4
MOVES_SHOWN_MAX: Final = 2


def audit(
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what changed this tenant, shard or operation.")
    ] = None,
    verb: Annotated[str | None, typer.Option(metavar="VERB", help="Only this verb, as move or update-tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest.")] = 100,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Lists what operators changed, newest last: who, what, before and after."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.audit(subject=subject, verb=verb, limit=limit)
    print_result(document, as_json=json_output, human=_changes)


def add_to(app: typer.Typer) -> None:
    """The command, below ``admin``."""
    app.command("audit")(audit)


def _changes(document: Mapping[str, Any]) -> str:
    rows = [
        [_second(each["at_ms"]), each["who"], each["verb"], each["subject"], change(each["before"], each["after"])]
        for each in document["changes"]
    ]
    shown = table(("when", "who", "verb", "subject", "change"), rows)
    if not document["left_out"]:
        return shown
    return f"{shown}\n{document['left_out']:,} older ones are not shown: see --limit, --subject, --verb"


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What is not as it was."""
    if "moves" in after:
        return _moves(after)
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    told = [_value(name, before, after) for name in names[:VALUES_SHOWN_MAX]]
    more = len(names) - VALUES_SHOWN_MAX
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _second(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _value(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if name not in before:
        return f"{name} {_text(after[name])}"
    if name not in after:
        return f"{name} was {_text(before[name])}"
    return f"{name} {_text(before[name])} → {_text(after[name])}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _moves(after: Mapping[str, Any]) -> str:
    told = []
    for move in after["moves"][:MOVES_SHOWN_MAX]:
        first, last = move["slots"]
        overflow = " of the overflow" if move["overflow"] else ""
        told.append(f"{move['tenant']} {first}-{last}{overflow}: {move['from']} → {move['to']}")
    more = after["count"] - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more > 0 else "")
