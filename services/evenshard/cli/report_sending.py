"""Sends weekly reports: claims, makes, delivers with retries, records; whatever happens to one tenant, the next has its
turn."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from evenshard.directory.report_record import ReportRecord, State
from evenshard.directory.report_sink import parse_sink
from evenshard.errors import EvenshardError
from evenshard.hotkeys.weeks import Days
from evenshard.runtime.sinks import Delivery, NotDelivered, deliver
from evenshard.text.hot_key_report import hot_key_report_blocks, page, title_of
from evenshard.text.paint import paint
from evenshard.wire.report_records import report_record_document

ATTEMPTS_MAX: Final = 4
"""Deliveries of one report; then it has failed, until sending is started again."""
PAUSES_S: Final = (1.0, 2.0, 4.0)
"""Between them."""
REPORT_TIMEOUT_S: Final = 120.0
"""To make one."""


class Reporting(Protocol):
    """What a client is asked for."""

    def hot_key_report(self, from_date: Any, to_date: Any, *, tenant: str, timeout: float) -> dict[str, Any]: ...
    def claim_report(self, tenant: str, week: str, claimant: str) -> tuple[bool, ReportRecord]: ...
    def record_report(self, outcome: ReportRecord) -> ReportRecord: ...


@dataclass(frozen=True, slots=True)
class Sending:
    """One start of ``report send``."""

    week: str
    days: Days
    claimant: str
    sender: str
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now().astimezone()


def send_report(client: Reporting, tenant: dict[str, Any], sending: Sending) -> dict[str, Any]:
    """What became of one tenant's report. ``tenant``: its document. Nothing is raised but what is nobody's failure:
    what went wrong is in ``error``, and written down as far as there is somebody to write it down."""
    name, sink = tenant["tenant"], tenant["report_sink"]
    nothing = ReportRecord(name, sending.week, "failed", "", 0, sink=sink or "")
    if not sink:
        return _told(nothing, sending, outcome="no_sink")
    try:
        mine, record = client.claim_report(name, sending.week, sending.claimant)
    except EvenshardError as error:
        return _told(replace(nothing, error=str(error)), sending)
    if not mine:
        return _told(record, sending, outcome="already_sent" if record.state == "sent" else "somebody_sends_it")
    outcome, document = _made_and_delivered(client, tenant, sending)
    try:
        return _told(client.record_report(outcome), sending, document)
    except EvenshardError as error:
        said = f"{outcome.state}, but not written down: {error}"
        return _told(replace(outcome, state="failed", error=said), sending, document)


def _made_and_delivered(
    client: Reporting, tenant: dict[str, Any], sending: Sending
) -> tuple[ReportRecord, dict[str, Any] | None]:
    """The outcome, and the report; None: it could not be made."""
    name, sink = tenant["tenant"], tenant["report_sink"]

    def outcome(state: State, hot_keys: int = 0, attempts: int = 0, error: str = "") -> ReportRecord:
        return ReportRecord(name, sending.week, state, sending.claimant, 0, sink, hot_keys, attempts, error)

    try:
        document = client.hot_key_report(sending.days.first, sending.days.last, tenant=name, timeout=REPORT_TIMEOUT_S)
        where = parse_sink(sink)
    except EvenshardError as error:
        return outcome("failed", error=str(error)), None
    hot_keys = len(document["hot_keys"]) + document["more_hot_keys"]
    if not hot_keys:
        return outcome("nothing_found"), document
    delivery = Delivery(
        name,
        sending.week,
        tenant["owners"],
        title_of(document),
        paint(hot_key_report_blocks(document)) + "\n",
        page(document),
        document,
        sending.sender,
        sending.now().timestamp(),
    )
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            return outcome("sent", hot_keys, attempt, deliver(delivery, where)), document
        except NotDelivered as refused:
            if attempt == ATTEMPTS_MAX:
                return outcome("failed", hot_keys, attempt, str(refused)), document
        sending.sleep(PAUSES_S[attempt - 1])
    raise AssertionError("the last attempt returns")


def _told(
    record: ReportRecord, sending: Sending, document: dict[str, Any] | None = None, outcome: str = ""
) -> dict[str, Any]:
    """With the keys that were found now; null: nobody looked."""
    told = report_record_document(record) | ({"outcome": outcome} if outcome else {})
    found = {"hot_keys": None, "more_hot_keys": 0} if document is None else document
    return {
        "tenant": record.tenant,
        "from": str(sending.days.first),
        "to": str(sending.days.last),
        "hot_keys": found["hot_keys"],
        "more_hot_keys": found["more_hot_keys"],
        **told,
    }
