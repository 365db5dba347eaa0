"""Funnels over random rows, cut into random pieces on random shards, equal the naive reference."""

import json
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.errors import EvenshardError
from evenshard.queries import funnel_answer, names, scans, user_chunks, user_rows
from evenshard.queries.funnel_explain import Reason
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import FunnelScan, ScanStats, add_stats
from evenshard.queries.steps import Exclusion, Step, parse_step
from evenshard.queries.values import JsonText
from evenshard.testing.reference import Reference, Row, compare, order_of
from evenshard.testing.scanned import scanned_rows
from evenshard.testing.spread import SPREADS, asked
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

TENANT = "acme"
HOUR_MS = 3_600_000
# The clock is put back or forward within these days.
ZONES = {
    "Europe/Berlin": (1_729_900_000_000, "2024-10-26", "2024-10-27"),
    "UTC": (1_704_000_000_000, "2023-12-31", "2024-01-01"),
}
VALUES = st.sampled_from([None, True, 0, 3, 3.0, 3.5, "3", "", "ä", "$other", [1]])
FILTERS: dict[str, tuple[str, str, Any]] = {
    "": ("", "", None),
    "plan == 3": ("plan", "==", 3),
    'plan in ["3", 3.5]': ("plan", "in", ["3", 3.5]),
    "plan not in [3, 0]": ("plan", "not in", [3, 0]),
    "`odd name` != 3": ("odd name", "!=", 3),
}
EVENTS = {"view": ["view"], "buy": ["buy"], "view|buy": ["view", "buy"], "*": [], "nothing": ["nothing"]}


def rows(start_ms: int) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "tenant": st.just(TENANT),
            "event": st.sampled_from(["view", "buy", "click", "Ä"]),
            "distinct_id": st.sampled_from(["", "ann", "ann", "bob", "dé"]),
            "time": st.integers(0, 4 * 24).map(lambda hour: start_ms + hour * HOUR_MS),
            "insert_id": st.sampled_from([None, "a", "b"]),
            "properties": st.dictionaries(st.sampled_from(["plan", "odd name"]), VALUES, max_size=2),
        }
    )


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    zone = draw(st.sampled_from(sorted(ZONES)))
    start_ms, from_date, to_date = ZONES[zone]
    event = st.sampled_from(["view", "buy", "view", "buy", "view|buy", "*", "nothing"])
    step = st.tuples(event, st.sampled_from([*[""] * 20, *FILTERS]))
    order = draw(st.sampled_from(["ordered", "ordered", "strict", "any"]))
    steps = draw(st.lists(step, min_size=2, max_size=4))
    exclusion = st.tuples(event, st.sampled_from([*[""] * 4, *FILTERS]), st.integers(1, len(steps) - 1))
    exclusions = draw(st.lists(exclusion, max_size=draw(st.sampled_from([0, 0, 2])))) if order != "any" else []
    count, by_count = draw(st.sampled_from([1, 4, 12, 25, 25, 40])), draw(st.sampled_from([0, 1, 1, 2, 3]))
    by_name = st.sampled_from(["plan", "$event", "$insert_id", "odd name"])
    return {
        "zone": zone,
        "rows": draw(st.lists(rows(start_ms), min_size=count, max_size=count)),
        "steps": steps,
        "where": draw(st.sampled_from([*[""] * 8, *FILTERS])),
        "window_ms": draw(st.sampled_from([0, 1, HOUR_MS, 5 * HOUR_MS, 24 * HOUR_MS, 400 * HOUR_MS])),
        "exclusions": [(name, where, after, after + 1) for name, where, after in exclusions],
        "query": {
            "order": order,
            "attempt": draw(st.sampled_from(["best", "best", "first"])),
            "count_mode": draw(st.sampled_from(["unique", "unique", "total", "session"])),
            "strict_increase": order != "any" and draw(st.integers(0, 4)) == 0,
            "exclude_user": bool(exclusions) and draw(st.booleans()),
            "hold_constant": draw(st.sampled_from([[], [], [], ["plan"], ["plan", "odd name"], ["$insert_id"]])),
            "from_date": from_date,
            "to_date": to_date,
            "by": draw(st.lists(by_name, min_size=by_count, max_size=by_count)),
            "by_step": draw(st.sampled_from(["first", "last", "1", "2"])),
            "limit": draw(st.integers(1, 4)),
            "include_duplicates": draw(st.booleans()),
        },
        "layout": draw(
            st.tuples(st.sampled_from([1, 2, 3, 1, 2, 3, *SPREADS]), st.integers(1, 20), st.booleans(), st.booleans())
        ),
    }


def predicate(text: str) -> Any:
    name, operator, literal = FILTERS[text]
    return lambda row: not operator or compare(row, name, operator, literal)


def comparable(by: Any) -> list[Any]:
    return [order_of(json.loads(v.text) if isinstance(v, JsonText) else v) for v in by]


def step_of(name: str, where: str) -> Step:
    return parse_step(f"{name} where {where}" if where else name)


def as_dicts(steps: Any) -> list[dict[str, Any]]:
    return [{**asdict(step), "histogram": list(map(asdict, step.histogram))} for step in steps]


def scanned(case: dict[str, Any], reference: Reference) -> tuple[Any, ScanStats, set[str]]:
    """The answer, from shards that are lists; and the names of events that were not met."""
    steps = [step_of(name, where) for name, where in case["steps"]]
    exclusions = [
        Exclusion(step_of(name, where), after, before) for name, where, after, before in case.get("exclusions", ())
    ]
    query = funnel_query(
        steps=steps, exclusions=exclusions, where=case["where"], window_ms=case["window_ms"], **case["query"]
    )
    scan = funnel_answer.plan_funnel(query, ZoneInfo(case["zone"]), dedupe=True).to_json()
    partials, stats = asked(reference.rows, scan, case["layout"])
    unknown = set(scans.events_of(scan)) - names.seen_in(partials).events
    return funnel_answer.finish(query, funnel_answer.merge(partials)), add_stats(stats), unknown


def reference_answer(case: dict[str, Any], reference: Reference) -> dict[str, Any]:
    return reference.funnel(
        TENANT,
        steps=[(EVENTS[name], predicate(where)) for name, where in case["steps"]],
        exclusions=[(EVENTS[name], predicate(where), *span) for name, where, *span in case["exclusions"]],
        where=predicate(case["where"]),
        window_ms=case["window_ms"],
        timezone=case["zone"],
        **case["query"],
    )


def check(case: dict[str, Any]) -> None:
    reference = Reference()
    reference.import_events(case["rows"])
    expected = reference_answer(case, reference)
    got, stats, _ = scanned(case, reference)
    assert as_dicts(got.overall) == expected["overall"]["steps"]
    assert [(comparable(group.by), as_dicts(group.steps)) for group in got.groups] == [
        (comparable(group["by"]), group["steps"]) for group in expected["groups"]
    ]
    assert stats.rows_scanned <= len(case["rows"])
    check_explanation(case, reference)


@settings(max_examples=200, deadline=None, print_blob=True, phases=set(Phase) - {Phase.explain})
@given(cases())
def test_funnels_equal_the_reference(case: dict[str, Any]) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=10_000, deadline=None, print_blob=True, phases=set(Phase) - {Phase.explain})
@given(cases())
def test_many_funnels_equal_the_reference(case: dict[str, Any]) -> None:
    check(case)


def check_explanation(case: dict[str, Any], reference: Reference) -> None:
    """As many events of ann are told to fill a step as reach it when she is the only user; reasons are known ones."""
    alone = Reference([row for row in reference.rows if row["distinct_id"] == "ann"])
    expected = reference_answer(case, alone)
    lines = scanned(case | {"query": case["query"] | {"explain_user": "ann"}}, reference)[0].explained
    filled = [sum(line["step"] == step["step"] for line in lines) for step in expected["overall"]["steps"]]
    assert filled == [step["count"] for step in expected["overall"]["steps"]]
    known = {reason.format(step=step) for reason in Reason for step in range(1, len(filled) + 1)}
    assert {line["reason"] for line in lines} <= known
    for line in lines:
        fills = line["reason"] == Reason.FILLS.format(step=line["step"])
        assert fills == (line["step"] is not None)


def base(**fields: Any) -> dict[str, Any]:
    """A case of one shard; ``rows``: (event, hours, properties, insert_id) of ann, or with her name at the end."""
    stream = [
        {
            "tenant": TENANT, "event": event, "distinct_id": who[0] if who else "ann",
            "time": 1_704_067_200_000 + int(hours * HOUR_MS), "insert_id": insert_id, "properties": properties,
        }
        for event, hours, properties, insert_id, *who in fields.pop("rows")
    ]  # fmt: skip
    query = {"from_date": "2024-01-01", "to_date": "2024-01-02", **fields.pop("query", {})}
    return {
        "zone": "UTC", "rows": stream, "where": "", "window_ms": 24 * HOUR_MS, "layout": (1, 20, False, False),
        "query": query, **fields,
    }  # fmt: skip


def answer_to(case: dict[str, Any]) -> tuple[Any, ScanStats, set[str]]:
    reference = Reference()
    reference.import_events(case["rows"])
    return scanned(case, reference)


A_B = [("view", ""), ("buy", "")]


def test_duplicates_are_skipped_and_counted_where_they_match_a_step() -> None:
    copies = [
        ("view", 0, {}, "a"),
        ("view", 0, {}, "a"),
        ("buy", 1, {}, "b"),
        ("buy", 1, {}, "b"),
        ("click", 1, {}, "c"),
    ]
    case = base(rows=[*copies, ("click", 1, {}, "c")], steps=[("view", ""), ("view", "")])
    answer, stats, _ = answer_to(case)
    assert [step.count for step in answer.overall] == [1, 0]
    assert (stats.duplicates_skipped_log, stats.duplicates_skipped_segment, stats.rows_scanned) == (0, 1, 6)
    answer, stats, _ = answer_to(case | {"query": case["query"] | {"include_duplicates": True}})
    assert [step.count for step in answer.overall] == [1, 1]
    assert stats.duplicates_skipped_segment == 0


def test_a_tie_is_filled_by_the_first_in_order_of_name_and_insert_id() -> None:
    rows = [
        ("view", 0, {}, "e"), ("view", 1, {"plan": 1}, "b"), ("view", 1, {"plan": 2}, "a"),
        ("buy", 1, {"plan": 3}, "z"), ("view", 1, {"plan": 4}, None),
    ]  # fmt: skip
    query = {"by": ["plan"], "by_step": "2"}
    # What matches step 1 comes before what does not.
    for step, plan in (("view", 4), ("view|buy", 4), ("buy|click", 3), ("view where plan in [1, 2]", 2)):
        name, _, where = step.partition(" where ")
        answer, _, _ = answer_to(base(rows=rows, steps=[("view", ""), (name, where)], query=query))
        assert [group.by for group in answer.groups] == [(plan,)], step


@pytest.mark.parametrize(("excluded", "entries"), [("click", 0), ("Ä", 1)])
def test_of_a_tie_the_first_in_order_breaks_a_strict_attempt_and_excludes_or_not(excluded: str, entries: int) -> None:
    stream = [("view", 0, {}, "a"), ("Ä", 1, {}, "b"), ("click", 1, {}, "c")]
    for stored in (stream, stream[::-1]):
        case = base(rows=stored, steps=A_B, query={"order": "strict", "exclude_user": True})
        answer, _, _ = answer_to(case | {"exclusions": [(excluded, "", 1, 2)]})
        assert [step.count for step in answer.overall] == [entries, 0], stored


def test_unknown_events_are_named_and_answer_nothing() -> None:
    rows = [("view", 0, {}, "a"), ("buy", 1, {}, "b")]
    answer, _, unknown = answer_to(base(rows=rows, steps=[("nothing", ""), ("buy", "")]))
    assert ([step.count for step in answer.overall], unknown) == ([0, 0], {"nothing"})
    assert answer.overall[0].conversion_from_first is None
    answer, _, unknown = answer_to(base(rows=rows, steps=A_B))
    assert (answer.overall[1].count, unknown) == (1, set())


def test_completions_count_up_to_the_window_after_the_range() -> None:
    rows = [("view", 47, {}, "a"), ("buy", 58, {}, "b"), ("view", 48, {}, "c", "bob"), ("buy", 49, {}, "d", "bob")]
    answer, _, _ = answer_to(base(rows=rows, steps=A_B))
    assert [step.count for step in answer.overall] == [1, 1]
    assert answer.overall[1].median_seconds_from_first == 11 * 3600


def test_a_day_the_clock_never_showed_has_no_entries() -> None:
    rows = [("view", 0, {}, "a"), ("buy", 1, {}, "b")]
    case = base(rows=rows, steps=A_B, query={"from_date": "2011-12-30", "to_date": "2011-12-30"})
    case["rows"] = [row | {"time": 1_325_239_200_000 + at} for at, row in enumerate(case["rows"])]
    answer, _, _ = answer_to(case | {"zone": "Pacific/Apia"})
    assert [step.count for step in answer.overall] == [0, 0]


def test_merge_is_associative() -> None:
    partials = []
    query = funnel_query(
        from_date="2024-01-01", to_date="2024-01-02", steps=[parse_step("view"), parse_step("buy")], by=["plan"]
    )
    scan = funnel_answer.plan_funnel(query, ZoneInfo("UTC"), dedupe=True)
    for shard in range(3):
        rows = base(
            rows=[
                (event, at % 7, {"plan": at % 3}, f"{at}", f"u{shard}{at % 8}")
                for at, event in enumerate(["view", "buy", "view"] * 20)
            ]
        )["rows"]
        stored = [row | {"duplicate": False} for row in rows]
        partials.append(read_partial(scans.run(scan.to_json(), [scanned_rows(stored)])[0]))
    left = funnel_answer.merge([funnel_answer.merge(partials[:2]), partials[2]])
    right = funnel_answer.merge([partials[0], funnel_answer.merge(partials[1:])])
    assert funnel_answer.finish(query, left) == funnel_answer.finish(query, right)
    assert funnel_answer.finish(query, left).overall[0].count == 24


def test_a_scan_reads_back_as_it_was_written_and_reads_no_more_than_it_needs() -> None:
    query = funnel_query(
        from_date="2024-01-01", to_date="2024-01-02", steps=[parse_step('view where ext == ".py"'), parse_step("*")],
        by=["dir"], by_step="last", window_ms=5,
    )  # fmt: skip
    scan = funnel_answer.plan_funnel(query, ZoneInfo("UTC"), dedupe=True)
    assert FunnelScan.from_json(scan.to_json()) == scan
    needed = scans.columns_needed(scan.to_json())
    assert needed == (
        ("event", "time"), ("dir", "ext"), 1_704_067_200_000, 1_704_240_000_005, True, ("insert_id",)
    )  # fmt: skip
    assert needed.fields_without_users == ("distinct_id", "event", "insert_id", "time")
    query = funnel_query(from_date="2024-01-01", to_date="2024-01-02", steps=[parse_step("*"), parse_step("*")])
    scan = funnel_answer.plan_funnel(query, ZoneInfo("UTC"), dedupe=True)
    needed = scans.columns_needed(scan.to_json())
    assert (needed.fields, needed.users, needed.fields_without_users) == (("time",), True, ("distinct_id", "time"))


def test_more_rows_than_a_shard_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_rows, "ROWS_MAX", 3)
    with pytest.raises(EvenshardError, match="more than 3 events of one user take part") as failed:
        answer_to(base(rows=[("view", at, {}, f"{at}") for at in range(4)], steps=A_B, query={"by": ["plan"]}))
    assert failed.value.code == "QUERY_INVALID"


def test_more_events_of_steps_than_a_shard_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_rows, "ROWS_MAX", 3)
    monkeypatch.setattr(user_chunks, "CHUNK_ROWS", 1)
    stream = [(name, at, {}, name, who) for who in ("ann", "bob") for at, name in enumerate(["view", "buy"])]
    with pytest.raises(EvenshardError, match="more than 3 events of a shard fill steps") as failed:
        answer_to(base(rows=stream, steps=A_B, query={"by": ["plan"]}))
    assert failed.value.code == "QUERY_INVALID"
