"""The span of a query: whose, and what its shards have read."""

import contextlib
from collections.abc import Iterator

from opentelemetry import trace

from evenshard.runtime.telemetry import tracer
from evenshard.wire.query import Account


@contextlib.contextmanager
def query_span(tenant: str, kind: str) -> Iterator[trace.Span]:
    """``gateway.query``, of a query of this kind that is answered meanwhile."""
    attributes = {"evenshard.tenant": tenant, "evenshard.query": kind}
    with tracer().start_as_current_span("gateway.query", attributes=attributes) as span:
        yield span


def answered(span: trace.Span, account: Account, directory_revision: int) -> None:
    """Notes what an answer came from."""
    span.set_attributes(
        {
            "evenshard.epoch": account.epoch,
            "evenshard.rows": account.stats.rows_scanned,
            "evenshard.bytes": account.stats.bytes_scanned,
            "evenshard.duplicates": account.stats.duplicates_skipped_log + account.stats.duplicates_skipped_segment,
            "evenshard.cache_hit": account.from_cache,
            "evenshard.directory_revision": directory_revision,
        }
    )
