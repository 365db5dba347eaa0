"""QueryFunnel over shards that answer, lag, refuse or are gone; the worked examples of the semantics."""

import random
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.queries.steps import Step
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row

HOUR_MS = 3_600_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
VIEW_BUY = [(["view"], lambda row: True), (["buy"], lambda row: True)]


def some_rows(seed: int, count: int = 250) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy", "click"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(25))]),
            "time": START_MS + chance.randrange(9 * 24) * HOUR_MS,
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {"plan": chance.choice([None, True, 1, 2, 2.5, 3.0, "3", "x"])},
        }
        for _ in range(count)
    ]
    return [*rows, *rows[: count // 5]]


def stream(*events: tuple[str, float]) -> list[Row]:
    """Events of one user, at hours since the start of the range."""
    return [
        {
            "tenant": TENANT, "event": event, "distinct_id": "ann", "time": START_MS + round(hours * HOUR_MS),
            "insert_id": f"{number}", "properties": {},
        }
        for number, (event, hours) in enumerate(events)
    ]  # fmt: skip


def steps_of(steps: Any) -> list[dict[str, Any]]:
    """As the reference has them."""
    return [
        {
            field.name: getattr(step, field.name) if not field.has_presence or step.HasField(field.name) else None
            for field in query_pb2.FunnelStepResult.DESCRIPTOR.fields
        }
        | {"histogram": [{"up_to_seconds": bar.up_to_seconds, "count": bar.count} for bar in step.histogram]}
        for step in steps
    ]


def groups_of(response: query_pb2.QueryFunnelResponse) -> list[dict[str, Any]]:
    return [
        {"by": [value_of(value) for value in group.by], "steps": steps_of(group.steps)} for group in response.groups
    ]


def value_of(value: query_pb2.GroupValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


@pytest.mark.parametrize("seed", range(6))
async def test_the_answer_of_several_shards_equals_the_reference(seed: int) -> None:
    asked: dict[str, Any] = {
        "by": [[], ["plan"], ["plan", "$event"]][seed % 3],
        "by_step": ["first", "last", "2"][seed % 3],
        "limit": 3,
    }
    window_ms = [20, 60][seed % 2] * HOUR_MS
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed))
        got = await world.funnel(["view", "buy"], **RANGE, **asked, window_ms=window_ms)
        expected = world.reference.funnel(TENANT, **RANGE, **asked, steps=VIEW_BUY, window_ms=window_ms)
        assert {"overall": {"steps": steps_of(got.overall.steps)}, "groups": groups_of(got)} == expected
        assert got.overall.steps[1].count > 5
        assert (got.meta.complete, got.meta.shards, got.meta.cache, len(got.meta.trace_id)) == (True, 3, "miss", 32)
        assert got.meta.duplicates_skipped.log + got.meta.duplicates_skipped.segment > 0
        assert not got.meta.warnings


@pytest.mark.parametrize(
    ("events", "steps", "counts"),
    [
        ([("A", 0), ("A", 30), ("B", 40)], ["A", "B"], [1, 1]),
        ([("A", 0), ("B", 24)], ["A", "B"], [1, 1]),
        ([("A", 0), ("B", 24 + 1 / HOUR_MS)], ["A", "B"], [1, 0]),
        ([("A", 0), ("A", 20), ("B", 40)], ["A", "B"], [1, 1]),
        ([("A", 0), ("B", 0)], ["A", "B"], [1, 1]),
        ([("A", 0), ("B", 0)], ["B", "A"], [1, 1]),
        ([("A", 0)], ["A", "A"], [1, 0]),
        ([("A", 0), ("A", 1)], ["A", "A"], [1, 1]),
        ([("A", 0), ("X", 1), ("B", 2)], ["A", "B"], [1, 1]),
        ([("A", 7 * 24 - 1), ("B", 7 * 24 + 10)], ["A", "B"], [1, 1]),
        ([("A", 7 * 24), ("B", 7 * 24 + 1)], ["A", "B"], [0, 0]),
        ([("B", 0), ("A", 1)], ["A", "B"], [1, 0]),
        ([("B", 0), ("A", 1)], ["*", "A|B", "*"], [1, 1, 0]),
    ],
)
async def test_worked_examples(events: list[tuple[str, float]], steps: list[str], counts: list[int]) -> None:
    async with GatewayWorld() as world:
        world.add(stream(*events))
        got = await world.funnel(steps, **RANGE, window_ms=24 * HOUR_MS)
        assert [step.count for step in got.overall.steps] == counts


async def test_times_are_measured_from_the_earliest_entry_that_reaches_deepest() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0), ("A", 20), ("A", 30), ("B", 40), ("C", 43)))
        got = await world.funnel(["A", "B", "C"], **RANGE, window_ms=24 * HOUR_MS)
        hours = [(s.avg_seconds_from_previous / 3600, s.median_seconds_from_first / 3600) for s in got.overall.steps]
        assert hours == [(0, 0), (20, 20), (3, 23)]


async def test_the_window_is_30_days_unless_told() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0), ("B", 30 * 24), ("C", 30 * 24 + 1)))
        got = await world.funnel(["A", "B", "C"], **RANGE)
        assert [step.count for step in got.overall.steps] == [1, 1, 0]


async def test_the_range_is_of_the_tenants_days() -> None:
    async with GatewayWorld(settings=TenantSettings(timezone="Asia/Tokyo")) as world:
        world.add(stream(("A", -9), ("B", -8)))
        got = await world.funnel(["A", "B"], from_date="2024-01-01", to_date="2024-01-01")
        assert [step.count for step in got.overall.steps] == [1, 1]


async def test_duplicates_count_if_asked_for_or_dedupe_is_off() -> None:
    twice = [*stream(("A", 0)), *stream(("A", 0))]
    async with GatewayWorld() as world:
        world.add(twice)
        counts = [
            [step.count for step in (await world.funnel(["A", "A"], **RANGE, options=options)).overall.steps]
            for options in ({}, {"include_duplicates": True})
        ]
        assert counts == [[1, 0], [1, 1]]
    async with GatewayWorld(settings=TenantSettings(dedupe=False)) as world:
        world.add(twice)
        got = await world.funnel(["A", "A"], **RANGE)
        assert [step.count for step in got.overall.steps] == [1, 1]


async def test_unknown_events_answer_nothing_and_are_named() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0), ("B", 1)))
        got = await world.funnel(["A", "Z|B", "nope"], **RANGE)
        assert [step.count for step in got.overall.steps] == [1, 1, 0]
        assert [(warning.code, "'Z'" in warning.message) for warning in got.meta.warnings] == [
            ("UNKNOWN_EVENT", True),
            ("UNKNOWN_EVENT", False),
        ]
        empty = await world.funnel(["A", "B"], from_date="2020-01-01", to_date="2020-01-02", by=["plan"])
        assert ([step.count for step in empty.overall.steps], list(empty.groups)) == ([0, 0], [])
        assert not empty.overall.steps[0].HasField("conversion_from_first")
        assert not empty.overall.steps[1].HasField("median_seconds_from_previous")


async def test_a_changed_placement_is_read_again() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(2))
        world.directory.pause_watches()
        await world.put_tenant(Epoch(2))
        world.shards[ShardId("shard-1")].epoch = 2
        got = await world.funnel(["view", "buy"], **RANGE)
        expected = world.reference.funnel(TENANT, **RANGE, steps=VIEW_BUY)
        assert (steps_of(got.overall.steps), got.meta.placement_epoch) == (expected["overall"]["steps"], 2)


async def test_a_shard_that_is_gone_is_named_or_left_out_if_allowed() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(3))
        world.peers.partition("shard-1")
        with pytest.raises(EvenshardError, match="shard-1 did not answer") as failed:
            await world.funnel(["view", "buy"], **RANGE)
        assert failed.value.code == "SHARD_UNAVAILABLE"
        got = await world.funnel(["view", "zzz"], **RANGE, options={"allow_partial": True})
        assert (got.meta.complete, list(got.meta.missing_shards)) == (False, ["shard-1"])
        assert got.overall.steps[0].count > 0
        assert not got.meta.warnings  # the name may occur on the missing shard
        world.peers.partition("shard-0")
        got = await world.funnel(["view", "buy"], **RANGE, options={"allow_partial": True}, by=["plan"])
        assert ([step.count for step in got.overall.steps], list(got.groups)) == ([0, 0], [])


@pytest.mark.parametrize(
    ("steps", "fields", "code", "field"),
    [
        (2, {"from_date": "2024-01-08"}, "RANGE_INVALID", "from_date"),
        (2, {"to_date": "tomorrow"}, "RANGE_INVALID", "to_date"),
        (0, {}, "QUERY_INVALID", "steps"),
        (1, {}, "QUERY_INVALID", "steps"),
        (33, {}, "QUERY_INVALID", "steps"),
        (2, {"window_ms": -1}, "QUERY_INVALID", "window_ms"),
        (2, {"window_ms": 366 * 24 * HOUR_MS + 1}, "QUERY_INVALID", "window_ms"),
        (2, {"order": "backward"}, "QUERY_INVALID", "order"),
        (2, {"attempt": "last"}, "QUERY_INVALID", "attempt"),
        (2, {"count_mode": "users"}, "QUERY_INVALID", "count_mode"),
        (2, {"by": ["a", "b", "c", "d"]}, "QUERY_INVALID", "by"),
        (2, {"by": ["a"], "by_step": "3"}, "QUERY_INVALID", "by_step"),
        (2, {"by": ["a"], "by_step": "0"}, "QUERY_INVALID", "by_step"),
        (2, {"by": ["a"], "by_step": "²"}, "QUERY_INVALID", "by_step"),
        (2, {"limit": 10_001}, "QUERY_INVALID", "limit"),
        (2, {"where": "a ="}, "QUERY_INVALID", "where"),
    ],
)
async def test_a_wrong_field_is_named(steps: int, fields: dict[str, Any], code: str, field: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.funnel(["A"] * steps, **{**RANGE, **fields})
        assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field])
        assert world.shards[ShardId("shard-0")].scans == 0


async def test_32_steps_and_366_days_are_answered_and_a_wrong_filter_of_a_step_is_pointed_at() -> None:
    async with GatewayWorld() as world:
        world.add(stream(*(("A", hour) for hour in range(40))))
        got = await world.funnel(["A"] * 32, **RANGE, window_ms=366 * 24 * HOUR_MS)
        assert [step.count for step in got.overall.steps] == [1] * 32
        with pytest.raises(EvenshardError) as failed:
            await world.funnel([Step(("A",)), Step(("B",), "plan == x")], **RANGE)
        assert failed.value.message.startswith("steps[1].where, character 9: a string in double quotes")
        assert failed.value.hint.splitlines() == ["plan == x", "        ^"]
