"""Traces: W3C trace context taken from every call that comes in and put on every call that goes out; spans sent to a
collector (OTLP) or a file, in the background, where one of them is configured.

Where none is, spans have ids all the same, so that every answer, error and log line can name its trace, and cost
little more than that.
"""

import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:  # the SDK is slow to import: clients that send no spans do without
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

TRACER_NAME: Final = "evenshard"
OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LINKS_MAX: Final = 32
"""Of a span that serves many."""
TENANTS_NAMED_MAX: Final = 32
"""In the attribute of a span that is about several."""
QUEUE_SPANS_MAX: Final = 8192
"""Spans that wait to be sent; beyond, they are dropped."""
SEND_SPANS_MAX: Final = 512
SEND_EVERY_MS: Final = 500
FLUSH_TIMEOUT_S: Final = 3.0

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class _Telemetry:
    provider: "TracerProvider"
    tracer: trace.Tracer
    exporters: "Sequence[SpanExporter]"


_telemetry: _Telemetry | None = None


def start_telemetry(service_name: str, trace_file: str = "") -> None:
    """From now on spans are sent to the OTLP collector the environment names, and appended to ``trace_file`` (empty:
    none). Raises ``USAGE`` where that cannot be written."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    global _telemetry
    exporters = _exporters(service_name, trace_file)
    if exporters:
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service_name}), shutdown_on_exit=False)
    else:
        provider = TracerProvider(resource=Resource.get_empty(), sampler=ALWAYS_OFF, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_SPANS_MAX,
                schedule_delay_millis=SEND_EVERY_MS,
                max_export_batch_size=SEND_SPANS_MAX,
            )
        )
    _telemetry = _Telemetry(provider, provider.get_tracer(TRACER_NAME), exporters)


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
    flushing = threading.Thread(target=stopped.provider.shutdown, name="span flush", daemon=True)
    flushing.start()
    flushing.join(FLUSH_TIMEOUT_S)


def is_exporting() -> bool:
    """Whether spans go anywhere: what is noted only for them need not be otherwise."""
    return _telemetry is not None and bool(_telemetry.exporters)


def tracer() -> trace.Tracer:
    """Ours once started, else that of the program we are part of."""
    return _telemetry.tracer if _telemetry is not None else trace.get_tracer(TRACER_NAME)


def extract_context(metadata: Iterable[tuple[str, Any]]) -> otel_context.Context:
    """The trace a call belongs to, from its metadata; empty where it names none."""
    carrier = {key: value for key, value in metadata if key in ("traceparent", "tracestate") and isinstance(value, str)}
    return _PROPAGATOR.extract(carrier, otel_context.Context())


def outgoing_metadata(span: trace.Span | None = None) -> tuple[tuple[str, str], ...]:
    """What a call sent now carries of ``span``'s trace (the current one's if absent)."""
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
