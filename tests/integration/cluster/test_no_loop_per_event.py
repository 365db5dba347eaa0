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
from evenshard.testing.cluster import MemoryCluster

START_MS = 1_767_225_600_000  # 2026-01-01
END_MS = START_MS + 86_400_000
SMALL_ROWS, LARGE_ROWS = 400, 8_000
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


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "event": ("view", "click")[number % 2],
            "distinct_id": f"user-{number % 97}",
            "time": START_MS + number * 1000,
            "insert_id": f"event-{number}",
            "page": f"/page-{number % 5}",
            "amount": number,
        }
        for number in range(count)
    ]


def arrow(count: int) -> dict[str, bytes]:
    record = pa.RecordBatch.from_pylist(rows(count))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return {"arrow_ipc": sink.getvalue()}


def ndjson(count: int) -> dict[str, bytes]:
    lines = []
    for row in rows(count):
        event, insert_id = row.pop("event"), row.pop("insert_id")
        lines.append(orjson.dumps({"event": event, "properties": {**row, "$insert_id": insert_id}}))
    return {"ndjson": b"\n".join(lines)}


async def lines_run(count: int, encode: Any) -> Lines:
    """The lines it takes to import ``count`` events, import them again, compact, ask and export."""
    payload = encode(count)
    with counting_lines() as lines:
        async with MemoryCluster() as cluster:
            tenant = await cluster.create_tenant("acme")
            for expected in (0, count):
                answer = await cluster.import_events("acme", **payload)
                assert (answer.accepted, answer.duplicates, answer.rejected) == (count, expected, 0)
            for _ in range(2):  # from the log, then from segments
                for query in ({}, {"measure": "unique", "by": ["page"]}, {"where": "amount != 3"}):
                    await cluster.segmentation("acme", "2026-01-01", "2026-01-01", **query)
                exported = await cluster.export("acme", START_MS, END_MS)
                assert exported.count(b"\n") == count
                await cluster.compact(tenant)
    return lines


@pytest.mark.parametrize("encode", [arrow, ndjson])
async def test_lines_that_run_do_not_grow_with_events(encode: Any) -> None:
    small, large = await lines_run(SMALL_ROWS, encode), await lines_run(LARGE_ROWS, encode)
    more = {line: large[line] - small[line] for line in large}
    grown = {line: count for line, count in more.items() if count > LINES_PER_ROW_MAX * (LARGE_ROWS - SMALL_ROWS)}
    print(f"lines run: {small.total()} for {SMALL_ROWS} events, {large.total()} for {LARGE_ROWS}")
    assert grown == {}
    assert large.total() - small.total() < 2 * (LARGE_ROWS - SMALL_ROWS)
