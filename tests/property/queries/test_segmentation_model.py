"""Segmentation over random rows, cut into random pieces on random shards, equals the naive reference."""

import json
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries import answer, cell_values, cells, scans, segmentation
from evenshard.queries.measures import MEASURES, OF_EVENTS
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import add_stats
from evenshard.queries.values import JsonText
from evenshard.testing.reference import Reference, Row, compare, order_of
from evenshard.testing.scanned import scanned_rows
from evenshard.testing.spread import SPREADS, asked
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

TENANT = "acme"
# Two changes of the clock in each zone lie within these weeks.
ZONES = {
    "Europe/Berlin": (1_729_900_000_000, "2024-10-25", "2024-10-29"),
    "America/St_Johns": (1_162_000_000_000, "2006-10-27", "2006-10-31"),
    "Australia/Lord_Howe": (1_712_300_000_000, "2024-04-05", "2024-04-08"),
    "UTC": (1_704_000_000_000, "2023-12-30", "2024-01-03"),
}
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        3,
        3.0,
        3.5,
        -0.0,
        2**53,
        2**53 + 1,
        float(2**53),
        1e300,
        "3",
        "",
        "ä",
        "$other",
        [1],
        0.1,
        -7,
        -2.75,
        5e-324,
        -1.7e308,
        1.7e308,
        2**63 - 1,
        -(2**63),
        2.0**63,
        1e-9,
    ]
)
MEASURED: list[dict[str, str]] = [{"measure": name} for name in ("total", "unique", "average")] + [
    {"measure": measure, "property": name}
    for measure in MEASURES
    if measure not in OF_EVENTS
    for name in ("plan", "odd name", "$time")
]
NAMES = ["$event", "$distinct_id", "plan", "odd name"]


def rows(start_ms: int) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "tenant": st.just(TENANT),
            "event": st.sampled_from(["view", "buy", "click"]),
            "distinct_id": st.sampled_from(["", "ann", "bob", "cy", "dé"]),
            "time": st.integers(0, 5 * 24 * 60).map(lambda minute: start_ms + minute * 60_000),
            "insert_id": st.sampled_from([None, "a", "b"]),
            "properties": st.dictionaries(st.sampled_from(["plan", "odd name"]), VALUES, max_size=2),
        }
    )


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    zone = draw(st.sampled_from(sorted(ZONES)))
    start_ms, from_date, to_date = ZONES[zone]
    name, literal = draw(st.sampled_from(NAMES)), draw(VALUES.filter(lambda v: v is not None and v != [1]))
    operator = draw(st.sampled_from(["==", "!="]))
    text = f"`{name}` {operator} {json.dumps(literal)}"
    wrap = draw(st.sampled_from(["{}", "not ({})", '{} or $event == "buy"', "({}) and plan != 3", "", "", ""]))

    def where(row: Row) -> bool:
        inner = compare(row, name, operator, literal)
        match wrap:
            case "{}":
                return inner
            case "not ({})":
                return not inner
            case "":
                return True
        if "or" in wrap:
            return inner or row["event"] == "buy"
        return inner and compare(row, "plan", "!=", 3)

    return {
        "zone": zone,
        "rows": draw(st.lists(rows(start_ms), min_size=draw(st.sampled_from([0, 8, 16, 30])), max_size=60)),
        "where": where,
        "where_text": wrap.format(text),
        "query": {
            "from_date": from_date,
            "to_date": to_date,
            "unit": draw(st.sampled_from(["hour", "day", "week", "month", "day", "hour", "minute"])),
            "events": draw(st.sampled_from([[], [], ["view"], ["view", "buy"], ["nothing"]])),
            "by": draw(st.lists(st.sampled_from(NAMES), max_size=3)),
            **draw(st.sampled_from(MEASURED)),
            "limit": draw(st.integers(1, 5)),
            "include_duplicates": draw(st.booleans()),
        },
        # Small bounds, so that what is there for much data is met: sums that wait, cells that are given up.
        "wait": draw(st.sampled_from([1, 1 << 20])),
        "cells_max": draw(st.sampled_from([3, 2_000_000])),
        "layout": draw(
            st.tuples(st.sampled_from([1, 2, 3, 1, 2, 3, *SPREADS]), st.integers(1, 20), st.booleans(), st.booleans())
        ),
    }


def comparable(by: Any) -> list[Any]:
    return [order_of(json.loads(v.text) if isinstance(v, JsonText) else v) for v in by]


@settings(max_examples=100, deadline=None, print_blob=True, phases=set(Phase) - {Phase.explain})
@given(cases())
def test_segmentation_equals_the_reference(case: dict[str, Any]) -> None:
    with (
        patch.object(cells.CellCounts, "_WAIT_MIN", case["wait"]),
        patch.object(cells.CellUsers, "_WAIT_MIN", case["wait"]),
        patch.object(segmentation, "CELLS_MAX", case["cells_max"]),
        patch.object(cell_values.PairCounts, "_WAIT_MIN", case["wait"]),
        patch.object(cell_values, "_TABLE_ROOM", case["wait"]),
        patch.object(cell_values, "_EXACT_ROWS", case["layout"][1]),
    ):
        check_segmentation(case)


def check_segmentation(case: dict[str, Any]) -> None:
    reference = Reference()
    reference.import_events(case["rows"])
    expected = reference.segmentation(TENANT, timezone=case["zone"], where=case["where"], **case["query"])

    query = segmentation_query(where=case["where_text"], **case["query"])
    plan = answer.plan_segmentation(query, ZoneInfo(case["zone"]), dedupe=True)
    for _ in range(2):
        partials, stats = asked(reference.rows, plan.scan.to_json(), case["layout"])
        merged = answer.merge(partials)
        keep = answer.groups_to_keep(plan, merged)
        if keep is None:
            break
        plan = plan.keeping(keep)
    assert keep is None
    got = answer.finish(plan, merged)
    assert list(got.buckets) == expected["buckets"]
    assert [(comparable(line.by), repr((list(line.values), line.overall))) for line in got.series] == [
        (comparable(line["by"]), repr((line["values"], line["overall"]))) for line in expected["series"]
    ]
    total = add_stats(stats)
    assert total.duplicates_skipped_log + total.duplicates_skipped_segment == expected["duplicates_skipped"]


def test_merge_is_associative() -> None:
    query = segmentation_query(from_date="2024-01-01", to_date="2024-01-02", by=["plan"], measure="unique")
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    partials = []
    for number in range(3):
        rows = [
            {
                "event": "view", "distinct_id": f"u{number}{at}", "time": 1_704_067_200_000 + at * 3_600_000,
                "insert_id": None, "duplicate": False, "properties": {"plan": at % (number + 1)},
            }
            for at in range(40)
        ]  # fmt: skip
        one = scanned_rows(rows)
        partials.append(read_partial(scans.run(plan.scan.to_json(), [one])[0]))
    left = answer.merge([answer.merge(partials[:2]), partials[2]])
    right = answer.merge([partials[0], answer.merge(partials[1:])])
    assert answer.finish(plan, left) == answer.finish(plan, right) == answer.finish(plan, answer.merge(partials))


@pytest.mark.parametrize("measure", ["total", "unique"])
def test_more_groups_than_a_shard_holds_name_the_property(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from evenshard.errors import EvenshardError
    from evenshard.queries import groups

    monkeypatch.setattr(groups, "GROUPS_MAX", 10)
    query = segmentation_query(from_date="2024-01-01", to_date="2024-01-02", by=["plan"], measure=measure)
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    rows = [
        {"event": "view", "distinct_id": "u", "time": 1_704_067_200_000, "insert_id": None, "duplicate": False,
         "properties": {"plan": at}}
        for at in range(11)
    ]  # fmt: skip
    with pytest.raises(EvenshardError, match="plan: more than 10 groups") as failed:
        scans.run(plan.scan.to_json(), [scanned_rows(rows)])
    assert failed.value.code == "QUERY_INVALID"
