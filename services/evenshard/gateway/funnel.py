"""Answers a funnel: plan, ask all shards once, put together, finish."""

from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from evenshard.directory.tenant import Tenant
from evenshard.gateway.scatter import Scatter, Scattered, Terms
from evenshard.gateway.unknown_names import Warnings, unknown_names, unseen_names
from evenshard.queries.funnel import scan_rows
from evenshard.queries.funnel_answer import FunnelAnswer, finish, merge, plan_funnel
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.queries.names import Names
from evenshard.queries.plan import FunnelScan
from evenshard.wire.funnel import funnel_body


@dataclass(frozen=True, slots=True)
class AnsweredFunnel:
    """An answer and what it came from."""

    tenant: Tenant
    query: FunnelQuery
    answer: FunnelAnswer
    body: bytes
    """The same as it travels, without its account."""
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
        zone, dedupe = ZoneInfo(settings.timezone), settings.dedupe
        scan, asked = await scatter.planned((query, zone.key, dedupe), partial(_plan, query, zone, dedupe))
        scattered = await scatter.scan(tenant, asked, terms)
        question = (tenant.name, tenant.placement.epoch, query, asked)
        answer, body, unseen = await scatter.finish(question, scattered, lambda: _finish(query, scan, asked, scattered))
        unknown = await unknown_names(scatter, tenant, asked, unseen, scattered, terms, "that could count")
        return AnsweredFunnel(tenant, query, answer, body, scattered, unknown)

    return await scatter.at_one_epoch(name, terms.deadline, attempt)


def _plan(query: FunnelQuery, zone: ZoneInfo, dedupe: bool) -> tuple[FunnelScan, bytes]:
    scan = plan_funnel(query, zone, dedupe=dedupe)
    return scan, scan.to_json()


def _finish(
    query: FunnelQuery, scan: FunnelScan, asked: bytes, scattered: Scattered
) -> tuple[FunnelAnswer, bytes, Names]:
    answer = finish(query, merge(scattered.partials or [scan_rows(scan, ())[0]]))
    return answer, funnel_body(answer), unseen_names(asked, scattered)
