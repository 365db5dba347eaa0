"""QuerySegmentation over shards that answer, lag, refuse or are gone."""

import asyncio
import random
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.testing.gateway_world import TENANT, GatewayWorld, ListShard
from evenshard.testing.reference import Row
from evenshard.wire.rpcs import SCAN

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}


ASKED = [{"measure": measure} for measure in ("total", "unique", "average")] + [
    {"measure": measure, "property": "plan"} for measure in ("sum", "avg", "min", "max", "p50", "p90", "p99")
]


def some_rows(seed: int, count: int = 200) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    return [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(20))]),
            "time": START_MS + chance.randrange(7) * DAY_MS,
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {"plan": chance.choice([None, True, 1, 2, 2.5, 3.0, "3", "x"])},
        }
        for _ in range(count)
    ]


def value_of(value: query_pb2.GroupValue | query_pb2.MeasureValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def series_of(response: query_pb2.QuerySegmentationResponse) -> list[dict[str, Any]]:
    return [
        {
            "by": [value_of(value) for value in line.by],
            "values": [value_of(value) for value in line.values],
            "overall": value_of(line.overall),
        }
        for line in response.series
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_the_answer_of_several_shards_equals_the_reference(seed: int) -> None:
    asked: dict[str, Any] = {
        "unit": random.Random(seed).choice(["day", "week"]),
        **ASKED[seed % len(ASKED)],
        "by": [[], ["plan"], ["plan", "$event"]][seed % 3],
        "limit": 3,
    }
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed))
        got = await world.segmentation(**RANGE, **asked)
        expected = world.reference.segmentation(TENANT, **RANGE, **asked)
        assert (list(got.buckets), series_of(got)) == (expected["buckets"], expected["series"])
        skipped = got.meta.duplicates_skipped
        assert skipped.log + skipped.segment == expected["duplicates_skipped"] > 0
        versions = ",".join(f"{name}:{len(shard.rows)}" for name, shard in sorted(world.shards.items()))
        assert (got.meta.complete, got.meta.placement_epoch, got.meta.data_version) == (True, 1, versions)
        read = sum(shard.scans * len(shard.rows) for shard in world.shards.values())  # in one round or two
        assert (got.meta.shards, got.meta.cache, got.meta.rows_scanned) == (3, "miss", read)
        assert len(got.meta.trace_id) == 32


async def test_dedupe_switched_off_shows_duplicates() -> None:
    async with GatewayWorld(settings=TenantSettings(dedupe=False)) as world:
        world.add(some_rows(1))
        got = await world.segmentation(**RANGE)
        assert series_of(got)[0]["overall"] == 200
        assert (got.meta.duplicates_skipped.log, got.meta.duplicates_skipped.segment) == (0, 0)


async def test_a_changed_placement_is_read_again_and_the_answer_is_of_the_new_epoch() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(2))
        world.directory.pause_watches()
        await world.put_tenant(Epoch(2))
        world.shards[ShardId("shard-1")].epoch = 2
        got = await world.segmentation(**RANGE, options={"include_duplicates": True})
        assert (series_of(got)[0]["overall"], got.meta.placement_epoch) == (200, 2)


async def test_replanning_is_bounded() -> None:
    async with GatewayWorld() as world:
        shard = world.shards[ShardId("shard-0")]
        shard.epoch = 99
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**RANGE)
        assert (failed.value.code, shard.scans) == ("STALE_EPOCH", 4)


async def test_a_tenant_created_a_moment_ago_is_asked_for() -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**{**RANGE, "tenant": "nobody"})
        assert failed.value.code == "TENANT_NOT_FOUND"
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**{**RANGE, "tenant": "../x"})
        assert failed.value.code == "TENANT_NAME_INVALID"
        world.directory.pause_watches()
        record = world.tenant.to_json().replace(b'"acme"', b'"fresh"')
        from evenshard.ports.directory import Put

        await world.directory.swap([], [Put("/evenshard/tenants/fresh", record)])
        got = await world.segmentation(**{**RANGE, "tenant": "fresh"})
        assert got.meta.complete


async def test_a_shard_that_is_gone_is_named() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(3))
        world.peers.partition("shard-1")
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**RANGE)
        error = failed.value
        assert (error.code, error.retryable, dict(error.details)) == ("SHARD_UNAVAILABLE", True, {"shard": "shard-1"})
        assert "shard-1" in error.message
        got = await world.segmentation(**RANGE, options={"allow_partial": True, "include_duplicates": True})
        assert (got.meta.complete, list(got.meta.missing_shards), got.meta.shards) == (False, ["shard-1"], 1)
        assert series_of(got)[0]["overall"] == len(world.shards[ShardId("shard-0")].rows)


async def test_all_shards_gone_with_allow_partial_is_an_empty_answer() -> None:
    async with GatewayWorld() as world:
        world.peers.partition("shard-0")
        world.peers.partition("shard-1")
        got = await world.segmentation(**RANGE, by=["plan"], options={"allow_partial": True})
        assert (series_of(got), list(got.meta.missing_shards)) == ([], ["shard-0", "shard-1"])


async def test_a_silent_shard_is_named_before_the_deadline() -> None:
    async with GatewayWorld() as world:
        world.peers.delay("shard-0", 60_000)
        asking = asyncio.ensure_future(world.segmentation(**RANGE, timeout_s=10))
        for _ in range(200):
            await asyncio.sleep(0.002)
            if world.shards[ShardId("shard-1")].scans:
                break
        await world.clock.advance(8_600)
        with pytest.raises(EvenshardError, match="shard-0 did not answer: DEADLINE_EXCEEDED") as failed:
            await asking
        assert failed.value.code == "SHARD_UNAVAILABLE"


async def test_what_is_wrong_with_a_query_comes_before_a_missing_shard() -> None:
    async with GatewayWorld() as world:
        world.peers.partition("shard-0")
        world.peers.fail("shard-1", SCAN, EvenshardError("QUERY_INVALID", "by plan: too many groups"))
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**RANGE)
        assert failed.value.code == "QUERY_INVALID"


async def test_damage_fails_a_query_unless_partial_answers_are_allowed() -> None:
    async with GatewayWorld() as world:
        world.peers.fail("shard-1", SCAN, EvenshardError("DATA_DAMAGED", "segment 7"))
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**RANGE)
        assert failed.value.code == "DATA_DAMAGED"
        got = await world.segmentation(**RANGE, options={"allow_partial": True})
        assert list(got.meta.missing_shards) == ["shard-1"]


async def test_a_ranking_that_changes_between_rounds_is_asked_again() -> None:
    def row(plan: str, user: str) -> Row:
        return {
            "tenant": TENANT, "event": "view", "distinct_id": user, "time": START_MS, "insert_id": None,
            "properties": {"plan": plan},
        }  # fmt: skip

    async with GatewayWorld(shard_count=1) as world:
        shard = world.shards[ShardId("shard-0")]
        world.add([row("a", "u1"), row("a", "u2"), row("b", "u1")])

        def grow(shard: ListShard) -> None:
            if shard.scans == 2:
                world.add([row("b", "u3"), row("b", "u1")])

        shard.before_scan = grow
        got = await world.segmentation(**RANGE, by=["plan"], measure="unique", limit=1)
        assert shard.scans == 3
        expected = world.reference.segmentation(TENANT, **RANGE, by=["plan"], measure="unique", limit=1)
        assert series_of(got) == expected["series"]
        assert [line["by"] for line in series_of(got)] == [["b"], ["$other"]]


async def test_a_ranking_that_never_stands_still_is_answered_with_a_warning() -> None:
    async with GatewayWorld(shard_count=1) as world:
        shard = world.shards[ShardId("shard-0")]

        def grow(shard: ListShard) -> None:
            rows = [
                {
                    "tenant": TENANT, "event": "view", "distinct_id": f"u{shard.scans}", "time": START_MS,
                    "insert_id": None, "properties": {"plan": f"plan-{shard.scans % 2}"},
                }
                for _ in range(10**shard.scans // 10)
            ]  # fmt: skip
            world.add(rows)

        world.add([{**some_rows(1, 1)[0], "properties": {"plan": "other"}, "time": START_MS}])
        shard.before_scan = grow
        got = await world.segmentation(**RANGE, by=["plan"], measure="unique", limit=1)
        assert (shard.scans, [warning.code for warning in got.meta.warnings]) == (4, ["RANKING_MOVED"])


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"from_date": "2024-01-08"}, "RANGE_INVALID", "from_date"),
        ({"from_date": "yesterday"}, "RANGE_INVALID", "from_date"),
        ({"to_date": "2024-13-01"}, "RANGE_INVALID", "to_date"),
        ({"to_date": "20240107"}, "RANGE_INVALID", "to_date"),
        ({"to_date": ""}, "RANGE_INVALID", "to_date"),
        ({"from_date": "1969-12-31"}, "RANGE_INVALID", "from_date"),
        ({"from_date": "1970-01-01", "unit": "minute"}, "RANGE_INVALID", "unit"),
        ({"unit": "year"}, "QUERY_INVALID", "unit"),
        ({"measure": "median"}, "QUERY_INVALID", "measure"),
        ({"measure": "sum"}, "QUERY_INVALID", "property"),
        ({"measure": "average", "property": "plan"}, "QUERY_INVALID", "property"),
        ({"measure": "p50", "property": "$cohort:x"}, "QUERY_INVALID", "property"),
        ({"where": 'plan matches "a(b"'}, "QUERY_INVALID", "where"),
        ({"by": ["a", "b", "c", "d"]}, "QUERY_INVALID", "by"),
        ({"by": [""]}, "QUERY_INVALID", "by"),
        ({"by": ["$cohort:"]}, "QUERY_INVALID", "by"),
        ({"limit": -1}, "QUERY_INVALID", "limit"),
        ({"limit": 10_001}, "QUERY_INVALID", "limit"),
        ({"where": "files >> 3"}, "QUERY_INVALID", "where"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], code: str, field: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.segmentation(**{**RANGE, **fields})
        assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field])
        assert world.shards[ShardId("shard-0")].scans == 0


async def test_a_changed_time_zone_changes_answers_and_not_data() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(5))
        before = {name: list(shard.rows) for name, shard in world.shards.items()}
        answers = []
        for epoch, zone in enumerate(("UTC", "Asia/Tokyo", "America/New_York", "UTC"), start=2):
            world.settings = TenantSettings(timezone=zone)
            await world.put_tenant(Epoch(epoch))
            for shard in world.shards.values():
                shard.epoch = epoch  # so the gateway must know the record that has the zone
            got = await world.segmentation(**RANGE, unit="hour")
            assert series_of(got) == world.reference.segmentation(TENANT, **RANGE, unit="hour", timezone=zone)["series"]
            answers.append(series_of(got))
        assert answers[0] == answers[3]
        assert answers[0] != answers[1] != answers[2] != answers[0]
        assert {name: shard.rows for name, shard in world.shards.items()} == before


@pytest.mark.parametrize(("unit", "hours"), [("day", 24), ("hour", 1), ("week", 24 * 7)])
async def test_buckets_that_are_not_over_are_counted_in_the_tenants_zone_also_where_the_rest_is_known(
    unit: str, hours: int
) -> None:
    async with GatewayWorld(settings=TenantSettings(timezone="America/New_York")) as world:
        world.add(some_rows(1, 9))
        begin_ms = START_MS + 5 * 3_600_000  # midnight in New York
        size_ms = hours * 3_600_000
        for passed in (2, 1, 0, 3):
            for now_ms, over in (
                (begin_ms + passed * size_ms, passed),
                (begin_ms + (passed + 1) * size_ms - 1, passed),
            ):
                world.clock.jump_wall(now_ms - world.clock.now_ms())
                got = await world.segmentation(from_date="2024-01-01", to_date="2024-01-28", unit=unit)
                assert len(got.buckets) - got.incomplete_buckets == over
        world.clock.jump_wall(begin_ms + 28 * DAY_MS - world.clock.now_ms())
        got = await world.segmentation(from_date="2024-01-01", to_date="2024-01-28", unit=unit)
        assert got.incomplete_buckets == 0
