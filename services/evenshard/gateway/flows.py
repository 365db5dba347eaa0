"""Answers flows: plan, ask all shards, add up, finish; ask again, farther beyond the range, where sessions go on."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names
from evenshard.queries.flows import nothing
from evenshard.queries.flows_answer import MARGINS_MS, FlowsAnswer, finish, is_cut_short, merge, plan_flows
from evenshard.queries.flows_model import FlowsQuery
from evenshard.queries.flows_plan import FlowsScan


@dataclass(frozen=True, slots=True)
class AnsweredFlows:
    """An answer and what it came from; ``scattered``: the last round, which alone made it."""

    tenant: Tenant
    answer: FlowsAnswer
    scattered: Scattered
    warnings: Warnings


async def answer_flows(scatter: Scatter, name: str, query: FlowsQuery, terms: Terms) -> AnsweredFlows:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> AnsweredFlows:
        zone, dedupe = ZoneInfo(tenant.settings.timezone), tenant.settings.dedupe
        for margin in range(len(MARGINS_MS)):
            scan = await asyncio.to_thread(plan_flows, query, zone, dedupe=dedupe, margin=margin)
            asked = scan.to_json()
            scattered = await scatter.scan(tenant, asked, terms)
            question = (tenant.name, tenant.placement.epoch, query, asked)
            merged = await scatter.finish(question, scattered, partial(_merged, scan, scattered.partials))
            if not is_cut_short(merged):
                break
        answer = await scatter.finish((*question, "answer"), scattered, lambda: finish(query, merged))
        unknown = await unknown_names(scatter, tenant, asked, scattered, terms, "that could count")
        return AnsweredFlows(tenant, answer, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _merged(scan: FlowsScan, partials: Sequence[pa.Table]) -> pa.Table:
    return merge(partials or [nothing(scan)])
