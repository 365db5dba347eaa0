"""Spans as lines of a file that every process of a cluster appends to: one JSON object a span, lines never mixed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from evenshard.errors import EvenshardError

WRITE_BYTES_MAX: Final = 64 << 10
"""Of one write, which holds whole lines; a longer line is one write by itself."""


class TraceFile(SpanExporter):
    """Appends to ``path``; ``service`` is named in every line. Raises ``USAGE`` where the file cannot be opened."""

    def __init__(self, path: Path, service: str) -> None:
        self._service = service
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EvenshardError(
                "USAGE", f"cannot write traces to {path}: {error.strerror}", hint="choose a file that can be written"
            ) from error

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """What a full disk does not take is lost, and nothing else is."""
        try:
            for chunk in _chunks([orjson.dumps(span_document(span, self._service)) + b"\n" for span in spans]):
                os.write(self._descriptor, chunk)  # O_APPEND: processes do not write into each other's lines
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        os.close(self._descriptor)


def span_document(span: ReadableSpan, service: str) -> dict[str, Any]:
    """A span as a line of the file has it."""
    assert span.context is not None
    return {
        "trace_id": format_trace_id(span.context.trace_id),
        "span_id": format_span_id(span.context.span_id),
        "parent_span_id": format_span_id(span.parent.span_id) if span.parent is not None else None,
        "name": span.name,
        "service": service,
        "start_unix_ns": span.start_time,
        "end_unix_ns": span.end_time,
        "status": "ERROR" if span.status.status_code is StatusCode.ERROR else "OK",
        "attributes": dict(span.attributes or {}),
        "links": [
            {"trace_id": format_trace_id(link.context.trace_id), "span_id": format_span_id(link.context.span_id)}
            for link in span.links
        ],
    }


def _chunks(lines: Sequence[bytes]) -> list[bytes]:
    chunks: list[bytes] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(line) <= WRITE_BYTES_MAX:
            chunks[-1] += line
        else:
            chunks.append(line)
    return chunks
