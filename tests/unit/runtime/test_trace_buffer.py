"""Which pieces of traces are kept: the decisions, one by one, and that nothing grows whatever comes."""

import random
from typing import Any

import pytest
from evenshard.runtime.spans import PIECE_SPANS_MAX, Piece, RecordedSpan
from evenshard.runtime.trace_buffer import BUFFER_MS, BufferLimits, TraceBuffer
from opentelemetry.trace import Link, SpanContext, SpanKind

SLOW_MS = 500
NS = 1_000_000


def piece(
    name: str = "a",
    took_ms: float = 1.0,
    *,
    number: int,
    parent: int = 0,
    kind: SpanKind = SpanKind.SERVER,
    failed: bool = False,
    links: tuple[int, ...] = (),
    calls: dict[int, str] | None = None,
    spans: int = 1,
    trace_id: int = 0,
) -> Piece:
    """A piece that has ended; its root's id is ``number``, ``calls`` are its spans of calls to an address."""
    made = Piece()

    def add(span_name: str, span_id: int, span_kind: SpanKind, attributes: dict[str, Any], parent_id: int) -> None:
        context = SpanContext(trace_id or number, span_id, False)
        above = SpanContext(trace_id or number, parent_id, True) if parent_id else None
        linked = [Link(SpanContext(each, each, False)) for each in links]
        span = RecordedSpan(span_name, context, above, span_kind, attributes, linked, 0, made, lambda _: None)
        span.end_ns = int(took_ms * NS)
        made.spans.append(span)

    for span_id, address in (calls or {}).items():
        host, _, port = address.partition(":")
        add("call", span_id, SpanKind.CLIENT, {"server.address": host, "server.port": int(port)}, number)
    for extra in range(spans - 1):
        add("extra", (number << 20) + extra, SpanKind.INTERNAL, {}, number)
    add(name, number, kind, {}, parent)
    made.root = made.spans[-1]
    made.failed = failed
    return made


def numbers(pieces: list[Piece]) -> list[int]:
    return [each.root.context.span_id for each in pieces]


def test_slow_failed_and_asked_ones_are_sent_on_and_no_others() -> None:
    buffer = TraceBuffer(SLOW_MS)
    assert not buffer.ended(piece(number=1, took_ms=SLOW_MS), 0)
    assert buffer.ended(piece(number=2, took_ms=SLOW_MS + 1), 0)
    assert buffer.ended(piece(number=3, failed=True), 0)
    buffer.keep([77], 0)
    assert buffer.ended(piece(number=4, parent=77), 1)
    assert not buffer.ended(piece("evenshard.v1.AdminService/WaitOperation", number=5, took_ms=60_000), 1)


def test_what_a_caller_keeps_is_kept_for_as_long_as_it_is_buffered_and_sent_on_once() -> None:
    buffer = TraceBuffer(SLOW_MS)
    first, second = piece(number=1, parent=10), piece(number=2, parent=20)
    buffer.ended(first, 0)
    buffer.ended(second, 0)
    assert buffer.keep([10, 99], BUFFER_MS) == [first]
    assert buffer.keep([10], BUFFER_MS) == []
    assert buffer.keep([20], BUFFER_MS + 1) == []
    assert numbers(buffer.of([1, 2], 100, BUFFER_MS + 1)) == [1, 2]  # the second one as one of the slowest of its name


def test_what_nobody_said_in_time_is_not_waited_for() -> None:
    buffer = TraceBuffer(SLOW_MS)
    buffer.keep([10], 0)
    assert not buffer.ended(piece(number=1, parent=10), BUFFER_MS + 1)


def test_the_slowest_of_each_name_stay_and_are_told_the_slowest_first() -> None:
    buffer = TraceBuffer(SLOW_MS, BufferLimits(slowest_of_a_name=2))
    for number, took_ms in enumerate([5, 1, 4, 3, 2], 1):
        buffer.ended(piece("import", took_ms, number=number), 0)
    buffer.ended(piece("query", 4.5, number=6), 0)
    buffer.ended(piece("compaction", 900, number=7, kind=SpanKind.INTERNAL), 0)
    later = BUFFER_MS + 1
    assert numbers(buffer.slowest(10, later, calls_only=True)) == [1, 6, 3]
    assert numbers(buffer.slowest(2, later, calls_only=False)) == [7, 1]


def test_the_slowest_are_forgotten_after_an_hour_and_make_room() -> None:
    buffer = TraceBuffer(SLOW_MS, BufferLimits(slowest_of_a_name=1))
    buffer.ended(piece(number=1, took_ms=100), 0)
    hour = buffer.limits.slowest_ms
    buffer.ended(piece(number=2, took_ms=5), hour)
    assert numbers(buffer.slowest(10, hour, calls_only=True)) == [1]
    buffer.ended(piece(number=3, took_ms=5), hour + 1)
    assert numbers(buffer.slowest(10, hour + 1, calls_only=True)) == [3]


def test_the_newest_failures_stay_the_newest_first() -> None:
    buffer = TraceBuffer(SLOW_MS, BufferLimits(failed=2, slowest_of_a_name=1))
    for number in (1, 2, 3):
        buffer.ended(piece(number=number, failed=True), number)
    assert numbers(buffer.failed(10, 3)) == [3, 2]


def test_whoever_was_called_for_a_kept_piece_is_told_once() -> None:
    buffer = TraceBuffer(SLOW_MS)
    buffer.ended(piece(number=1, took_ms=600, calls={11: "s:1", 12: "s:2", 13: "s:1"}), 0)
    assert buffer.take_hints() == {"s:1": [11, 13], "s:2": [12]}
    assert buffer.take_hints() == {}


def test_what_a_kept_piece_is_linked_to_is_kept_with_it() -> None:
    buffer = TraceBuffer(SLOW_MS, BufferLimits(slowest_of_a_name=1))
    buffer.ended(piece("sync", 9, number=1, kind=SpanKind.INTERNAL), 0)
    buffer.ended(piece("sync", 1, number=2, kind=SpanKind.INTERNAL), 0)
    buffer.ended(piece("append", 600, number=3, links=(2,)), 0)
    assert numbers(buffer.of([2], 100, BUFFER_MS + 1)) == [2]


def test_what_a_piece_is_linked_to_is_sent_on_with_it_once() -> None:
    buffer = TraceBuffer(SLOW_MS)
    sync, later = piece("sync", number=2, kind=SpanKind.INTERNAL), piece("sync", number=5, kind=SpanKind.INTERNAL)
    buffer.ended(sync, 0)
    slow, other = piece("append", 600, number=3, links=(2,)), piece("append", number=4, parent=9, links=(2, 5))
    assert buffer.ended(slow, 0) == [slow, sync]
    buffer.ended(later, 0)
    assert buffer.ended(other, 0) == []
    assert buffer.keep([9], 0) == [other, later]


def test_looking_at_traces_leaves_none() -> None:
    buffer = TraceBuffer(0.0)
    assert not buffer.ended(piece("evenshard.v1.DebugService/ListSlowQueries", 10_000, number=1), 0)
    assert buffer.slowest(10, 0, calls_only=False) == []


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_no_more_than_its_limits_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    limits = BufferLimits(
        recent_spans=200, kept_spans=100, slowest_of_a_name=3, names=4, failed=5, asked=5, awaited=8, hints=10,
        slowest_ms=40_000,
    )  # fmt: skip
    buffer = TraceBuffer(50, limits)
    now_ms = 0.0
    for number in range(1, 3_000):
        now_ms += rng.choice([0, 1, 100, 3_000])
        size = rng.choice([1, 1, 2, 10, 40])
        buffer.ended(
            piece(
                f"name {rng.randrange(6)}", rng.expovariate(0.02), number=number, parent=rng.randrange(1, 5_000),
                failed=rng.random() < 0.1, spans=size, calls={number << 40: "s:1"} if rng.random() < 0.3 else None,
                links=(rng.randrange(1, number + 1),) if rng.random() < 0.3 else (), trace_id=rng.randrange(1, 50),
            ),
            now_ms,
        )  # fmt: skip
        buffer.keep([rng.randrange(1, 5_000) for _ in range(3)], now_ms)
        # One piece always fits: it is of a bounded size.
        assert buffer.spans <= limits.recent_spans + limits.kept_spans + 2 * PIECE_SPANS_MAX, (seed, number)
        kept = buffer.slowest(1_000, now_ms, calls_only=False)
        durations = [each.duration_ns for each in kept]
        assert durations == sorted(durations, reverse=True)
        assert len(kept) <= limits.slowest_of_a_name * limits.names
        assert len(buffer.failed(1_000, now_ms)) <= limits.failed
        assert sum(len(each) for each in buffer._hints.values()) <= limits.hints
        assert len(buffer._awaited) <= limits.awaited
        assert len(buffer._by_parent) <= len(buffer._recent)
        assert len(buffer._by_root) <= len(buffer._recent)
        assert sum(each.spans for each in buffer._kept.values()) == buffer._kept_spans <= 140
        assert sum(each.spans for each in buffer._recent.values()) == buffer._recent_spans <= 240
