"""Weekly reports to real local servers: delivered once, refusals retried and recorded, nothing lost."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from evenshard.cli.report_sending import ATTEMPTS_MAX, Sending, send_report
from evenshard.directory.report_record import ReportRecord, claimed, recorded
from evenshard.errors import EvenshardError
from evenshard.hotkeys.weeks import Days
from evenshard.ids import TenantId
from evenshard.testing.report_servers import MailServer, WebhookServer

WEEK, DAYS = "2026-W47", Days(date(2026, 11, 16), date(2026, 11, 22))
KEY = {
    "distinct_id": "<b>runaway</b>", "date": "2026-11-17", "mode": "rewrite", "threshold": 100, "kept": 100,
    "rewritten": 80, "events": {"heartbeat": 180},
    "stands_out": [{"property": "sdk", "value": "4.2.0", "share": 0.98, "share_elsewhere": 0.01}],
    "likely_cause": "sdk is \"4.2.0\" in 98% of its events", "advice": "look at the code",
}  # fmt: skip
REPORT = {"tenant": "acme", "from": "2026-11-16", "to": "2026-11-22", "hot_keys": [KEY], "more_hot_keys": 0}


@dataclass
class Cluster:
    """Records in a dict, and one report."""

    report: dict[str, Any] = field(default_factory=lambda: REPORT)
    records: dict[str, ReportRecord] = field(default_factory=dict)
    failures: dict[str, EvenshardError] = field(default_factory=dict)
    holder: str | None = None
    """Whose lease stands."""

    def hot_key_report(self, from_date: Any, to_date: Any, *, tenant: str, timeout: float) -> dict[str, Any]:
        assert (from_date, to_date, tenant) == (DAYS.first, DAYS.last, "acme")
        self._fail("report")
        return self.report

    def claim_report(self, tenant: str, week: str, claimant: str) -> tuple[bool, ReportRecord]:
        self._fail("claim")
        mine = claimed(self.records.get(week), self.holder, TenantId(tenant), week, claimant, 0)
        if mine is not None:
            self.records[week], self.holder = mine, claimant
        return mine is not None, self.records[week]

    def record_report(self, outcome: ReportRecord) -> ReportRecord:
        self._fail("record")
        self.records[outcome.week], self.holder = recorded(self.records.get(outcome.week), outcome, 0), None
        return self.records[outcome.week]

    def _fail(self, call: str) -> None:
        if call in self.failures:
            raise self.failures[call]


@dataclass
class World:
    cluster: Cluster = field(default_factory=Cluster)
    paused_s: list[float] = field(default_factory=list)
    starts: int = 0

    def send(self, sink: str | None, owners: tuple[str, ...] = ("ann@example.org", "bo@example.org")) -> dict[str, Any]:
        """One start of ``report send``."""
        self.starts += 1
        tenant = {"tenant": "acme", "owners": list(owners), "report_sink": sink}
        at = datetime(2026, 11, 23, tzinfo=UTC)
        sending = Sending(WEEK, DAYS, f"start-{self.starts}", "from@example.org", self.paused_s.append, lambda: at)
        return send_report(self.cluster, tenant, sending)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        yield server


def told(document: dict[str, Any]) -> tuple[Any, ...]:
    return document["outcome"], document["hot_key_count"], document["attempts"], document["error"]


def test_a_mail_arrives_once_however_often_sending_is_started(world: World, mail: MailServer) -> None:
    sink = f"smtp:127.0.0.1:{mail.port}"
    sent = world.send(sink)
    assert told(sent) == ("sent", 1, 1, None)
    assert {name: sent[name] for name in REPORT} == REPORT
    assert world.send(sink)["hot_keys"] is None
    assert [told(world.send(sink)) for _ in range(3)] == [("already_sent", 1, 1, None)] * 3
    [(recipients, message)] = mail.mails
    assert recipients == ["ann@example.org", "bo@example.org"]
    assert {name: message[name] for name in ("Subject", "From", "To", "Message-ID")} == {
        "Subject": "evenshard: 1 hot key of tenant acme, 2026-11-16 to 2026-11-22 (UTC)",
        "From": "from@example.org",
        "To": "ann@example.org, bo@example.org",
        "Message-ID": "<hot-keys-acme-2026-W47@evenshard.invalid>",
    }
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "stands out: sdk = 4.2.0, 98.0 % of its events, 1.0 % of all others" in plain.get_content()
    assert "&lt;b&gt;runaway&lt;/b&gt;" in html.get_content()
    assert "<b>runaway" not in html.get_content()


def test_a_webhook_is_posted_the_report_once_under_its_name(world: World, webhook: WebhookServer) -> None:
    assert told(world.send(f"webhook:{webhook.url}")) == ("sent", 1, 1, None)
    assert told(world.send(f"webhook:{webhook.url}")) == ("already_sent", 1, 1, None)
    [(headers, body)] = webhook.posts
    assert (headers["Idempotency-Key"], headers["Content-Type"]) == (
        "hot-keys-acme-2026-W47", "application/json; charset=utf-8",
    )  # fmt: skip
    assert (body["report"], body["week"], body["owners"]) == (REPORT, WEEK, ["ann@example.org", "bo@example.org"])


def test_a_directory_gets_the_page_and_the_document(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    assert told(world.send(f"file:{folder}")) == ("sent", 1, 1, None)
    assert sorted(each.name for each in folder.iterdir()) == [
        "hot-keys-acme-2026-W47.html", "hot-keys-acme-2026-W47.json",
    ]  # fmt: skip
    assert orjson.loads((folder / "hot-keys-acme-2026-W47.json").read_bytes()) == REPORT


def test_a_sink_that_refuses_for_a_while_is_tried_again_with_growing_pauses(
    world: World, webhook: WebhookServer
) -> None:
    webhook.answers = [503, 302, 500]
    assert told(world.send(f"webhook:{webhook.url}")) == ("sent", 1, 4, None)
    assert (world.paused_s, webhook.refused, len(webhook.posts)) == ([1.0, 2.0, 4.0], 3, 1)


def test_a_sink_that_keeps_refusing_is_recorded_and_the_next_start_delivers(world: World, mail: MailServer) -> None:
    sink = f"smtp:127.0.0.1:{mail.port}"
    mail.refusals = ["451 come back later"] * ATTEMPTS_MAX
    failed = world.send(sink)
    assert told(failed) == ("failed", 1, ATTEMPTS_MAX, "smtp:127.0.0.1: it answered 451 come back later")
    assert (world.cluster.records[WEEK].state, mail.mails) == ("failed", [])
    assert told(world.send(sink)) == ("sent", 1, ATTEMPTS_MAX + 1, None)
    assert len(mail.mails) == 1


def test_what_a_sink_says_is_told(world: World, webhook: WebhookServer, tmp_path: Path) -> None:
    webhook.answers = [403] * ATTEMPTS_MAX
    assert world.send(f"webhook:{webhook.url}")["error"] == (
        f"webhook:{webhook.url}: it answered 403 Forbidden: not today"
    )
    (tmp_path / "file").write_text("")
    assert "file" in world.send(f"file:{tmp_path}/file/below")["error"]
    with MailServer() as gone:
        pass
    assert "refused" in world.send(f"smtp:127.0.0.1:{gone.port}")["error"]


def test_one_address_of_two_that_is_refused_is_told_and_the_other_is_not_written_to_twice(
    world: World, mail: MailServer
) -> None:
    mail.refused_addresses = frozenset(["bo@example.org"])
    sink = f"smtp:127.0.0.1:{mail.port}"
    assert told(world.send(sink)) == ("sent", 1, 1, "bo@example.org: 550 nobody of that name")
    assert [recipients for recipients, _ in mail.mails] == [["ann@example.org"]]
    assert world.send(sink)["outcome"] == "already_sent"


def test_nothing_is_sent_where_nothing_was_found_and_it_is_looked_for_again(
    world: World, webhook: WebhookServer
) -> None:
    sink = f"webhook:{webhook.url}"
    world.cluster.report = REPORT | {"hot_keys": []}
    assert told(world.send(sink)) == ("nothing_found", 0, 0, None)
    assert webhook.posts == []
    world.cluster.report = REPORT
    assert told(world.send(sink)) == ("sent", 1, 1, None)


def test_a_tenant_without_a_sink_is_left_alone(world: World) -> None:
    assert (world.send(None)["outcome"], world.cluster.records) == ("no_sink", {})


def test_who_sends_already_is_not_disturbed_until_the_claim_has_lapsed(world: World, webhook: WebhookServer) -> None:
    world.cluster.claim_report("acme", WEEK, "somebody else")
    assert world.send(f"webhook:{webhook.url}")["outcome"] == "somebody_sends_it"
    world.cluster.holder = None
    assert world.send(f"webhook:{webhook.url}")["outcome"] == "sent"
    assert len(webhook.posts) == 1


@pytest.mark.parametrize("call", ["claim", "report", "record"])
def test_a_cluster_that_fails_is_told_and_does_not_end_the_others(
    world: World, webhook: WebhookServer, call: str
) -> None:
    world.cluster.failures[call] = EvenshardError("DIRECTORY_UNAVAILABLE", "no etcd")
    failed = world.send(f"webhook:{webhook.url}")
    assert failed["outcome"] == "failed"
    assert "no etcd" in failed["error"]
    assert len(webhook.posts) == (call == "record")
    world.cluster.failures.clear()
    again = world.send(f"webhook:{webhook.url}")["outcome"]
    # What was delivered and not written down is not sent by others before the claim lapses: somebody may be at it.
    assert again == ("somebody_sends_it" if call == "record" else "sent")
