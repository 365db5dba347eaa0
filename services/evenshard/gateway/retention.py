"""Answers a retention: plan, ask all shards once, add up, finish as of now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names
from evenshard.queries.retention import nothing
from evenshard.queries.retention_answer import RetentionAnswer, RetentionPlan, finish, merge, plan_retention
from evenshard.queries.retention_model import RetentionQuery


@dataclass(frozen=True, slots=True)
class AnsweredRetention:
    """An answer and what it came from."""

    tenant: Tenant
    answer: RetentionAnswer
    scattered: Scattered
    warnings: Warnings


async def answer_retention(
    scatter: Scatter, name: str, query: RetentionQuery, terms: Terms, *, now_ms: int
) -> AnsweredRetention:
    """One answer, one placement epoch. ``now_ms`` decides which cells are complete."""

    async def attempt(tenant: Tenant) -> AnsweredRetention:
        settings = tenant.settings
        plan = await asyncio.to_thread(plan_retention, query, ZoneInfo(settings.timezone), dedupe=settings.dedupe)
        asked = plan.scan.to_json()
        scattered = await scatter.scan(tenant, asked, terms)
        over = (plan.over_ms <= now_ms).tobytes()  # all that now decides
        question = (tenant.name, tenant.placement.epoch, query, asked, over)
        answer = await scatter.finish(question, scattered, lambda: _finish(plan, scattered.partials, now_ms))
        unknown = await unknown_names(scatter, tenant, asked, scattered, terms, "that could count")
        return AnsweredRetention(tenant, answer, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _finish(plan: RetentionPlan, partials: Sequence[pa.Table], now_ms: int) -> RetentionAnswer:
    return finish(plan, merge(partials or [nothing(plan.scan)]), now_ms)
