"""An answer of each kind that no cluster gave: small, with everything in it that is hard to show."""

from typing import Any, Final

from evenshard.client import (
    CohortsResult,
    FlowsResult,
    FunnelResult,
    ImportResult,
    RetentionResult,
    SchemaResult,
    SegmentationResult,
    TimelineResult,
)
from evenshard.client.answer import Answer

META: Final[dict[str, Any]] = {
    "complete": True, "missing_shards": [], "rows_scanned": 9, "shards": 2, "elapsed_ms": 1.5,
    "duplicates_skipped": {"log": 1, "segment": 2}, "trace_id": "f" * 32, "warnings": [],
}  # fmt: skip
EVIL: Final = "<script>alert('$a_1$')</script>\x1b[31m"
"""A name as somebody may send it: HTML, mathematics, a terminal's escape sequence."""
DAYS: Final = ["2026-01-01", "2026-01-02", "2026-01-03"]


def segmentation(**fields: Any) -> SegmentationResult:
    """Three days, the last of them not over."""
    line = {"by": [], "values": [4, 8, 2], "overall": 14}
    given: dict[str, Any] = {"buckets": DAYS, "series": [line], "meta": META, "incomplete": 1, **fields}
    return SegmentationResult(**given)


def segmentation_by() -> SegmentationResult:
    """Groups with an evil, a missing and a wide name."""
    values = {EVIL: [4, 8, 2], None: [None, 3.5, 1], "東京": [1, 0, 1], "_x": [1, 1, 1]}
    series = [{"by": [name], "values": each, "overall": 5} for name, each in values.items()]
    return segmentation(series=series, by=("<city>",), measure="p50")


def funnel_steps(counts: list[int]) -> list[dict[str, Any]]:
    """Steps that so many reached, in a minute each."""
    return [
        {
            "step": at + 1, "name": EVIL if at else "view", "count": count,
            "conversion_from_previous": count / counts[at - 1] if at and counts[at - 1] else None,
            "conversion_from_first": count / counts[0] if counts[0] else None,
            "avg_seconds_from_previous": 90.0 if at else None, "median_seconds_from_previous": 60.0 if at else None,
            "avg_seconds_from_first": 90.0 * at if at else None, "median_seconds_from_first": 60.0 * at if at else None,
            "histogram": [{"up_to_seconds": 60.0, "count": count}] if at and at == len(counts) - 1 else [],
        }
        for at, count in enumerate(counts)
    ]  # fmt: skip


def funnel(counts: list[int] | None = None) -> FunnelResult:
    return FunnelResult({"steps": funnel_steps([8, 4, 1] if counts is None else counts)}, [], META)


def funnel_by() -> FunnelResult:
    groups = [{"by": [EVIL], "steps": funnel_steps([5, 3, 1])}, {"by": [None], "steps": funnel_steps([3, 1, 0])}]
    return FunnelResult({"steps": funnel_steps([8, 4, 1])}, groups, META, ("<plan>",))


def retention() -> RetentionResult:
    """A triangle: the second cohort's last bucket is not over, the third is empty, the fourth has but begun."""
    rows: list[tuple[int, list[int], list[bool]]] = [
        (8, [8, 4, 2], [False] * 3),
        (4, [4, 2, 1], [False, False, True]),
        (0, [0, 0, 0], [False, True, True]),
        (2, [1, 0, 0], [True] * 3),
    ]
    cohorts = [
        {"start": f"2026-01-0{at + 1}", "size": size, "returned": returned, "incomplete": incomplete}
        for at, (size, returned, incomplete) in enumerate(rows)
    ]
    return RetentionResult(cohorts, [1.0, 0.5, None], [], META, (), "week")


def retention_by() -> RetentionResult:
    whole = retention()
    groups = [{"by": [name], "cohorts": whole.cohorts, "average": whole.average} for name in (EVIL, None)]
    return RetentionResult(whole.cohorts, whole.average, groups, META, ("<plan>",), "week")


def flows(direction: str = "forward") -> FlowsResult:
    """Two hops; of ten anchors seven are followed by anything."""
    nodes = [
        {"step": 0, "name": "view", "count": 10, "dropoff": 3},
        {"step": 1, "name": EVIL, "count": 5, "dropoff": 1},
        {"step": 1, "name": "$other", "count": 2, "dropoff": 0},
        {"step": 2, "name": "view", "count": 6, "dropoff": 0},
    ]
    edges = [
        {"step": 1, "from": "view", "to": EVIL, "count": 5},
        {"step": 1, "from": "view", "to": "$other", "count": 2},
        {"step": 2, "from": EVIL, "to": "view", "count": 4},
        {"step": 2, "from": "$other", "to": "view", "count": 2},
    ]
    return FlowsResult(10, nodes, edges, META, direction)


def schema() -> SchemaResult:
    return SchemaResult(
        [{"name": EVIL, "display_name": EVIL, "count": 3, "hidden": False}],
        [{"name": "<p>", "display_name": "<p>", "types": ["number", "string"], "top_values": [EVIL, 2.5, None]}],
        META,
    )


def timeline() -> TimelineResult:
    properties = {"distinct_id": "ann", "time": 1_767_225_600_000, "$insert_id": "1", "<p>": EVIL, "list": [1, "a"]}
    return TimelineResult([{"event": EVIL, "properties": properties}], "t", META)


def cohorts() -> CohortsResult:
    definition = {
        "from_date": "2026-01-01", "to_date": "2026-01-31",
        "did": [{"step": {"events": [EVIL]}, "at_least": 2}], "did_not": [{"where": "a == 1"}],
    }  # fmt: skip
    return CohortsResult(cohorts=[{"name": EVIL, "version": 3, "definition": definition, "users": 12}])


def imported() -> ImportResult:
    error = {
        "index": 7, "tenant": "shop", "insert_id": EVIL, "field": "time", "code": "TIME_INVALID", "message": EVIL,
        "retryable": False,
    }  # fmt: skip
    counts = {"accepted": 9, "duplicates": 1, "hot_events_rewritten": 0, "rejected": 1}
    warnings = [{"code": "W", "message": EVIL, "count": 2}]
    return ImportResult(10, 9, 1, 0, 1, [error], {"TIME_INVALID": 1}, {"shop": counts}, warnings, 0.5, 20.0, "f" * 32)


def every_kind() -> dict[str, Answer]:
    """By name."""
    made = (segmentation, segmentation_by, funnel, funnel_by, retention, retention_by, flows, schema, timeline, cohorts,
            imported)  # fmt: skip
    return {each.__name__: each() for each in made}
