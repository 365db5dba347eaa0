"""The spans of a shard beside those of its calls: syncs, each a trace of its own, and compactions; how both are linked
to appends."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace

from evenshard.ids import ShardId, TenantId
from evenshard.runtime.telemetry import LINKS_MAX, TENANTS_NAMED_MAX, is_recording, tracer
from evenshard.storage.append import Synced
from evenshard.wire.shards import BatchAppended, BatchToAppend

TENANTS_MAX: Final = 1024
"""Tenants whose unindexed appends are remembered; beyond, those of the one that was told of first are forgotten."""
_NS_PER_MS: Final = 1_000_000


class ShardSpans:
    """Remembers the newest ``LINKS_MAX`` appends of each tenant until a compaction takes them. Apart from ``on_sync``
    to be used on one event loop."""

    def __init__(self, shard: ShardId) -> None:
        self._shard = shard
        self._appends: dict[TenantId, deque[trace.SpanContext]] = {}

    def on_sync(self, synced: Synced) -> object:
        """Makes the span of a sync that has just ended; returns what ``appended`` needs of it."""
        if not is_recording():
            return None
        end_ns = time.time_ns()
        span = tracer().start_span(
            "shard.log.sync",
            context=otel_context.Context(),
            start_time=end_ns - int(synced.duration_ms * _NS_PER_MS),
            attributes={
                "evenshard.shard": self._shard,
                "evenshard.rows": synced.rows,
                "evenshard.bytes": synced.bytes,
                "evenshard.batches": synced.batches,
            },
        )
        span.end(end_ns)
        return span.get_span_context()

    def appended(self, tenant: TenantId, sync: object) -> None:
        """The current span has stored rows of ``tenant``, made durable by ``sync``."""
        span = trace.get_current_span()
        if not isinstance(sync, trace.SpanContext) or not span.is_recording():
            return
        if all(link.context != sync for link in getattr(span, "links", ())):  # one sync may serve several tenants' rows
            span.add_link(sync)
        if tenant not in self._appends and len(self._appends) >= TENANTS_MAX:
            del self._appends[next(iter(self._appends))]
        self._appends.setdefault(tenant, deque(maxlen=LINKS_MAX)).append(span.get_span_context())

    @contextlib.contextmanager
    def compaction(self, tenant: TenantId) -> Iterator[trace.Span]:
        """The span of a compaction that runs meanwhile; one that fails leaves the appends to the next."""
        appends = self._appends.pop(tenant, None) or ()
        with tracer().start_as_current_span(
            "shard.compaction",
            links=[trace.Link(append) for append in appends],
            attributes={"evenshard.tenant": tenant, "evenshard.shard": self._shard},
        ) as span:
            try:
                yield span
            except BaseException:
                if appends:
                    self._appends[tenant] = deque([*appends, *self._appends.get(tenant, ())], maxlen=LINKS_MAX)
                raise


def append_attributes(
    shard: ShardId, batches: Sequence[BatchToAppend], results: Sequence[BatchAppended]
) -> dict[str, str | int]:
    """What the span of an append says; of an append for several tenants their names, and the highest epoch."""
    return {
        "evenshard.shard": shard,
        "evenshard.tenant": ",".join(sorted({batch.tenant for batch in batches})[:TENANTS_NAMED_MAX]),
        "evenshard.epoch": max((batch.epoch for batch in batches), default=0),
        "evenshard.rows": sum(len(result.duplicates) for result in results),
        "evenshard.bytes": sum(len(batch.payload) for batch in batches),
        "evenshard.duplicates": sum(int(result.duplicates.sum()) for result in results),
    }
