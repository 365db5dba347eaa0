"""Protobuf rows through a whole cluster: one more way in, the same events."""

from collections.abc import AsyncIterator

import orjson
import pytest
from evenshard.api.v1 import ingest_pb2
from evenshard.errors import EvenshardError
from evenshard.testing.cluster import MemoryCluster

START_MS = 1_767_225_600_000
ROWS = 500


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=20260101) as made:
        await made.create_tenant("acme")
        yield made


def rows_of(count: int) -> ingest_pb2.EventRows:
    return ingest_pb2.EventRows(
        rows=[
            ingest_pb2.EventRow(
                event="view",
                distinct_id=f"u{number % 7}",
                time_ms=START_MS + number,
                insert_id=f"i{number}",
                properties=[
                    ingest_pb2.Property(name="n", value=ingest_pb2.Value(int64=number)),
                    ingest_pb2.Property(name="tags", value=ingest_pb2.Value(json='["a", {"b": 1.5}]')),
                    ingest_pb2.Property(name="none", value=ingest_pb2.Value(null=True)),
                ],
            )
            for number in range(count)
        ]
    )


async def test_rows_are_stored_exported_and_the_duplicates_of_their_lines(cluster: MemoryCluster) -> None:
    answer = await cluster.import_events("acme", rows=rows_of(ROWS))
    assert (answer.accepted, answer.duplicates, answer.rejected) == (ROWS, 0, 0)
    exported = await cluster.export("acme", START_MS, START_MS + ROWS, format="ndjson")
    assert [orjson.loads(line)["properties"] for line in exported.splitlines()] == [
        {"distinct_id": f"u{number % 7}", "time": START_MS + number, "$insert_id": f"i{number}", "n": number,
         "tags": ["a", {"b": 1.5}]}
        for number in range(ROWS)
    ]  # fmt: skip
    answer = await cluster.import_events("acme", ndjson=exported)
    assert (answer.accepted, answer.duplicates) == (ROWS, ROWS)
    answer = await cluster.import_events("acme", rows=rows_of(ROWS + 3))
    assert (answer.accepted, answer.duplicates) == (ROWS + 3, ROWS)


async def test_a_bad_row_is_answered_for_alone(cluster: MemoryCluster) -> None:
    rows = rows_of(5)
    rows.rows[1].time_ms = 0
    rows.rows[3].properties[1].value.json = "["
    answer = await cluster.import_events("acme", rows=rows)
    assert [(each.index, each.insert_id, each.field, each.code) for each in answer.errors] == [
        (1, "i1", "time", "TIME_MISSING"),
        (3, "i3", "tags", "INVALID_JSON"),
    ]
    assert (answer.accepted, answer.rejected) == (3, 2)


async def test_rows_need_their_tenant_and_no_rows_answer_zeros(cluster: MemoryCluster) -> None:
    for tenant, code in (("", "TENANT_NAME_INVALID"), ("nobody", "TENANT_NOT_FOUND")):
        with pytest.raises(EvenshardError) as caught:
            await cluster.import_events(tenant, rows=rows_of(1))
        assert caught.value.code == code
    for tenant in ("acme", ""):
        answer = await cluster.import_events(tenant, rows=rows_of(0))
        assert (answer.accepted, answer.rejected, len(answer.trace_id)) == (0, 0, 32)
