"""Users whose rows lie on several shards: questions asked again where it matters, never else, and within memory."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from evenshard.directory.placement import even_placement
from evenshard.errors import EvenshardError
from evenshard.gateway import reunion
from evenshard.gateway.reunion import Reunion
from evenshard.ids import Epoch, ShardId
from evenshard.queries import timeline
from evenshard.queries.reunion import reunited
from evenshard.runtime.settings import Settings
from evenshard.testing.gateway_world import TENANT, GatewayWorld, ListShard
from evenshard.testing.reference import Row
from evenshard.testing.spread import SPLITTING

START_MS = 1_704_067_200_000  # 2024-01-01
HOUR_MS = 3_600_000
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
SHARDS = [ShardId(f"shard-{number}") for number in range(3)]


def row(user: str, event: str, hour: float, insert_id: str | None = None, **properties: Any) -> Row:
    time = START_MS + int(hour * HOUR_MS)
    named = insert_id or f"{user} {event} {hour}"
    return {
        "tenant": TENANT, "event": event, "distinct_id": user, "time": time, "insert_id": named,
        "properties": properties,
    }  # fmt: skip


def some_rows(seed: int, count: int = 300) -> list[Row]:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [
        row(
            chance.choice(["", "hot", "hot", *(f"user-{number}" for number in range(15))]),
            chance.choice(["view", "view", "buy", "click"]),
            chance.randrange(-20, 9 * 24) + chance.choice([0, 0.25]),
            chance.choice(["a", "b", "c", "d"]),
            plan=chance.choice([None, 1, 2]),
        )
        for _ in range(count)
    ]
    return [*rows, *rows[: count // 5]]


class World(GatewayWorld):
    """Three shards that share an overflow; rows are put where the test says."""

    async def __aenter__(self) -> "World":
        await super().__aenter__()
        placement = even_placement(SHARDS)
        await self.put_tenant(Epoch(2), replace(placement, overflow=placement.slots))
        return self

    def put(self, rows: Sequence[Row], shard: ShardId | None = None) -> None:
        """At home, if no shard is given."""
        self.reference.import_events(rows)
        for stored in self.reference.rows[-len(rows) :]:
            home = self.shards[shard or self.home(stored["distinct_id"])]
            home.rows.append(stored)
            home.writes += 1

    def home(self, user: str) -> ShardId:
        return self.tenant.placement.home_of(user)

    def elsewhere(self, user: str) -> ShardId:
        return next(shard for shard in SHARDS if shard != self.home(user))

    def users(self, count: int, home: ShardId) -> list[str]:
        """Who are at home there."""
        names = (f"u{number}" for number in range(1000))
        return [name for name in names if self.home(name) == home][:count]

    @property
    def scans(self) -> list[int]:
        return [shard.scans for shard in self.shards.values()]

    async def uniques(self, **more: Any) -> int:
        got = await self.segmentation(**{**RANGE, "unit": "month", "measure": "unique", **more})
        return int(got.series[0].overall.int64_value)

    async def converted(self, **more: Any) -> list[int]:
        got = await self.funnel(["view", "buy"], **{**RANGE, **more})
        return [step.count for step in got.overall.steps]


def world(**limits: Any) -> World:
    return World(shard_count=3, limits=Settings(**limits))


async def test_where_nobody_is_split_every_shard_is_asked_once_and_gives_nothing_back() -> None:
    async with world() as there:
        there.put([row(f"user-{number}", event, number) for number in range(40) for event in ("view", "buy")])
        assert (await there.uniques(), there.scans) == (40, [1, 1, 1])
        assert (await there.converted(), there.scans) == ([40, 40], [2, 2, 2])
        # Rows that a question passes over split nobody.
        there.put([row("user-1", "click", 3)], there.elsewhere("user-1"))
        assert (await there.converted(), there.scans) == ([40, 40], [3, 3, 3])
        assert (await there.uniques(measure="unique", events=["buy"]), there.scans) == (40, [4, 4, 4])
        # Events add up wherever they are.
        got = await there.segmentation(**RANGE, unit="month")
        assert (got.series[0].overall.int64_value, there.scans) == (81, [5, 5, 5])


async def test_only_homes_of_split_users_are_asked_again() -> None:
    async with world() as there:
        there.put([row(f"user-{number}", "view", 1) for number in range(40)])
        (ann,) = there.users(1, SHARDS[0])
        there.put([row(ann, "view", 1)])
        there.put([row(ann, "buy", 2)], SHARDS[1])
        there.put([row(ann, "buy", 3)], SHARDS[2])
        assert (await there.converted(), there.scans) == ([41, 1], [2, 1, 1])
        assert [shard.told for shard in there.shards.values()] == [(ann,), (), ()]
        assert (await there.uniques(), there.scans) == (41, [4, 2, 2])
        there.put([row(ann, "buy", 4)], SHARDS[2])
        there.put([row("user-1", "view", 4)])
        assert await there.converted() == [41, 1]
        assert (await there.uniques(), there.scans) == (41, [6, 4, 4])  # it is known whom to tell of


async def test_by_day_a_question_about_one_day_finds_all_users_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[int] = []

    def noted(scan: bytes, rows: Sequence[Any], check: Any) -> Any:
        given_back.append(len(rows))
        return reunited(scan, rows, check)

    monkeypatch.setattr(reunion, "reunited", noted)
    async with GatewayWorld(shard_count=6) as there:
        await there.spread(some_rows(5), "by day")
        for first, last in (("2024-01-02", "2024-01-02"), ("2024-01-04", "2024-01-04"), ("2024-01-02", "2024-01-03")):
            days = {"from_date": first, "to_date": last}
            got = await there.segmentation(**days, measure="unique")
            expected = there.reference.segmentation(TENANT, **days, measure="unique")["series"][0]
            assert got.series[0].overall.int64_value == expected["overall"] > 3
    assert given_back == [3]


async def test_whom_to_tell_of_is_known_of_one_placement_only() -> None:
    async with world() as there:
        (ann,) = there.users(1, SHARDS[2])
        there.put([row(ann, "view", 1)])
        there.put([row(ann, "buy", 2)], SHARDS[1])
        assert (await there.converted(), there.scans) == ([1, 1], [1, 1, 2])
        fewer = even_placement(SHARDS[:2])
        await there.put_tenant(Epoch(3), replace(fewer, overflow=fewer.slots))
        there.shards[there.home(ann)].rows += there.shards[SHARDS[2]].rows
        there.shards[SHARDS[2]].rows = []
        assert (await there.converted(), there.scans[2]) == ([1, 1], 2)


@pytest.mark.parametrize("how", SPLITTING)
async def test_a_question_asked_again_reads_nothing_until_rows_come(how: str) -> None:
    async with GatewayWorld(shard_count=6) as there:
        await there.spread(some_rows(1), how)
        first = await there.funnel(["view", "buy"], **RANGE)
        again = await there.funnel(["view", "buy"], **RANGE)
        assert (first.meta.cache, again.meta.cache, again.meta.rows_scanned) == ("miss", "hit", 0)
        assert again.overall == first.overall
        assert again.meta.duplicates_skipped == first.meta.duplicates_skipped
        await there.spread([row("hot", "view", 4, "x"), row("hot", "buy", 5, "y")], how)
        fresh = await there.funnel(["view", "buy"], **RANGE, count_mode="total")
        anew = await there.funnel(["view", "buy"], **RANGE, count_mode="total", options={"no_cache": True})
        assert fresh.overall == anew.overall
        assert fresh.meta.cache == "miss"


async def test_users_split_while_a_question_is_asked_are_told_of_in_another_round() -> None:
    async with world() as there:
        (ann,), (bob,) = there.users(1, SHARDS[0]), there.users(1, SHARDS[1])
        there.put([row(ann, "view", 1), row(bob, "view", 1)])
        there.put([row(ann, "buy", 2)], SHARDS[1])

        def split_bob(shard: ListShard) -> None:
            if shard.scans == 2:
                there.put([row(bob, "buy", 2)], SHARDS[0])

        there.shards[SHARDS[0]].before_scan = split_bob
        assert (await there.converted(), there.scans) == ([2, 2], [2, 2, 1])
        assert (there.shards[SHARDS[0]].told, there.shards[SHARDS[1]].told) == ((ann,), (bob,))


async def test_a_question_ends_where_ever_more_users_are_split() -> None:
    async with world() as there:
        users = {SHARDS[0]: there.users(20, SHARDS[0]), SHARDS[1]: there.users(20, SHARDS[1])}

        def split_another(shard: ListShard) -> None:
            other = SHARDS[0] if shard.name == SHARDS[1] else SHARDS[1]
            there.put([row(users[other][shard.scans], "view", 1)], ShardId(shard.name))

        for name in (SHARDS[0], SHARDS[1]):
            there.shards[name].before_scan = split_another
        with pytest.raises(EvenshardError, match="asked 4 times") as failed:
            await there.uniques()
        assert (failed.value.code, failed.value.retryable, there.scans) == ("REPLAN", True, [4, 4, 1])


async def test_rows_of_split_users_beyond_memory_are_refused_and_the_users_named() -> None:
    async with world(split_rows_bytes=4_000) as there:
        (ann,) = there.users(1, SHARDS[0])
        there.put([row(ann, "view", at / 100) for at in range(100)])
        there.put([row(ann, "buy", 2 + at / 100) for at in range(100)], SHARDS[1])
        with pytest.raises(EvenshardError) as failed:
            await there.converted(by=["plan"])
        assert (failed.value.code, "split_rows_bytes" in failed.value.hint) == ("QUERY_INVALID", True)
        assert (
            failed.value.message == f"matching rows of users who are split over shards (of '{ann}') exceed 4000 bytes"
        )
        assert await there.converted(where="$time < 1704067210000") == [1, 0]
        total = await there.segmentation(**RANGE, unit="month")
        assert total.series[0].overall.int64_value == 200


class _Patient:
    def remaining_s(self) -> float:
        return 1.0


async def test_questions_that_find_the_room_taken_are_to_come_again() -> None:
    room = Reunion(100)
    scan = b""
    waiting = asyncio.create_task(room.of(scan, [], 60, ["ann"], _Patient()))
    await asyncio.sleep(0)
    with pytest.raises(EvenshardError, match="60 bytes of rows of split users are held") as failed:
        await room.of(scan, [], 60, ["bob"], _Patient())
    assert (failed.value.code, failed.value.retryable) == ("OVERLOADED", True)
    with pytest.raises(EvenshardError, match="the scan cannot be read"):
        await waiting
    assert room.bytes == 0
    with pytest.raises(EvenshardError, match=r"of 'ann'\) exceed 100 bytes"):
        await room.of(scan, [], 101, ["ann"], _Patient())


async def test_without_a_silent_shard_the_answer_is_labelled() -> None:
    async with world() as there:
        (ann,) = there.users(1, SHARDS[0])
        there.put([row(ann, "view", 1)])
        there.put([row(ann, "buy", 2)], SHARDS[1])
        there.peers.partition(SHARDS[0])
        with pytest.raises(EvenshardError) as failed:
            await there.converted()
        assert (failed.value.code, dict(failed.value.details)) == ("SHARD_UNAVAILABLE", {"shard": SHARDS[0]})
        got = await there.funnel(["view", "buy"], **RANGE, options={"allow_partial": True})
        assert (got.meta.complete, list(got.meta.missing_shards)) == (False, [SHARDS[0]])
        there.peers.heal(SHARDS[0])

        def fall_silent(shard: ListShard) -> None:
            if shard.scans == 2:
                raise EvenshardError("OVERLOADED", "busy")

        there.shards[SHARDS[0]].scans = 0
        there.shards[SHARDS[0]].before_scan = fall_silent
        got = await there.funnel(["view", "buy"], **RANGE, options={"allow_partial": True})
        assert (got.meta.complete, list(got.meta.missing_shards)) == (False, [SHARDS[0]])
        assert [step.count for step in got.overall.steps] == [0, 0]


async def test_names_that_only_split_users_have_are_known() -> None:
    async with world() as there:
        (ann,) = there.users(1, SHARDS[0])
        there.put([row(ann, "view", 1), row(ann, "click", 1, only="here")])
        there.put([row(ann, "buy", 2)], SHARDS[1])
        got = await there.funnel(["view", "buy"], **RANGE, by=["only"])
        assert [step.count for step in got.overall.steps] == [1, 1]
        assert not got.meta.warnings


async def test_an_answer_accounts_for_all_that_was_read_and_left_out() -> None:
    async with world() as there:
        (ann,) = there.users(1, SHARDS[0])
        there.put([row(ann, "view", 1), row(ann, "view", 1), row(ann, "click", 2)])
        there.put([row(ann, "buy", 2), row(ann, "buy", 2)], SHARDS[1])
        got = await there.funnel(["view", "buy"], **RANGE)
        skipped = got.meta.duplicates_skipped
        assert (got.meta.rows_scanned, skipped.log, skipped.segment, got.meta.shards) == (3 + 2 + 3, 0, 2, 3)


@pytest.mark.parametrize("how", [2, *SPLITTING])
async def test_what_lies_between_matters_wherever_it_is(how: int | str) -> None:
    """An event that a question does not ask for holds a session together, and breaks a strict order."""
    rows = [
        row(f"user-{number}", event, number + minutes / 60, **properties)
        for number in range(20)
        for event, minutes, properties in (("view", 0, {"plan": 1}), ("click", 20, {}), ("buy", 40, {"plan": 1}))
    ]
    async with GatewayWorld(shard_count=7) as there:
        await there.spread(rows, how)
        asked = {**RANGE, "where": "plan is set"}
        session = await there.funnel(["view", "buy"], **asked, count_mode="session")
        assert [step.count for step in session.overall.steps] == [20, 20]
        flows = await there.flows("view", **asked, session=True)
        assert [(edge.to, edge.count) for edge in flows.edges] == [("buy", 20)]
        for where, converted in (("", 0), ("plan is set", 20)):
            strict = await there.funnel(["view", "buy"], **RANGE, where=where, order="strict")
            assert [step.count for step in strict.overall.steps] == [20, converted]


@pytest.mark.parametrize("how", [2, *SPLITTING])
async def test_one_users_explanation_is_the_same_wherever_the_rows_are(how: int | str) -> None:
    rows = some_rows(3)
    asked = {**RANGE, "explain_user": "hot", "count_mode": "total", "by": ["plan"]}
    async with GatewayWorld(shard_count=7) as there, GatewayWorld(shard_count=1) as alone:
        alone.add(rows)
        await there.spread(rows, how)
        got = await there.funnel(["view", "buy", "click"], **asked)
        expected = await alone.funnel(["view", "buy", "click"], **asked)
        assert (got.overall, got.groups, got.explain) == (expected.overall, expected.groups, expected.explain)
        assert len(got.explain) > 20


@pytest.mark.parametrize("how", [2, *SPLITTING])
async def test_a_split_users_timeline_has_all_rows_in_order_page_by_page(how: int | str) -> None:
    rows = some_rows(4)
    same_ms = [row("hot", "view", 5, "tie", n=number) for number in range(5)]
    async with GatewayWorld(shard_count=7) as there:
        await there.spread([*rows, *[one | {"insert_id": None} for one in same_ms]], how)
        for filters, include_duplicates in (({}, False), ({"where": "plan == 1"}, False), ({}, True)):
            pages: list[Any] = []
            token = ""
            while not pages or token:
                options = {"include_duplicates": include_duplicates}
                page = await there.timeline("hot", page_size=3, page_token=token, options=options, **filters)
                pages += map(orjson.loads, page.events)
                token = page.next_page_token
            wanted = (lambda one: one["properties"].get("plan") == 1) if filters else (lambda one: True)
            expected = there.reference.timeline("acme", "hot", where=wanted, include_duplicates=include_duplicates)
            assert pages == expected
            assert len(expected) > 5


@pytest.mark.parametrize("how", SPLITTING)
async def test_pages_that_shards_cut_by_bytes_leave_out_nobody_elses_rows(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "BYTES_MAX", 5_000)
    rows = [row("hot", "view", at, text="x" * (3_000 if at % 3 else 10)) for at in range(60)]
    async with GatewayWorld(shard_count=6) as there:
        await there.spread(rows, how)
        hours, token = [], ""
        while not hours or token:
            page = await there.timeline("hot", page_size=40, page_token=token)
            hours += [(orjson.loads(line)["properties"]["time"] - START_MS) // HOUR_MS for line in page.events]
            token = page.next_page_token
        assert hours == list(range(60))
