"""Spans as services record them: ids, parents, what is sampled, how they fail; and which become of a process's own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime import telemetry
from evenshard.runtime.spans import CANCELLED, PIECE_SPANS_MAX, SPANS_LOST, RecordedSpan, RecordingTracer
from evenshard.runtime.telemetry import recorder, start_telemetry, stop_telemetry, tracer
from opentelemetry import context as otel_context
from opentelemetry import trace


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in telemetry.OTLP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    stop_telemetry()


def remote(trace_id: int, *, sampled: bool = False) -> otel_context.Context:
    """The context of a call whose caller is elsewhere."""
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
    caller = trace.NonRecordingSpan(trace.SpanContext(trace_id, 7, True, flags))
    return trace.set_span_in_context(caller, otel_context.Context())


def test_spans_of_one_process_are_one_piece_below_the_span_whose_parent_is_elsewhere() -> None:
    ended: list[RecordedSpan] = []
    made = RecordingTracer(ended.append, 0.0)
    with made.start_as_current_span("root", remote(5)) as root, made.start_as_current_span("child") as child:
        made.start_span("grandchild").end()
    grandchild = ended[0]
    assert [span.name for span in ended] == ["grandchild", "child", "root"]
    assert {span.context.trace_id for span in ended} == {5}
    assert (root.parent.span_id if root.parent else 0, child.parent, grandchild.parent) == (
        7, root.context, child.context,
    )  # fmt: skip
    assert root.piece is child.piece is grandchild.piece
    assert root.piece.root is root
    assert len({span.context.span_id for span in ended}) == 3


def test_a_share_of_all_traces_is_sampled_by_their_ids_and_those_a_caller_chose() -> None:
    none, all_, half = (RecordingTracer(lambda _: None, share) for share in (0.0, 1.0, 0.5))

    def sampled(made: RecordingTracer, trace_id: int, *, by_caller: bool = False) -> bool:
        return made.start_span("x", remote(trace_id, sampled=by_caller)).context.trace_flags.sampled

    low, high = (1 << 100) + 1, (1 << 100) + (1 << 56) - 1
    assert [sampled(none, low), sampled(all_, high), sampled(half, low), sampled(half, high)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert sampled(none, high, by_caller=True)
    found = [half.start_span("x", otel_context.Context()).context.trace_flags.sampled for _ in range(2_000)]
    assert 800 < sum(found) < 1_200


def test_a_span_says_how_it_failed() -> None:
    ended: list[RecordedSpan] = []
    made = RecordingTracer(ended.append)
    for error in (EvenshardError("DISK_FULL", "no room"), ValueError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)), made.start_as_current_span("x"):
            raise error
    assert [span.error for span in ended] == ["DISK_FULL", "ValueError", CANCELLED]


def test_what_is_not_sampled_goes_to_the_file_only_where_it_was_slow_or_failed(tmp_path: Path) -> None:
    start_telemetry("shard-0", str(tmp_path / "f"), sampled_percent=0.0, slow_ms=50.0)
    tracer().start_span("fast").end()
    slow = tracer().start_span("slow", start_time=1)
    with trace.use_span(slow):
        tracer().start_span("part of it").end()
    slow.end(1 + 51_000_000)
    with pytest.raises(EvenshardError), tracer().start_as_current_span("failed"):
        raise EvenshardError("DISK_FULL", "no room")
    with pytest.raises(EvenshardError), tracer().start_as_current_span("the caller's fault"):
        raise EvenshardError("QUERY_INVALID", "no")
    tracer().start_span("chosen by its caller", remote(9, sampled=True)).end()
    stop_telemetry()
    lines = [json.loads(line) for line in (tmp_path / "f").read_text().splitlines()]
    assert sorted((line["name"], line["status"]) for line in lines) == [
        ("chosen by its caller", "OK"), ("failed", "ERROR"), ("part of it", "OK"), ("slow", "OK"),
    ]  # fmt: skip


def test_what_a_caller_keeps_is_sent_on_whether_it_has_ended_or_not(tmp_path: Path) -> None:
    start_telemetry("shard-0", str(tmp_path / "f"), sampled_percent=0.0)
    own = recorder()
    assert own is not None
    tracer().start_span("before", remote(1)).end()
    own.keep([7])
    own.keep([7])
    stop_telemetry()
    assert [json.loads(line)["name"] for line in (tmp_path / "f").read_text().splitlines()] == ["before"]


def test_a_piece_has_a_bounded_number_of_spans_and_says_how_many_it_lost() -> None:
    start_telemetry("shard-0")
    with tracer().start_as_current_span("root"):
        for _ in range(PIECE_SPANS_MAX + 5):
            tracer().start_span("child").end()
    own = recorder()
    assert own is not None
    (piece,) = own.slowest(10, calls_only=False)
    assert (len(piece.spans), piece.spans[-1].attributes) == (PIECE_SPANS_MAX + 1, {SPANS_LOST: 5})
