"""Retention over random rows, cut into random pieces on random shards, equals the naive reference."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries import retention_answer
from evenshard.queries.plan import ScanStats, add_stats
from evenshard.queries.retention_model import retention_query
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.steps import parse_step
from evenshard.queries.values import JsonText
from evenshard.testing import retention_reference
from evenshard.testing.reference import Reference, Row, compare, order_of
from evenshard.testing.spread import SPREADS, asked
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

TENANT = "acme"
HOUR_MS = 3_600_000
# In each of these the clock is put back or forward, at midnight in some, or leaves a day out.
ZONES = {
    "UTC": ("2023-12-30", "2024-01-02", 1_703_980_800_000),
    "Europe/Berlin": ("2024-10-26", "2024-10-28", 1_729_987_200_000),
    "America/St_Johns": ("2006-10-28", "2006-10-30", 1_162_080_000_000),
    "Pacific/Apia": ("2011-12-29", "2012-01-01", 1_325_203_200_000),
    "Asia/Kathmandu": ("2024-02-26", "2024-03-03", 1_709_078_400_000),
}
VALUES: list[Any] = [None, True, 0, 3, 3.0, 3.5, "3", "", "ä", "$other", [1]]
FILTERS: dict[str, tuple[str, str, Any]] = {
    "": ("", "", None),
    "plan == 3": ("plan", "==", 3),
    'plan in ["3", 3.5]': ("plan", "in", ["3", 3.5]),
    "`odd name` != 3": ("odd name", "!=", 3),
}
EVENTS = {"view": ["view"], "buy": ["buy"], "view|buy": ["view", "buy"], "*": [], "nothing": ["nothing"]}
UNIT_HOURS = {"day": 24, "week": 7 * 24, "month": 30 * 24}


Pick = Callable[[Sequence[Any]], Any]
"""Chooses one of several."""


def row_of(pick: Pick, zone: str, spread_hours: int) -> Row:
    # Whole units later, and a little beside: near the edges of buckets.
    hours = pick([-spread_hours, -1, 0, 0, 1, 2, spread_hours, 24, 25, 47, 48, 168, 720, 721, 1440])
    if pick([True, False]):
        hours = pick(range(-spread_hours, spread_hours + 1))
    minutes = pick([0, 0, 0, 0, -1, 1, 30, -30, 44, 61, -89])
    return {
        "tenant": TENANT,
        "event": pick(["view", "buy", "click", "Ä"]),
        "distinct_id": pick(["", "ann", "ann", "bob", "dé"]),
        "time": ZONES[zone][2] + (hours * 60 + minutes) * 60_000,
        "insert_id": pick([None, "a", "b"]),
        "properties": {name: pick(VALUES) for name in ("plan", "odd name") if pick([True, False])},
    }


def case_of(pick: Pick) -> dict[str, Any]:
    zone = pick(sorted(ZONES))
    from_date, to_date, middle_ms = ZONES[zone]
    unit = pick(["day", "day", "week", "month"])
    spread = pick([0, 0, 2, 30, 80, 3 * UNIT_HOURS[unit]])
    events, filters = [*EVENTS, "view", "*"], [*[""] * 10, *FILTERS]
    return {
        "zone": zone,
        "rows": [row_of(pick, zone, spread) for _ in range(pick([0, 1, 4, 12, 25, 40]))],
        "birth": (pick(events), pick(filters)),
        "returning": (pick(events), pick(filters)) if pick([True, False]) else ("*", ""),
        "where": pick(filters),
        "now_ms": middle_ms + pick(range(-3, 13)) * UNIT_HOURS[unit] * HOUR_MS // 2 + pick([0, 0, 30]),
        "query": {
            "from_date": from_date,
            "to_date": to_date,
            "unit": unit,
            "buckets": pick([1, 2, 3, 8]),
            "mode": pick(["on", "on_or_after"]),
            "align": pick(["rolling", "calendar"]),
            "birth_scope": pick(["range", "lifetime"]),
            "by": [pick(["plan", "$event", "$insert_id", "odd name"]) for _ in range(pick([0, 0, 1, 1, 2, 3]))],
            "limit": pick([1, 2, 3, 4]),
            "include_duplicates": pick([True, False]),
        },
        "layout": (pick(SPREADS), pick(range(1, 21)), pick([True, False]), pick([True, False])),
    }


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return case_of(lambda some: draw(st.sampled_from(some)))


def predicate(text: str) -> Any:
    name, operator, literal = FILTERS[text]
    return lambda row: not operator or compare(row, name, operator, literal)


def comparable(by: Any) -> list[Any]:
    return [order_of(json.loads(v.text) if isinstance(v, JsonText) else v) for v in by]


def triangle_of(triangle: Any) -> dict[str, Any]:
    """As the reference has it."""
    return json.loads(json.dumps(asdict(triangle)))


def scanned(case: dict[str, Any], reference: Reference) -> tuple[Any, ScanStats]:
    """The answer, from shards that are lists."""
    birth, returning = (
        parse_step(f"{name} where {where}" if where else name) for name, where in (case["birth"], case["returning"])
    )
    query = retention_query(birth=birth, returning=returning, where=case["where"], **case["query"])
    plan = retention_answer.plan_retention(query, ZoneInfo(case["zone"]), dedupe=True)
    scan = plan.scan.to_json()
    assert RetentionScan.from_json(scan) == plan.scan
    partials, stats = asked(reference.rows, scan, case["layout"])
    return retention_answer.finish(plan, retention_answer.merge(partials), case["now_ms"]), add_stats(stats)


def expected_of(case: dict[str, Any], reference: Reference) -> dict[str, Any]:
    birth, returning = ((EVENTS[name], predicate(where)) for name, where in (case["birth"], case["returning"]))
    return retention_reference.retention(
        reference.rows,
        birth=birth,
        returning=returning,
        where=predicate(case["where"]),
        now_ms=case["now_ms"],
        timezone=case["zone"],
        **case["query"],
    )


def check_case(case: dict[str, Any]) -> ScanStats:
    reference = Reference()
    reference.import_events(case["rows"])
    expected = expected_of(case, reference)
    got, stats = scanned(case, reference)
    assert triangle_of(got.overall) == {name: expected[name] for name in ("cohorts", "average")}
    assert [(comparable(group.by), triangle_of(group.triangle)) for group in got.groups] == [
        (comparable(group["by"]), {name: group[name] for name in ("cohorts", "average")})
        for group in expected["groups"]
    ]
    return stats


@settings(max_examples=40, deadline=None, print_blob=True, phases=set(Phase) - {Phase.explain})
@given(cases())
def test_retentions_equal_the_reference(case: dict[str, Any]) -> None:
    assert check_case(case).rows_scanned <= len(case["rows"])


def check_random(seed: int, count: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(count):
        case = case_of(chance.choice)
        try:
            check_case(case)
        except BaseException:
            print(f"case {number}: {case}")
            raise


def test_random_retentions_equal_the_reference() -> None:
    check_random(seed=1, count=150)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_random_retentions_equal_the_reference(seed: int) -> None:
    check_random(seed, count=1_000)
