"""Cohorts as asked of a shard: the scans that find whose users belong, and a query's scan with the cohorts it needs.

A cohort is the users whom all of its scans find. Scans of a cohort may need cohorts that stand before it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from evenshard.queries.buckets import days_ms
from evenshard.queries.cohort_model import CohortQuery
from evenshard.queries.funnel_answer import plan_funnel
from evenshard.queries.plan import FunnelScan
from evenshard.queries.steps import Step

COHORT_PLAN_VERSION: Final = 1
WITH_COHORTS: Final = "with_cohorts"


@dataclass(frozen=True, slots=True)
class DidScan:
    """Users with any event in ranges, who did, and did not, what is given; none given: all."""

    ranges_ms: tuple[int, ...]
    """Ascending, in pairs: half-open intervals."""
    did: tuple[tuple[Step, int], ...]
    """Each at least so many times."""
    did_not: tuple[Step, ...]
    skip_duplicates: bool

    @property
    def start_ms(self) -> int:
        return self.ranges_ms[0]

    @property
    def end_ms(self) -> int:
        return self.ranges_ms[-1]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What they did, then what they did not."""
        return (*(step for step, _ in self.did), *self.did_not)

    def to_json(self) -> bytes:
        return orjson.dumps({"version": COHORT_PLAN_VERSION, "kind": "did", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "DidScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (COHORT_PLAN_VERSION, "did"):
            raise ValueError("not a cohort of a version known here")
        return DidScan(
            ranges_ms=tuple(plan.pop("ranges_ms")),
            did=tuple((_step(step), at_least) for step, at_least in plan.pop("did")),
            did_not=tuple(map(_step, plan.pop("did_not"))),
            **plan,
        )


@dataclass(frozen=True, slots=True)
class ReachedScan:
    """Users who reached a step of a funnel, from 1."""

    funnel: FunnelScan
    reached: int

    @property
    def start_ms(self) -> int:
        return self.funnel.start_ms

    @property
    def end_ms(self) -> int:
        return self.funnel.end_ms

    @property
    def skip_duplicates(self) -> bool:
        return self.funnel.skip_duplicates

    def to_json(self) -> bytes:
        funnel = orjson.loads(self.funnel.to_json())
        return orjson.dumps(
            {"version": COHORT_PLAN_VERSION, "kind": "reached", "funnel": funnel, "reached": self.reached}
        )

    @staticmethod
    def from_json(data: bytes) -> "ReachedScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (COHORT_PLAN_VERSION, "reached"):
            raise ValueError("not a cohort of a version known here")
        return ReachedScan(FunnelScan.from_json(orjson.dumps(plan["funnel"])), plan["reached"])


class CohortScans(NamedTuple):
    """A cohort by name and the scans whose users, all of them together, belong to it."""

    name: str
    scans: tuple[bytes, ...]


def plan_cohort(name: str, query: CohortQuery, zone: ZoneInfo, *, dedupe: bool) -> CohortScans:
    """What to ask the shards. Raises ``RANGE_INVALID`` for a range too long."""
    did = DidScan(
        ranges_ms=tuple(days_ms(query.from_date, query.to_date, zone)),
        did=tuple((each.step, each.at_least) for each in query.did),
        did_not=query.did_not,
        skip_duplicates=dedupe,
    )
    scans = [did.to_json()]
    if query.funnel is not None:
        scans.append(ReachedScan(plan_funnel(query.funnel, zone, dedupe=dedupe), query.reached).to_json())
    return CohortScans(name, tuple(scans))


def with_cohorts(scan: bytes, cohorts: Sequence[CohortScans]) -> bytes:
    """A scan that needs cohorts, in the order in which they need each other."""
    listed = [{"name": each.name, "scans": [orjson.Fragment(one) for one in each.scans]} for each in cohorts]
    return orjson.dumps({"kind": WITH_COHORTS, "scan": orjson.Fragment(scan), "cohorts": listed})


def without_cohorts(scan: bytes) -> tuple[bytes, list[CohortScans]]:
    """A scan, and the cohorts it needs. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what is none."""
    plan = orjson.loads(scan)
    if not isinstance(plan, dict) or plan.get("kind") != WITH_COHORTS:
        return scan, []
    cohorts = [CohortScans(each["name"], tuple(map(orjson.dumps, each["scans"]))) for each in plan["cohorts"]]
    return orjson.dumps(plan["scan"]), cohorts


def _step(document: dict[str, Any]) -> Step:
    return Step(tuple(document["events"]), document["where"])
