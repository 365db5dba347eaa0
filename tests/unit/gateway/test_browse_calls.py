"""GetSchema and GetTimeline over several shards equal the naive reference; what is wrong is named."""

import random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.queries import schema, timeline
from evenshard.queries.schema_answer import TOP_VALUES
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import HOT_EVENT, Row, compare, order_of

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
VALUES = [None, True, False, 1, 2, 2.5, 3.0, 3, "3", "x", "ä", "", [1], {"a": [None]}, *(f"v{at}" for at in range(20))]


def some_rows(seed: int, count: int = 300) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    return [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy", "a b", "ä"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(5))]),
            "time": START_MS + chance.randrange(8) * DAY_MS + chance.randrange(3),
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {name: chance.choice(VALUES) for name in chance.sample(["plan", "odd name", "$x", "é"], 2)},
        }
        for _ in range(count)
    ]


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = None if kind is None else getattr(value, kind)
    return orjson.loads(found) if kind == "json_value" else found


async def pages(world: GatewayWorld, user: str, **fields: Any) -> list[list[Row]]:
    """All pages of a timeline."""
    found: list[list[Row]] = []
    token = ""
    while True:
        page = await world.timeline(user, page_token=token, **fields)
        found.append([orjson.loads(line) for line in page.events])
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("seed", range(4))
async def test_the_schema_of_several_shards_equals_the_reference(seed: int) -> None:
    duplicates = seed % 2 == 1
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed))
        got = await world.schema(**RANGE, options={"include_duplicates": duplicates})
        expected = world.reference.schema(TENANT, **RANGE, top=TOP_VALUES, include_duplicates=duplicates)
        assert {event.name: event.count for event in got.events} == expected["events"]
        counts = [event.count for event in got.events]
        assert counts == sorted(counts, reverse=True)
        assert [each.name for each in got.properties] == sorted(expected["properties"], key=str.encode)
        for each in got.properties:
            wanted = expected["properties"][each.name]
            assert list(each.types) == wanted["types"]
            shown = [order_of(value_of(value)) for value in each.top_values]
            assert shown == [order_of(value) for value in wanted["top_values"]], each.name
        assert (got.meta.complete, got.meta.shards, list(got.meta.warnings)) == (True, 3, [])


async def test_without_dates_the_schema_is_of_everything() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(9, 50))
        got = await world.schema(options={"include_duplicates": True})
        assert sum(event.count for event in got.events) == 50


async def test_rewritten_events_are_listed_with_hidden_ones_under_their_display_names() -> None:
    row = {"tenant": TENANT, "event": "view", "distinct_id": "u", "time": START_MS, "insert_id": None}
    hot = {"mp_original_event_name": "view", "mp_original_distinct_id": "u"}
    async with GatewayWorld() as world:
        world.add([{**row, "properties": {"a": 1}}, {**row, "event": HOT_EVENT, "properties": hot}])
        plain, whole = await world.schema(), await world.schema(include_hidden=True)
        assert [(event.name, event.hidden) for event in plain.events] == [("view", False)]
        assert [each.name for each in plain.properties] == ["a"]
        assert [(event.name, event.hidden) for event in whole.events] == [(HOT_EVENT, True), ("view", False)]
        assert {each.name: each.display_name for each in whole.properties} == {
            "a": "a",
            "mp_original_event_name": "Hotshard Original Event Name",
            "mp_original_distinct_id": "Hotshard Original Distinct ID",
        }


@pytest.mark.parametrize("bound", ["VALUES_MAX", "BYTES_MAX"])
async def test_too_many_values_are_given_up_by_name_and_the_others_stay(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, bound, 100 if bound == "VALUES_MAX" else 4000)
    row = {"tenant": TENANT, "event": "view", "time": START_MS, "insert_id": None}
    async with GatewayWorld(shard_count=1) as world:
        world.add(
            [
                {**row, "distinct_id": f"u{at}", "properties": {"many": f"value-{at}", "few": at % 3}}
                for at in range(300)
            ]
        )
        got = await world.schema()
        assert {each.name: [value_of(value) for value in each.top_values] for each in got.properties} == {
            "few": [0, 1, 2],
            "many": [],
        }
        assert [(each.code, each.message.endswith(": many")) for each in got.meta.warnings] == [
            ("TOP_VALUES_LEFT_OUT", True)
        ]


async def test_thousands_of_properties_and_more_names_than_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"tenant": TENANT, "event": "view", "distinct_id": "u", "insert_id": None}
    async with GatewayWorld(shard_count=1) as world:
        world.add(
            [
                {**row, "time": START_MS + at, "properties": {f"p{at * 100 + n}": n for n in range(100)}}
                for at in range(30)
            ]
        )
        got = await world.schema()
        assert {each.name for each in got.properties} == {f"p{at}" for at in range(3000)}
        monkeypatch.setattr(schema, "NAMES_MAX", 2999)
        with pytest.raises(EvenshardError, match="more than 2999 names of properties on one shard") as failed:
            await world.schema(options=query_pb2.QueryOptions(no_cache=True))
        assert failed.value.code == "QUERY_INVALID"


@pytest.mark.parametrize(("seed", "size"), [(0, 1), (1, 7), (2, 0), (3, 3)])
async def test_the_pages_of_a_timeline_are_the_users_rows_in_order(seed: int, size: int) -> None:
    duplicates = seed % 2 == 1
    where = ['plan != "x"', "", "plan is not set", '$event in ["view", "buy"]'][seed]
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed))
        options = {"include_duplicates": duplicates}
        found = await pages(world, "user-1", where=where, page_size=size, options=options)

        def wanted(row: Row) -> bool:
            return [
                compare(row, "plan", "!=", "x"),
                True,
                compare(row, "plan", "is not set"),
                row["event"] in ("view", "buy"),
            ][seed]

        expected = world.reference.timeline(TENANT, "user-1", where=wanted, include_duplicates=duplicates)
        assert [row for page in found for row in page] == expected
        assert len(expected) > 10
        assert all(len(page) == (size or 100) for page in found[:-1])


async def test_rows_that_agree_in_everything_are_paged_once_each_and_only_the_home_shard_is_asked() -> None:
    row = {"tenant": TENANT, "event": "view", "distinct_id": "u", "time": START_MS, "insert_id": None}
    async with GatewayWorld(shard_count=3) as world:
        world.add([{**row, "properties": {"n": n}} for n in range(20)])
        found = await pages(world, "u", page_size=3)
        assert sorted(row["properties"]["n"] for page in found for row in page) == list(range(20))
        asked = {name for name, shard in world.shards.items() if shard.scans}
        assert len(asked) == 1
        for name in set(world.shards) - asked:
            world.peers.partition(name)
        assert (await world.timeline("u")).meta.complete


async def test_large_rows_make_short_pages_and_one_is_always_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "BYTES_MAX", 5000)
    row = {"tenant": TENANT, "event": "view", "distinct_id": "u", "insert_id": None}
    async with GatewayWorld(shard_count=1) as world:
        world.add(
            [
                {**row, "time": START_MS + at, "properties": {"text": "x" * (20_000 if at == 3 else 1000)}}
                for at in range(12)
            ]
        )
        found = await pages(world, "u", page_size=10)
        assert [row["properties"]["time"] - START_MS for page in found for row in page] == list(range(12))
        assert 4 <= len(found) <= 8


async def test_a_dead_home_shard_is_named_or_the_page_is_partial() -> None:
    async with GatewayWorld(shard_count=1) as world:
        world.add(some_rows(1, 20))
        world.peers.partition("shard-0")
        with pytest.raises(EvenshardError) as failed:
            await world.timeline("user-1")
        assert (failed.value.code, dict(failed.value.details)) == ("SHARD_UNAVAILABLE", {"shard": "shard-0"})
        page = await world.timeline("user-1", options={"allow_partial": True})
        assert (page.meta.complete, list(page.events), page.next_page_token) == (False, [], "")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"user": ""}, "QUERY_INVALID", "user"),
        ({"user": "x" * 256}, "QUERY_INVALID", "user"),
        ({"from_date": "soon"}, "RANGE_INVALID", "from_date"),
        ({"from_date": "2024-02-01", "to_date": "2024-01-01"}, "RANGE_INVALID", "from_date"),
        ({"where": "a = 3"}, "QUERY_INVALID", "where"),
        ({"page_size": -1}, "QUERY_INVALID", "page_size"),
        ({"page_size": 10_001}, "QUERY_INVALID", "page_size"),
        ({"page_token": "abc"}, "QUERY_INVALID", "page_token"),
        ({"page_token": "YWJjZGVmZ2hpamtsbW5vcA=="}, "QUERY_INVALID", "page_token"),
    ],
)
async def test_a_wrong_field_of_a_timeline_is_named(fields: dict[str, Any], code: str, field: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.timeline(**{"user": "u", **fields})
        assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field])
        assert world.shards[ShardId("shard-0")].scans == 0


async def test_a_token_is_of_one_timeline() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(1))
        token = (await world.timeline("user-1", page_size=2)).next_page_token
        assert (await world.timeline("user-1", page_size=5, page_token=token)).events
        with pytest.raises(EvenshardError, match="it belongs to another timeline"):
            await world.timeline("user-2", page_token=token)
