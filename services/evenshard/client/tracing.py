"""The root span of what a client does: part of the trace of the program it runs in, or the begin of one."""

import contextlib
import secrets
from collections.abc import Iterator

from opentelemetry import trace

from evenshard.errors import EvenshardError
from evenshard.runtime.telemetry import trace_id_of, tracer


def start_client_span(name: str, tenant: str) -> trace.Span:
    """Has ids also where nobody records it, so that every answer and error can name its trace. It is not made the
    current one, which is the caller's: calls are told of it."""
    span = tracer().start_span(name, kind=trace.SpanKind.CLIENT, attributes={"evenshard.tenant": tenant})
    if span.get_span_context().is_valid:
        return span
    context = trace.SpanContext(  # not sampled: the cluster chooses by itself
        int.from_bytes(secrets.token_bytes(16)), int.from_bytes(secrets.token_bytes(8)), False
    )
    return trace.NonRecordingSpan(context)


@contextlib.contextmanager
def ending(span: trace.Span) -> Iterator[None]:
    """Ends ``span`` with the block; an error of ours that leaves it names its trace."""
    try:
        yield
    except EvenshardError as error:
        error.trace_id = error.trace_id or trace_id_of(span)
        span.set_status(trace.StatusCode.ERROR, error.code)
        raise
    finally:
        if span.is_recording():
            span.end()
