"""What a scan is about, for people: its kind, the events it names, and whose it is where it is of one user."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from evenshard.queries.cohort_plan import WITH_COHORTS

_SHOWN: Final = {"did": "cohort", "reached": "cohort"}


@dataclass(frozen=True, slots=True)
class About:
    """Of a scan as a gateway writes it."""

    kind: str
    """segmentation, funnel, retention, flows, schema, timeline or cohort."""
    events: tuple[str, ...]
    """In the order named; none: any."""
    user: str
    """Empty: not of one user."""


def about(scan: bytes) -> About:
    """Of what cannot be read the kind is ``unknown``: whoever runs it will say what is wrong with it."""
    try:
        plan = orjson.loads(scan)
        if plan.get("kind") == WITH_COHORTS:
            plan = plan["scan"]
        kind = str(plan["kind"])
        user = str(plan["user"]) if kind == "timeline" else ""
        return About(_SHOWN.get(kind, kind), tuple(dict.fromkeys(_events(plan))), user)
    except (ValueError, KeyError, TypeError, AttributeError):
        return About("unknown", (), "")


def _events(plan: Mapping[str, Any]) -> Iterator[str]:
    yield from plan.get("events", ())
    steps = plan.get("steps", ())  # of flows, how many
    for step in (*(steps if isinstance(steps, list) else ()), *plan.get("did_not", ())):
        yield from step["events"]
    for step, _ in plan.get("did", ()):
        yield from step["events"]
    for name in ("birth", "returning", "anchor"):
        yield from plan.get(name, {}).get("events", ())
    if "funnel" in plan:
        yield from _events(plan["funnel"])
