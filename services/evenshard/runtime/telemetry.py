"""Traces: W3C trace context taken from every call that comes in and put on every call that goes out; spans recorded in
every process, and those of slow, failed and sampled traces sent to a collector (OTLP) or a file where one is named.

Where none is, the slowest and the failed are remembered all the same: ``evenshard traces`` asks every process for them.
"""

import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from evenshard.runtime.spans import PIECE_SPANS_MAX, SPANS_LOST, Piece, RecordedSpan, RecordingTracer, is_fault
from evenshard.runtime.trace_buffer import TraceBuffer

if TYPE_CHECKING:  # the SDK is slow to import: who sends no spans does without
    from opentelemetry.sdk.trace.export import SpanExporter

    from evenshard.runtime.span_export import SpanExport

TRACER_NAME: Final = "evenshard"
OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LINKS_MAX: Final = 32
"""Of a span that serves many."""
TENANTS_NAMED_MAX: Final = 32
"""In the attribute of a span that is about several."""
FLUSH_TIMEOUT_S: Final = 3.0
SLOW_TRACE_MS_DEFAULT: Final = 500.0

_PROPAGATOR = TraceContextTextMapPropagator()


class Recorder:
    """What becomes of the spans of this process. Safe for threads."""

    def __init__(self, service: str, export: "SpanExport | None", slow_ms: float) -> None:
        self.service = service
        self.export = export
        self._buffer = TraceBuffer(slow_ms)
        self._lock = threading.Lock()

    def ended(self, span: RecordedSpan) -> None:
        """A span has ended; with a root its piece of the trace is complete."""
        piece = span.piece
        if len(piece.spans) < PIECE_SPANS_MAX or span is piece.root:
            piece.spans.append(span)
        else:
            piece.lost += 1
        piece.failed |= is_fault(span.error)
        if span is piece.root:
            if piece.lost:
                span.set_attribute(SPANS_LOST, piece.lost)
            with self._lock:
                found = self._buffer.ended(piece, _now_ms())
            self._send(found)
        if self.export is not None and (span.context.trace_flags.sampled or (piece.kept and span is not piece.root)):
            self.export.send([span])

    def _send(self, pieces: Sequence[Piece]) -> None:
        """Those that are sampled went as they ended."""
        if self.export is not None:
            for piece in pieces:
                if not piece.root.context.trace_flags.sampled:
                    self.export.send(piece.spans)

    def keep(self, parents: Sequence[int]) -> None:
        """See ``TraceBuffer.keep``."""
        with self._lock:
            found = self._buffer.keep(parents, _now_ms())
        self._send(found)

    def take_hints(self) -> dict[str, list[int]]:
        """See ``TraceBuffer.take_hints``."""
        with self._lock:
            return self._buffer.take_hints()

    def slowest(self, count: int, *, calls_only: bool) -> list[Piece]:
        """See ``TraceBuffer.slowest``."""
        with self._lock:
            return self._buffer.slowest(count, _now_ms(), calls_only=calls_only)

    def failed(self, count: int) -> list[Piece]:
        """See ``TraceBuffer.failed``."""
        with self._lock:
            return self._buffer.failed(count, _now_ms())

    def of(self, trace_ids: Sequence[int], spans_max: int) -> list[Piece]:
        """See ``TraceBuffer.of``."""
        with self._lock:
            return self._buffer.of(trace_ids, spans_max, _now_ms())


@dataclass(frozen=True, slots=True)
class _Telemetry:
    recorder: Recorder
    tracer: trace.Tracer


_telemetry: _Telemetry | None = None


def start_telemetry(
    service_name: str,
    trace_file: str = "",
    *,
    sampled_percent: float = 100.0,
    slow_ms: float = SLOW_TRACE_MS_DEFAULT,
) -> None:
    """From now on spans are recorded; those of ``sampled_percent`` of all traces, of roots that took longer than
    ``slow_ms`` and of what failed are sent to the OTLP collector the environment names, and appended to ``trace_file``
    (empty: none). Raises ``USAGE`` where that cannot be written."""
    global _telemetry
    export = None
    exporters = _exporters(service_name, trace_file)
    if exporters:
        from evenshard.runtime.span_export import SpanExport

        export = SpanExport(service_name, exporters)
    recorder = Recorder(service_name, export, slow_ms)
    _telemetry = _Telemetry(recorder, RecordingTracer(recorder.ended, sampled_percent / 100 if export else 0.0))


def _exporters(service_name: str, trace_file: str) -> "list[SpanExporter]":
    exporters: list[SpanExporter] = []
    if trace_file:
        from evenshard.runtime.trace_file import TraceFile

        exporters.append(TraceFile(Path(trace_file), service_name))
    if has_collector():
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporters.append(OTLPSpanExporter())
    return exporters


def has_collector() -> bool:
    """Whether the environment names an OTLP collector."""
    return any(os.environ.get(name) for name in OTLP_VARIABLES)


def stop_telemetry() -> None:
    """Sends what waits, for a short while; a collector that does not answer holds up nobody."""
    global _telemetry
    if _telemetry is None:
        return
    stopped, _telemetry = _telemetry, None
    if stopped.recorder.export is None:
        return
    flushing = threading.Thread(target=stopped.recorder.export.close, name="span flush", daemon=True)
    flushing.start()
    flushing.join(FLUSH_TIMEOUT_S)


def is_recording() -> bool:
    """Whether spans are remembered here: what is noted only for them need not be otherwise."""
    return _telemetry is not None


def recorder() -> Recorder | None:
    """Of this process; None before ``start_telemetry``."""
    return _telemetry.recorder if _telemetry is not None else None


def tracer() -> trace.Tracer:
    """Ours once started, else that of the program we are part of."""
    return _telemetry.tracer if _telemetry is not None else trace.get_tracer(TRACER_NAME)


def _now_ms() -> float:
    return 1000 * time.monotonic()


def extract_context(metadata: Iterable[tuple[str, Any]]) -> otel_context.Context:
    """The trace a call belongs to, from its metadata; empty where it names none."""
    carrier = {key: value for key, value in metadata if key in ("traceparent", "tracestate") and isinstance(value, str)}
    return _PROPAGATOR.extract(carrier, otel_context.Context())


def outgoing_metadata(span: trace.Span | None = None) -> tuple[tuple[str, str], ...]:
    """What a call sent now carries of ``span``'s trace (the current one's if absent)."""
    if type(span) is RecordedSpan and not span.context.trace_state:  # as the propagator has it, at a tenth of its time
        made = span.context
        return (("traceparent", f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"),)
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span) if span is not None else None)
    return tuple(carrier.items())


def trace_parent() -> str:
    """The current span in W3C form, to be linked to elsewhere; empty outside of any."""
    return dict(outgoing_metadata()).get("traceparent", "")


def links_to(parents: Iterable[str]) -> list[trace.Link]:
    """Links to spans in W3C form, at most ``LINKS_MAX``; what is none is left out."""
    found = (_PROPAGATOR.extract({"traceparent": parent}, otel_context.Context()) for parent in parents)
    contexts = (trace.get_current_span(each).get_span_context() for each in found)
    return [trace.Link(context) for context in contexts if context.is_valid][:LINKS_MAX]


def trace_id_of(span: trace.Span) -> str:
    """32 hex digits; made up where spans are not recorded in this process, so that every call can be named."""
    context = span.get_span_context()
    return format(context.trace_id, "032x") if context.trace_id else secrets.token_hex(16)


def span_ids() -> Mapping[str, str]:
    """Trace and span of whatever runs now, for a log line; empty outside of any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}
