"""ExportEvents: order, cursors, rows behind a cursor, shards that fail."""

import random
from typing import Any

import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.gateway import export
from evenshard.ids import Epoch, ShardId
from evenshard.testing.gateway_world import TENANT, GatewayWorld, exported_rows
from evenshard.testing.reference import Row
from evenshard.wire.rpcs import SCAN_ROWS

START_MS, END_MS = 1_704_067_200_000, 1_704_067_200_020
RANGE = {"start_ms": START_MS, "end_ms": END_MS}


def some_rows(seed: int, count: int, inserts: str = "abc") -> list[Row]:
    """Few times, users and insert_ids: many ties and duplicates."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    return [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy"]),
            "distinct_id": chance.choice(["", "ann", "bob", "cy", "dé"]),
            "time": START_MS + chance.randrange(-2, 22),
            "insert_id": chance.choice([None, None, *inserts]),
            "properties": {chance.choice("pqr"): chance.choice([None, 1, 1.5, "x", [2]]) for _ in range(2)},
        }
        for _ in range(count)
    ]


def warnings_of(messages: list[Any]) -> list[tuple[str, int]]:
    return [(warning.code, warning.count) for warning in messages[-1].warnings]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PIECE_ROWS_MAX", 4)


def grouped(rows: list[Row]) -> list[Any]:
    """Rows in order; those of one key (whose order storage decides) as a sorted group."""
    groups: dict[Any, list[str]] = {}
    for row in rows:
        own = row["properties"]
        key = (own["time"], own["distinct_id"], row["event"], own.get("$insert_id"))
        groups.setdefault(key, []).append(repr(sorted(own.items())) + str(row.get("duplicate")))
    return [(key, sorted(texts)) for key, texts in groups.items()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("include_duplicates", [False, True])
async def test_an_export_is_the_reference_in_order(seed: int, include_duplicates: bool) -> None:
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed, 150))
        options: dict[str, Any] = {"include_duplicates": include_duplicates, "events": [["view"], []][seed % 2]}
        messages = await world.export(**RANGE, **options)
        expected = world.reference.export(TENANT, START_MS, END_MS, **options)
        assert grouped(exported_rows(messages)) == grouped(expected)
        assert [message.complete for message in messages] == [False] * (len(messages) - 1) + [True]
        assert sum(message.rows for message in messages) == len(expected)
        assert warnings_of(messages) == []


@pytest.mark.parametrize("seed", range(3))
async def test_every_cursor_goes_on_exactly_behind_its_rows(seed: int) -> None:
    async with GatewayWorld(shard_count=2) as world:
        world.add(some_rows(seed, 60))
        messages = await world.export(**RANGE, include_duplicates=True)
        lines = [line for message in messages for line in message.payload.splitlines()]
        done = 0
        for message in messages:
            done += message.rows
            rest = await world.export(**RANGE, include_duplicates=True, cursor=message.cursor)
            assert [line for each in rest for line in each.payload.splitlines()] == lines[done:]
            assert warnings_of(rest) == []
            assert rest[-1].cursor == messages[-1].cursor


async def test_a_cursor_counts_its_ties_over_several_messages() -> None:
    same = {**some_rows(1, 1)[0], "insert_id": None, "time": START_MS}
    async with GatewayWorld() as world:
        world.add([{**same, "properties": {"n": number}} for number in range(11)])
        messages = await world.export(**RANGE)
        rest = await world.export(**RANGE, cursor=messages[1].cursor)
        assert [row["properties"]["n"] for row in exported_rows(messages[:2])] == list(range(6))
        assert [row["properties"]["n"] for row in exported_rows(rest)] == list(range(6, 11))


@pytest.mark.parametrize("seed", range(4))
async def test_rows_that_arrived_behind_the_cursor_are_counted(seed: int) -> None:
    async with GatewayWorld(shard_count=2) as world:
        world.add(some_rows(seed, 60))
        messages = await world.export(**RANGE)
        before = exported_rows(messages)
        at = messages[5]
        emitted = exported_rows(messages[:6])
        world.add(some_rows(seed + 100, 40, inserts="xyz"))
        rest = await world.export(**RANGE, cursor=at.cursor)
        now = world.reference.export(TENANT, START_MS, END_MS)
        behind = len(now) - len(exported_rows(rest)) - len(emitted)
        assert behind > 0
        assert len(before) > len(emitted)
        assert warnings_of(rest) == [("ROWS_BEHIND_CURSOR", behind)]
        # A cursor taken after that knows of the same rows.
        again = await world.export(**RANGE, cursor=rest[0].cursor)
        assert warnings_of(again) == [("ROWS_BEHIND_CURSOR", behind)]


async def test_arrow_has_one_schema_and_loses_nothing() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(7, 80))
        messages = await world.export(**RANGE, format="arrow")
        tables = [pa.ipc.open_stream(message.payload).read_all() for message in messages if message.payload]
        table = pa.concat_tables(tables)
        assert table.schema.names == ["event", "distinct_id", "time", "insert_id", "properties_json"]
        lines = exported_rows(await world.export(**RANGE))
        assert table.column("time").to_pylist() == [row["properties"]["time"] for row in lines]


async def test_an_empty_range_ends_at_once() -> None:
    async with GatewayWorld() as world:
        messages = await world.export(start_ms=5, end_ms=5)
        assert [(message.rows, message.complete, message.cursor) for message in messages] == [(0, True, "")]


async def test_a_changed_placement_is_read_again_before_the_first_row() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(8, 30))
        world.directory.pause_watches()
        await world.put_tenant(Epoch(2))
        world.shards[ShardId("shard-1")].epoch = 2
        messages = await world.export(**RANGE)
        assert len(exported_rows(messages)) == len(world.reference.export(TENANT, START_MS, END_MS))


async def test_a_shard_that_fails_is_named() -> None:
    async with GatewayWorld() as world:
        world.peers.fail("shard-1", SCAN_ROWS, EvenshardError("UNREACHABLE", "nobody there"))
        with pytest.raises(EvenshardError) as failed:
            await world.export(**RANGE)
        assert (failed.value.code, dict(failed.value.details)) == ("SHARD_UNAVAILABLE", {"shard": "shard-1"})


async def test_a_wrong_request_is_refused_by_field() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(9, 30))
        cursor = (await world.export(**RANGE))[0].cursor
        wrong: list[tuple[dict[str, Any], str, str]] = [
            ({"start_ms": END_MS, "end_ms": START_MS}, "RANGE_INVALID", "start_ms"),
            ({**RANGE, "format": "csv"}, "QUERY_INVALID", "format"),
            ({**RANGE, "cursor": "nonsense"}, "QUERY_INVALID", "cursor"),
            ({**RANGE, "cursor": "ä"}, "QUERY_INVALID", "cursor"),
            ({**RANGE, "cursor": cursor[:-4]}, "QUERY_INVALID", "cursor"),
            ({**RANGE, "cursor": cursor, "events": ["view"]}, "QUERY_INVALID", "cursor"),
        ]
        for fields, code, field in wrong:
            with pytest.raises(EvenshardError) as failed:
                await world.export(**fields)
            assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field]), fields
        with pytest.raises(EvenshardError) as failed:
            await world.export(**{**RANGE, "tenant": "nobody"})
        assert failed.value.code == "TENANT_NOT_FOUND"
