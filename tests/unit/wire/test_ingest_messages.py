"""Answers to imports on the wire."""

import pytest
from evenshard.api.v1 import ingest_pb2
from evenshard.errors import EvenshardError
from evenshard.events.rejects import DecodeWarning, Reject
from evenshard.wire.ingest import MESSAGES_MAX, Import, ImportResult, TenantCounts, import_of, import_response


def test_an_answer_adds_up_and_lists_tenants_by_name() -> None:
    rejects = [
        Reject(3, "b", "i3", "time", "TIME_MISSING", "there is no time"),
        Reject(9, "a", "i9", "", "SHARD_UNAVAILABLE", "shard-1 did not acknowledge"),
    ]
    counts = {"b": TenantCounts(5, 2, 1), "a": TenantCounts(7, 1, 1)}
    answer = import_response(ImportResult(rejects, counts, [DecodeWarning("W", "what", 4)]), "f" * 32)
    assert (answer.accepted, answer.duplicates, answer.hot_events_rewritten, answer.rejected) == (12, 3, 0, 2)
    assert [(each.tenant, each.accepted, each.duplicates, each.rejected) for each in answer.by_tenant] == [
        ("a", 7, 1, 1),
        ("b", 5, 2, 1),
    ]
    assert [
        (each.index, each.tenant, each.insert_id, each.field, each.code, each.message, each.retryable)
        for each in answer.errors
    ] == [
        (3, "b", "i3", "time", "TIME_MISSING", "there is no time", False),
        (9, "a", "i9", "", "SHARD_UNAVAILABLE", "shard-1 did not acknowledge", True),
    ]
    assert [(each.code, each.message, each.count) for each in answer.warnings] == [("W", "what", 4)]
    assert answer.trace_id == "f" * 32


def test_the_answer_to_a_million_bad_lines_fits_into_a_message() -> None:
    rows = 1 << 17  # an eighth of what a payload may hold
    rejects = [Reject(row, "acme", "", "properties", "INVALID_JSON", "m" * 200) for row in range(rows)]
    answer = import_response(ImportResult(rejects, {"acme": TenantCounts(0, 0, rows)}, ()), "f" * 32)
    assert sum(bool(each.message) for each in answer.errors) == MESSAGES_MAX
    assert 8 * answer.ByteSize() < 64 << 20


def test_requests_are_read_and_what_is_not_known_is_refused() -> None:
    request = ingest_pb2.ImportEventsRequest(tenant="t", arrow_ipc=b"abc", compression=ingest_pb2.ZSTD, strict=True)
    assert import_of(request) == Import("t", "arrow", "zstd", b"abc", strict=True)
    request = ingest_pb2.ImportEventsRequest(ndjson=b"{}")
    assert import_of(request) == Import("", "ndjson", "none", b"{}", strict=False)
    rows = ingest_pb2.EventRows(rows=[ingest_pb2.EventRow(event="e")])
    request = ingest_pb2.ImportEventsRequest(tenant="t", rows=rows)
    assert import_of(request) == Import("t", "rows", "none", rows.SerializeToString(), strict=False)
    for unknown in (
        ingest_pb2.ImportEventsRequest(rows=rows, compression=ingest_pb2.GZIP),
        ingest_pb2.ImportEventsRequest(ndjson=b"{}", compression=7),  # type: ignore[arg-type]
    ):
        with pytest.raises(EvenshardError) as caught:
            import_of(unknown)
        assert caught.value.code == "PAYLOAD_INVALID"
