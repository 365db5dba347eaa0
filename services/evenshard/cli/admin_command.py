"""``evenshard admin``: tenants, compaction, storage; operations and repairs stand beside it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from evenshard.cli import audit_command, moves_command, operations_command, repair_command
from evenshard.cli.confirm import YesOption, check_can_ask, confirm
from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_blocks, print_result
from evenshard.cli.values import day_of_ms, duration_s, table
from evenshard.errors import EvenshardError, ExitStatus

_NAMED_MAX = 3

app = typer.Typer(help="Operate tenants, their storage and their users.")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="1-63 of a-z 0-9 _ -.")]
TimezoneOption = Annotated[str | None, typer.Option(help="IANA name; default UTC.")]
DedupeOption = Annotated[Literal["on", "off"] | None, typer.Option(help="Whether answers skip duplicates; default on.")]
StrictOption = Annotated[
    bool | None,
    typer.Option("--strict/--no-strict", help="Reject events without insert_id or with a placeholder distinct_id."),
]

ThresholdOption = Annotated[
    int | None,
    typer.Option("--hot-key-threshold", metavar="N", help="Events of an id and day that stay; default 100,000."),
]
ModeOption = Annotated[
    str | None,
    typer.Option("--hot-key-mode", metavar="rewrite|salt|observe", help="What becomes of the rest; default rewrite."),
]
RetentionOption = Annotated[
    int | None,
    typer.Option(
        "--retention-days",
        metavar="N",
        min=0,
        max=36_525,
        help="Hide and remove events older than N UTC days; 0 (default): keep all.",
    ),
]
EventsRateOption = Annotated[
    int | None,
    typer.Option(
        "--events-per-second", metavar="N", min=0, max=2**53, help="What each router takes; 0 (default): no limit."
    ),
]
BytesRateOption = Annotated[
    int | None,
    typer.Option(
        "--bytes-per-second",
        metavar="N",
        min=0,
        max=2**53,
        help="What each router takes, as sent; 0 (default): no limit.",
    ),
]
OwnerOption = Annotated[
    list[str] | None,
    typer.Option("--owner", metavar="ADDRESS", help="Who is told of hot keys; repeat for several, '': nobody."),
]
SinkOption = Annotated[
    str | None,
    typer.Option(
        "--report-sink",
        metavar="SINK",
        help="Reports go to file:DIR, webhook:URL or smtp:HOST[:PORT]; '': nowhere.",
    ),
]

LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--require-label",
        metavar="NAME=VALUE",
        help="Place it only on shards with this label; repeat for more (values of one name: any of them), '': none.",
    ),
]


@app.callback()
def _root() -> None:
    """Operate tenants, their storage and their users."""


operations_command.add_to(app)
repair_command.add_to(app)
moves_command.add_to(app)
audit_command.add_to(app)


@app.command()
def create_tenant(
    tenant: TenantArgument,
    timezone: TimezoneOption = None,
    dedupe: DedupeOption = None,
    strict: StrictOption = None,
    hot_key_threshold: ThresholdOption = None,
    hot_key_mode: ModeOption = None,
    retention_days: RetentionOption = None,
    events_per_second: EventsRateOption = None,
    bytes_per_second: BytesRateOption = None,
    owner: OwnerOption = None,
    report_sink: SinkOption = None,
    require_label: LabelOption = None,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Makes a tenant."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.create_tenant(
            tenant,
            timezone=timezone,
            dedupe=_on(dedupe),
            strict=strict,
            hot_key_threshold=hot_key_threshold,
            hot_key_mode=hot_key_mode,
            retention_days=retention_days,
            events_per_second=events_per_second,
            bytes_per_second=bytes_per_second,
            owners=_list(owner),
            report_sink=report_sink,
            required_labels=_list(require_label),
        )
    print_result(document, as_json=json_output, human=_tenant)


@app.command()
def set_tenant(
    tenant: TenantArgument,
    timezone: TimezoneOption = None,
    dedupe: DedupeOption = None,
    strict: StrictOption = None,
    hot_key_threshold: ThresholdOption = None,
    hot_key_mode: ModeOption = None,
    retention_days: RetentionOption = None,
    events_per_second: EventsRateOption = None,
    bytes_per_second: BytesRateOption = None,
    owner: OwnerOption = None,
    report_sink: SinkOption = None,
    require_label: LabelOption = None,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Changes a tenant's settings; what is not given stays."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.set_tenant(
            tenant,
            timezone=timezone,
            dedupe=_on(dedupe),
            strict=strict,
            hot_key_threshold=hot_key_threshold,
            hot_key_mode=hot_key_mode,
            retention_days=retention_days,
            events_per_second=events_per_second,
            bytes_per_second=bytes_per_second,
            owners=_list(owner),
            report_sink=report_sink,
            required_labels=_list(require_label),
        )
    print_result(document, as_json=json_output, human=_tenant)


@app.command()
def delete_tenant(
    tenant: TenantArgument,
    yes: YesOption = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Takes a tenant out of use at once; for seven days it can be had back, then all of it is removed."""
    from evenshard.client import connect

    check_can_ask(yes=yes)
    with connect(router) as client:
        if not yes:
            planned = client.delete_tenant(tenant, dry_run=True)
            confirm(
                f"This takes tenant {tenant} out of use: imports and queries of it are refused from now on.\n"
                f"  Until {day_of_ms(planned['kept_until_ms'])} it can be had back, then all of it is removed.",
                yes=False,
            )
        document = client.delete_tenant(tenant)
    until = day_of_ms(document.pop("kept_until_ms"))
    back = f"to have it back, until {until}: evenshard admin undelete-tenant {tenant}"
    print_result(document, as_json=json_output, human=lambda _: f"tenant {tenant} is deleted\n  {back}")


@app.command()
def undelete_tenant(
    tenant: TenantArgument, router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False
) -> None:
    """Brings a deleted tenant back, as it was."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.undelete_tenant(tenant)
    print_result(document, as_json=json_output, human=_tenant)


@app.command("tenant")
def show_tenant(tenant: TenantArgument, router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Shows a tenant's settings and placement."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.tenant(tenant)
    print_result(document, as_json=json_output, human=_tenant)


@app.command("tenants")
def list_tenants(router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Lists all tenants."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.tenants()
    print_result(document, as_json=json_output, human=_tenants)


@app.command()
def compact(
    tenant: Annotated[str | None, typer.Option(help="Whose rows; needed but for --pause and --resume.")] = None,
    day: Annotated[str | None, typer.Option(metavar="D", help="Only this UTC day, YYYY-MM-DD.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Answer when it is done, not when it is queued.")] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Compact only when asked, or when very many rows wait; until --resume.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="End a pause.")] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")] = "10m",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Indexes a tenant's logged rows. --pause and --resume: of a tenant, or of everybody; a restart ends a pause."""
    from evenshard.client import connect

    if pause or resume:
        if (pause and resume) or wait or day is not None:
            raise EvenshardError("USAGE", "--pause and --resume stand alone, with --tenant at most")
        with connect(router) as client:
            document = client.pause_compaction(tenant) if pause else client.resume_compaction(tenant)
        print_result(document, as_json=json_output, human=_compaction_states)
        return
    if tenant is None:
        raise EvenshardError("USAGE", "--tenant says whose rows")
    timeout_s = duration_s(timeout)
    with connect(router) as client:
        document = client.compact(tenant, day=day, wait=wait, timeout=timeout_s)
    print_result(document, as_json=json_output, human=_compaction)


@app.command()
def storage(
    tenant: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows what tenants occupy."""
    from evenshard.client import connect

    with connect(router) as client:
        document = client.storage(tenant)
    print_result(document, as_json=json_output, human=_storage)


@app.command("shards")
def list_shards(router: RouterOption = ROUTER_DEFAULT, json_output: JsonOption = False) -> None:
    """Shows every shard with its load in the last seconds; exit status 1 where one is down."""
    from evenshard.client import connect
    from evenshard.text.heat import shard_blocks

    with connect(router) as client:
        document = client.shards()
    print_blocks(document, shard_blocks(document), as_json=json_output)
    if any(each["state"] == "down" for each in document["shards"]):
        finish(ExitStatus.PARTIAL)


def _list(given: list[str] | None) -> list[str] | None:
    """None: as it is; one that is empty: nothing."""
    return None if given is None else [each for each in given if each]


def _on(dedupe: str | None) -> bool | None:
    return None if dedupe is None else dedupe == "on"


def _tenant(document: Mapping[str, Any]) -> str:
    placement = document["placement"]
    pieces = ", ".join(f"{each['first']}-{each['last']} {each['shard']}" for each in placement["slots"])
    return (
        f"{document['tenant']}: time zone {document['timezone']}, dedupe {'on' if document['dedupe'] else 'off'}, "
        f"strict {'on' if document['strict'] else 'off'}\n"
        f"  hot keys: {document['hot_key_mode']}, behind {document['hot_key_threshold']:,} events of an id and day\n"
        f"  retention: {_or_none(document['retention_days'], 'days', 'events stay for ever')}; limits of each router: "
        f"{_or_none(document['events_per_second'], 'events/s')}, {_or_none(document['bytes_per_second'], 'bytes/s')}\n"
        f"  reports of hot keys: {document['report_sink'] or 'none'}; owners: "
        f"{', '.join(document['owners']) or 'none'}\n"
        f"  placed on shards with: {', '.join(document['required_labels']) or 'any labels'}\n"
        f"  slots (epoch {placement['epoch']}): {pieces}"
    )


def _or_none(value: int | None, unit: str, none: str = "") -> str:
    return (none or f"no limit of {unit}") if value is None else f"{value:,} {unit}"


def _tenants(document: Mapping[str, Any]) -> str:
    rows = [
        (
            each["tenant"],
            each["timezone"],
            "on" if each["dedupe"] else "off",
            "on" if each["strict"] else "off",
            " ".join(dict.fromkeys(piece["shard"] for piece in each["placement"]["slots"])),
        )
        for each in document["tenants"]
    ]
    return table(("tenant", "time zone", "dedupe", "strict", "shards"), rows)


def _compaction(document: Mapping[str, Any]) -> str:
    return (
        f"{document['segments_written']:,} segments written, {document['rows']:,} rows "
        f"({document['duplicates_marked']:,} marked as duplicates); {document['backlog_rows']:,} rows wait"
    )


def _storage(document: Mapping[str, Any]) -> str:
    columns = ("tenant", "log_rows", "segment_rows", "duplicate_rows", "segments", "files", "bytes")
    tenants = table(columns, [[each[name] for name in columns] for each in document["tenants"]])
    return f"{tenants}\n\n{_compaction_states(document)}\n\n{_memory(document)}"


def _memory(document: Mapping[str, Any]) -> str:
    """MiB of each part of a shard, beside its bound."""
    names = [part["part"] for part in document["memory"][0]["parts"]] if document["memory"] else []
    rows = [
        (
            each["shard"],
            _of(each["resident_bytes"], each["bytes_max"]),
            *(_of(part["bytes"], part["bytes_max"]) for part in each["parts"]),
        )
        for each in document["memory"]
    ]
    return table(("shard", "MiB resident", *names), rows)


def _of(size: int, size_max: int) -> str:
    return f"{size >> 20} of {size_max >> 20}"


def _compaction_states(document: Mapping[str, Any]) -> str:
    rows = [
        (
            each["shard"],
            _paused(each),
            each["backlog_rows"],
            each["log_files"],
            ", ".join(each["log_kept_by"][:_NAMED_MAX]),
            ", ".join(each["failing_tenants"][:_NAMED_MAX]),
        )
        for each in document["compaction"]
    ]
    return table(("shard", "compaction", "rows waiting", "log files", "oldest kept by", "failing"), rows)


def _paused(state: Mapping[str, Any]) -> str:
    if state["paused"]:
        return "paused"
    return f"paused for {', '.join(state['paused_tenants'])}" if state["paused_tenants"] else "on"
