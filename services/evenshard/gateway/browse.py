"""Answers what there is to ask about, and what one user did."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.encode import encode_lines
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.queries import schema, schema_answer
from evenshard.queries.browse_model import SchemaQuery, TimelineQuery, ranges_ms
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.schema_answer import SchemaAnswer
from evenshard.queries.timeline import MORE, PageToken, merge

Warnings = tuple[tuple[str, str], ...]
"""Codes and messages."""


@dataclass(frozen=True, slots=True)
class AnsweredSchema:
    """An answer and what it came from."""

    tenant: Tenant
    answer: SchemaAnswer
    scattered: Scattered

    @property
    def warnings(self) -> Warnings:
        many = self.answer.too_many
        if not many:
            return ()
        named = ", ".join(many[:10]) + (f" and {len(many) - 10} more" if len(many) > 10 else "")
        return (("TOP_VALUES_LEFT_OUT", f"too many different values to list the most frequent: {named}"),)


@dataclass(frozen=True, slots=True)
class AnsweredTimeline:
    """A page and what it came from."""

    tenant: Tenant
    events: Sequence[str]
    """Rows as an export writes them."""
    next_page_token: str
    """Empty: it was the last page."""
    scattered: Scattered
    warnings: Warnings = ()


async def answer_schema(scatter: Scatter, name: str, query: SchemaQuery, terms: Terms) -> AnsweredSchema:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> AnsweredSchema:
        scan = await asyncio.to_thread(_schema_scan, tenant, query)
        asked = scan.to_json()
        scattered = await scatter.scan(tenant, asked, terms)
        question = (tenant.name, tenant.placement.epoch, query, asked)
        answer = await scatter.finish(question, scattered, lambda: _finish_schema(query, scan, scattered.partials))
        return AnsweredSchema(tenant, answer, scattered)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _schema_scan(tenant: Tenant, query: SchemaQuery) -> SchemaScan:
    return SchemaScan(
        ranges_ms=ranges_ms(query.from_date, query.to_date, ZoneInfo(tenant.settings.timezone)),
        properties=True,
        values=True,
        rows_max=0,
        skip_duplicates=tenant.settings.dedupe and not query.include_duplicates,
    )


def _finish_schema(query: SchemaQuery, scan: SchemaScan, partials: Sequence[pa.Table]) -> SchemaAnswer:
    merged = schema_answer.merge(partials or [schema.scan_rows(scan, ())[0]])
    return schema_answer.finish(merged, include_hidden=query.include_hidden)


async def answer_timeline(scatter: Scatter, name: str, query: TimelineQuery, terms: Terms) -> AnsweredTimeline:
    """One page, of the shards that may have rows of the user, mostly one. Raises ``QUERY_INVALID`` for a token of
    something else."""
    token = PageToken.from_text(name, query)

    async def attempt(tenant: Tenant) -> AnsweredTimeline:
        scan = await asyncio.to_thread(_timeline_scan, tenant, query, token)
        shards = tenant.placement.shards_of(query.user)
        scattered = await scatter.scan(tenant, scan.to_json(), terms, only=shards)
        pages = scattered.partials
        if len(pages) > 1:
            pages = [await asyncio.to_thread(merge, scan, pages)]
        events, following = await asyncio.to_thread(_page, name, query, token, pages)
        return AnsweredTimeline(tenant, events, following, scattered)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _timeline_scan(tenant: Tenant, query: TimelineQuery, token: PageToken | None) -> TimelineScan:
    return TimelineScan(
        ranges_ms=ranges_ms(query.from_date, query.to_date, ZoneInfo(tenant.settings.timezone)),
        user=query.user,
        where=query.where,
        after=token.key if token else None,
        skip=token.ties if token else 0,
        limit=query.page_size,
        skip_duplicates=tenant.settings.dedupe and not query.include_duplicates,
    )


def _page(
    name: str, query: TimelineQuery, token: PageToken | None, partials: Sequence[pa.Table]
) -> tuple[list[str], str]:
    """The rows of the page as JSON, and the token of the next one."""
    batches = partials[0].combine_chunks().to_batches() if partials else []
    if not batches or not batches[0].num_rows:
        return [], ""
    rows = batches[0]
    lines = encode_lines(rows, query.include_duplicates).decode().splitlines()
    more = partials[0].schema.metadata[MORE] == b"1"
    return lines, PageToken.behind(token, rows).to_text(name, query) if more else ""
