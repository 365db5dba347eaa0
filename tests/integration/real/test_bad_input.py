"""Everything a client can get wrong, against real processes: the precise code, the good events stored, nobody dead."""

import io
import math
from collections.abc import Iterator
from typing import Any

import grpc
import orjson
import pyarrow as pa
import pytest
from evenshard.api.v1 import ingest_pb2, ingest_pb2_grpc
from evenshard.testing.processes import ClusterProcess
from google.rpc import error_details_pb2
from grpc_status import rpc_status

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TIME_MS = 1_767_225_600_000  # 2026-01-01


@pytest.fixture(scope="module")
def router(shared_cluster: ClusterProcess) -> Iterator[ingest_pb2_grpc.IngestServiceStub]:
    assert shared_cluster.run("admin", "create-tenant", "bad").exit_status == 0
    with grpc.insecure_channel(shared_cluster.router, options=[("grpc.max_send_message_length", 64 << 20)]) as channel:
        yield ingest_pb2_grpc.IngestServiceStub(channel)


def line(**changes: Any) -> dict[str, Any]:
    """A good event, changed."""
    properties = {"distinct_id": "u", "time": TIME_MS, "$insert_id": f"id-{abs(hash(str(changes)))}"}
    properties.update(changes.pop("properties", {}))
    return {"event": "view", "properties": {k: v for k, v in properties.items() if v is not ...}} | changes


def refused(router: ingest_pb2_grpc.IngestServiceStub, **request: Any) -> str:
    """The reason code of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        router.ImportEvents(ingest_pb2.ImportEventsRequest(**request), timeout=20)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "evenshard"
    return info.reason


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return value


BAD_LINES: list[tuple[bytes | dict[str, Any], str]] = [
    (b"{not json", "INVALID_JSON"),
    (b"[1,2]", "INVALID_JSON"),
    (b'{"event":"view","properties":{"distinct_id":"u","time":1767225600000,"x":NaN}}', "INVALID_JSON"),
    (b'{"event":"view","properties":{"distinct_id":"u","time":1767225600000,"x":Infinity}}', "INVALID_JSON"),
    (b'{"event":"view","properties":{"distinct_id":"u","time":1767225600000,"x":"\xff\xfe"}}', "INVALID_UTF8"),
    (b'{"event":"view","properties":{"distinct_id":"u","time":1767225600000,"x":"\\ud800"}}', "INVALID_UTF8"),
    (line(event=...) | {"event": None}, "EVENT_MISSING"),
    (line(event=""), "EVENT_MISSING"),
    (line(event=7), "EVENT_TYPE"),
    (line(event="x" * 256), "EVENT_TOO_LONG"),
    (line(event="$hotshard_record"), "EVENT_NAME_RESERVED"),
    (line(properties={"distinct_id": [1]}), "DISTINCT_ID_TYPE"),
    (line(properties={"distinct_id": 1.5}), "DISTINCT_ID_TYPE"),
    (line(properties={"distinct_id": "x" * 256}), "DISTINCT_ID_TOO_LONG"),
    (line(properties={"time": ...}), "TIME_MISSING"),
    (line(properties={"time": "yesterday"}), "TIME_INVALID"),
    (line(properties={"time": -86_400}), "TIME_TOO_OLD"),  # 1969, in seconds, as all small numbers are
    (line(properties={"time": -86_400_000}), "TIME_TOO_OLD"),
    (line(properties={"time": 4_922_899_200}), "TIME_IN_FUTURE"),  # 2126, in seconds
    (line(properties={"time": 4_922_899_200_000}), "TIME_IN_FUTURE"),  # in ms
    (line(properties={"time": "1969-06-01T00:00:00Z"}), "TIME_TOO_OLD"),
    (line(properties={"time": "2126-01-01T00:00:00Z"}), "TIME_IN_FUTURE"),
    (line(properties={"$insert_id": "x" * 65}), "INSERT_ID_INVALID"),
    (line(properties={"$insert_id": "é"}), "INSERT_ID_INVALID"),
    (line(properties={f"p{i}": i for i in range(300)}), "PROPERTIES_TOO_MANY"),
    (line(properties={"x": deep(5)}), "PROPERTIES_TOO_DEEP"),
    (line(properties={"x": 2**63}), "NUMBER_OUT_OF_RANGE"),
    (line(properties={"x": "y" * 10_000_000}), "EVENT_TOO_LARGE"),
    (b'{"event":"view","properties":[1]}', "PROPERTIES_TYPE"),
    (line(tenant="other"), "TENANT_MISMATCH"),
]


def test_bad_lines_among_good_ones_get_their_codes(
    router: ingest_pb2_grpc.IngestServiceStub, shared_cluster: ClusterProcess
) -> None:
    lines: list[bytes] = []
    expected: dict[int, str] = {}
    good = 0
    for number, (bad, code) in enumerate(BAD_LINES):
        lines.append(
            orjson.dumps(line(properties={"$insert_id": f"good-{number}", "mixed": [3, "3", 3.5, True][number % 4]}))
        )
        good += 1
        expected[len(lines)] = code
        lines.append(bad if isinstance(bad, bytes) else orjson.dumps(bad))
    answer = router.ImportEvents(
        ingest_pb2.ImportEventsRequest(tenant="bad", ndjson=b"\n".join(lines) + b"\n"), timeout=30
    )
    assert {error.index: error.code for error in answer.errors} == expected
    assert (answer.accepted, answer.duplicates, answer.rejected) == (good, 0, len(BAD_LINES))
    assert not any(error.retryable for error in answer.errors)
    assert len(answer.trace_id) == 32
    asked = shared_cluster.run(
        "query", "segmentation", "--tenant", "bad", "--from", "2026-01-01", "--to", "2026-01-01", "--by", "mixed"
    )
    groups = {(type(line["by"][0]).__name__, line["by"][0]): line["overall"] for line in asked.document["series"]}
    counts = [len(range(first, good, 4)) for first in range(4)]
    assert groups == dict(zip([("int", 3), ("str", "3"), ("float", 3.5), ("bool", True)], counts, strict=True))


def test_a_key_given_twice_counts_with_its_last_value(router: ingest_pb2_grpc.IngestServiceStub) -> None:
    text = (
        b'{"event":"a","event":"twice",'
        b'"properties":{"distinct_id":"u","time":1767225600000,"$insert_id":"k1","$insert_id":"k2"}}'
    )
    first = router.ImportEvents(ingest_pb2.ImportEventsRequest(tenant="bad", ndjson=text), timeout=20)
    again = router.ImportEvents(
        ingest_pb2.ImportEventsRequest(
            tenant="bad",
            ndjson=orjson.dumps(
                {"event": "twice", "properties": {"distinct_id": "u", "time": TIME_MS, "$insert_id": "k2"}}
            ),
        ),
        timeout=20,
    )
    assert (first.accepted, first.duplicates, again.accepted, again.duplicates) == (1, 0, 1, 1)


def arrow(columns: dict[str, pa.Array] | list[tuple[str, pa.Array]]) -> bytes:
    pairs = list(columns.items()) if isinstance(columns, dict) else columns
    record = pa.RecordBatch.from_arrays([array for _, array in pairs], names=[name for name, _ in pairs])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return sink.getvalue()


GOOD = {"event": pa.array(["a"]), "distinct_id": pa.array(["u"]), "time": pa.array([TIME_MS])}


def test_bad_rows_of_arrow_get_their_codes(
    router: ingest_pb2_grpc.IngestServiceStub, shared_cluster: ClusterProcess
) -> None:
    rows: list[tuple[int, float | None, str]] = [
        (TIME_MS, 1.5, ""),
        (TIME_MS, math.nan, "NUMBER_NOT_FINITE"),
        (TIME_MS, math.inf, "NUMBER_NOT_FINITE"),
        (TIME_MS, -math.inf, "NUMBER_NOT_FINITE"),
        (-86_400_000, 1.5, "TIME_TOO_OLD"),  # 1969
        (4_922_899_200_000, 1.5, "TIME_IN_FUTURE"),  # 2126
        (TIME_MS, None, ""),
    ]
    columns = {
        "event": pa.array(["not finite"] * len(rows)),
        "distinct_id": pa.array(["u"] * len(rows)),
        "time": pa.array([time_ms for time_ms, _, _ in rows]),
        "x": pa.array([x for _, x, _ in rows], pa.float64()),
    }
    answer = router.ImportEvents(ingest_pb2.ImportEventsRequest(tenant="bad", arrow_ipc=arrow(columns)), timeout=20)
    assert [(error.index, error.code, error.retryable) for error in answer.errors] == [
        (index, code, False) for index, (_, _, code) in enumerate(rows) if code
    ]
    assert (answer.accepted, answer.rejected) == (2, 5)
    asked = shared_cluster.run(
        "query", "segmentation", "--tenant", "bad", "--from", "2026-01-01", "--to", "2026-01-01",
        "--event", "not finite", "--by", "x",
    )  # fmt: skip
    assert {line["by"][0]: line["overall"] for line in asked.document["series"]} == {1.5: 1, None: 1}


def test_strict_tenants_and_strict_calls_refuse_what_others_take(
    router: ingest_pb2_grpc.IngestServiceStub, shared_cluster: ClusterProcess
) -> None:
    assert shared_cluster.run("admin", "create-tenant", "strict", "--strict").exit_status == 0
    lines = [
        line(properties={"$insert_id": "fine"}),
        line(properties={"$insert_id": ...}),
        line(properties={"distinct_id": "undefined"}),
        line(properties={"distinct_id": "00000000-0000-0000-0000-000000000000"}),
    ]
    payload = b"\n".join(orjson.dumps(each) for each in lines)
    codes = {1: "INSERT_ID_MISSING", 2: "DISTINCT_ID_PLACEHOLDER", 3: "DISTINCT_ID_PLACEHOLDER"}
    for request in (
        ingest_pb2.ImportEventsRequest(tenant="strict", ndjson=payload),
        ingest_pb2.ImportEventsRequest(tenant="bad", ndjson=payload, strict=True),
    ):
        answer = router.ImportEvents(request, timeout=20)
        assert {error.index: error.code for error in answer.errors} == codes
        assert (answer.accepted, answer.duplicates, answer.rejected) == (1, 0, 3)
    answer = router.ImportEvents(ingest_pb2.ImportEventsRequest(tenant="bad", ndjson=payload), timeout=20)
    assert (answer.accepted, answer.duplicates, answer.rejected) == (4, 1, 0)
    assert len(answer.warnings) == 1


def test_a_tenant_of_dots_is_not_made(shared_cluster: ClusterProcess) -> None:
    before = shared_cluster.run("admin", "tenants").document
    answer = shared_cluster.run("admin", "create-tenant", "../x")
    assert (answer.exit_status, answer.document["error"]["code"]) == (2, "TENANT_NAME_INVALID")
    assert shared_cluster.run("admin", "tenants").document == before
    assert not (shared_cluster.data_dir.parent / "x").exists()


def test_bad_calls_get_their_codes(router: ingest_pb2_grpc.IngestServiceStub) -> None:
    codes = {
        "unknown tenant": refused(router, tenant="nobody", arrow_ipc=arrow(GOOD)),
        "tenant of dots": refused(router, tenant="../x", arrow_ipc=arrow(GOOD)),
        "truncated": refused(router, tenant="bad", arrow_ipc=arrow(GOOD)[:200]),
        "garbage": refused(router, tenant="bad", arrow_ipc=b"hello, this is not arrow at all"),
        "no time": refused(router, tenant="bad", arrow_ipc=arrow({k: v for k, v in GOOD.items() if k != "time"})),
        "no columns": refused(router, tenant="bad", arrow_ipc=arrow({"x": pa.array([1])})),
        "two times": refused(router, tenant="bad", arrow_ipc=arrow([*GOOD.items(), ("time", pa.array([1]))])),
        "time is text": refused(router, tenant="bad", arrow_ipc=arrow({**GOOD, "time": pa.array(["x"])})),
        "broken gzip": refused(router, tenant="bad", ndjson=b"no gzip", compression="GZIP"),
        "too large": refused(router, tenant="bad", ndjson=b" " * (17 << 20)),
    }
    assert codes == {
        "unknown tenant": "TENANT_NOT_FOUND",
        "tenant of dots": "TENANT_NAME_INVALID",
        "truncated": "PAYLOAD_INVALID",
        "garbage": "PAYLOAD_INVALID",
        "no time": "COLUMN_MISSING",
        "no columns": "COLUMN_MISSING",
        "two times": "COLUMN_DUPLICATED",
        "time is text": "COLUMN_TYPE",
        "broken gzip": "PAYLOAD_INVALID",
        "too large": "REQUEST_TOO_LARGE",
    }


def test_an_empty_payload_answers_zeros(router: ingest_pb2_grpc.IngestServiceStub) -> None:
    for request in (
        ingest_pb2.ImportEventsRequest(tenant="bad"),
        ingest_pb2.ImportEventsRequest(tenant="bad", ndjson=b""),
        ingest_pb2.ImportEventsRequest(
            tenant="bad", arrow_ipc=arrow({name: array[:0] for name, array in GOOD.items()})
        ),
    ):
        answer = router.ImportEvents(request, timeout=20)
        assert (answer.accepted, answer.duplicates, answer.rejected, len(answer.errors)) == (0, 0, 0, 0)


def test_lines_of_their_own_tenants_are_answered_each(router: ingest_pb2_grpc.IngestServiceStub) -> None:
    lines = [line(tenant="nobody"), line(), line(tenant="../x"), line(tenant="bad", properties={"$insert_id": "own"})]
    answer = router.ImportEvents(
        ingest_pb2.ImportEventsRequest(ndjson=b"\n".join(orjson.dumps(each) for each in lines)), timeout=20
    )
    assert {error.index: error.code for error in answer.errors} == {
        0: "TENANT_NOT_FOUND",
        1: "TENANT_MISSING",
        2: "TENANT_NAME_INVALID",
    }
    assert (answer.accepted, answer.rejected) == (1, 3)


def test_everybody_still_serves(router: ingest_pb2_grpc.IngestServiceStub, shared_cluster: ClusterProcess) -> None:
    status = shared_cluster.run("status")
    assert (status.exit_status, [service["restarts"] for service in status.document["services"]]) == (
        0,
        [0] * len(status.document["services"]),
    )
