"""Every option of QueryFunnel through the gateway: worked examples, explanations, warnings and what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError
from evenshard.queries.funnel_explain import Reason
from evenshard.queries.steps import Step
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row

HOUR_MS = 3_600_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
Stream = Sequence[tuple[Any, ...]]


def stream(*events: tuple[Any, ...]) -> list[Row]:
    """Events of ann, or of who is named, at hours since the start of the range: (event, hours, plan, who)."""
    rows = []
    for number, (event, hours, *more) in enumerate(events):
        plan, who = (*more, None, "ann")[:2] if len(more) != 1 else (more[0], "ann")
        rows.append(
            {
                "tenant": TENANT, "event": event, "distinct_id": who, "insert_id": f"{number}",
                "time": START_MS + round(hours * HOUR_MS), "properties": {} if plan is None else {"plan": plan},
            }
        )  # fmt: skip
    return rows


def exclusion(name: str, after: int, before: int, where: str = "") -> query_pb2.FunnelExclusion:
    return query_pb2.FunnelExclusion(events=[name] if name else [], where=where, after_step=after, before_step=before)


MS = 1 / HOUR_MS
NO_X = {"exclusions": [exclusion("X", 1, 2)]}
HOLD, TOTAL, SESSIONS = {"hold_constant": ["plan"]}, {"count_mode": "total"}, {"count_mode": "session"}
A_B = ["A", "B"]
EXAMPLES: list[tuple[Stream, list[str], dict[str, Any], list[int]]] = [
    ([("A", 0), ("A", 30), ("B", 40)], A_B, {}, [1, 1]),
    ([("A", 0), ("A", 30), ("B", 40)], A_B, {"attempt": "first"}, [1, 0]),
    ([("A", 0), ("A", 30), ("B", 40)], A_B, {"count_mode": "total"}, [2, 1]),
    ([("A", 0), ("B", 24)], A_B, {}, [1, 1]),
    ([("A", 0), ("B", 24 + MS)], A_B, {}, [1, 0]),
    ([("A", 0), ("A", 20), ("B", 40)], A_B, {}, [1, 1]),
    ([("A", 0), ("A", 20), ("B", 40)], A_B, {"attempt": "first"}, [1, 0]),
    ([("A", 0), ("A", 20), ("B", 40)], A_B, {"count_mode": "total"}, [1, 0]),
    ([("A", 0), ("B", 0)], A_B, {}, [1, 1]),
    ([("A", 0), ("B", 0)], ["B", "A"], {}, [1, 1]),
    ([("A", 0), ("B", 0)], A_B, {"strict_increase": True}, [1, 0]),
    ([("A", 0), ("B", 0)], ["B", "A"], {"strict_increase": True}, [1, 0]),
    ([("A", 0)], ["A", "A"], {}, [1, 0]),
    ([("A", 0), ("A", 1)], ["A", "A"], {}, [1, 1]),
    ([("A", 0), ("X", 1), ("B", 2)], A_B, {"order": "strict"}, [1, 0]),
    ([("A", 0), ("X", 0), ("B", 0)], A_B, {"order": "strict"}, [1, 1]),
    ([("A", 0), ("A", 1), ("A", 2), ("B", 3)], A_B, TOTAL | {"exclusions": [exclusion("A", 1, 2)]}, [2, 1]),
    ([("A", 0), ("X", 1), ("B", 2)], A_B, NO_X, [1, 0]),
    ([("A", 0), ("X", 1), ("B", 2)], A_B, NO_X | {"exclude_user": True}, [0, 0]),
    ([("A", 0, "x"), ("B", 1, "y"), ("B", 2, "x")], A_B, {"hold_constant": ["plan"]}, [1, 1]),
    ([("A", 7 * 24 - 1), ("B", 7 * 24 + 10)], A_B, {}, [1, 1]),
    ([("B", 0), ("A", 1)], A_B, {"order": "any"}, [1, 1]),
    # Beyond the examples: sessions, windows of 0, values that are not set.
    ([("A", 0), ("B", 0.4), ("A", 1), ("A", 1.6), ("X", 2), ("B", 2.4)], A_B, SESSIONS, [3, 2]),
    ([("A", 0), ("B", 0.4), ("B", 1), ("A", 1.4), ("A", 2)], A_B, SESSIONS | {"attempt": "first"}, [3, 1]),
    ([("A", 0), ("B", 0)], A_B, {"window_ms": 0}, [1, 1]),
    ([("A", 0), ("B", MS)], A_B, {"window_ms": 0}, [1, 0]),
    ([("A", 0), ("B", 366 * 24)], A_B, {"window_ms": 366 * 24 * HOUR_MS}, [1, 1]),
    ([("A", 0), ("B", 1, "x"), ("B", 2)], A_B, {"hold_constant": ["plan"]}, [1, 1]),
    ([("A", 0, "x"), ("B", 1), ("A", 2), ("B", 3, "x")], A_B, HOLD | TOTAL, [2, 1]),
    ([("A", 0, "x"), ("X", 1, "y"), ("B", 2, "x")], A_B, HOLD | NO_X, [1, 0]),
    ([("A", 0, 3), ("B", 1, 3.0), ("B", 2, "3")], A_B, HOLD | TOTAL, [1, 1]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_worked_examples(number: int) -> None:
    events, steps, options, counts = EXAMPLES[number]
    asked = {"window_ms": 24 * HOUR_MS, **options}
    async with GatewayWorld() as world:
        world.add(stream(*events))
        got = await world.funnel(steps, **RANGE, **asked)
        spans = [
            (list(each.events), lambda row: True, each.after_step, each.before_step)
            for each in asked.pop("exclusions", ())
        ]
        named = [([name], lambda row: True) for name in steps]
        expected = world.reference.funnel(TENANT, **RANGE, **asked, steps=named, exclusions=spans)
    assert [step.count for step in got.overall.steps] == counts
    assert [step["count"] for step in expected["overall"]["steps"]] == counts


async def test_times_and_histogram_of_held_values() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0, "x"), ("B", 1, "y"), ("B", 2, "x")))
        got = await world.funnel(A_B, **RANGE, hold_constant=["plan"])
    step = got.overall.steps[1]
    assert step.avg_seconds_from_first == 2 * 3600
    assert [(bar.up_to_seconds, bar.count) for bar in step.histogram] == [(2 * 3600, 1)]
    assert not got.overall.steps[0].histogram


async def test_bars_go_from_the_shortest_to_the_longest_time_and_bounds_belong_to_the_bar_they_end() -> None:
    async with GatewayWorld() as world:
        hours = [0, MS * 100, MS * 101, MS * 999, 1 / 3600, 4 / 3600]
        world.add(
            [
                row
                for at, end in enumerate(hours)
                for row in stream(("A", 0, None, f"u{at}"), ("B", end, None, f"u{at}"))
            ]
        )
        got = await world.funnel(A_B, **RANGE)
    bars = [(bar.up_to_seconds, bar.count) for bar in got.overall.steps[1].histogram]
    assert bars == [(0.1, 2), (0.25, 1), (0.5, 0), (1, 2), (2, 0), (3, 0), (5, 1)]


async def test_with_any_order_step_n_is_the_nth_done_and_has_no_name() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("B", 0, "x"), ("A", 1, "y"), ("C", 3, "z")))
        got = await world.funnel(["A", "B", "C"], **RANGE, order="any", by=["plan"], by_step="2")
    steps = got.overall.steps
    assert [(step.HasField("name"), step.count) for step in steps] == [(False, 1)] * 3
    assert [step.median_seconds_from_first for step in steps] == [0, 3600, 3 * 3600]
    assert [group.by[0].string_value for group in got.groups] == ["y"]


EXPLANATIONS: list[tuple[Stream, list[str], dict[str, Any], list[tuple[int | None, str]]]] = [
    (
        [("B", 0), ("A", 1), ("B", 2), ("B", 3), ("X", 4)], A_B, {},
        [(None, Reason.BEFORE_ENTRY), (1, "fills step 1"), (2, "fills step 2"), (None, Reason.AFTER_CONVERSION)],
    ),
    (
        [("C", 0), ("A", 1), ("A", 2), ("C", 3), ("B", 30)], ["A", "B", "C"], {},
        [
            (None, Reason.BEFORE_ENTRY), (1, "fills step 1"),
            (None, "step 1 is filled by another event"), (None, "comes before step 2 is done"),
            (None, Reason.AFTER_WINDOW),
        ],
    ),
    (
        [("A", 0), ("A", 30), ("B", 40)], A_B, {},
        [(None, Reason.LATER_IS_DEEPER), (1, "fills step 1"), (2, "fills step 2")],
    ),
    (
        [("A", 0), ("A", 30), ("B", 40)], A_B, {"attempt": "first"},
        [(1, "fills step 1"), (None, Reason.EARLIER_COUNTS), (None, Reason.AFTER_WINDOW)],
    ),
    (
        [("A", 0), ("A", 30), ("B", 40)], A_B, {"count_mode": "total"},
        [(1, "fills step 1"), (1, "fills step 1"), (2, "fills step 2")],
    ),
    (
        [("X", 0), ("A", 1), ("X", 2), ("B", 3)], A_B, {"exclusions": [exclusion("X", 1, 2)]},
        [
            (None, Reason.BEFORE_ENTRY),
            (1, "fills step 1"), (None, "excluded here: ends the attempt at step 1"), (None, Reason.AFTER_EXCLUSION),
        ],
    ),
    (
        [("X", 0), ("A", 1), ("X", 2), ("B", 3)], A_B, {"exclusions": [exclusion("X", 1, 2)], "exclude_user": True},
        [
            (None, Reason.USER_DROPPED), (None, Reason.USER_DROPPED), (None, Reason.DROPS_USER),
            (None, Reason.USER_DROPPED),
        ],
    ),
    (
        [("A", 0), ("X", 1), ("B", 2)], A_B, {"order": "strict"},
        [(1, "fills step 1"), (None, "breaks the order: step 2 had to be next"), (None, Reason.AFTER_BREAK)],
    ),
    (
        [("A", 0, "x"), ("B", 1, "y"), ("B", 2, "x")], A_B, {"hold_constant": ["plan"]},
        [(1, "fills step 1"), (None, Reason.OTHER_VALUE), (2, "fills step 2")],
    ),
    ([("A", 0), ("B", 0)], A_B, {"strict_increase": True}, [(1, "fills step 1"), (None, Reason.SAME_MS)]),
    ([("B", 0), ("A", 1)], A_B, {"order": "any"}, [(1, "fills step 1"), (2, "fills step 2")]),
    ([("B", 0)], A_B, {}, [(None, Reason.NO_ENTRY)]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(EXPLANATIONS)))
async def test_events_are_explained(number: int) -> None:
    events, steps, options, expected = EXPLANATIONS[number]
    asked = {"from_date": "2024-01-01", "to_date": "2024-01-07", "window_ms": 24 * HOUR_MS, **options}
    async with GatewayWorld(shard_count=3) as world:
        world.add([*stream(*events), *stream(("A", 1, None, "bob"), ("B", 2, None, "bob"))])
        got = await world.funnel(steps, **asked, explain_user="ann")
    shown = [(line.step or None, line.reason) for line in got.explain]
    assert shown == expected
    assert [line.time_ms for line in got.explain] == sorted(line.time_ms for line in got.explain)
    assert not got.meta.warnings


async def test_an_entry_after_the_last_day_is_explained_as_outside() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 1), ("A", 7 * 24), ("B", 7 * 24 + 1)))
        got = await world.funnel(A_B, **RANGE, window_ms=24 * HOUR_MS, explain_user="ann")
        assert [(line.event, line.step, line.reason) for line in got.explain] == [
            ("A", 1, "fills step 1"), ("A", 0, Reason.OUTSIDE_DATES), ("B", 0, Reason.AFTER_WINDOW),
        ]  # fmt: skip
        got = await world.funnel(A_B, **RANGE, explain_user="nobody")
        assert ([each.code for each in got.meta.warnings], len(got.explain)) == (["NOTHING_TO_EXPLAIN"], 0)


async def test_an_exclusion_that_is_a_step_of_its_span_is_warned_of() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0), ("B", 1), ("X", 2)))
        for name, where, after, before, codes in (
            ("A", "", 1, 2, ["EXCLUSION_IS_STEP"]),
            ("", "", 1, 2, ["EXCLUSION_IS_STEP", "EXCLUSION_IS_STEP"]),
            ("X", "", 1, 2, []),
            ("A", "", 2, 3, []),
        ):
            got = await world.funnel(["A", "B", "X"], **RANGE, exclusions=[exclusion(name, after, before, where)])
            assert [each.code for each in got.meta.warnings] == codes, name
        got = await world.funnel(A_B, **RANGE, exclusions=[exclusion("nobody", 1, 2)])
        assert [each.code for each in got.meta.warnings] == ["UNKNOWN_EVENT"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": ["A"]}, "steps: a funnel has 2 to 32 steps, not 1"),
        ({"steps": ["A"] * 33}, "steps: a funnel has 2 to 32 steps, not 33"),
        ({"window_ms": -1}, "window_ms: -1 ms is not between 0 and 366 days"),
        ({"window_ms": 366 * 24 * HOUR_MS + 1}, "window_ms: 31622400001 ms is not between 0 and 366 days"),
        ({"order": "backward"}, "order: 'backward' is none of ordered, strict, any"),
        ({"attempt": "last"}, "attempt: 'last' is none of best, first"),
        ({"count_mode": "users"}, "count_mode: 'users' is none of unique, total, session"),
        ({"exclusions": [exclusion("X", 2, 2)]}, "exclusions[0].before_step: 2 does not come behind after_step 2"),
        ({"exclusions": [exclusion("X", 0, 1)]}, "exclusions[0].after_step: 0 is not the number of a step, 1 to 2"),
        ({"exclusions": [exclusion("X", 1, 3)]}, "exclusions[0].before_step: 3 is not the number of a step, 1 to 2"),
        ({"exclusions": [exclusion("X", 1, 2, "a =")]}, "exclusions[0].where, character 3"),
        ({"exclusions": [exclusion("X", 1, 2)] * 33}, "exclusions: at most 32, not 33"),
        ({"exclude_user": True}, "exclude_user: there is no exclusion that could drop a user"),
        ({"order": "any", "exclusions": [exclusion("X", 1, 2)]}, "exclusions: with order any"),
        ({"order": "any", "strict_increase": True}, "strict_increase: with order any"),
        ({"hold_constant": ["a", "b", "c", "d"]}, "hold_constant: at most 3 properties, not 4"),
        ({"hold_constant": [""]}, "hold_constant: a property has a name"),
        ({"by_step": "3"}, "by_step: '3' is not first, last or the number of a step, 1 to 2"),
        ({"explain_user": "x" * 256}, "explain_user: a distinct_id has at most 255 bytes"),
    ],
)
async def test_what_cannot_be_is_refused_by_the_name_of_its_field(fields: dict[str, Any], says: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.funnel(fields.pop("steps", A_B), **RANGE, **fields)
    assert failed.value.code == "QUERY_INVALID"
    assert failed.value.message.startswith(says)
    assert failed.value.fields


async def test_thirty_two_steps_and_thirty_two_exclusions() -> None:
    names = [f"s{number}" for number in range(32)]
    async with GatewayWorld() as world:
        world.add(stream(*((name, at) for at, name in enumerate(names)), ("x31", 30.5, None, "ann")))
        exclusions = [exclusion(f"x{number}", 1, number + 1) for number in range(1, 32)] + [exclusion("y", 1, 2)]
        got = await world.funnel([Step((name,)) for name in names], **RANGE, exclusions=exclusions)
    assert [step.count for step in got.overall.steps] == [1] * 31 + [0]
