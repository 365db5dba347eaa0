"""QueryRetention over shards that answer, lag, refuse or are gone; the worked examples of the semantics."""

import random
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.testing import retention_reference
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_704_067_200_000  # 2024-01-01, a Monday
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}


def some_rows(seed: int, count: int = 250) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy", "click"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(25))]),
            "time": START_MS + chance.randrange(-2 * 24, 20 * 24) * HOUR_MS,
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {"plan": chance.choice([None, True, 1, 2, 2.5, 3.0, "3", "x"])},
        }
        for _ in range(count)
    ]
    return [*rows, *rows[: count // 5]]


def stream(*events: tuple[str, float], user: str = "ann") -> list[Row]:
    """Events of one user, at hours since the start of the range."""
    return [
        {
            "tenant": TENANT, "event": event, "distinct_id": user, "time": START_MS + round(hours * HOUR_MS),
            "insert_id": f"{number}", "properties": {},
        }
        for number, (event, hours) in enumerate(events)
    ]  # fmt: skip


def cohorts_of(cohorts: Any) -> list[dict[str, Any]]:
    """As the reference has them."""
    return [
        {
            "start": each.start, "size": each.size, "returned": list(each.returned),
            "incomplete": list(each.incomplete),
        }
        for each in cohorts
    ]  # fmt: skip


def average_of(shares: Any) -> list[float | None]:
    return [each.share if each.HasField("share") else None for each in shares]


def document_of(got: query_pb2.QueryRetentionResponse) -> dict[str, Any]:
    groups = [
        {
            "by": [getattr(value, kind) if (kind := value.WhichOneof("value")) else None for value in group.by],
            "cohorts": cohorts_of(group.cohorts),
            "average": average_of(group.average),
        }
        for group in got.groups
    ]
    return {"cohorts": cohorts_of(got.cohorts), "average": average_of(got.average), "groups": groups}


def returned_of(got: query_pb2.QueryRetentionResponse) -> list[int]:
    """Of the first cohort."""
    return list(got.cohorts[0].returned)


@pytest.mark.parametrize("seed", range(4))
async def test_the_answer_of_several_shards_equals_the_reference(seed: int) -> None:
    asked: dict[str, Any] = {
        "by": [[], ["plan"], ["plan", "$event"], []][seed],
        "limit": 3,
        "unit": ["day", "week", "day", "month"][seed],
        "mode": ["on", "on_or_after"][seed % 2],
        "align": ["rolling", "calendar"][seed // 2],
        "birth_scope": ["range", "lifetime"][seed % 2],
        "buckets": 5,
    }
    async with GatewayWorld(shard_count=3) as world:
        world.clock.jump_wall(START_MS + 10 * DAY_MS - world.clock.now_ms())
        world.add(some_rows(seed))
        got = await world.retention("view", "buy", **RANGE, **asked)
        expected = retention_reference.retention(
            world.reference.rows,
            **RANGE,
            **asked,
            birth=(["view"], lambda row: True),
            returning=(["buy"], lambda row: True),
            now_ms=world.clock.now_ms(),
        )
        assert document_of(got) == expected
        assert sum(cohort.size for cohort in got.cohorts) > 5
        assert (got.meta.complete, got.meta.shards, got.meta.cache, len(got.meta.trace_id)) == (True, 3, "miss", 32)
        assert got.meta.duplicates_skipped.log + got.meta.duplicates_skipped.segment > 0
        assert not got.meta.warnings


WORKED = [("born", 10), ("open", 11), ("open", 24 + 9)]


@pytest.mark.parametrize(
    ("events", "asked", "size", "returned"),
    [
        (WORKED, {"align": "rolling"}, 1, [1, 0]),
        (WORKED, {"align": "calendar"}, 1, [1, 1]),
        ([("born", 0)], {}, 1, [0, 0]),
        # The birth is no return of its own; another event of its ms is, whatever its name.
        ([("born", 0), ("born", 0)], {}, 1, [1, 0]),
        ([("born", 0), ("aaa", 0)], {}, 1, [1, 0]),
        ([("aaa", 0), ("born", 0)], {}, 1, [1, 0]),
        # An exact unit later is the next bucket, a ms before it is not.
        ([("born", 0), ("open", 24)], {}, 1, [0, 1]),
        ([("born", 0), ("open", 24 - 1 / HOUR_MS)], {}, 1, [1, 0]),
        # On or after: however late.
        ([("born", 0), ("open", 24 * 400)], {}, 1, [0, 0]),
        ([("born", 0), ("open", 24 * 400)], {"mode": "on_or_after"}, 1, [1, 1]),
        ([("born", 0), ("open", 24 * 400)], {"mode": "on_or_after", "align": "calendar"}, 1, [1, 1]),
        # What was before the birth is no return; who was born before the range is born again in it, or not.
        ([("open", -30), ("born", 1)], {}, 1, [0, 0]),
        ([("born", -30), ("born", 1)], {}, 1, [0, 0]),
        ([("born", -9000), ("born", 1), ("open", 2)], {"birth_scope": "lifetime"}, 0, [0, 0]),
        ([("other", -9000), ("born", 1), ("open", 2)], {"birth_scope": "lifetime"}, 1, [1, 0]),
    ],
)
async def test_worked_examples(
    events: list[tuple[str, float]], asked: dict[str, Any], size: int, returned: list[int]
) -> None:
    async with GatewayWorld() as world:
        world.add(stream(*events))
        got = await world.retention("born", from_date="2024-01-01", to_date="2024-01-01", buckets=2, **asked)
        assert (len(got.cohorts), got.cohorts[0].size, returned_of(got)) == (1, size, returned)


async def test_every_unit_of_the_range_is_a_cohort_and_the_first_may_begin_before_it() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("a", 30), ("a", 31)))
        starts = {
            unit: [(cohort.start, cohort.size) for cohort in got.cohorts]
            for unit in ("day", "week", "month")
            for got in [await world.retention("a", from_date="2024-01-02", to_date="2024-01-09", unit=unit)]
        }
        assert starts["day"][:2] == [("2024-01-02", 1), ("2024-01-03", 0)]
        assert (len(starts["day"]), starts["day"][-1]) == (8, ("2024-01-09", 0))
        assert starts["week"] == [("2024-01-01", 1), ("2024-01-08", 0)]
        assert starts["month"] == [("2024-01-01", 1)]
        got = await world.retention("a", **RANGE)
        assert {len(cohort.returned) for cohort in got.cohorts} == {8}
        assert returned_of(got) == [0] * 8
        assert list(got.cohorts[1].returned) == [1, *[0] * 7]


@pytest.mark.parametrize("align", ["rolling", "calendar"])
async def test_what_is_not_over_yet_is_incomplete_and_in_no_average(align: str) -> None:
    async with GatewayWorld() as world:
        world.add([*stream(("a", 1), ("a", 25)), *stream(("a", 30), user="bob"), *stream(("a", 31), user="cy")])
        asked: dict[str, Any] = {"from_date": "2024-01-01", "to_date": "2024-01-02", "buckets": 2, "align": align}
        # Rolling, the last of January 1 has its second day until the end of January 3; by the calendar it is January 2.
        late = 1 if align == "rolling" else 0
        edge_ms = START_MS + (2 + late) * DAY_MS
        for now_ms, incomplete in ((edge_ms - 1, True), (edge_ms, False)):
            world.clock.jump_wall(now_ms - world.clock.now_ms())
            got = await world.retention("a", **asked)
            assert [list(cohort.incomplete) for cohort in got.cohorts] == [[False, incomplete], [incomplete, True]]
            assert [(cohort.size, list(cohort.returned)) for cohort in got.cohorts] == [(1, [0, 1]), (2, [0, 0])]
            assert average_of(got.average) == ([0.0, None] if incomplete else [0.0, 1.0])


async def test_days_are_the_tenants_also_when_the_clock_is_put_back() -> None:
    async with GatewayWorld(settings=TenantSettings(timezone="Europe/Berlin")) as world:
        # 2024-10-27 has 25 hours: from 22:00 UTC on the day before to 23:00 UTC.
        at = 1_729_980_000_000
        rows = stream(("a", 0), ("a", 24.5), ("a", 25))
        world.add([row | {"time": at + round(hours * HOUR_MS)} for row, hours in zip(rows, (0, 24.5, 25), strict=True)])
        asked = {"from_date": "2024-10-27", "to_date": "2024-10-27", "buckets": 2}
        assert returned_of(await world.retention("a", **asked, align="calendar")) == [1, 1]
        assert returned_of(await world.retention("a", **asked)) == [0, 1]


async def test_returns_and_births_are_filtered_and_groups_are_of_the_birth() -> None:
    rows = stream(("a", 0), ("a", 1), ("b", 2), ("b", 26))
    for row, plan in zip(rows, (None, "x", "y", "z"), strict=True):
        row["properties"] = {} if plan is None else {"plan": plan}
    async with GatewayWorld() as world:
        world.add(rows)
        asked: dict[str, Any] = {"from_date": "2024-01-01", "to_date": "2024-01-01", "buckets": 2, "by": ["plan"]}
        got = await world.retention("a", 'b where plan == "z"', **asked)
        assert [(document["by"], document["cohorts"][0]["returned"]) for document in document_of(got)["groups"]] == [
            ([None], [0, 1])
        ]
        got = await world.retention('a where plan in ["x"]', "b", **asked)
        assert [(document["by"], document["cohorts"][0]["returned"]) for document in document_of(got)["groups"]] == [
            (["x"], [1, 1])
        ]


async def test_duplicates_are_no_returns_unless_asked_for() -> None:
    async with GatewayWorld() as world:
        world.add([*stream(("a", 0)), *stream(("a", 0))])
        for options, expected in (({}, 0), ({"include_duplicates": True}, 1)):
            assert returned_of(await world.retention("a", **RANGE, options=options))[0] == expected


async def test_unknown_events_answer_nothing_and_near_names_are_told() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("Signed up", 0), ("Viewed", 1), ("viewed", 2)))
        got = await world.retention("signed-up", "Vieved", **RANGE)
        assert [cohort.size for cohort in got.cohorts] == [0] * 7
        assert [(each.code, each.message) for each in got.meta.warnings] == [
            ("UNKNOWN_EVENT", "no event that could count is named 'Vieved'; is 'Viewed' meant?"),
            ("UNKNOWN_EVENT", "no event that could count is named 'signed-up'; is 'Signed up' meant?"),
        ]
        assert not (await world.retention("Signed up", **RANGE)).meta.warnings


async def test_a_changed_placement_is_read_again() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(2))
        world.directory.pause_watches()
        await world.put_tenant(Epoch(2))
        world.shards[ShardId("shard-1")].epoch = 2
        got = await world.retention("view", **RANGE)
        assert (got.meta.placement_epoch, got.meta.complete) == (2, True)


async def test_a_shard_that_is_gone_is_named_or_left_out_if_allowed() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(3))
        world.peers.partition("shard-1")
        with pytest.raises(EvenshardError, match="shard-1 did not answer") as failed:
            await world.retention("view", **RANGE)
        assert failed.value.code == "SHARD_UNAVAILABLE"
        got = await world.retention("zzz|view", **RANGE, options={"allow_partial": True})
        assert (got.meta.complete, list(got.meta.missing_shards)) == (False, ["shard-1"])
        assert sum(cohort.size for cohort in got.cohorts) > 0
        assert not got.meta.warnings  # the name may occur on the missing shard
        world.peers.partition("shard-0")
        got = await world.retention("view", **RANGE, options={"allow_partial": True}, by=["plan"])
        assert ([cohort.size for cohort in got.cohorts], list(got.groups)) == ([0] * 7, [])


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"from_date": "2024-01-08"}, "RANGE_INVALID", "from_date"),
        ({"to_date": "tomorrow"}, "RANGE_INVALID", "to_date"),
        ({"birth": None}, "QUERY_INVALID", "birth"),
        ({"birth": query_pb2.FunnelStep(where="a ==")}, "QUERY_INVALID", "birth.where"),
        ({"return": query_pb2.FunnelStep(where="a ==")}, "QUERY_INVALID", "return.where"),
        ({"return": query_pb2.FunnelStep(events=["a"] * 1001)}, "QUERY_INVALID", "return.events"),
        ({"unit": "hour"}, "QUERY_INVALID", "unit"),
        ({"buckets": -1}, "QUERY_INVALID", "buckets"),
        ({"buckets": 367}, "QUERY_INVALID", "buckets"),
        ({"from_date": "1970-01-01", "to_date": "2024-01-01", "buckets": 366}, "QUERY_INVALID", "buckets"),
        ({"mode": "after"}, "QUERY_INVALID", "mode"),
        ({"align": "left"}, "QUERY_INVALID", "align"),
        ({"birth_scope": "ever"}, "QUERY_INVALID", "birth_scope"),
        ({"by": ["a", "b", "c", "d"]}, "QUERY_INVALID", "by"),
        ({"limit": 10_001}, "QUERY_INVALID", "limit"),
        ({"where": "a ="}, "QUERY_INVALID", "where"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], code: str, field: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.retention("a", **{**RANGE, **fields})
        assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field])
        assert world.shards[ShardId("shard-0")].scans == 0
