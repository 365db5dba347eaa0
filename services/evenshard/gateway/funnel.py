"""Answers a funnel: plan, ask all shards once, put together, finish."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Deadline, Scatter, Scattered
from evenshard.gateway.unknown_names import unknown_names
from evenshard.queries.funnel import scan_rows
from evenshard.queries.funnel_answer import FunnelAnswer, finish, merge, plan_funnel
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.queries.plan import FunnelScan

_WHERE = "from the first day to a window after the last"


@dataclass(frozen=True, slots=True)
class AnsweredFunnel:
    """An answer and what it came from."""

    tenant: Tenant
    answer: FunnelAnswer
    scattered: Scattered
    warnings: tuple[tuple[str, str], ...]
    """Code and message."""


async def answer_funnel(
    scatter: Scatter, name: str, query: FunnelQuery, deadline: Deadline, *, allow_partial: bool
) -> AnsweredFunnel:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> AnsweredFunnel:
        settings = tenant.settings
        scan = await asyncio.to_thread(plan_funnel, query, ZoneInfo(settings.timezone), dedupe=settings.dedupe)
        scattered = await scatter.scan(tenant, scan.to_json(), deadline, allow_partial=allow_partial)
        answer = await asyncio.to_thread(_finish, query, scan, scattered.partials)
        unknown = await unknown_names(scatter, tenant, scan.to_json(), scattered, deadline, _WHERE)
        return AnsweredFunnel(tenant, answer, scattered, unknown)

    return await scatter.at_one_epoch(name, deadline, attempt)


def _finish(query: FunnelQuery, scan: FunnelScan, partials: Sequence[pa.Table]) -> FunnelAnswer:
    return finish(query, merge(partials or [scan_rows(scan, ())[0]]))
