"""Who may send a report, and what becomes of its record; where reports may go, and to whom."""

from dataclasses import replace

import pytest
from evenshard.directory.report_record import OUTCOMES, ReportRecord, claimed, recorded
from evenshard.directory.report_sink import Sink, check_owners, check_reports, parse_sink
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from hypothesis import given
from hypothesis import strategies as st

ACME, WEEK = TenantId("acme"), "2026-W47"
STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "lapse", *OUTCOMES]), st.sampled_from("abc")),
    max_size=25,
)


def claim(current: ReportRecord | None, holder: str | None, claimant: str, now_ms: int = 0) -> ReportRecord | None:
    return claimed(current, holder, ACME, WEEK, claimant, now_ms)


def outcome(state: str, claimant: str, attempts: int = 1, error: str = "") -> ReportRecord:
    return ReportRecord(ACME, WEEK, state, claimant, 0, "file:/r", 3, attempts, error)  # type: ignore[arg-type]


def test_the_first_claim_holds_until_its_outcome_or_its_lease_ends() -> None:
    first = claim(None, None, "a", 5)
    assert first == ReportRecord(ACME, WEEK, "sending", "a", 5)
    assert claim(first, "a", "b", 6) is None
    assert claim(first, "a", "a", 6) == replace(first, changed_ms=6)
    assert claim(first, None, "b", 7) == ReportRecord(ACME, WEEK, "sending", "b", 7)


@given(STEPS)
def test_a_report_is_sent_at_most_once_by_whoever_holds_the_claim(steps: list[tuple[str, str]]) -> None:
    record: ReportRecord | None = None
    holder: str | None = None
    sent_by, attempts = "", 0
    for now_ms, (what, who) in enumerate(steps):
        if what == "lapse":
            holder = None
            continue
        if what == "claim":
            mine = claim(record, holder, who, now_ms)
            if sent_by:
                assert mine is None
            if record is None or record.state in ("failed", "nothing_found"):
                assert mine is not None
            if mine is not None:
                record, holder = mine, who
            continue
        if record is None or record.claimant != who:
            with pytest.raises(EvenshardError, match="OPERATION_CONFLICT"):
                recorded(record, outcome(what, who), now_ms)
            continue
        was = record
        record = recorded(record, outcome(what, who), now_ms)
        if was.state != "sending":
            assert record == was  # the same again, as after a lost answer
            continue
        attempts, holder = attempts + 1, None
        assert (record.state, record.attempts) == (what, attempts)
        if what == "sent":
            assert not sent_by
            sent_by = who


def test_what_is_no_outcome_is_refused() -> None:
    for state in ("sending", "", "SENT", "x"):
        with pytest.raises(EvenshardError) as refused:
            recorded(claim(None, None, "a"), outcome(state, "a"), 1)
        assert refused.value.code == "OPERATION_STATE"


def test_a_record_comes_back_as_written_and_a_newer_one_is_refused() -> None:
    record = recorded(claim(None, None, "a"), outcome("failed", "a", error="x" * 5_000), 7)
    assert (record.error, record.changed_ms, record.sink, record.hot_keys) == ("x" * 1_000, 7, "file:/r", 3)
    assert ReportRecord.from_json(record.to_json()) == record
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
        ReportRecord.from_json(record.to_json().replace(b'"version": 1', b'"version": 2'))


@pytest.mark.parametrize(
    ("text", "sink"),
    [
        ("file:/var/reports", Sink("file", "/var/reports")),
        ("file:/with a space/ü", Sink("file", "/with a space/ü")),
        ("webhook:https://hooks.example.org/x?y=z", Sink("webhook", "https://hooks.example.org/x?y=z")),
        ("webhook:http://[::1]:8080/", Sink("webhook", "http://[::1]:8080/")),
        ("smtp:mail.example.org", Sink("smtp", "mail.example.org", 25)),
        ("smtp:127.0.0.1:2525", Sink("smtp", "127.0.0.1", 2525)),
        ("smtp:[::1]:2525", Sink("smtp", "::1", 2525)),
    ],
)
def test_sinks_are_read(text: str, sink: Sink) -> None:
    assert parse_sink(text) == sink


@pytest.mark.parametrize(
    "text",
    [
        "file", "file:", "file: ", "file:relative", "ftp:x", "mail:x", ":x", "webhook:", "webhook:ftp://x", "webhook:http://",
        "webhook:http://x:99999", "webhook:javascript:alert(1)", "webhook:http://a b", "smtp:a b", "smtp:host:0",
        "smtp:host:70000", "smtp:host:x", "smtp:user@host", "smtp:-x", "file:/a\nb", "file:/" + "a" * 2_000,
    ],
)  # fmt: skip
def test_what_is_no_sink_is_refused_by_name(text: str) -> None:
    with pytest.raises(EvenshardError) as refused:
        parse_sink(text)
    assert (refused.value.code, [fault.field for fault in refused.value.fields]) == ("QUERY_INVALID", ["report_sink"])


def test_owners_are_mail_addresses() -> None:
    check_owners(["ann@example.org", "o'neil+x@sub.example.org", "ü@example.org"])
    for wrong in (
        "",
        "ann",
        "@x",
        "ann@",
        "a@b@c",
        "ann@x y",
        "a,b@x",
        "Ann <ann@x>",
        "ann@x\nBcc: all@x",
        "a" * 250 + "@xxxx",
    ):
        with pytest.raises(EvenshardError) as refused:
            check_owners(["ok@example.org", wrong])
        assert [fault.field for fault in refused.value.fields] == ["owners"]
    with pytest.raises(EvenshardError, match="at most 20"):
        check_owners(["a@x"] * 21)


def test_mail_needs_somebody_to_go_to() -> None:
    check_reports(["ann@x"], "smtp:host")
    check_reports([], "file:/r")
    with pytest.raises(EvenshardError, match="smtp needs somebody to write to"):
        TenantSettings(report_sink="smtp:host")


def test_the_record_of_a_tenant_without_reports_is_as_it_was() -> None:
    from evenshard.directory.placement import even_placement
    from evenshard.ids import ShardId

    tenant = Tenant(ACME, TenantSettings(), even_placement([ShardId("shard-0")]), "n")
    assert b"report_sink" not in tenant.to_json()
    assert b"owners" not in tenant.to_json()
    told = replace(tenant, settings=TenantSettings(owners=("ann@x",), report_sink="file:/r"))
    assert Tenant.from_json(told.to_json()) == told
