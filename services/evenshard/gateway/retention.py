"""Answers a retention: plan, ask all shards once, add up, finish as of now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Deadline, Scatter, Scattered
from evenshard.gateway.unknown_events import Warnings, unknown_event_warnings
from evenshard.queries.retention import scan_rows
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
    scatter: Scatter, name: str, query: RetentionQuery, now_ms: int, deadline: Deadline, *, allow_partial: bool
) -> AnsweredRetention:
    """One answer, one placement epoch. ``now_ms`` decides which cells are complete."""

    async def attempt(tenant: Tenant) -> AnsweredRetention:
        settings = tenant.settings
        plan = await asyncio.to_thread(plan_retention, query, ZoneInfo(settings.timezone), dedupe=settings.dedupe)
        scattered = await scatter.scan(tenant, plan.scan.to_json(), deadline, allow_partial=allow_partial)
        answer = await asyncio.to_thread(_finish, plan, scattered.partials, now_ms)
        return AnsweredRetention(tenant, answer, scattered, ())

    answered = await scatter.at_one_epoch(name, deadline, attempt)
    if answered.scattered.missing:  # the names may occur where nobody answered
        return answered
    warnings = await unknown_event_warnings(
        scatter, name, answered.answer.unknown_events, query.from_date, query.to_date, deadline
    )
    return replace(answered, warnings=warnings)


def _finish(plan: RetentionPlan, partials: Sequence[pa.Table], now_ms: int) -> RetentionAnswer:
    return finish(plan, merge(partials or [scan_rows(plan.scan, ())[0]]), now_ms)
