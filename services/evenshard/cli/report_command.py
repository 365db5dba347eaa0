"""``evenshard report``: which keys became hot in a week, and what to do; sent to their owners once a week."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from evenshard.cli.output import (
    ROUTER_DEFAULT,
    JsonOption,
    RouterOption,
    finish,
    print_blocks,
    print_note,
    print_result,
)
from evenshard.cli.settings import load_settings
from evenshard.cli.values import duration_s, table
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.hotkeys.weeks import Days, days_of_week, past_days, week_of

app = typer.Typer(help="Report hot keys.")

WeekOption = Annotated[
    str | None, typer.Option(metavar="WEEK", help="ISO week, as 2026-W47; none: the past 7 days, as of this week.")
]
_MEANT: Final = {
    "sent": "sent",
    "nothing_found": "nothing found, nothing sent",
    "failed": "FAILED: start it again",
    "no_sink": "no --report-sink",
    "already_sent": "was sent already",
    "somebody_sends_it": "somebody is sending it",
}


@app.callback()
def _root() -> None:
    """Report hot keys."""


@app.command("hot-keys")
def hot_keys(
    tenant: Annotated[str, typer.Option(help="Whose.")],
    week: WeekOption = None,
    html: Annotated[Path | None, typer.Option(metavar="F", help="Write it as a page besides.")] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")] = "2m",
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows which keys became hot, which events and ids that were, what stands out, and what to do."""
    from evenshard.client import connect
    from evenshard.text.hot_key_report import hot_key_report_blocks, page

    days, timeout_s = _days(week)[1], duration_s(timeout)
    with connect(router) as client:
        document = client.hot_key_report(days.first, days.last, tenant=tenant, timeout=timeout_s)
    if html is not None:
        try:
            html.write_text(page(document), encoding="utf-8")
        except OSError as failed:
            raise EvenshardError("USAGE", f"cannot write {html}: {failed.strerror}") from failed
        print_note(f"written to {html}")
    print_blocks(document, hot_key_report_blocks(document), as_json=json_output)


@app.command()
def send(
    tenant: Annotated[str | None, typer.Option(help="Only this one's; none: of all that have a --report-sink.")] = None,
    week: WeekOption = None,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Sends reports to the sinks of their tenants: each once a tenant and ISO week, however often this is started, and
    none where nothing was found. Exit status 1 where one could not be sent; start it again."""
    import secrets

    from evenshard.cli.report_sending import Sending, send_report
    from evenshard.client import connect

    name, days = _days(week)
    sending = Sending(name, days, secrets.token_hex(16), load_settings().report_sender)
    with connect(router) as client:
        tenants = [client.tenant(tenant)] if tenant else client.tenants()["tenants"]
        wanted = [each for each in tenants if tenant or each["report_sink"]]
        reports = [send_report(client, each, sending) for each in wanted]
    document = {"week": name, "from": str(days.first), "to": str(days.last), "reports": reports}
    if json_output and tenant:
        document = reports[0]
    print_result(document, as_json=json_output, human=_sent)
    if any(each["outcome"] in ("failed", "no_sink") for each in reports):
        finish(ExitStatus.PARTIAL)


def _days(week: str | None) -> tuple[str, Days]:
    """The week's name, and the days a report is of. Raises ``RANGE_INVALID`` for a week to come."""
    today = datetime.now(UTC).date()
    if week is None:
        return week_of(today), past_days(today)
    days = days_of_week(week)
    if days.first > today:
        raise EvenshardError("RANGE_INVALID", f"week: {week} has not begun, today is {today}")
    return week, days


def _sent(document: Mapping[str, Any]) -> str:
    if not document["reports"]:
        return "no tenant has a --report-sink"
    rows = [
        (each["tenant"], _MEANT.get(each["outcome"], each["outcome"]), each["hot_key_count"], each["sink"] or "",
         each["attempts"], each["error"] or "")
        for each in document["reports"]
    ]  # fmt: skip
    head = f"week {document['week']}, {document['from']} to {document['to']} (UTC)"
    return f"{head}\n{table(('tenant', 'report', 'hot keys', 'sink', 'attempts', 'error'), rows)}"
