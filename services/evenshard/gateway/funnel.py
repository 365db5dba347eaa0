"""Answers a funnel: plan, ask all shards once, put together, finish."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names
from evenshard.queries.funnel import scan_rows
from evenshard.queries.funnel_answer import FunnelAnswer, finish, merge, plan_funnel
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.queries.plan import FunnelScan


@dataclass(frozen=True, slots=True)
class AnsweredFunnel:
    """An answer and what it came from."""

    tenant: Tenant
    query: FunnelQuery
    answer: FunnelAnswer
    scattered: Scattered
    unknown: Warnings

    @property
    def warnings(self) -> Warnings:
        """Code and message."""
        found = (*self.query.warnings, *self.unknown)
        if self.query.explain_user and not self.answer.explained and not self.scattered.missing:
            user = self.query.explain_user
            found += (("NOTHING_TO_EXPLAIN", f"no event of {user!r} matches a step or an exclusion in these days"),)
        return found


async def answer_funnel(scatter: Scatter, name: str, query: FunnelQuery, terms: Terms) -> AnsweredFunnel:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> AnsweredFunnel:
        settings = tenant.settings
        scan = await asyncio.to_thread(plan_funnel, query, ZoneInfo(settings.timezone), dedupe=settings.dedupe)
        asked = scan.to_json()
        scattered = await scatter.scan(tenant, asked, terms)
        question = (tenant.name, tenant.placement.epoch, query, asked)
        answer = await scatter.finish(question, scattered, lambda: _finish(query, scan, scattered.partials))
        unknown = await unknown_names(scatter, tenant, asked, scattered, terms, "that could count")
        return AnsweredFunnel(tenant, query, answer, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _finish(query: FunnelQuery, scan: FunnelScan, partials: Sequence[pa.Table]) -> FunnelAnswer:
    return finish(query, merge(partials or [scan_rows(scan, ())[0]]))
