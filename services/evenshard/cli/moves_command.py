"""``evenshard admin``: what moves slots of tenants from shard to shard, and how shards are used."""

import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from evenshard.cli.confirm import YesOption, check_can_ask, confirm
from evenshard.cli.move_progress import moved
from evenshard.cli.operation_shown import named_operation, shown_operation
from evenshard.cli.operations_command import OperationArgument
from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, print_blocks, print_result
from evenshard.cli.values import duration_s
from evenshard.text.look import Look
from evenshard.text.moves import plan_blocks
from evenshard.text.paint import paint

_MB: Final = 1_000_000

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Whose slots.")]
ShardArgument = Annotated[str, typer.Argument(metavar="SHARD", help="As shard-0: see evenshard admin shards.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Until it has switched (drain, rebalance: until its end).")]
TimeoutOption = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")]
RequestOption = Annotated[
    str | None, typer.Option("--request-id", metavar="ID", help="Sent again with the same ID it begins nothing new.")
]
RevisionOption = Annotated[
    int | None,
    typer.Option(
        "--expect-revision", metavar="N", min=1, help="A plan's directory_revision: refuse if it changed since."
    ),
]
ThrottleOption = Annotated[
    int | None, typer.Option("--throttle-mb", metavar="N", min=2, help="Copy at most N MB/s; default: all there is.")
]


def move(
    tenant: TenantArgument,
    to: Annotated[str, typer.Option("--to", metavar="SHARD", help="Where they go.")],
    slots: Annotated[
        str | None, typer.Option("--slots", metavar="A-B", help="Only these, both inclusive; default: all.")
    ] = None,
    overflow: Annotated[bool, typer.Option("--overflow", help="Slots of hot keys' overflow, not the others.")] = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Moves slots of a tenant to another shard, while it is used."""
    from evenshard.directory.planning import slots_given

    asked = {"slots": None if slots is None else slots_given(slots), "overflow": overflow}
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_move(tenant, to, **asked, **how),
        lambda client: client.move_tenant(tenant, to, **asked, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def split(
    tenant: TenantArgument,
    to: Annotated[list[str], typer.Option("--to", metavar="SHARD", help="What it gets besides; repeat for several.")],
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Spreads a tenant evenly over its shards and more."""
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_split(tenant, to, **how),
        lambda client: client.split_tenant(tenant, to, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def merge(
    tenant: TenantArgument,
    to: Annotated[str, typer.Option("--to", metavar="SHARD", help="Where all of it goes.")],
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Brings a tenant from several shards to one."""
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_merge(tenant, to, **how),
        lambda client: client.merge_tenant(tenant, to, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def isolate(
    tenant: TenantArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="SHARD", help="Where; default: a shard that has nobody's slots.")
    ] = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Gives a tenant a shard of its own, overflow included, and cordons that."""
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_isolate(tenant, to, **how),
        lambda client: client.isolate_tenant(tenant, to, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def drain(
    shard: ShardArgument,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Moves everything away from a shard, for good; nothing new is placed there."""
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_drain(shard, **how),
        lambda client: client.drain_shard(shard, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def rebalance(
    policy: Annotated[
        str, typer.Option(metavar="even|promote", help="promote: only large tenants get more shards.")
    ] = "even",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "1h",
    request_id: RequestOption = None,
    expect_revision: RevisionOption = None,
    throttle_mb: ThrottleOption = None,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Moves slots from the fullest shards to the emptiest, at most 1,000 runs of them."""
    how = _how(request_id, expect_revision, throttle_mb)
    _begin(
        router,
        lambda client: client.plan_rebalance(policy, **how),
        lambda client: client.rebalance(policy, **how),
        _Asked(dry_run, wait, timeout, yes, json_output),
    )


def cordon(shard: ShardArgument, router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Places nothing new on a shard: no new tenant, no overflow, no move."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.cordon_shard(shard)
    print_result(document, as_json=json_output, human=_shard)


def uncordon(shard: ShardArgument, router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Uses a shard for everything again."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.uncordon_shard(shard)
    print_result(document, as_json=json_output, human=_shard)


def rollback(
    operation: OperationArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Takes back a move that has switched, or a drain or rebalancing that goes on: the slots are where they were, with
    all that came since."""
    _end(operation, "rollback_operation", "The slots go back to where they were.", router, yes, json_output)


def complete(
    operation: OperationArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Ends a move that has switched: its sources drop what they still have, and it cannot be rolled back any more."""
    ends = "Its sources drop what they still have of the slots; it cannot be rolled back any more."
    _end(operation, "complete_operation", ends, router, yes, json_output)


def add_to(app: typer.Typer) -> None:
    """The commands, below ``admin``."""
    for command in (move, split, merge, isolate, cordon, uncordon, drain, rebalance, rollback, complete):
        app.command(command.__name__)(command)


class _Asked:
    """How a command is to behave."""

    def __init__(self, dry_run: bool, wait: bool, timeout: str, yes: bool, as_json: bool) -> None:
        self.dry_run = dry_run
        self.wait = wait
        self.timeout_s = duration_s(timeout)
        self.yes = yes
        self.as_json = as_json


def _how(request_id: str | None, expect_revision: int | None, throttle_mb: int | None) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "expect_revision": expect_revision,
        "bytes_per_second": (throttle_mb or 0) * _MB,
    }


def _begin(
    router: str, plan: Callable[[Any], dict[str, Any]], begin: Callable[[Any], dict[str, Any]], asked: _Asked
) -> None:
    from evenshard.client import connect

    if not asked.dry_run:
        check_can_ask(yes=asked.yes)
    with connect(router) as client:
        if asked.dry_run:
            document = plan(client)
            print_blocks(document, plan_blocks(document), as_json=asked.as_json)
            return
        if not asked.yes:
            confirm(paint(plan_blocks(plan(client)), Look(width=None, color=False)), yes=False)
        document = begin(client)
        if asked.wait:
            moved(client, document, asked.timeout_s, json_output=asked.as_json, live=sys.stderr.isatty())
            return
    print_result(document, as_json=asked.as_json, human=lambda found: f"{shown_operation(found)}\n{_follow(document)}")


def _follow(document: Mapping[str, Any]) -> str:
    verbs = [("to follow it", "wait"), ("to end it", "cancel")]
    if not document["tenant"]:  # it completes its moves itself
        verbs.append(("to take it back, while it goes on", "rollback"))
    return "\n".join(
        f"  {what}: {shlex.join(['evenshard', 'admin', verb, document['operation']])}" for what, verb in verbs
    )


def _end(operation: str, method: str, effect: str, router: str, yes: bool, as_json: bool) -> None:
    from evenshard.client import connect

    check_can_ask(yes=yes)
    with connect(router) as client:
        change = getattr(client, method)
        if not yes:
            planned = change(operation, dry_run=True)
            confirm(f"{named_operation(planned)}: {effect}", yes=False)
        document = change(operation)
    print_result(document, as_json=as_json, human=shown_operation)


def _shard(document: Mapping[str, Any]) -> str:
    return f"{document['shard']} at {document['address']} is {document['state']}"
