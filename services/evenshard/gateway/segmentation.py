"""Answers a segmentation: plan, ask all shards, add up; ask again with the groups to keep where that is needed."""

from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import unknown_names, unseen_names
from evenshard.queries.answer import (
    Group,
    SegmentationAnswer,
    SegmentationPlan,
    finish,
    groups_to_keep,
    merge,
    plan_segmentation,
)
from evenshard.queries.model import SegmentationQuery
from evenshard.queries.names import Names
from evenshard.queries.segmentation import scan_rows
from evenshard.wire.query import segmentation_body

ROUNDS_MAX = 4
"""Rounds of one plan: each further one only where the ranking changed since the last."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and what it came from."""

    tenant: Tenant
    answer: SegmentationAnswer
    body: bytes
    """The same as it travels, without its account."""
    scattered: Scattered
    """The last round, which alone made the answer."""
    warnings: tuple[tuple[str, str], ...]
    plan: SegmentationPlan
    """Of the last round."""


async def answer_segmentation(scatter: Scatter, name: str, query: SegmentationQuery, terms: Terms) -> Answered:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> Answered:
        return await _answer_at(scatter, tenant, query, terms)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


async def _answer_at(scatter: Scatter, tenant: Tenant, query: SegmentationQuery, terms: Terms) -> Answered:
    settings = tenant.settings
    zone = ZoneInfo(settings.timezone)
    planning = partial(_plan, query, zone, settings.dedupe)
    plan, asked = await scatter.planned((query, zone.key, settings.dedupe), planning)
    for left in reversed(range(ROUNDS_MAX)):
        scattered = await scatter.scan(tenant, asked, terms)
        question = (tenant.name, tenant.placement.epoch, query, asked)
        merged, keep = await scatter.finish(question, scattered, partial(_merged, plan, scattered))
        if keep is None or left == 0:
            break
        plan = plan.keeping(keep)
        asked = plan.scan.to_json()
    finishing = partial(_finish, plan, merged, asked, scattered)
    answer, body, unseen = await scatter.finish((*question, "answer"), scattered, finishing)
    warnings = await unknown_names(scatter, tenant, asked, unseen, scattered, terms)
    if keep is not None:
        warnings += (("RANKING_MOVED", "the largest groups changed faster than they could be counted"),)
    return Answered(tenant, answer, body, scattered, warnings, plan)


def _plan(query: SegmentationQuery, zone: ZoneInfo, dedupe: bool) -> tuple[SegmentationPlan, bytes]:
    plan = plan_segmentation(query, zone, dedupe=dedupe)
    return plan, plan.scan.to_json()


def _finish(
    plan: SegmentationPlan, merged: pa.Table, asked: bytes, scattered: Scattered
) -> tuple[SegmentationAnswer, bytes, Names]:
    answer = finish(plan, merged)
    return answer, segmentation_body(answer), unseen_names(asked, scattered)


def _merged(plan: SegmentationPlan, scattered: Scattered) -> tuple[pa.Table, list[Group] | None]:
    merged = merge(scattered.partials or [scan_rows(plan.scan, ())[0]])
    return merged, groups_to_keep(plan, merged)
