"""``evenshard admin repair``: what became of a hot key is put right, or taken back."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
import typer

from evenshard.cli.confirm import YesOption, check_can_ask, confirm
from evenshard.cli.operation_shown import shown_operation
from evenshard.cli.operations_command import OperationArgument, waited
from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, print_note, print_result
from evenshard.cli.values import duration_s
from evenshard.errors import EvenshardError

_EXAMPLE_CHARACTERS_MAX: Final = 200
_DOES: Final[Mapping[str, str]] = {
    "restore": "shows {rewritten:,} rewritten events of it under their original names and id again",
    "reassign": "moves {meant:,} events of it to the ids that {property!r} holds; {left:,} without one are left",
    "delete": "hides {meant:,} events of it at once: {kept:,} kept and {rewritten:,} rewritten",
    "export": "writes {meant:,} events of it, and changes nothing",
}

WaitOption = Annotated[bool, typer.Option("--wait", help="Until it has ended; Ctrl-C ends only the waiting.")]
TimeoutOption = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")]


def repair(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose key.")],
    user: Annotated[str, typer.Option(metavar="ID", help="The key's distinct_id.")],
    from_date: Annotated[str, typer.Option("--from", metavar="DATE", help="First UTC date.")],
    to_date: Annotated[str, typer.Option("--to", metavar="DATE", help="Last UTC date.")],
    action: Annotated[
        Literal["restore", "reassign", "delete", "export"],
        typer.Option(help="Show as they came; give another id; delete; or write out, already fixed."),
    ],
    distinct_id_from: Annotated[
        str | None, typer.Option("--distinct-id-from", metavar="P", help="The property that holds the right id.")
    ] = None,
    include_earlier: Annotated[
        bool, typer.Option("--include-earlier", help="reassign: the events of before the key was hot too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do, with examples.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="F", help="export: write the events there.")] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = "10m",
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Repairs what became of a hot key's events, on the UTC dates on which it is hot."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    if not (dry_run or action == "export"):
        check_can_ask(yes=yes)
    if out is not None and action != "export":
        raise EvenshardError("USAGE", f"--out is of export: {action} writes nothing")
    asked: dict[str, Any] = {
        "distinct_id_from": distinct_id_from,
        "include_earlier": include_earlier,
        "tenant": tenant,
        "timeout": timeout_s,
    }
    with connect(router) as client:
        if action == "export" and not dry_run:
            _export(client, user, from_date, to_date, distinct_id_from, tenant, timeout_s, out, json_output=json_output)
            return
        if dry_run or not yes:
            plan = client.repair_plan(user, from_date, to_date, action, **asked)
            told = _plan(plan, tenant, user, action, distinct_id_from, include_earlier=include_earlier)
            if dry_run:
                print_result(plan, as_json=json_output, human=lambda _: told)
                return
            confirm(told, yes=yes)
        document = client.repair(user, from_date, to_date, action, **asked)
        _end(client, document, timeout_s, wait=wait, json_output=json_output)


def repair_undo(
    operation: OperationArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = "10m",
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Takes a repair back: answers are what they were before it. Within 7 days of its end."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    check_can_ask(yes=yes)
    with connect(router) as client:
        if not yes:
            planned = client.undo_repair(operation, dry_run=True, timeout=timeout_s)
            rows = f"{planned['rows_total']:,} events of tenant {planned['tenant']}"
            confirm(f"This takes the repair of {rows} back; later ones stay as they are.", yes=yes)
        document = client.undo_repair(operation, timeout=timeout_s)
        _end(client, document, timeout_s, wait=wait, json_output=json_output)


def add_to(app: typer.Typer) -> None:
    """The commands, below ``admin``."""
    app.command("repair")(repair)
    app.command("repair-undo")(repair_undo)


def _end(client: Any, document: Mapping[str, Any], timeout_s: float, *, wait: bool, json_output: bool) -> None:
    if wait:
        waited(client, document["operation"], timeout_s, json_output=json_output)
        return
    name = document["operation"]
    watch = shlex.join(["evenshard", "admin", "wait", name])
    undo = shlex.join(["evenshard", "admin", "repair-undo", name])
    follow = f"\n  to follow it: {watch}\n  to take it back: {undo}"
    print_result(document, as_json=json_output, human=lambda found: shown_operation(found) + follow)


def _export(
    client: Any,
    user: str,
    from_date: str,
    to_date: str,
    distinct_id_from: str | None,
    tenant: str,
    timeout_s: float,
    out: Path | None,
    *,
    json_output: bool,
) -> None:
    asked = {"distinct_id_from": distinct_id_from, "tenant": tenant, "timeout": timeout_s}
    if out is None:
        rows = client.export_hot_key(user, from_date, to_date, sys.stdout.buffer.write, **asked)
        sys.stdout.buffer.flush()
        print_note(f"{rows:,} events")
        return
    try:
        with out.open("wb") as file:
            rows = client.export_hot_key(user, from_date, to_date, file.write, **asked)
    except OSError as error:
        raise EvenshardError("USAGE", f"{out}: {error.strerror}", hint="choose a file that can be written") from error
    size = os.stat(out).st_size
    document = {"rows": rows, "bytes": size, "complete": True}
    print_result(document, as_json=json_output, human=lambda _: f"{rows:,} events, {size:,} bytes: {out}")


def _plan(
    plan: Mapping[str, Any], tenant: str, user: str, action: str, source: str | None, *, include_earlier: bool
) -> str:
    kept, rewritten = plan["kept_rows"], plan["rewritten_rows"]
    meant = rewritten + (kept if include_earlier or action in ("delete", "export") else 0)
    does = _DOES[action].format(kept=kept, rewritten=rewritten, meant=meant, left=plan["left_rows"], property=source)
    lines = [
        f"The key {user!r} of tenant {tenant} is hot on {', '.join(plan['days'])} (UTC).",
        f"  This {does} ({plan['bytes']:,} bytes).",
    ]
    for example in plan["examples"]:
        lines += [f"  before  {_line(example['before'])}", f"  after   {_line(example['after'])}"]
    if plan["left"]:
        lines += [f"  left    {_line(event)}" for event in plan["left"][:3]]
    return "\n".join(lines)


def _line(event: Any) -> str:
    if event is None:
        return "(deleted)"
    text = orjson.dumps(event).decode()
    return text if len(text) <= _EXAMPLE_CHARACTERS_MAX else text[: _EXAMPLE_CHARACTERS_MAX - 1] + "…"
