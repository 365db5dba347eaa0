"""``evenshard admin``: deleting users, and the operations that do what takes long."""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from evenshard.cli.confirm import YesOption, check_can_ask, confirm
from evenshard.cli.operation_shown import named_operation, shown_operation
from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_result
from evenshard.cli.values import duration_s, table
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.text.moves import is_settled

IDS_SHOWN_MAX: Final = 10
OperationArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id: see evenshard admin operations.")]


def delete_users(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose users.")],
    distinct_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Their distinct_ids, at most 1,000.")],
    block: Annotated[bool, typer.Option("--block", help="Refuse events of theirs from now on.")] = False,
    yes: YesOption = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait until they are hidden.")] = "30s",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Hides everything some users did until now, at once; then removes the bytes."""
    from evenshard.client import connect

    timeout_s = duration_s(timeout)
    check_can_ask(yes=yes)
    with connect(router) as client:
        if not yes:
            client.delete_users(distinct_ids, tenant=tenant, block=block, dry_run=True)
            confirm(_deletion(tenant, distinct_ids, block=block), yes=yes)
        operation = client.delete_users(distinct_ids, tenant=tenant, block=block, timeout=timeout_s)
    watch = f"evenshard admin wait {operation['operation']}"
    print_result(
        {"operation": operation["operation"]},
        as_json=json_output,
        human=lambda document: f"hidden; operation {document['operation']} removes the bytes\n  to follow it: {watch}",
    )


def list_operations(
    tenant: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Lists operations, the newest first."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.operations(tenant)
    print_result(document, as_json=json_output, human=_operations)


def show_operation(
    operation: OperationArgument, router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False
) -> None:
    """Shows an operation."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.operation(operation)
    print_result(document, as_json=json_output, human=shown_operation)


def wait(
    operation: OperationArgument,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")] = "60s",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Waits until an operation has ended; Ctrl-C ends the waiting, not the operation."""
    from evenshard.client import connect

    with connect(router) as client:
        waited(client, operation, duration_s(timeout), json_output=json_output)


def waited(client: Any, operation: str, timeout_s: float, *, json_output: bool) -> None:
    """Prints the operation once it has ended; the exit status says whether it is complete."""
    go_on = f"it goes on by itself; to wait again: {shlex.join(['evenshard', 'admin', 'wait', operation])}"
    try:
        document = client.wait_operation(operation, timeout=timeout_s)
    except KeyboardInterrupt as interrupt:
        raise EvenshardError(
            "INTERRUPTED", "waits no longer; nothing was cancelled", hint=go_on, details={"operation": operation}
        ) from interrupt
    if not is_settled(document):
        details = {name: str(document[name]) for name in ("operation", "state", "rows_done", "rows_total")}
        if document["error"]:
            details["error"] = document["error"]
        raise EvenshardError(
            "DEADLINE_EXCEEDED",
            f"operation {operation} is {document['state']} after {timeout_s:g} s: {_progress(document)}",
            hint=go_on,
            details=details,
        )
    print_result(document, as_json=json_output, human=shown_operation)
    if document["state"] not in ("complete", "switched"):
        finish(ExitStatus.PARTIAL)


def cancel(
    operation: OperationArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Ends an operation that has changed nothing yet."""
    _change(operation, router, "cancel_operation", "This ends {}.", yes=yes, json_output=json_output)


def pause(
    operation: OperationArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Holds an operation until it is resumed: nothing new is begun for it."""
    _change(operation, router, "pause_operation", "This holds {}.", yes=yes, json_output=json_output)


def resume(
    operation: OperationArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Lets a paused operation go on."""
    _change(operation, router, "resume_operation", "This lets {} go on.", yes=yes, json_output=json_output)


def _change(operation: str, router: str, method: str, effect: str, *, yes: bool, json_output: bool) -> None:
    """Calls the client's ``method``, once somebody has agreed to its ``effect``, and shows the operation then."""
    from evenshard.client import connect

    check_can_ask(yes=yes)
    with connect(router) as client:
        change = getattr(client, method)
        if not yes:
            planned = change(operation, dry_run=True)
            confirm(effect.format(named_operation(planned)), yes=yes)
        document = change(operation)
    print_result(document, as_json=json_output, human=shown_operation)


def verify(
    operation: OperationArgument,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to compare.")] = "5m",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Compares what an operation planned with what is there; exit status 1 where they differ."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.verify_operation(operation, timeout=duration_s(timeout))
    print_result(document, as_json=json_output, human=_verified)
    if document["verify"] is not None and not document["verify"]["equal"]:
        finish(ExitStatus.PARTIAL)


def add_to(app: typer.Typer) -> None:
    """The commands, below ``admin``."""
    app.command("delete-users")(delete_users)
    app.command("operations")(list_operations)
    app.command("operation")(show_operation)
    app.command("wait")(wait)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("cancel")(cancel)
    app.command("verify")(verify)


def _deletion(tenant: str, distinct_ids: list[str], *, block: bool) -> str:
    users = list(dict.fromkeys(distinct_ids))
    more = len(users) - IDS_SHOWN_MAX
    shown = ", ".join(users[:IDS_SHOWN_MAX]) + (f" and {more:,} more" if more > 0 else "")
    then = "events of theirs are refused from then on" if block else "events of theirs that come later count anew"
    return (
        f"This deletes {len(users):,} {'user' if len(users) == 1 else 'users'} of tenant {tenant}: {shown}\n"
        f"  Everything stored of them until now is hidden at once, then removed; {then}.\n"
        "  It cannot be undone."
    )


def _progress(document: Mapping[str, Any]) -> str:
    return document["error"] or f"{document['rows_done']:,} of {document['rows_total']:,} rows"


def _verified(document: Mapping[str, Any]) -> str:
    found = document["verify"]
    if found is None:
        return f"{shown_operation(document)}\n  there is nothing to compare"
    told = ["what is there is what was planned"] if found["equal"] else found["differences"]
    return "\n  ".join([shown_operation(document), *told])


def _operations(document: Mapping[str, Any]) -> str:
    columns = ("operation", "kind", "tenant", "state", "rows_done", "rows_total", "error")
    rows = [[*(each[name] for name in columns[:-1]), each["error"] or ""] for each in document["operations"]]
    return table(columns, rows)
