"""``evenshard query funnel``: how far users come, as bars or JSON."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from evenshard.cli.bars import bar, percent
from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption, finish, print_result
from evenshard.cli.query_flags import account, flag, read_request
from evenshard.cli.values import duration_s, shown, table
from evenshard.errors import EvenshardError, ExitStatus

_LARGER: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def funnel(
    tenant: Annotated[str | None, typer.Option(help="Whose events.")] = None,
    from_date: Annotated[str | None, typer.Option("--from", metavar="D", help="First day of entries.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", metavar="D", help="Last day of entries, inclusive.")] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help='NAME, NAME|NAME or *, perhaps with " where EXPR"; 2 to 32 of them.'),
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="DURATION", help="From the first step, inclusive; default 30d, at most 366d.")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(metavar="PROP", help="Break down by this property; up to 3.")] = None,
    by_step: Annotated[
        str | None,
        typer.Option(metavar="first|last|N", help="The step whose values count; default the first with any."),
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help='As: ext in [".py", ".pyi"]')] = None,
    limit: Annotated[int | None, typer.Option(min=1, help='Groups to show, the rest is "$other"; default 60.')] = None,
    include_duplicates: Annotated[bool, typer.Option("--include-duplicates", help="Count copies too.")] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Answer without the shards that cannot; exit status 1.")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")] = "30s",
    query: Annotated[
        str | None, typer.Option(metavar="F.json", help="The whole request as proto3 JSON, instead of flags.")
    ] = None,
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Counts users who do the steps in order within a window; other events may lie between."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    flags: dict[str, Any] = {
        "tenant": tenant, "from_date": from_date, "to_date": to_date, "step": step, "window": window, "by": by,
        "by_step": by_step, "where": where, "limit": limit, "include_duplicates": include_duplicates,
        "allow_partial": allow_partial,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value not in (None, False, [])}
    with connect(gateway=gateway) as client:
        if query is not None:
            if given:
                raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
            result = client.funnel_of(read_request(query), timeout=timeout_s)
        else:
            missing = [name for name in ("tenant", "from_date", "to_date", "step") if name not in given]
            if missing:
                raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
            result = client.funnel(given.pop("step"), **given, timeout=timeout_s)
    names = result.by
    print_result(result.to_dict(), as_json=json_output, human=lambda document: _answer(document, names))
    if not result.meta["complete"]:
        finish(ExitStatus.PARTIAL)


def _answer(document: Mapping[str, Any], by: Sequence[str]) -> str:
    parts = [_everybody(document["overall"]["steps"])]
    if by:
        parts.append(_groups(document["groups"], by))
    return "\n\n".join([*parts, account(document["meta"])])


def _everybody(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            step["step"],
            step["name"],
            step["count"],
            bar(step["conversion_from_first"]),
            percent(step["conversion_from_first"]),
            percent(step["conversion_from_previous"]),
            _time(step["median_seconds_from_previous"]),
            _time(step["avg_seconds_from_previous"]),
        ]
        for step in steps
    ]
    return table(["", "step", "users", "", "of first", "of previous", "median time", "average"], rows)


def _groups(groups: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    rows = [
        [
            *map(shown, group["by"]),
            *(step["count"] for step in group["steps"]),
            bar(group["steps"][-1]["conversion_from_first"]),
            percent(group["steps"][-1]["conversion_from_first"]),
        ]
        for group in groups
    ]
    steps = [f"{step['step']} {step['name']}" for step in groups[0]["steps"]] if groups else []
    return table([*by, *steps, "", "converted"], rows)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in _LARGER:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"
