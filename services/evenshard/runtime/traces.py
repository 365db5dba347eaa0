"""What this process remembers of traces, as ``DebugService`` tells it; and the calls after which others keep theirs."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.trace import format_span_id, format_trace_id

from evenshard.api.v1 import debug_pb2
from evenshard.errors import EvenshardError
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Peers
from evenshard.runtime.endless import until_ended
from evenshard.runtime.spans import Piece, RecordedSpan
from evenshard.runtime.telemetry import recorder
from evenshard.wire.rpcs import KEEP_TRACES
from evenshard.wire.traces import Tree, limit_of, trace_ids_of, trace_message

SPANS_MAX: Final = 5_000
"""Of one answer, about."""
TELL_EVERY_MS: Final = 1_000
"""Well within ``trace_buffer.BUFFER_MS``: until then nothing is lost elsewhere."""
TELL_TIMEOUT_S: Final = 1.0
SPAN_IDS_MAX: Final = 4_096


def own_traces(request: debug_pb2.ListTracesRequest) -> debug_pb2.ListTracesResponse:
    """Each piece by itself. Raises ``QUERY_INVALID``."""
    found = recorder()
    limit, trace_ids = limit_of(request), trace_ids_of(request)
    if found is None:
        return debug_pb2.ListTracesResponse()
    if trace_ids:
        pieces = found.of([int(each, 16) for each in trace_ids], SPANS_MAX)
    elif request.failed:
        pieces = found.failed(limit)
    else:
        pieces = found.slowest(limit, calls_only=not request.background)
    return debug_pb2.ListTracesResponse(traces=[trace_message(tree_of(piece, found.service)) for piece in pieces])


def keep(request: debug_pb2.KeepTracesRequest) -> debug_pb2.KeepTracesResponse:
    """Notes what callers keep."""
    found = recorder()
    if found is not None:
        found.keep(request.span_ids[:SPAN_IDS_MAX])
    return debug_pb2.KeepTracesResponse()


class KeepElsewhere:
    """Tells the processes that were called for traces which are kept here to keep their parts; who cannot be told in
    time keeps what it finds worth it by itself. Belongs to one event loop."""

    def __init__(self, peers: Peers, clock: Clock) -> None:
        self._peers = peers
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.untold_spans = 0
        """Since the start."""

    def start(self) -> None:
        self._task = asyncio.create_task(until_ended(self._run, self._clock, "traces"), name="traces")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(TELL_EVERY_MS)
            found = recorder()
            hints = found.take_hints() if found is not None else {}
            async with asyncio.TaskGroup() as group:
                for address, span_ids in hints.items():
                    group.create_task(self._tell(address, span_ids))

    async def _tell(self, address: str, span_ids: Sequence[int]) -> None:
        request = debug_pb2.KeepTracesRequest(span_ids=span_ids[:SPAN_IDS_MAX])
        try:
            await self._peers.call(address, KEEP_TRACES, request, timeout_s=TELL_TIMEOUT_S)
        except EvenshardError:
            self.untold_spans += len(span_ids)  # a metric; traces are then joined without that process


def tree_of(piece: Piece, service: str) -> Tree:
    """A piece as others know it."""
    documents = [document_of(span, service) for span in piece.spans]
    root = next(each for each, span in zip(documents, piece.spans, strict=True) if span is piece.root)
    return Tree([root], documents)


def document_of(span: RecordedSpan, service: str) -> dict[str, Any]:
    """A span that has ended, as a line of a trace file has it."""
    return {
        "trace_id": format_trace_id(span.context.trace_id),
        "span_id": format_span_id(span.context.span_id),
        "parent_span_id": format_span_id(span.parent.span_id) if span.parent is not None else None,
        "name": span.name,
        "service": service,
        "start_unix_ns": span.start_ns,
        "end_unix_ns": span.end_ns,
        "status": "OK" if span.error is None else "ERROR",
        "attributes": dict(span.attributes),
        "links": [
            {"trace_id": format_trace_id(link.context.trace_id), "span_id": format_span_id(link.context.span_id)}
            for link in span.links
        ],
    }
