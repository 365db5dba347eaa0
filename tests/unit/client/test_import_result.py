"""Answers of many calls add up to one."""

from evenshard.api.v1 import ingest_pb2
from evenshard.client.import_result import ERRORS_SHOWN_MAX, Rejected, Tally


def answer(tenant: str, accepted: int, duplicates: int) -> ingest_pb2.ImportEventsResponse:
    counts = ingest_pb2.TenantCounts(tenant=tenant, accepted=accepted, duplicates=duplicates, rejected=9)
    response = ingest_pb2.ImportEventsResponse(accepted=accepted, duplicates=duplicates, by_tenant=[counts])
    response.warnings.add(code="W", message="first", count=2)
    return response


def rejected(index: int, code: str = "TIME_MISSING", tenant: str = "a") -> Rejected:
    return Rejected(index, tenant, f"id-{index}", "time", code, "why", False)


def test_counts_tenants_codes_and_warnings_add_up() -> None:
    first, second = Tally(), Tally()
    first.add_answer(answer("b", 5, 1))
    first.reject([rejected(7)])
    second.add_answer(answer("b", 2, 2))
    second.add_answer(answer("a", 1, 0))
    second.reject([rejected(3, "INVALID_JSON", ""), rejected(4)])
    first.merge(second)
    assert first.result(2.0, "t" * 32).to_dict() == {
        "events_read": 11,
        "accepted": 8,
        "duplicates": 3,
        "hot_events_rewritten": 0,
        "rejected": 3,
        "errors": [
            {"index": 3, "tenant": "", "insert_id": "id-3", "field": "time", "code": "INVALID_JSON", "message": "why",
             "retryable": False},
            {"index": 4, "tenant": "a", "insert_id": "id-4", "field": "time", "code": "TIME_MISSING", "message": "why",
             "retryable": False},
            {"index": 7, "tenant": "a", "insert_id": "id-7", "field": "time", "code": "TIME_MISSING", "message": "why",
             "retryable": False},
        ],
        "errors_by_code": {"INVALID_JSON": 1, "TIME_MISSING": 2},
        "by_tenant": {
            "a": {"accepted": 1, "duplicates": 0, "hot_events_rewritten": 0, "rejected": 2},
            "b": {"accepted": 7, "duplicates": 3, "hot_events_rewritten": 0, "rejected": 0},
        },
        "warnings": [{"code": "W", "message": "first", "count": 6}],
        "seconds": 2.0,
        "events_per_second": 5.5,
        "trace_id": "t" * 32,
    }  # fmt: skip


def test_only_the_first_errors_are_kept_but_all_are_counted() -> None:
    tally = Tally()
    for block in (range(500, 1000), range(500)):
        part = Tally()
        part.reject(rejected(index) for index in reversed(block))
        tally.merge(part)
    result = tally.result(1.0, "")
    assert [each["index"] for each in result.errors] == list(range(ERRORS_SHOWN_MAX))
    assert (result.rejected, result.errors_by_code) == (1000, {"TIME_MISSING": 1000})
    assert result.to_arrow().column("index").to_pylist() == list(range(ERRORS_SHOWN_MAX))
