"""Flows over random rows, cut into random pieces on random shards, equal the naive reference."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries import flows_answer, funnel_answer, scans
from evenshard.queries.flows_model import flows_query
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import ScanStats, add_stats
from evenshard.queries.steps import Step, parse_step
from evenshard.testing import flows_reference
from evenshard.testing.reference import Reference, Row, compare
from evenshard.testing.scanned import scanned_rows
from evenshard.testing.spread import SPREADS, asked
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

TENANT = "acme"
MINUTE_MS = 60_000
# The clock is put back or forward within these days.
ZONES = {
    "Europe/Berlin": ("2024-10-26", "2024-10-27", 1_729_987_200_000),
    "America/St_Johns": ("2006-10-28", "2006-10-29", 1_162_087_200_000),
    "UTC": ("2023-12-31", "2024-01-01", 1_704_067_200_000),
}
VALUES: list[Any] = [None, True, 0, 3, 3.0, 3.5, "3", "", "ä", [1]]
FILTERS: dict[str, tuple[str, str, Any]] = {
    "": ("", "", None),
    "plan == 3": ("plan", "==", 3),
    'plan in ["3", 3.5]': ("plan", "in", ["3", 3.5]),
    "plan not in [3, 0]": ("plan", "not in", [3, 0]),
}
EVENTS = {"view": ["view"], "buy": ["buy"], "view|buy": ["view", "buy"], "*": [], "nothing": ["nothing"]}
Pick = Callable[[Sequence[Any]], Any]
"""Chooses one of several."""


def row_of(pick: Pick, zone: str, spread_minutes: int) -> Row:
    minutes = pick([-spread_minutes, -30, 0, 0, 29, 30, 31, 60, 61, spread_minutes])
    if pick([True, False]):
        minutes = pick(range(-spread_minutes, spread_minutes + 1))
    return {
        "tenant": TENANT,
        "event": pick(["view", "buy", "click", "Ä", "$other"]),
        "distinct_id": pick(["", "ann", "ann", "ann", "bob", "dé"]),
        "time": ZONES[zone][2] + minutes * MINUTE_MS,
        "insert_id": pick([None, "a", "b"]),
        "properties": {"plan": pick(VALUES)} if pick([True, False]) else {},
    }


def case_of(pick: Pick) -> dict[str, Any]:
    zone = pick(sorted(ZONES))
    spread = pick([3, 40, 200, 3000])
    events, filters = [*EVENTS, "view", "*"], [*[""] * 8, *FILTERS]
    return {
        "zone": zone,
        "rows": [row_of(pick, zone, spread) for _ in range(pick([0, 1, 4, 12, 25, 40]))],
        "anchor": (pick(events), pick(filters)),
        "where": pick(filters),
        "query": {
            "from_date": ZONES[zone][0],
            "to_date": ZONES[zone][1],
            "direction": pick(["forward", "backward"]),
            "steps": pick([1, 2, 3, 10]),
            "top": pick([1, 2, 3, 10]),
            "collapse_repeats": pick([True, False]),
            "include_duplicates": pick([True, False]),
            **pick([{"session": True}, *({"window_ms": minutes * MINUTE_MS} for minutes in (0, 1, 30, 60, 2000))]),
        },
        "layout": (pick([1, 2, 3, 1, 2, 3, *SPREADS]), pick(range(1, 21)), pick([True, False]), pick([True, False])),
    }


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return case_of(lambda some: draw(st.sampled_from(some)))


def predicate(text: str) -> Any:
    name, operator, literal = FILTERS[text]
    return lambda row: not operator or compare(row, name, operator, literal)


def scanned(case: dict[str, Any], reference: Reference) -> tuple[dict[str, Any], ScanStats]:
    """The answer, from shards that are lists."""
    name, where = case["anchor"]
    anchor = parse_step(f"{name} where {where}" if where else name)
    query = flows_query(anchor=anchor, where=case["where"], **case["query"])
    for margin in range(len(flows_answer.MARGINS_MS)):
        plan = flows_answer.plan_flows(query, ZoneInfo(case["zone"]), dedupe=True, margin=margin)
        scan = plan.to_json()
        assert FlowsScan.from_json(scan) == plan
        partials, stats = asked(reference.rows, scan, case["layout"])
        merged = flows_answer.merge(partials)
        if not flows_answer.is_cut_short(merged):
            break
    assert not flows_answer.is_cut_short(merged)
    answer = flows_answer.finish(query, merged)
    edges = [{"step": edge.step, "from": edge.before, "to": edge.after, "count": edge.count} for edge in answer.edges]
    return {"anchors": answer.anchors, "nodes": list(map(asdict, answer.nodes)), "edges": edges}, add_stats(stats)


def check_case(case: dict[str, Any]) -> ScanStats:
    reference = Reference()
    reference.import_events(case["rows"])
    expected = flows_reference.flows(
        reference.rows,
        anchor=(EVENTS[case["anchor"][0]], predicate(case["anchor"][1])),
        where=predicate(case["where"]),
        timezone=case["zone"],
        **case["query"],
    )
    got, stats = scanned(case, reference)
    assert got == expected
    return stats


@settings(max_examples=40, deadline=None, print_blob=True, phases=set(Phase) - {Phase.explain})
@given(cases())
def test_flows_equal_the_reference(case: dict[str, Any]) -> None:
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


def test_random_flows_equal_the_reference() -> None:
    check_random(seed=1, count=200)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_random_flows_equal_the_reference(seed: int) -> None:
    check_random(seed, count=1_000)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_hop_equals_a_strict_funnel_where_no_two_events_share_a_ms(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    names = ["view", "buy", "click", "Ä"]
    minutes = chance.sample(range(-4000, 4000), 300)
    for window_ms in (0, 20 * MINUTE_MS, 3000 * MINUTE_MS):
        case = case_of(chance.choice)
        zone = case["zone"]
        case["rows"] = [row_of(chance.choice, zone, 1) | {"time": ZONES[zone][2] + at * MINUTE_MS} for at in minutes]
        case |= {"anchor": (chance.choice(["view", "view|buy"]), chance.choice(["", "plan == 3"]))}
        case["query"] = {"from_date": ZONES[zone][0], "to_date": ZONES[zone][1], "steps": 1, "window_ms": window_ms}
        reference = Reference()
        reference.import_events(case["rows"])
        answer, _ = scanned(case, reference)
        name, where = case["anchor"]
        first = parse_step(f"{name} where {where}" if where else name)
        for other in names:
            query = funnel_query(
                from_date=ZONES[zone][0], to_date=ZONES[zone][1], steps=[first, Step((other,))], window_ms=window_ms,
                order="strict", attempt="first", where=case["where"],
            )  # fmt: skip
            scan = funnel_answer.plan_funnel(query, ZoneInfo(zone), dedupe=True)
            rows = [row for row in reference.rows if scan.start_ms <= row["time"] < scan.end_ms]
            partial = read_partial(scans.run(scan.to_json(), [scanned_rows(rows)])[0])
            steps = funnel_answer.finish(query, funnel_answer.merge([partial])).overall
            hops = sum(edge["count"] for edge in answer["edges"] if edge["to"] == other)
            assert (steps[0].count, steps[1].count) == (answer["anchors"], hops), (other, case["anchor"], window_ms)
