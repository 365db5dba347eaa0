"""Spans as services record them: OpenTelemetry's API, at a third of what its SDK takes for each.

Spans of one trace that belong together in this process are a *piece*: a root, whose parent is elsewhere or nobody, and
what runs below it. Whether a piece is kept is decided when its root ends (``trace_buffer``); a trace that is *sampled*,
by its caller or by its id, which says the same everywhere, is sent on whatever it turns out to be.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.status import Status, StatusCode

from evenshard.errors import CODES, EvenshardError

PIECE_SPANS_MAX: Final = 256
"""Spans of one piece; of more, only the root says how many there were."""
SPAN_LINKS_MAX: Final = 128
SPAN_ATTRIBUTES_MAX: Final = 64
CANCELLED: Final = "CANCELLED"
"""What a span says that was broken off: its caller waited no longer, or this process stops."""
SPANS_LOST: Final = "evenshard.spans_lost"
_EXPECTED: Final = frozenset(
    ["LIMIT_EXCEEDED", *(code for code, rule in CODES.items() if rule.act in ("refresh", "fix_request", "refused"))]
)
"""Failures that are no fault of the cluster: requests that are wrong, placements that have changed."""
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_NOT_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.DEFAULT)
_SHARE_BITS: Final = 56
"""Of a trace's id: the part that is random wherever it was made (W3C)."""
_SHARE_MASK: Final = (1 << _SHARE_BITS) - 1
_random: Final = random.Random()  # of its own: a seed somebody sets must not make ids come again


def is_fault(error: str | None) -> bool:
    """Whether what a span failed with is worth being remembered."""
    return error is not None and error not in _EXPECTED


class Piece:
    """The part of a trace that runs under one root in this process."""

    __slots__ = ("failed", "kept", "lost", "root", "spans")

    def __init__(self) -> None:
        self.root: RecordedSpan
        self.spans: list[RecordedSpan] = []
        """Those that have ended, in that order."""
        self.lost = 0
        """Spans there was no room for."""
        self.failed = False
        """One of the spans has."""
        self.kept = False

    @property
    def duration_ns(self) -> int:
        """Of the root, which has ended."""
        return self.root.end_ns - self.root.start_ns


class RecordedSpan(trace.Span):
    """A span; complete once it has ended. Belongs to whoever started it, as of then to everybody."""

    __slots__ = (
        "_on_end",
        "attributes",
        "context",
        "end_ns",
        "error",
        "kind",
        "links",
        "name",
        "parent",
        "piece",
        "start_ns",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        context: trace.SpanContext,
        parent: trace.SpanContext | None,
        kind: trace.SpanKind,
        attributes: dict[str, Any],
        links: list[trace.Link],
        start_ns: int,
        piece: Piece,
        on_end: "Callable[[RecordedSpan], None]",
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.attributes = attributes
        self.links = links
        self.start_ns = start_ns
        self.end_ns = 0
        """0: it has not ended."""
        self.error: str | None = None
        """None: it has not failed."""
        self.piece = piece
        self._on_end = on_end

    def get_span_context(self) -> trace.SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return not self.end_ns

    def set_attribute(self, key: str, value: Any) -> None:
        if len(self.attributes) < SPAN_ATTRIBUTES_MAX:
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if len(self.attributes) + len(attributes) <= SPAN_ATTRIBUTES_MAX:
            self.attributes.update(attributes)

    def add_link(self, context: trace.SpanContext, attributes: Any = None) -> None:
        if len(self.links) < SPAN_LINKS_MAX:
            self.links.append(trace.Link(context, attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Nothing of ours has events: what happens is a span, or a line of the log that names it."""

    def update_name(self, name: str) -> None:
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        code = status.status_code if isinstance(status, Status) else status
        if code is StatusCode.ERROR:
            self.error = (status.description if isinstance(status, Status) else description) or ""

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        self.error = exception.code if isinstance(exception, EvenshardError) else type(exception).__name__

    def end(self, end_time: int | None = None) -> None:
        if not self.end_ns:
            self.end_ns = end_time or time.time_ns()
            self._on_end(self)


class RecordingTracer(trace.Tracer):
    """Makes spans, and tells ``on_end`` of each that has ended, in its thread."""

    def __init__(self, on_end: Callable[[RecordedSpan], None], sampled_share: float = 1.0) -> None:
        """``sampled_share``: of all traces, 0 to 1; beside those that somebody else has chosen."""
        self._on_end = on_end
        self._sampled_below = round(sampled_share * (1 << _SHARE_BITS))

    def start_span(
        self,
        name: str,
        context: otel_context.Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> RecordedSpan:
        parent_span = trace.get_current_span(context)
        parent: trace.SpanContext | None = parent_span.get_span_context()
        span_id = _random.getrandbits(64) or 1
        piece = None
        if parent is None or not parent.trace_id:
            trace_id = _random.getrandbits(128) or 1
            made = trace.SpanContext(trace_id, span_id, False, self._flags(trace_id))
            parent = None
        elif type(parent_span) is RecordedSpan:
            made = trace.SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)
            piece = parent_span.piece
        else:
            flags = _SAMPLED if parent.trace_flags.sampled else self._flags(parent.trace_id)
            made = trace.SpanContext(parent.trace_id, span_id, False, flags, parent.trace_state)
        is_root = piece is None
        piece = piece or Piece()
        span = RecordedSpan(
            name,
            made,
            parent,
            kind,
            dict(attributes) if attributes else {},
            list(links) if links else [],
            start_time or time.time_ns(),
            piece,
            self._on_end,
        )
        if is_root:
            piece.root = span
        return span

    def start_as_current_span(self, name: str, *arguments: Any, **named: Any) -> "CurrentSpan":  # type: ignore[override]
        return CurrentSpan(self.start_span(name, *arguments, **named))

    def _flags(self, trace_id: int) -> trace.TraceFlags:
        return _SAMPLED if trace_id & _SHARE_MASK < self._sampled_below else _NOT_SAMPLED


class CurrentSpan:
    """A span that is the current one meanwhile, and ends with the block."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: RecordedSpan) -> None:
        self._span = span

    def __enter__(self) -> RecordedSpan:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if isinstance(error, asyncio.CancelledError):
            self._span.error = CANCELLED
        elif isinstance(error, Exception) and self._span.error is None:
            self._span.record_exception(error)
        self._span.end()
