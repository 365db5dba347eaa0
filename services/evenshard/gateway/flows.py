"""Answers flows: plan, ask all shards, add up, finish; ask again, farther beyond the range, where sessions go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names, unseen_names
from evenshard.queries.flows import nothing
from evenshard.queries.flows_answer import MARGINS_MS, FlowsAnswer, finish, is_cut_short, merge, plan_flows
from evenshard.queries.flows_model import FlowsQuery
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.names import Names
from evenshard.wire.flows import flows_body


@dataclass(frozen=True, slots=True)
class AnsweredFlows:
    """An answer and what it came from; ``scattered``: the last round, which alone made it."""

    tenant: Tenant
    answer: FlowsAnswer
    body: bytes
    """The same as it travels, without its account."""
    scattered: Scattered
    warnings: Warnings


async def answer_flows(scatter: Scatter, name: str, query: FlowsQuery, terms: Terms) -> AnsweredFlows:
    """One answer, one placement epoch."""

    async def attempt(tenant: Tenant) -> AnsweredFlows:
        zone, dedupe = ZoneInfo(tenant.settings.timezone), tenant.settings.dedupe
        for margin in range(len(MARGINS_MS)):
            planning = partial(_plan, query, zone, dedupe, margin)
            scan, asked = await scatter.planned((query, zone.key, dedupe, margin), planning)
            scattered = await scatter.scan(tenant, asked, terms)
            question = (tenant.name, tenant.placement.epoch, query, asked)
            merged = await scatter.finish(question, scattered, partial(_merged, scan, scattered.partials))
            if not is_cut_short(merged):
                break
        finishing = partial(_finish, query, merged, asked, scattered)
        answer, body, unseen = await scatter.finish((*question, "answer"), scattered, finishing)
        unknown = await unknown_names(scatter, tenant, asked, unseen, scattered, terms, "that could count")
        return AnsweredFlows(tenant, answer, body, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _plan(query: FlowsQuery, zone: ZoneInfo, dedupe: bool, margin: int) -> tuple[FlowsScan, bytes]:
    scan = plan_flows(query, zone, dedupe=dedupe, margin=margin)
    return scan, scan.to_json()


def _finish(
    query: FlowsQuery, merged: pa.Table, asked: bytes, scattered: Scattered
) -> tuple[FlowsAnswer, bytes, Names]:
    answer = finish(query, merged)
    return answer, flows_body(answer), unseen_names(asked, scattered)


def _merged(scan: FlowsScan, partials: Sequence[pa.Table]) -> pa.Table:
    return merge(partials or [nothing(scan)])
