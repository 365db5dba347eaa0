"""Which rows each kind of question looks at, as a filter; None: any row may matter."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries.answer import plan_segmentation
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_plan import DidScan, ReachedScan, with_cohorts
from evenshard.queries.expression_model import to_text
from evenshard.queries.flows_answer import plan_flows
from evenshard.queries.flows_model import flows_query
from evenshard.queries.funnel_answer import plan_funnel
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.plan import FunnelScan
from evenshard.queries.retention_answer import plan_retention
from evenshard.queries.retention_model import retention_query
from evenshard.queries.rows_that_matter import rows_of_events, rows_that_matter
from evenshard.queries.scans import rows_needed
from evenshard.queries.steps import parse_exclusion, parse_step

UTC = ZoneInfo("UTC")
DAYS = {"from_date": "2024-01-02", "to_date": "2024-01-02"}
START_MS = 1_704_153_600_000


def told(rows: Any) -> tuple[str, tuple[str, ...]] | None:
    return None if rows is None else (to_text(rows.condition), rows.events)


def funnel(steps: list[str], exclusions: list[str] | None = None, **options: Any) -> FunnelScan:
    found = [parse_exclusion(each) for each in exclusions or []]
    query = funnel_query(steps=[parse_step(step) for step in steps], exclusions=found, **DAYS, **options)
    return plan_funnel(query, UTC, dedupe=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"events": ["a", "b"]}, ('$event in ["a", "b"]', ("a", "b"))),
        ({"where": "x == 3"}, ("x == 3", ())),
        ({"events": ["a"], "where": "x == 3 or y == 1"}, ('$event in ["a"] and (x == 3 or y == 1)', ("a",))),
    ],
)
def test_segmentations_look_at_their_events_that_pass(options: dict[str, Any], expected: Any) -> None:
    plan = plan_segmentation(segmentation_query(**DAYS, **options), UTC, dedupe=True).scan
    assert told(rows_that_matter(plan)) == expected


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (funnel(["a", "b"]), ('$event in ["a"] or $event in ["b"]', ("a", "b"))),
        (funnel(["a", "b"], ["c@1-2"]), ('$event in ["a"] or $event in ["b"] or $event in ["c"]', ("a", "b", "c"))),
        (
            funnel(["a where x == 1", "b|c"], where="y == 2"),
            ('($event in ["a"] and x == 1 or $event in ["b", "c"]) and y == 2', ("a", "b", "c")),
        ),
        (funnel(["a", "*"]), None),
        (funnel(["a", "*"], where="y == 2"), ("y == 2", ())),
        (funnel(["a", "* where x == 1"]), ('$event in ["a"] or x == 1', ())),
        (funnel(["a", "b"], order="any"), ('$event in ["a"] or $event in ["b"]', ("a", "b"))),
        (funnel(["a", "b"], order="strict"), None),
        (funnel(["a", "b"], order="strict", where="y == 2"), ("y == 2", ())),
        (funnel(["a", "b"], count_mode="session"), None),
        (funnel(["a", "b"], count_mode="session", where="y == 2"), None),
        (funnel(["a", "b"], explain_user="ann"), None),
    ],
)
def test_funnels_look_at_what_may_fill_or_break(plan: FunnelScan, expected: Any) -> None:
    assert told(rows_that_matter(plan)) == expected
    assert told(rows_that_matter(ReachedScan(plan, 1))) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"returning": parse_step("b")}, ('$event in ["a"] or $event in ["b"]', ("a", "b"))),
        ({}, None),
        ({"where": "y == 2"}, ("y == 2", ())),
        (
            {"returning": parse_step("b"), "birth_scope": "lifetime"},
            (f'$event in ["a"] or $event in ["b"] and $time >= {START_MS}', ("a", "b")),
        ),
        ({"birth_scope": "lifetime"}, (f'$event in ["a"] or $time >= {START_MS}', ())),
    ],
)
def test_retentions_look_at_births_and_returns_and_before_the_range_at_births(
    options: dict[str, Any], expected: Any
) -> None:
    plan = plan_retention(retention_query(birth=parse_step("a"), **DAYS, **options), UTC, dedupe=True).scan
    assert told(rows_that_matter(plan)) == expected


def test_any_event_may_follow_an_anchor_that_passes() -> None:
    plan = plan_flows(flows_query(anchor=parse_step("a"), **DAYS), UTC, dedupe=True)
    assert rows_that_matter(plan) is None
    plan = plan_flows(flows_query(anchor=parse_step("a"), where="y == 2", **DAYS), UTC, dedupe=True)
    assert told(rows_that_matter(plan)) == ("y == 2", ())
    plan = plan_flows(flows_query(anchor=parse_step("a"), where="y == 2", session=True, **DAYS), UTC, dedupe=True)
    assert rows_that_matter(plan) is None


def test_cohorts_of_who_did_nothing_look_at_everybody() -> None:
    a, b = parse_step("a"), parse_step("b")
    assert told(rows_that_matter(DidScan((0, 1), ((a, 1),), (), True))) == ('$event in ["a"]', ())
    assert told(rows_that_matter(DidScan((0, 1), ((a, 2),), (b,), True))) == ('$event in ["a"] or $event in ["b"]', ())
    assert rows_that_matter(DidScan((0, 1), (), (b,), True)) is None


def test_timelines_look_at_one_user_and_schemas_and_exports_of_all_events_at_everything() -> None:
    timeline = TimelineScan((0, 1), "ann", "y == 2", None, 0, 10, True)
    assert told(rows_that_matter(timeline)) == ('$distinct_id == "ann" and y == 2', ())
    assert rows_that_matter(SchemaScan((0, 1), True, True, 0, True)) is None
    assert rows_of_events(()) is None
    assert told(rows_of_events(("a", "b"))) == ('$event in ["a", "b"]', ("a", "b"))


def test_whoever_may_belong_to_a_cohort_is_looked_at() -> None:
    where = "`$cohort:mine` == true"
    query = segmentation_query(events=["a"], where=where, **DAYS)
    scan = plan_segmentation(query, UTC, dedupe=True).scan.to_json()
    assert told(rows_needed(with_cohorts(scan, ()))) == (f'$event in ["a"] and {where}', ("a",))
