"""Repairs as records: what may be asked, in which steps it comes about, what may be undone, until when."""

from dataclasses import replace
from typing import Any

import pytest
from evenshard.directory.begun import OperationBegun
from evenshard.directory.repair import (
    ACTIONS,
    BEFORE_SWITCH,
    DAYS_MAX,
    STEPS,
    UNDO_KEPT_MS,
    UNDOING,
    Counted,
    Repair,
    begun,
    day_of,
    day_text,
    differences,
    hot_days,
    is_removable,
    repair_request,
    summed,
    undoing,
)
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId

ACME = TenantId("acme")
NAME, UNDO = OperationId("op"), OperationId("undo")
ASKED: dict[str, Any] = {
    "distinct_id": "null",
    "from_date": "2026-01-01",
    "to_date": "2026-01-03",
    "action": "reassign",
    "distinct_id_from": "mail",
    "include_earlier": False,
}


def code_of(call: object) -> str:
    with pytest.raises(EvenshardError) as raised:
        call()  # type: ignore[operator]
    return raised.value.code


def repair(action: str = "delete") -> Repair:
    source = "mail" if action == "reassign" else ""
    request = repair_request(ACME, **{**ASKED, "action": action, "distinct_id_from": source})
    return begun(NAME, request, hot_days(request, [20_454, 20_456, 20_460]))


def walked(record: Repair) -> list[str]:
    steps = [str(record.step)]
    while record.step != "end":
        record = record.next()
        steps.append(str(record.step))
    return steps


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"distinct_id": ""}, "QUERY_INVALID"),
        ({"distinct_id": "x" * 256}, "QUERY_INVALID"),
        ({"action": "mend"}, "QUERY_INVALID"),
        ({"distinct_id_from": ""}, "QUERY_INVALID"),
        ({"action": "delete"}, "QUERY_INVALID"),
        ({"action": "restore", "distinct_id_from": "", "include_earlier": True}, "QUERY_INVALID"),
        ({"from_date": "2026-1-1"}, "RANGE_INVALID"),
        ({"to_date": "2025-12-31"}, "RANGE_INVALID"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], code: str) -> None:
    assert code_of(lambda: repair_request(ACME, **{**ASKED, **changed})) == code


def test_a_repair_is_about_the_days_that_are_hot() -> None:
    request = repair_request(ACME, **ASKED)
    assert [day_text(day) for day in hot_days(request, [20_456, 20_454, 1])] == ["2026-01-01", "2026-01-03"]
    assert day_of("2026-01-01", "from_date") == 20_454
    assert code_of(lambda: hot_days(request, [1])) == "HOT_KEY_NOT_FOUND"
    long = repair_request(ACME, **{**ASKED, "to_date": "2027-01-01"})
    assert code_of(lambda: hot_days(long, range(20_454, 20_455 + DAYS_MAX))) == "QUERY_INVALID"


@pytest.mark.parametrize("action", ACTIONS)
def test_steps_lead_to_the_end_and_switch_once(action: str) -> None:
    record = repair(action)
    assert tuple(walked(record)) == record.steps
    assert record.steps.count("switch") == (action in ("reassign", "delete"))
    assert BEFORE_SWITCH.isdisjoint(("mark", "settle", "end"))
    if action != "export":
        undo = undoing(UNDO, replace(record, ended_ms=0), "complete", 1)
        assert (undo.undoes, tuple(walked(undo))) == (NAME, undo.steps)


def test_every_action_has_its_steps() -> None:
    assert set(STEPS) == set(ACTIONS) == {*UNDOING, "export"}


def test_a_record_reads_back_as_it_was_written() -> None:
    record = replace(
        repair(),
        taken={"shard-0": Counted(3, 1 << 63)},
        brought={"shard-1": Counted(2, 7)},
        copied=("shard-0",),
        sent=Counted(2, 7),
        shown_before={"20454": "rewrite"},
        undone_by=UNDO,
    )
    assert Repair.from_json(record.to_json()) == record
    newer = record.to_json().replace(b'"version": 1', b'"version": 2')
    assert code_of(lambda: Repair.from_json(newer)) == "FORMAT_TOO_NEW"


def test_only_what_is_complete_is_undone_once_and_in_time() -> None:
    record = replace(repair(), ended_ms=1000)
    assert undoing(UNDO, record, "complete", 1000 + UNDO_KEPT_MS).operation == UNDO
    for changed, state, now_ms in (
        (record, "running", 2000),
        (record, "failed", 2000),
        (record, "complete", 1001 + UNDO_KEPT_MS),
        (replace(record, removed=True), "complete", 2000),
        (replace(record, undone_by=UNDO), "complete", 2000),
        (replace(record, undoes=UNDO), "complete", 2000),
        (replace(record, action="export"), "complete", 2000),
    ):
        assert code_of(lambda: undoing(UNDO, changed, state, now_ms)) == "OPERATION_STATE"  # noqa: B023


def test_what_was_deleted_goes_when_nobody_can_undo_it_any_more() -> None:
    record = replace(repair(), ended_ms=1000)
    late = 1001 + UNDO_KEPT_MS
    assert [is_removable(record, now_ms, ()) for now_ms in (2000, late)] == [False, True]
    undone = replace(record, undone_by=UNDO)
    assert [is_removable(undone, late, complete) for complete in ((), (UNDO,))] == [False, True]
    for other in (
        replace(record, removed=True),
        replace(record, ended_ms=None),
        replace(repair("restore"), ended_ms=0),
    ):
        assert not is_removable(other, late, ())


def test_a_request_is_known_again_by_what_was_asked() -> None:
    done = OperationBegun.of("repair", NAME, ACME, ["null"])
    assert OperationBegun.of("repair", UNDO, ACME, ["null"]).check_same("r", done.to_json()) == NAME
    for other in (
        OperationBegun.of("repair", UNDO, ACME, ["0"]),
        OperationBegun.of("repair-undo", UNDO, ACME, ["null"]),
    ):
        assert code_of(lambda: other.check_same("r", done.to_json())) == "OPERATION_CONFLICT"  # noqa: B023


def test_differences_are_told_by_shard() -> None:
    planned = {"shard-0": Counted(3, 5), "shard-1": Counted(1, 1), "shard-2": Counted(1, 1)}
    found = {ShardId("shard-0"): Counted(3, 5), ShardId("shard-1"): Counted(1, 2)}
    assert differences(planned, found, "taken") == (
        "shard-1: the taken events are 1 as planned, but not the same",
        "shard-2: 0 taken events where 1 were planned",
    )
    assert differences(None, found, "taken") == ()
    assert summed([Counted(1, (1 << 64) - 1), Counted(2, 3)]) == Counted(3, 2)
