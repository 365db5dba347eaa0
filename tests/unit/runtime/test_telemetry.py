"""Spans where nothing, a file or a collector receives them; what the file holds when several processes write it."""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime import telemetry
from evenshard.runtime.telemetry import (
    LINKS_MAX,
    is_recording,
    links_to,
    span_ids,
    start_telemetry,
    stop_telemetry,
    trace_id_of,
    trace_parent,
    tracer,
)
from opentelemetry import trace

SPANS = 300


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in telemetry.OTLP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    stop_telemetry()


def test_where_nothing_receives_them_spans_are_remembered_and_not_sampled() -> None:
    start_telemetry("router-0")
    assert is_recording()
    with tracer().start_as_current_span("outer") as outer, tracer().start_as_current_span("inner") as inner:
        assert inner.is_recording()
        assert trace_id_of(inner) == trace_id_of(outer) == span_ids()["trace_id"] != "0" * 32
        assert int(trace_parent()[-2:], 16) & trace.TraceFlags.SAMPLED == 0


def test_a_line_of_the_file_is_a_span(tmp_path: Path) -> None:
    start_telemetry("router-0", str(tmp_path / "f"))
    with tracer().start_as_current_span("linked to") as other:
        parent = trace_parent()
    before_ns = time.time_ns()
    with (
        pytest.raises(ZeroDivisionError),
        tracer().start_as_current_span("root", links=links_to([parent, "nonsense", ""]), attributes={"a": 1, "b": "é"}),
        tracer().start_as_current_span("child"),
    ):
        raise ZeroDivisionError
    stop_telemetry()
    lines = [json.loads(line) for line in (tmp_path / "f").read_text().splitlines()]
    by_name = {line["name"]: line for line in lines}
    root, child = by_name["root"], by_name["child"]
    assert before_ns <= root["start_unix_ns"] <= child["start_unix_ns"] <= child["end_unix_ns"] <= root["end_unix_ns"]
    times = {"start_unix_ns": root["start_unix_ns"], "end_unix_ns": root["end_unix_ns"]}
    assert root == times | {
        "trace_id": child["trace_id"],
        "span_id": child["parent_span_id"],
        "parent_span_id": None,
        "name": "root",
        "service": "router-0",
        "status": "ERROR",
        "attributes": {"a": 1, "b": "é"},
        "links": [{"trace_id": trace_id_of(other), "span_id": by_name["linked to"]["span_id"]}],
    }
    assert by_name["linked to"]["status"] == "OK"


def test_a_span_is_linked_to_so_many_at_most() -> None:
    assert len(links_to(f"00-{number:032x}-{number:016x}-01" for number in range(1, 100))) == LINKS_MAX


WRITER = """
import sys
from evenshard.runtime.telemetry import start_telemetry, stop_telemetry, tracer
path, number, spans = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start_telemetry(f"shard-{number}", path)
for _ in range(spans):
    tracer().start_span("span", attributes={"filler": "x" * (997 * number)}).end()
stop_telemetry()
"""


def test_processes_append_to_one_file_and_lines_stay_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(each), str(SPANS)]) for each in range(3)]
    assert [each.wait(60) for each in writers] == [0, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "f").read_text().splitlines()]
    assert Counter((line["service"], len(line["attributes"]["filler"])) for line in lines) == {
        (f"shard-{number}", 997 * number): SPANS for number in range(3)
    }


def test_a_collector_that_is_not_there_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        start_telemetry("router-0")
        with tracer().start_as_current_span("lost"):
            pass
        began_s = time.monotonic()
        stop_telemetry()
        assert time.monotonic() - began_s < telemetry.FLUSH_TIMEOUT_S + 1


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvenshardError) as caught:
        start_telemetry("router-0", str(tmp_path / "absent" / "f"))
    assert (caught.value.code, str(tmp_path / "absent" / "f") in caught.value.message) == ("USAGE", True)
