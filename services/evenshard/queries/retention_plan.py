"""A retention as asked of a shard, with everything about time zones decided."""

from dataclasses import asdict, dataclass
from typing import Final

import orjson

from evenshard.queries.steps import Step

RETENTION_PLAN_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class RetentionScan:
    """Rows are those of ``[start_ms, end_ms)``. Intervals are given as n + 1 instants, ascending, and n numbers."""

    start_ms: int
    end_ms: int
    births_ms: tuple[int, ...]
    """Interval i is ``[births_ms[i], births_ms[i + 1])``."""
    cohort_of: tuple[int, ...]
    """The cohort of a birth in each of the n intervals; -1: outside of the range."""
    cohorts: int
    """How many there are."""
    unit_ms: int
    """How long a bucket is that begins at the birth; 0: buckets are the units that follow."""
    units_ms: tuple[int, ...]
    """Of the calendar; only where ``unit_ms`` is 0. From the first birth on, to the end of the last bucket there is."""
    unit_of: tuple[int, ...]
    """The unit of each interval of ``units_ms``."""
    cohort_units: tuple[int, ...]
    """The unit of each cohort."""
    buckets: int
    on_or_after: bool
    """Only the last bucket in which a user returned is of interest."""
    lifetime: bool
    """Born is who never was before; else, before the range."""
    birth: Step
    returning: Step
    where: str
    """Source of the filter of all events; empty: all."""
    by: tuple[str, ...]
    skip_duplicates: bool

    def to_json(self) -> bytes:
        return orjson.dumps({"version": RETENTION_PLAN_VERSION, "kind": "retention", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "RetentionScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (RETENTION_PLAN_VERSION, "retention"):
            raise ValueError("not a retention of a version known here")
        for name in ("births_ms", "cohort_of", "units_ms", "unit_of", "cohort_units", "by"):
            plan[name] = tuple(plan[name])
        for name in ("birth", "returning"):
            plan[name] = Step(tuple(plan[name]["events"]), plan[name]["where"])
        return RetentionScan(**plan)
