"""QueryFlows over shards that answer, refuse or are gone; the worked examples of the semantics."""

import random
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.testing import flows_reference
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}


def some_rows(seed: int, count: int = 300, step_ms: int = 10 * MINUTE_MS) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy", "click", "open", "é"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(12))]),
            "time": START_MS + chance.randrange(-200, 9 * 24 * HOUR_MS // step_ms // 3) * step_ms,
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {"plan": chance.choice([None, True, 1, 2])},
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


def document_of(got: query_pb2.QueryFlowsResponse) -> dict[str, Any]:
    """As the reference has it."""
    return {
        "anchors": got.anchors,
        "nodes": [
            {"step": node.step, "name": node.name, "count": node.count, "dropoff": node.dropoff} for node in got.nodes
        ],
        "edges": [
            {"step": edge.step, "from": getattr(edge, "from"), "to": edge.to, "count": edge.count} for edge in got.edges
        ],
    }


def path_of(got: query_pb2.QueryFlowsResponse) -> str:
    """Of the one user there is."""
    names = [node.name for node in got.nodes]
    return "→".join(names) + ("→(end)" if got.nodes[-1].dropoff else "")


@pytest.mark.parametrize("seed", range(6))
async def test_the_answer_of_several_shards_equals_the_reference(seed: int) -> None:
    asked: dict[str, Any] = {
        "direction": ["forward", "backward"][seed % 2],
        "steps": [2, 5, 10][seed % 3],
        "top": [2, 10][seed % 2],
        "collapse_repeats": seed >= 3,
        **([{"session": True}, {"window_ms": 5 * HOUR_MS}, {}][seed % 3]),
    }
    async with GatewayWorld(shard_count=3) as world:
        world.add(some_rows(seed))
        got = await world.flows("view", **RANGE, **asked)
        expected = flows_reference.flows(world.reference.rows, **RANGE, **asked, anchor=(["view"], lambda row: True))
        assert document_of(got) == expected
        assert got.anchors > 5
        assert (got.meta.complete, got.meta.shards, got.meta.cache, len(got.meta.trace_id)) == (True, 3, "miss", 32)
        assert got.meta.duplicates_skipped.log + got.meta.duplicates_skipped.segment > 0
        assert not got.meta.warnings


@pytest.mark.parametrize(
    ("events", "asked", "path"),
    [
        ([("A", 0), ("B", 1), ("B", 2), ("C", 3)], {}, "A→B→B→C"),
        ([("A", 0), ("B", 1), ("B", 2), ("C", 3)], {"collapse_repeats": True}, "A→B→C→(end)"),
        # The anchor is a neighbour like any other.
        ([("A", 0), ("A", 1), ("B", 2)], {"collapse_repeats": True}, "A→B→(end)"),
        ([("A", 0), ("A", 1), ("B", 2)], {}, "A→A→B→(end)"),
        # A window is inclusive; a run that begins within it counts.
        ([("A", 0), ("B", 24), ("C", 24 + 1 / HOUR_MS)], {"window_ms": 24 * HOUR_MS}, "A→B→(end)"),
        ([("A", 0), ("B", 23), ("B", 25)], {"window_ms": 24 * HOUR_MS, "collapse_repeats": True}, "A→B→(end)"),
        ([("A", 0), ("B", 0), ("C", 1 / HOUR_MS)], {"window_ms": 0}, "A→B→(end)"),
        # Default: 30 days, and events beyond the range count.
        ([("A", 167), ("B", 168 + 29 * 24)], {}, "A→B→(end)"),
        ([("A", 0), ("B", 30 * 24 + 1)], {}, "A→(end)"),
        # Only the first anchor in the range; one before it is none.
        ([("A", -1), ("B", 0), ("A", 1), ("C", 2), ("A", 3)], {}, "A→C→A→(end)"),
        # Backward, outward from the anchor; the range is of the anchor alone.
        ([("C", -3), ("B", -2), ("A", 0), ("D", 1)], {"direction": "backward"}, "A→B→C→(end)"),
        ([("B", -24), ("A", 0)], {"direction": "backward", "window_ms": 24 * HOUR_MS}, "A→B→(end)"),
        ([("B", -24 - 1 / HOUR_MS), ("A", 0)], {"direction": "backward", "window_ms": 24 * HOUR_MS}, "A→(end)"),
        # Sessions end where 30 minutes are exceeded.
        ([("A", 0), ("B", 0.5), ("C", 1.0), ("D", 1.6)], {"session": True}, "A→B→C→(end)"),
        # Events of one ms are in the order of their names: what sorts before the anchor is before it.
        ([("B", 0), ("A", 0), ("C", 0)], {}, "A→B→C→(end)"),
        ([("A", 5), ("A1", 5), ("@", 5)], {"direction": "backward"}, "A→@→(end)"),
        # At the last step nobody drops off.
        ([("A", 0), ("B", 1)], {"steps": 1}, "A→B"),
    ],
)  # fmt: skip
async def test_worked_examples(events: list[tuple[str, float]], asked: dict[str, Any], path: str) -> None:
    async with GatewayWorld() as world:
        world.add(stream(*events))
        assert path_of(await world.flows("A", **RANGE, **asked)) == path


async def test_the_first_of_two_anchors_in_one_ms_is_that_of_the_smaller_insert_id() -> None:
    rows = stream(("A", 1), ("A", 1), ("A", 1))
    for row, insert_id, plan in zip(rows, ("c", "a", "b"), (1, 2, 1), strict=True):
        row |= {"insert_id": insert_id, "properties": {"plan": plan}}
    async with GatewayWorld() as world:
        world.add(rows)
        assert path_of(await world.flows("A where plan == 1", **RANGE)) == "A→A→(end)"
        assert path_of(await world.flows("A where plan == 2", **RANGE)) == "A→A→A→(end)"


@pytest.mark.parametrize("direction", ["forward", "backward"])
async def test_a_session_is_followed_for_weeks_beyond_the_range(direction: str) -> None:
    sign = 1 if direction == "forward" else -1
    first = 7 * 24 - 1 if direction == "forward" else 0
    # An event every half hour, for forty days, and only then another one.
    events = [
        ("A", first),
        *(("A", first + sign * each / 2) for each in range(1, 2 * 24 * 40)),
        ("Z", first + sign * 960),
    ]
    async with GatewayWorld() as world:
        for shard in world.shards.values():
            shard.message_rows = 500
        world.add(stream(*events))
        asked: dict[str, Any] = {"direction": direction, "session": True, "collapse_repeats": True}
        day = {"from_date": "2024-01-07", "to_date": "2024-01-07"} if sign > 0 else {**RANGE, "to_date": "2024-01-01"}
        anchored = 'A where $insert_id == "0"'
        assert path_of(await world.flows(anchored, **day, **asked)) == "A→Z→(end)"
        assert sum(shard.scans for shard in world.shards.values()) == 3 * len(world.shards)


async def test_where_removes_events_from_paths_but_not_from_sessions() -> None:
    async with GatewayWorld() as world:
        world.add(stream(("A", 0), ("X", 0.4), ("B", 0.8)))
        asked: dict[str, Any] = {"session": True, "where": '$event != "X"'}
        assert path_of(await world.flows("A", **RANGE, **asked)) == "A→B→(end)"


async def test_cutting_to_the_top_changes_no_count_that_is_shown() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(7))
        whole = document_of(await world.flows("*", **RANGE, top=1000))
        cut = document_of(await world.flows("*", **RANGE, top=2))
        assert cut["anchors"] == whole["anchors"]
        for kind, names in (("nodes", ("step", "name")), ("edges", ("step", "from", "to"))):
            everything = {tuple(each[name] for name in names): each for each in whole[kind]}
            named = [each for each in cut[kind] if "$other" not in each.values()]
            assert len(named) > 5
            assert named == [everything[tuple(each[name] for name in names)] for each in named]
            assert sum(each["count"] for each in cut[kind]) == sum(each["count"] for each in whole[kind])
        for step in range(4):
            largest = [node["name"] for node in whole["nodes"] if node["step"] == step][:2]
            assert [node["name"] for node in cut["nodes"] if node["step"] == step] == [*largest, "$other"]


async def test_what_comes_in_goes_on_or_drops_off() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(8))
        got = document_of(await world.flows("view|buy", **RANGE, steps=4, top=3))
        for node in got["nodes"]:
            into = [
                edge["count"] for edge in got["edges"] if (edge["step"], edge["to"]) == (node["step"], node["name"])
            ]
            onward = [
                edge["count"]
                for edge in got["edges"]
                if (edge["step"] - 1, edge["from"]) == (node["step"], node["name"])
            ]
            assert node["step"] == 0 or sum(into) == node["count"]
            assert node["step"] == 4 or sum(onward) + node["dropoff"] == node["count"]
            assert node["step"] < 4 or node["dropoff"] == 0


async def test_unknown_anchors_answer_nothing_and_near_names_are_told() -> None:
    async with GatewayWorld(settings=TenantSettings(timezone="Asia/Tokyo")) as world:
        world.add(stream(("Signed up", 0), ("Viewed", 1)))
        got = await world.flows("Sign up", **RANGE)
        assert (got.anchors, list(got.nodes), list(got.edges)) == (0, [], [])
        assert [(each.code, each.message) for each in got.meta.warnings] == [
            ("UNKNOWN_EVENT", "no event that could count is named 'Sign up'; is 'Signed up' meant?")
        ]
        empty = await world.flows("Signed up", from_date="2020-01-01", to_date="2020-01-01")
        assert [each.message for each in empty.meta.warnings] == ["no event that could count is named 'Signed up'"]


async def test_a_shard_that_is_gone_is_named_or_left_out_if_allowed() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(3))
        world.peers.partition("shard-1")
        with pytest.raises(EvenshardError, match="shard-1 did not answer"):
            await world.flows("view", **RANGE)
        got = await world.flows("view|zzz", **RANGE, options={"allow_partial": True})
        assert (got.meta.complete, list(got.meta.missing_shards), list(got.meta.warnings)) == (False, ["shard-1"], [])
        assert got.anchors > 0
        world.peers.partition("shard-0")
        got = await world.flows("view", **RANGE, options={"allow_partial": True})
        assert (got.anchors, list(got.nodes)) == (0, [])


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"from_date": "2024-01-08"}, "RANGE_INVALID", "from_date"),
        ({"anchor": None}, "QUERY_INVALID", "anchor"),
        ({"anchor": query_pb2.FunnelStep(where="a ==")}, "QUERY_INVALID", "anchor.where"),
        ({"direction": "sideways"}, "QUERY_INVALID", "direction"),
        ({"steps": -1}, "QUERY_INVALID", "steps"),
        ({"steps": 11}, "QUERY_INVALID", "steps"),
        ({"window_ms": -1}, "QUERY_INVALID", "window_ms"),
        ({"window_ms": 366 * 24 * HOUR_MS + 1}, "QUERY_INVALID", "window_ms"),
        ({"window_ms": 0, "session": True}, "QUERY_INVALID", "window_ms"),
        ({"top": -1}, "QUERY_INVALID", "top"),
        ({"top": 1001}, "QUERY_INVALID", "top"),
        ({"where": "a ="}, "QUERY_INVALID", "where"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], code: str, field: str) -> None:
    async with GatewayWorld() as world:
        with pytest.raises(EvenshardError) as failed:
            await world.flows("a", **{**RANGE, **fields})
        assert (failed.value.code, [fault.field for fault in failed.value.fields]) == (code, [field])
        assert world.shards[ShardId("shard-0")].scans == 0
