"""Answers a retention: plan, ask all shards once, add up, finish as of now."""

from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names, unseen_names
from evenshard.queries.names import Names
from evenshard.queries.retention import nothing
from evenshard.queries.retention_answer import RetentionAnswer, RetentionPlan, finish, merge, plan_retention
from evenshard.queries.retention_model import RetentionQuery
from evenshard.wire.retention import retention_body


@dataclass(frozen=True, slots=True)
class AnsweredRetention:
    """An answer and what it came from."""

    tenant: Tenant
    answer: RetentionAnswer
    body: bytes
    """The same as it travels, without its account."""
    scattered: Scattered
    warnings: Warnings


async def answer_retention(
    scatter: Scatter, name: str, query: RetentionQuery, terms: Terms, *, now_ms: int
) -> AnsweredRetention:
    """One answer, one placement epoch. ``now_ms`` decides which cells are complete."""

    async def attempt(tenant: Tenant) -> AnsweredRetention:
        settings = tenant.settings
        zone, dedupe = ZoneInfo(settings.timezone), settings.dedupe
        plan, asked = await scatter.planned((query, zone.key, dedupe), partial(_plan, query, zone, dedupe))
        scattered = await scatter.scan(tenant, asked, terms)
        over = (plan.over_ms <= now_ms).tobytes()  # all that now decides
        question = (tenant.name, tenant.placement.epoch, query, asked, over)
        finishing = partial(_finish, plan, asked, scattered, now_ms)
        answer, body, unseen = await scatter.finish(question, scattered, finishing)
        unknown = await unknown_names(scatter, tenant, asked, unseen, scattered, terms, "that could count")
        return AnsweredRetention(tenant, answer, body, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _plan(query: RetentionQuery, zone: ZoneInfo, dedupe: bool) -> tuple[RetentionPlan, bytes]:
    plan = plan_retention(query, zone, dedupe=dedupe)
    return plan, plan.scan.to_json()


def _finish(
    plan: RetentionPlan, asked: bytes, scattered: Scattered, now_ms: int
) -> tuple[RetentionAnswer, bytes, Names]:
    answer = finish(plan, merge(scattered.partials or [nothing(plan.scan)]), now_ms)
    return answer, retention_body(answer), unseen_names(asked, scattered)
