"""Questions asked of rows that lie by hand (see ``spread``), and of the naive model: both answers, to be compared."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa

from evenshard.queries import answer, flows_answer, funnel_answer, retention_answer
from evenshard.queries.flows_model import flows_query
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.retention_model import retention_query
from evenshard.queries.steps import Exclusion, Step
from evenshard.testing import flows_reference, retention_reference
from evenshard.testing.reference import Reference, Row
from evenshard.testing.spread import Layout, asked

UTC = ZoneInfo("UTC")
BothAnswers = tuple[Any, Any]
"""What shards that are lists answer, and what the model says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions over rows that lie so, of days in UTC."""

    reference: Reference
    tenant: str
    layout: Layout
    from_date: str
    to_date: str
    now_ms: int
    where: str = ""
    keep: Callable[[Row], bool] = lambda row: True
    """The same as ``where``."""
    completed: Callable[[bytes], bytes] = lambda scan: scan
    """Puts cohorts that are needed into a scan."""

    @property
    def _days(self) -> dict[str, Any]:
        return {"from_date": self.from_date, "to_date": self.to_date}

    def _partials(self, scan: bytes) -> list[pa.Table]:
        return asked(self.reference.rows, self.completed(scan), self.layout)[0]

    def segmentation(self, **fields: Any) -> BothAnswers:
        query = segmentation_query(**self._days, where=self.where, **fields)
        plan = answer.plan_segmentation(query, UTC, dedupe=True)
        for _ in range(2):
            merged = answer.merge(self._partials(plan.scan.to_json()))
            keep = answer.groups_to_keep(plan, merged)
            plan = plan if keep is None else plan.keeping(keep)
        got = answer.finish(plan, merged)
        expected = self.reference.segmentation(self.tenant, **self._days, where=self.keep, **fields)["series"]
        return (
            [(list(line.by), list(line.values), line.overall) for line in got.series],
            [(line["by"], line["values"], line["overall"]) for line in expected],
        )

    def funnel(self, *names: str, exclude: str = "", **fields: Any) -> BothAnswers:
        steps = [Step(tuple(name.split("|"))) for name in names]
        exclusions = [Exclusion(Step((exclude,)), 1, 2)] if exclude else []
        query = funnel_query(**self._days, steps=steps, exclusions=exclusions, where=self.where, **fields)
        scan = funnel_answer.plan_funnel(query, UTC, dedupe=True).to_json()
        got = funnel_answer.finish(query, funnel_answer.merge(self._partials(scan)))
        expected = self.reference.funnel(
            self.tenant, **self._days, where=self.keep, **fields,
            steps=[(step.events, lambda row: True) for step in steps],
            exclusions=[((exclude,), lambda row: True, 1, 2)] if exclude else [],
        )  # fmt: skip

        def plain(steps: Any) -> list[Any]:
            return [{**asdict(step), "histogram": list(map(asdict, step.histogram))} for step in steps]

        return (
            [plain(got.overall), *((list(group.by), plain(group.steps)) for group in got.groups)],
            [expected["overall"]["steps"], *((group["by"], group["steps"]) for group in expected["groups"])],
        )

    def retention(self, birth: str, returning: str, **fields: Any) -> BothAnswers:
        steps: dict[str, Any] = {"birth": Step((birth,)), "returning": Step((returning,))}
        query = retention_query(**self._days, **steps, where=self.where, **fields)
        plan = retention_answer.plan_retention(query, UTC, dedupe=True)
        got = retention_answer.finish(plan, retention_answer.merge(self._partials(plan.scan.to_json())), self.now_ms)
        expected = retention_reference.retention(
            self.reference.rows, **self._days, where=self.keep, now_ms=self.now_ms, **fields,
            birth=((birth,), lambda row: True), returning=((returning,), lambda row: True),
        )  # fmt: skip

        def plain(triangle: Any) -> Any:
            return orjson.loads(orjson.dumps(asdict(triangle)))

        def wanted(one: Any) -> Any:
            return {name: one[name] for name in ("cohorts", "average")}

        return (
            [plain(got.overall), *((list(group.by), plain(group.triangle)) for group in got.groups)],
            [wanted(expected), *((group["by"], wanted(group)) for group in expected["groups"])],
        )

    def flows(self, anchor: str, **fields: Any) -> BothAnswers:
        query = flows_query(**self._days, anchor=Step((anchor,)), where=self.where, **fields)
        for margin in range(len(flows_answer.MARGINS_MS)):
            plan = flows_answer.plan_flows(query, UTC, dedupe=True, margin=margin)
            merged = flows_answer.merge(self._partials(plan.to_json()))
            if not flows_answer.is_cut_short(merged):
                break
        got = flows_answer.finish(query, merged)
        expected = flows_reference.flows(
            self.reference.rows, **self._days, anchor=((anchor,), lambda row: True), where=self.keep, **fields
        )
        edges = [{"step": edge.step, "from": edge.before, "to": edge.after, "count": edge.count} for edge in got.edges]
        return {"anchors": got.anchors, "nodes": list(map(asdict, got.nodes)), "edges": edges}, expected
