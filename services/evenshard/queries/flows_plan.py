"""Flows as asked of a shard."""

from dataclasses import asdict, dataclass
from typing import Final

import orjson

from evenshard.queries.steps import Step

FLOWS_PLAN_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class FlowsScan:
    """Rows are those of ``[start_ms, end_ms)``."""

    start_ms: int
    end_ms: int
    anchors_ms: tuple[int, ...]
    """Ascending, in pairs: an anchor lies within one of the intervals ``[anchors_ms[2i], anchors_ms[2i + 1])``."""
    anchor: Step
    backward: bool
    steps: int
    window_ms: int
    """-1: within the anchor's session."""
    collapse_repeats: bool
    where: str
    """Source of the filter of all events; empty: all."""
    skip_duplicates: bool

    def to_json(self) -> bytes:
        return orjson.dumps({"version": FLOWS_PLAN_VERSION, "kind": "flows", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "FlowsScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (FLOWS_PLAN_VERSION, "flows"):
            raise ValueError("not flows of a version known here")
        anchor = plan.pop("anchor")
        return FlowsScan(
            anchors_ms=tuple(plan.pop("anchors_ms")), anchor=Step(tuple(anchor["events"]), anchor["where"]), **plan
        )
