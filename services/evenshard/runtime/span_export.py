"""Sends spans on in the background: to a collector, to a file. What does not fit into the queue is lost."""

from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from evenshard.runtime.spans import RecordedSpan

QUEUE_SPANS_MAX: Final = 8192
"""Spans that wait to be sent; beyond, they are dropped."""
SEND_SPANS_MAX: Final = 512
SEND_EVERY_MS: Final = 500
_SCOPE: Final = InstrumentationScope("evenshard")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FINE: Final = Status(StatusCode.UNSET)


class SpanExport:
    """To all of its exporters. ``send`` may be called in any thread."""

    def __init__(self, service: str, exporters: Sequence[SpanExporter]) -> None:
        self._resource = Resource.create({SERVICE_NAME: service})
        self._processors = [
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_SPANS_MAX,
                schedule_delay_millis=SEND_EVERY_MS,
                max_export_batch_size=SEND_SPANS_MAX,
            )
            for exporter in exporters
        ]

    def send(self, spans: Iterable[RecordedSpan]) -> None:
        """Spans that have ended, each once."""
        for span in spans:
            readable = _readable(span, self._resource)
            for processor in self._processors:
                processor.on_end(readable)

    def close(self) -> None:
        """Sends what waits; may wait for a collector."""
        for processor in self._processors:
            processor.shutdown()  # type: ignore[no-untyped-call]


def _readable(span: RecordedSpan, resource: Resource) -> ReadableSpan:
    """As the SDK's exporters take it: kept, so sampled."""
    context = span.context
    if not context.trace_flags.sampled:
        context = SpanContext(context.trace_id, context.span_id, False, _SAMPLED, context.trace_state)
    return ReadableSpan(
        span.name,
        context=context,
        parent=span.parent,
        resource=resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=_FINE if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )
