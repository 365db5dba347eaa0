"""Cohorts: saved, listed, deleted, and used as a filter and a breakdown in every kind of query."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from evenshard.directory.cohort import CohortRecord
from evenshard.directory.keys import cohort_key
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.ports.directory import Put
from evenshard.testing import flows_reference, retention_reference
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Reference, Row
from evenshard.testing.spread import SPREADS

HOUR_MS = 3_600_000
START_MS = 1_704_067_200_000  # 2024-01-01
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-31"}
BUYERS = {"did": [{"step": {"events": ["buy"]}, "at_least": 2}]}
NEVER_CLICKED = {"did_not": [{"events": ["click"]}]}


def some_rows(seed: int, count: int = 220) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "view", "buy", "click"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(40))]),
            "time": START_MS + chance.randrange(-48, 33 * 24) * HOUR_MS,
            "insert_id": chance.choice([None, "a", "b", "c"]),
            "properties": {"plan": chance.choice([None, 1, 2])},
        }
        for _ in range(count)
    ]
    return [*rows, *rows[: count // 5]]


def events_of(reference: Reference, days: tuple[int, int] = (0, 31)) -> dict[str, list[Row]]:
    """Each user's events within days of January that are no duplicates."""
    users: dict[str, list[Row]] = {}
    for row in reference.rows:
        hours = (row["time"] - START_MS) / HOUR_MS
        if row["distinct_id"] and not row["duplicate"] and days[0] * 24 <= hours < days[1] * 24:
            users.setdefault(row["distinct_id"], []).append(row)
    return users


def buyers(reference: Reference) -> set[str]:
    return {user for user, rows in events_of(reference).items() if sum(row["event"] == "buy" for row in rows) >= 2}


def never_clicked(reference: Reference) -> set[str]:
    return {user for user, rows in events_of(reference).items() if all(row["event"] != "click" for row in rows)}


@pytest.mark.parametrize(("seed", "how"), [(number % 3, how) for number, how in enumerate(SPREADS)])
async def test_users_are_those_for_whom_all_holds(seed: int, how: int | str) -> None:
    async with GatewayWorld(shard_count=7) as world:
        await world.spread(some_rows(seed), how)
        both = {**BUYERS, **NEVER_CLICKED}
        plan_1 = {"did": [{"step": {"events": ["view"], "where": "plan == 1"}}, *BUYERS["did"]]}
        reached = {"funnel": {"funnel": {"steps": [{"events": ["view"]}, {"events": ["buy"]}]}, "reached": 2}}
        first_week = {"to_date": "2024-01-07", "did": [{"step": {}, "at_least": 3}]}
        saved = {
            name: (await world.save_cohort(name, definition)).users
            for name, definition in {
                "buyers": BUYERS, "quiet": NEVER_CLICKED, "both": both, "plan": plan_1, "week": first_week,
                "reached": reached,
            }.items()
        }  # fmt: skip
        rows = events_of(world.reference)
        funnel = world.reference.funnel(
            TENANT, **RANGE, steps=[(["view"], lambda row: True), (["buy"], lambda row: True)]
        )
        in_january = {user for user in rows if buyers_after_views(world.reference, user)}
        assert saved == {
            "buyers": len(buyers(world.reference)),
            "quiet": len(never_clicked(world.reference)),
            "both": len(buyers(world.reference) & never_clicked(world.reference)),
            "plan": len({u for u in buyers(world.reference) if any(is_plan_1(row) for row in rows[u])}),
            "week": sum(len(each) >= 3 for each in events_of(world.reference, (0, 7)).values()),
            "reached": len(in_january),
        }
        assert funnel["overall"]["steps"][1]["count"] == len(in_january)
        assert min(saved.values()) > 0
        assert [(each.name, each.version, each.users) for each in await world.cohorts()] == [
            (name, 1, saved[name]) for name in sorted(saved)
        ]


def is_plan_1(row: Row) -> bool:
    return bool(row["event"] == "view" and row["properties"].get("plan") == 1)


def buyers_after_views(reference: Reference, user: str) -> bool:
    """A view in January, then a purchase, within 30 days."""
    mine = [row for row in reference.rows if row["distinct_id"] == user and not row["duplicate"]]
    views = [row["time"] for row in mine if row["event"] == "view" and 0 <= row["time"] - START_MS < 31 * 24 * HOUR_MS]
    buys = [row["time"] for row in mine if row["event"] == "buy"]
    return any(0 <= buy - view <= 30 * 24 * HOUR_MS for view in views for buy in buys)


def member(names: set[str]) -> Callable[[Row], bool]:
    return lambda row: row["distinct_id"] in names


@pytest.mark.parametrize("how", SPREADS[2:])
async def test_a_cohort_filters_and_breaks_down_every_query(how: int | str) -> None:
    async with GatewayWorld(shard_count=7) as world:
        await world.spread(some_rows(7), how)
        await world.save_cohort("heavy buyers", BUYERS)
        name, mine = "$cohort:heavy buyers", buyers(world.reference)
        where = f"`{name}` == true"
        shown = [row for row in world.reference.rows if not row["duplicate"] and inside(row)]

        got = await world.segmentation(**RANGE, where=where, unit="month", measure="unique")
        assert got.series[0].overall.int64_value == len(mine)
        got = await world.segmentation(**RANGE, unit="month", by=[name])
        assert {each.by[0].bool_value: each.overall.int64_value for each in got.series} == dict(
            Counter(row["distinct_id"] in mine for row in shown)
        )
        got = await world.segmentation(**RANGE, unit="month", where=f'`{name}` != true and $event == "view"')
        assert got.series[0].overall.int64_value == sum(
            row["distinct_id"] not in mine and row["event"] == "view" for row in shown
        )

        got = await world.funnel([f"view where {where}", "buy"], **RANGE, by=[name])
        steps = [(["view"], member(mine)), (["buy"], lambda row: True)]
        expected = world.reference.funnel(TENANT, **RANGE, steps=steps)["overall"]["steps"]
        assert [step.count for step in got.overall.steps] == [step["count"] for step in expected]
        assert [group.by[0].bool_value for group in got.groups] == [True]

        got = await world.retention("view", "buy", **RANGE, where=where, unit="week", birth_scope="lifetime")
        wanted = retention_reference.retention(
            world.reference.rows, **RANGE, birth=(["view"], lambda row: True), returning=(["buy"], lambda row: True),
            where=member(mine), unit="week", birth_scope="lifetime", now_ms=world.clock.now_ms(),
        )  # fmt: skip
        assert [list(each.returned) for each in got.cohorts] == [each["returned"] for each in wanted["cohorts"]]
        assert sum(each.size for each in got.cohorts) > 2
        got = await world.retention("view", **RANGE, by=[name])
        assert {group.by[0].bool_value for group in got.groups} == {True, False}

        got = await world.flows("view", **RANGE, where=where)
        flows = flows_reference.flows(
            world.reference.rows, **RANGE, anchor=(["view"], lambda row: True), where=member(mine)
        )
        assert (got.anchors, [node.count for node in got.nodes]) == (
            flows["anchors"],
            [node["count"] for node in flows["nodes"]],
        )

        one = sorted(mine)[0]
        everything = await world.timeline(one, **RANGE, where=where)
        assert len(everything.events) == sum(row["distinct_id"] == one for row in shown)
        assert "cohort" not in "".join(everything.events)
        assert not (await world.timeline(one, **RANGE, where=f"not (`{name}` == true)")).events


def inside(row: Row) -> bool:
    return bool(0 <= row["time"] - START_MS < 31 * 24 * HOUR_MS)


async def test_a_cohort_may_refer_to_another_one() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(8))
        await world.save_cohort("buyers", BUYERS)
        step = {"events": ["view"], "where": "`$cohort:buyers` == true"}
        saved = await world.save_cohort("viewing buyers", {"did": [{"step": step}]})
        viewers = {user for user, rows in events_of(world.reference).items() if any(r["event"] == "view" for r in rows)}
        assert saved.users == len(buyers(world.reference) & viewers) > 0
        got = await world.segmentation(**RANGE, where="`$cohort:viewing buyers` == true", measure="unique")
        assert got.series[0].overall.int64_value == saved.users


async def test_saving_again_is_the_next_version_and_changes_answers() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(9))
        assert (await world.save_cohort("some", BUYERS)).version == 1
        again = await world.save_cohort("some", NEVER_CLICKED)
        assert (again.version, again.users) == (2, len(never_clicked(world.reference)))
        got = await world.segmentation(**RANGE, where="`$cohort:some` == true", measure="unique")
        assert got.series[0].overall.int64_value == again.users
        await world.delete_cohort("some")
        assert list(await world.cohorts()) == []
        with pytest.raises(EvenshardError, match="there is no cohort 'some'"):
            await world.segmentation(**RANGE, where="`$cohort:some` == true")
        with pytest.raises(EvenshardError) as failed:
            await world.delete_cohort("some")
        assert (failed.value.code, failed.value.retryable) == ("COHORT_NOT_FOUND", False)
        assert (await world.save_cohort("some", BUYERS)).version == 1


async def test_what_another_gateway_saved_is_seen() -> None:
    async with GatewayWorld() as world:
        world.add(some_rows(10))
        definition = (
            '{"from_date":"2024-01-01","to_date":"2024-01-31","did":[{"step":{"events":["buy"]},"at_least":"2"}]}'
        )
        record = CohortRecord(TENANT, "ä/b", 3, definition, "n")
        await world.directory.swap([], [Put(cohort_key(TENANT, "ä/b"), record.to_json())])
        (found,) = await world.cohorts()
        assert (found.name, found.version, found.users) == ("ä/b", 3, len(buyers(world.reference)))
        got = await world.segmentation(**RANGE, where="`$cohort:ä/b` == true", measure="unique")
        assert got.series[0].overall.int64_value == found.users


async def test_days_of_a_cohort_are_the_tenants() -> None:
    async with GatewayWorld(settings=TenantSettings(timezone="Asia/Tokyo")) as world:
        rows = some_rows(11, count=2)[:2]
        for row, hours in zip(rows, (-9, -10), strict=True):
            row |= {"event": "buy", "distinct_id": f"u{hours}", "time": START_MS + hours * HOUR_MS, "insert_id": "x"}
        world.add(rows)
        assert (await world.save_cohort("bought", {"did": [{"step": {"events": ["buy"]}}]})).users == 1


@pytest.mark.parametrize(
    ("name", "definition", "says"),
    [
        ("x", {}, "definition: say what users did"),
        ("", BUYERS, "name: a cohort's name has 1 to 100"),
        ("x" * 101, BUYERS, "name: a cohort's name has 1 to 100"),
        ("a\nb", BUYERS, "name: a cohort's name has 1 to 100"),
        ("x", {**BUYERS, "from_date": "2024-02-01"}, "from_date: 2024-02-01 is after"),
        ("x", {"did": [{"step": {"where": "a =="}}]}, "did[0].step.where, character 5"),
        ("x", {"did": [{"step": {}, "at_least": -1}]}, "did[0].at_least: -1 is less than 1"),
        ("x", {"did_not": [{}] * 33}, "did_not: at most 32 steps, not 33"),
        ("x", {"funnel": {"funnel": {"steps": [{}]}, "reached": 1}}, "steps: a funnel has 2 to 32 steps, not 1"),
        ("x", {"funnel": {"funnel": {"steps": [{}, {}]}, "reached": 3}}, "funnel.reached: 3 is no step"),
        ("x", {"funnel": {"funnel": {"steps": [{}, {}]}}}, "funnel.reached: 0 is no step"),
        ("x", {"did": [{"step": {"where": "`$cohort:none` == true"}}]}, "there is no cohort 'none'"),
        ("x", {"did": [{"step": {"where": "`$cohort:x` == true"}}]}, "cohort 'x' refers to itself: x → x"),
        (
            "x",
            {"funnel": {"funnel": {"where": "`$cohort:y` == true", "steps": [{}, {}]}, "reached": 1}},
            "cohort 'x' refers to itself: x → y → x",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_cohort_is_refused(name: str, definition: dict[str, Any], says: str) -> None:
    async with GatewayWorld() as world:
        await world.save_cohort("x", BUYERS)
        await world.save_cohort("y", {"did": [{"step": {"where": "`$cohort:x` == true"}}]})
        with pytest.raises(EvenshardError) as failed:
            await world.save_cohort(name, definition)
        assert failed.value.code in ("QUERY_INVALID", "RANGE_INVALID")
        assert failed.value.message.startswith(says)
        with pytest.raises(EvenshardError, match="cohort 'y' refers to 'x': change that one first"):
            await world.delete_cohort("x")


async def test_an_unknown_cohort_is_refused_before_any_scan_and_near_names_are_told() -> None:
    async with GatewayWorld() as world:
        await world.save_cohort("buyers", BUYERS)
        before = world.shards[ShardId("shard-0")].scans
        for asked in ({"where": "`$cohort:buyer` == true"}, {"by": ["$cohort:buyer"]}):
            with pytest.raises(EvenshardError, match="there is no cohort 'buyer'; is 'buyers' meant") as failed:
                await world.segmentation(**RANGE, **asked)
            assert failed.value.code == "QUERY_INVALID"
        assert world.shards[ShardId("shard-0")].scans == before
        with pytest.raises(EvenshardError, match="the name of a cohort is missing"):
            await world.segmentation(**RANGE, by=["$cohort:"])
