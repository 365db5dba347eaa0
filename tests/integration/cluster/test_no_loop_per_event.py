"""From socket to disk and from disk to answer, Python runs as many lines for a large batch as for a small one."""

import io
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.api.v1 import ingest_pb2, query_pb2
from evenshard.directory.tenant import TenantSettings
from evenshard.testing.cluster import GATEWAY, MemoryCluster
from evenshard.wire import rpcs

START_MS = 1_767_225_600_000  # 2026-01-01
END_MS = START_MS + 86_400_000
SMALL_ROWS, LARGE_ROWS = 400, 8_000
THRESHOLD = 150
LINES_PER_ROW_MAX = 0.5
"""A loop per event would run at least one line an event more."""

Lines = Counter[tuple[str, int]]


@contextmanager
def counting_lines() -> Iterator[Lines]:
    """Counts the lines of the package that run, in threads started meanwhile too."""
    lines: Lines = Counter()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if "evenshard" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines[frame.f_code.co_filename.split("evenshard/")[-1], frame.f_lineno] += 1
        return trace

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


def rows(count: int, busy: bool = False) -> list[dict[str, Any]]:
    """Of 97 users; ``busy``: and of one more, who sends every other event."""
    return [
        {
            "event": ("view", "click")[number // 3 % 2],
            "distinct_id": "busy" if busy and number % 2 else f"user-{number % 97}",
            "time": START_MS + number * 1000,
            "insert_id": f"event-{number}",
            "page": f"/page-{number % 5}",
            "amount": number,
        }
        for number in range(count)
    ]


def arrow(events: list[dict[str, Any]]) -> dict[str, Any]:
    record = pa.RecordBatch.from_pylist(events)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return {"arrow_ipc": sink.getvalue()}


def ndjson(events: list[dict[str, Any]]) -> dict[str, Any]:
    lines = []
    for row in events:
        event, insert_id = row.pop("event"), row.pop("insert_id")
        lines.append(orjson.dumps({"event": event, "properties": {**row, "$insert_id": insert_id}}))
    return {"ndjson": b"\n".join(lines)}


def protobuf(events: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        ingest_pb2.EventRow(
            event=row["event"],
            distinct_id=row["distinct_id"],
            time_ms=row["time"],
            insert_id=row["insert_id"],
            properties=[
                ingest_pb2.Property(name="page", value=ingest_pb2.Value(string=row["page"])),
                ingest_pb2.Property(name="amount", value=ingest_pb2.Value(int64=row["amount"])),
            ],
        )
        for row in events
    ]
    return {"rows": ingest_pb2.EventRows(rows=rows)}


def funnel(**more: Any) -> query_pb2.QueryFunnelRequest:
    steps = [query_pb2.FunnelStep(events=[name]) for name in ("view", "click", "view")]
    return query_pb2.QueryFunnelRequest(
        tenant="acme", from_date="2026-01-01", to_date="2026-01-01", steps=steps, window_ms=3_600_000, **more
    )


async def lines_run(count: int, encode: Any, busy: bool) -> Lines:
    """The lines it takes to import ``count`` events, import them again, compact, ask and export."""
    payload = encode(rows(count, busy))
    hot = count // 2 - THRESHOLD if busy else 0
    with counting_lines() as lines:
        async with MemoryCluster() as cluster:
            tenant = await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD))
            for duplicates, rewritten in ((0, hot), (count, 0)):
                answer = await cluster.import_events("acme", **payload)
                assert (answer.accepted, answer.duplicates, answer.rejected) == (count, duplicates, 0)
                assert answer.hot_events_rewritten == rewritten
            for _ in range(2):  # from the log, then from segments
                for query in ({}, {"measure": "unique", "by": ["page"]}, {"where": "amount != 3"}):
                    await cluster.segmentation("acme", "2026-01-01", "2026-01-01", **query)
                for request in (funnel(), funnel(by=["page"])):
                    answer = await cluster.call(GATEWAY, rpcs.QUERY_FUNNEL, request)
                    assert answer.overall.steps[0].count == 97 + busy
                exported = await cluster.export("acme", START_MS, END_MS)
                assert exported.count(b"\n") == count
                await cluster.compact(tenant)
    return lines


@pytest.mark.parametrize(
    ("encode", "busy"),
    [(arrow, False), (ndjson, False), (protobuf, False), (arrow, True)],
    ids=["arrow", "ndjson", "protobuf", "a key crosses its threshold in the batch"],
)
async def test_lines_that_run_do_not_grow_with_events(encode: Any, busy: bool) -> None:
    small, large = await lines_run(SMALL_ROWS, encode, busy), await lines_run(LARGE_ROWS, encode, busy)
    more = {line: large[line] - small[line] for line in large}
    grown = {line: count for line, count in more.items() if count > LINES_PER_ROW_MAX * (LARGE_ROWS - SMALL_ROWS)}
    print(f"lines run: {small.total()} for {SMALL_ROWS} events, {large.total()} for {LARGE_ROWS}")
    assert grown == {}
    assert large.total() - small.total() < 2 * (LARGE_ROWS - SMALL_ROWS)
