"""Hot keys through a whole cluster in memory, one batch in flight: what is rewritten is what the naive model says."""

from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2, counter_pb2, query_pb2
from evenshard.directory.keys import MARKS, mark_key
from evenshard.directory.tenant import TenantSettings
from evenshard.hotkeys.marks import Mark
from evenshard.ids import TenantId
from evenshard.ports.directory import Put
from evenshard.router import lookups
from evenshard.runtime.settings import Settings
from evenshard.testing.cluster import COUNTER, GATEWAY, ROUTER, MemoryCluster
from evenshard.testing.reference import Reference, Row, ndjson_of
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
DAY = START_MS // DAY_MS
END_MS = START_MS + 2 * DAY_MS
THRESHOLD = 20
SEED = 20260103


class World:
    """A cluster and the model of what it should show."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.reference = Reference(thresholds={"acme": THRESHOLD})

    async def send(self, rows: Sequence[Row]) -> Any:
        """One import; its account is compared with the model's."""
        before = len(self.reference.rows)
        expected = self.reference.import_events(rows)
        hot = sum(row["event"] == "$hotshard_events" and not row["duplicate"] for row in self.reference.rows[before:])
        answer = await self.cluster.import_events("acme", ndjson=ndjson_of(rows))
        assert (answer.accepted, answer.duplicates, answer.hot_events_rewritten, answer.rejected) == (
            expected["accepted"], expected["duplicates"], hot, 0,
        )  # fmt: skip
        assert [(each.tenant, each.hot_events_rewritten) for each in answer.by_tenant] == [("acme", hot)]
        return answer

    async def check(self) -> None:
        """Everything that is shown."""
        for include in (False, True):
            payload = await self.cluster.export("acme", START_MS, END_MS, include_duplicates=include)
            exported = [orjson.loads(line) for line in payload.splitlines()]
            assert exported == self.reference.export("acme", START_MS, END_MS, include_duplicates=include)
        for query in (
            {},
            {"measure": "unique"},
            {"by": ["$event"]},
            {"events": ["view"], "by": ["$distinct_id"]},
            {"events": ["$hotshard_events"], "by": ["mp_original_event_name", "mp_original_distinct_id"]},
            {"by": ["mp_original_distinct_id", "plan"], "limit": 3},
        ):
            answer = await self.cluster.segmentation("acme", FROM, TO, **query)
            found = [
                {
                    "by": [value_of(value) for value in line.by],
                    "values": [value_of(value) for value in line.values],
                    "overall": value_of(line.overall),
                }
                for line in answer.series
            ]
            assert found == self.reference.segmentation("acme", FROM, TO, **query)["series"], query
            named = query.get("events", ())
            assert answer.meta.hot_events_rewritten == self.reference.hot_events_rewritten("acme", FROM, TO, named)

    async def counted(self, distinct_id: str, count: int) -> None:
        """Waits until the counter knows."""

        async def known() -> bool:
            keys = await self.cluster.hot_keys("acme", 1000)
            return any((key.distinct_id, key.count) == (distinct_id, count) for key in keys)

        await self.cluster.until(known)

    async def marks(self) -> dict[str, Mark]:
        """By distinct_id, once there is any."""

        async def some() -> bool:
            return bool((await self.cluster.directory.range(MARKS)).entries)

        await self.cluster.until(some)
        entries = (await self.cluster.directory.range(MARKS)).entries
        return {entry.key.rsplit("/", 1)[1]: Mark.from_json(entry.value) for entry in entries}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def rows_of(distinct_id: str, count: int, first: int = 0, day: int = 0, event: str = "view") -> list[Row]:
    return [
        {
            "tenant": "acme",
            "event": event,
            "distinct_id": distinct_id,
            "time": START_MS + day * DAY_MS + number * 1000,
            "insert_id": f"{distinct_id}-{day}-{number}",
            "properties": {"plan": ("free", "pro")[number % 2], "number": number},
        }
        for number in range(first, first + count)
    ]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with MemoryCluster(seed=SEED) as cluster:
        await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD))
        yield World(cluster)


async def test_a_key_crosses_within_a_batch_at_its_very_event(world: World) -> None:
    await world.send([*rows_of("runaway", 50), *rows_of("calm", THRESHOLD), *rows_of("", 90)])
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 30
    await world.check()
    assert set(await world.marks()) == {"runaway"}


async def test_a_key_crosses_over_batches_and_only_on_its_day(world: World) -> None:
    for start in range(0, 60, 7):
        await world.send([*rows_of("runaway", 7, start), *rows_of("runaway", 2, start, day=1)])
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 43
    await world.check()


async def test_duplicates_count_in_their_batch_and_not_after_it(world: World) -> None:
    rows = rows_of("runaway", 15)
    await world.send([*rows, *rows[:3]])
    await world.send(rows)
    await world.send(rows_of("runaway", 5, 15))
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 0
    await world.send(rows_of("runaway", 2, 20))
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 2
    await world.check()


async def test_retries_meet_their_originals_on_either_side_of_the_crossing(world: World) -> None:
    rows = rows_of("runaway", 50)
    await world.send(rows)
    answer = await world.send(rows)
    assert (answer.duplicates, answer.hot_events_rewritten) == (50, 0)
    await world.check()


async def test_bits_survive_sorting_compaction_and_a_crash(world: World) -> None:
    tenant = await world.cluster.tenant("acme")
    await world.send([*rows_of("runaway", 30), *rows_of("calm", 10)])
    await world.cluster.compact(tenant)
    await world.check()
    await world.send([*rows_of("runaway", 30, 20), *rows_of("calm", 10, 5)])
    for shard in world.cluster.shard_names:
        await world.cluster.crash(shard)
        await world.cluster.start(shard)
    await world.check()
    await world.cluster.compact(tenant)
    await world.check()


async def test_random_batches_of_random_users_with_retries_equal_the_model(world: World) -> None:
    print("seed", SEED)
    random = Random(SEED)
    sent: list[Row] = []
    for number in range(25):
        rows = []
        for _ in range(random.randrange(1, 40)):
            user = random.choices(["a", "b", "c", "d", ""], [8, 4, 2, 1, 1])[0]
            if sent and random.random() < 0.2:
                rows.append(random.choice(sent))
                continue
            event = random.choice(["view", "sale"])
            rows += rows_of(user, 1, random.randrange(100_000), day=random.randrange(2), event=event)
        await world.send(rows)
        sent += rows
        if number % 5 == 0:
            await world.check()
    assert world.reference.hot_events_rewritten("acme", FROM, TO) > 100
    await world.check()


async def test_a_restarted_router_goes_on_where_it_stopped(world: World) -> None:
    await world.send([*rows_of("near", THRESHOLD - 1), *rows_of("hot", 25)])
    await world.marks()
    await world.cluster.stop(ROUTER)
    await world.cluster.start(ROUTER)
    await world.send([*rows_of("near", 3, THRESHOLD), *rows_of("hot", 5, 30)])
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 5 + 2 + 5
    await world.check()


async def test_a_restarted_router_asks_for_more_near_keys_than_fit_one_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "PAGE_KEYS", 3)
    users = [f"near-{number}" for number in range(12)]
    await world.send([row for user in users for row in rows_of(user, THRESHOLD - 1)])
    for user in users:
        await world.counted(user, THRESHOLD - 1)
    await world.cluster.stop(ROUTER)
    await world.cluster.start(ROUTER)
    await world.send([row for user in users for row in rows_of(user, 2, THRESHOLD)])
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == len(users)
    await world.check()


async def test_marks_keep_keys_hot_though_counter_and_router_forget(world: World) -> None:
    await world.send(rows_of("runaway", 25))
    marks = await world.marks()
    assert (marks["runaway"].mode, marks["runaway"].threshold, marks["runaway"].count) == ("rewrite", THRESHOLD, 25)
    await world.counted("runaway", 25)
    await world.cluster.crash(COUNTER)
    await world.send(rows_of("runaway", 3, 25))
    await world.cluster.start(COUNTER)
    await world.cluster.stop(ROUTER)
    await world.cluster.start(ROUTER)
    await world.send(rows_of("runaway", 5, 28))
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 5 + 3 + 5
    await world.check()


async def test_a_router_remembers_what_a_restarted_counter_forgot(world: World) -> None:
    await world.send(rows_of("near", 15))
    await world.counted("near", 15)
    await world.cluster.stop(COUNTER)
    await world.cluster.start(COUNTER)
    await world.send(rows_of("near", 10, 15))
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 5
    await world.check()


async def test_a_counter_does_not_say_that_its_first_day_is_counted_whole(world: World) -> None:
    """Router and counter stop together, as with ``up``: what was near before begins at nothing."""
    await world.send(rows_of("near", 15))
    await world.counted("near", 15)
    for service in (ROUTER, COUNTER):
        await world.cluster.stop(service)
    for service in (COUNTER, ROUTER):
        await world.cluster.start(service)
    await world.cluster.import_events("acme", ndjson=ndjson_of(rows_of("near", 10, 15)))
    await world.counted("near", 10)
    request = counter_pb2.ListHotKeysRequest(tenant="acme")
    answer = await world.cluster.call(COUNTER, rpcs.LIST_HOT_KEYS, request)
    assert (answer.count_missing_max, answer.counted_from_ms >= START_MS) == (-1, True)


async def test_observed_keys_are_marked_and_nothing_else_happens(world: World) -> None:
    settings = TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode="observe")
    await world.cluster.change_settings("acme", settings)
    world.reference.thresholds.clear()
    await world.cluster.call(ROUTER, *update("acme"))
    await world.send(rows_of("runaway", 50))
    assert (await world.marks())["runaway"].mode == "observe"
    await world.check()
    # A mark keeps its own mode.
    await world.cluster.change_settings("acme", TenantSettings(hot_key_threshold=THRESHOLD))
    await world.send(rows_of("runaway", 50, 50))
    await world.check()


async def test_a_changed_threshold_holds_for_keys_without_a_mark(world: World) -> None:
    await world.send([*rows_of("hot", 25), *rows_of("near", 18)])
    await world.marks()
    await world.cluster.change_settings("acme", TenantSettings(hot_key_threshold=15))
    world.reference.thresholds["acme"] = 15
    await world.cluster.call(ROUTER, *update("acme"))
    await world.send([*rows_of("hot", 2, 25), *rows_of("near", 2, 18)])
    await world.cluster.change_settings("acme", TenantSettings())
    await world.cluster.call(ROUTER, *update("acme"))
    world.reference.thresholds["acme"] = 100_000
    await world.send([*rows_of("hot", 2, 27), *rows_of("near", 2, 20), *rows_of("calm", 30)])
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 5 + 4 + 4
    await world.check()


async def test_a_mark_another_router_wrote_counts_here_too(world: World) -> None:
    await world.send(rows_of("runaway", 1))
    key = mark_key(TenantId("acme"), "runaway", DAY)
    other = Mark("rewrite", THRESHOLD, 21, "nonce")
    await world.cluster.directory.swap([], [Put(key, other.to_json())])
    world.reference.hot_keys.add(("acme", "runaway", DAY))
    await world.cluster.clock.sleep(50)
    await world.send(rows_of("runaway", 2, 1))
    await world.check()
    assert (await world.marks())["runaway"] == other


async def test_without_counters_an_import_goes_on_soon_with_what_its_router_knows(world: World) -> None:
    world.cluster.peers.partition(COUNTER)
    started_ms = world.cluster.clock.monotonic_ms()
    await world.send(rows_of("runaway", 50))
    await world.send(rows_of("runaway", 10, 50))
    assert world.cluster.clock.monotonic_ms() - started_ms < 5_000
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 40
    await world.check()


async def test_events_that_no_shard_stored_do_not_count(world: World) -> None:
    for shard in world.cluster.shard_names:
        world.cluster.peers.partition(shard)
    answer = await world.cluster.import_events("acme", ndjson=ndjson_of(rows_of("runaway", 50)), timeout_s=1)
    assert (answer.accepted, answer.rejected, answer.hot_events_rewritten) == (0, 50, 0)
    for shard in world.cluster.shard_names:
        world.cluster.peers.heal(shard)
    await world.send(rows_of("runaway", 25))
    assert world.reference.hot_events_rewritten("acme", FROM, TO) == 5
    await world.check()


async def test_reserved_names_are_not_imported(world: World) -> None:
    for name in ("$hotshard_events", "$hotshard_record"):
        answer = await world.cluster.import_events("acme", ndjson=ndjson_of(rows_of("ann", 1, event=name)))
        assert [error.code for error in answer.errors] == ["EVENT_NAME_RESERVED"]


async def test_a_mark_is_written_once_the_directory_is_back(world: World) -> None:
    await world.send(rows_of("runaway", 1))
    world.cluster.directory.go_away()
    await world.send(rows_of("runaway", 30, 1))
    await world.send(rows_of("runaway", 5, 31))
    world.cluster.directory.come_back()
    assert set(await world.marks()) == {"runaway"}
    await world.check()


async def test_funnels_of_everybody_else_do_not_change(world: World) -> None:
    def visit(user: str) -> list[Row]:
        return [*rows_of(user, 1), *rows_of(user, 1, 5, event="sale")]

    async def funnel(where: str) -> tuple[list[int], int]:
        steps = [query_pb2.FunnelStep(events=[name]) for name in ("view", "sale")]
        request = query_pb2.QueryFunnelRequest(tenant="acme", from_date=FROM, to_date=TO, steps=steps, where=where)
        answer = await world.cluster.call(GATEWAY, rpcs.QUERY_FUNNEL, request)
        return [step.count for step in answer.overall.steps], answer.meta.hot_events_rewritten

    await world.send([row for number in range(9) for row in visit(f"user-{number}")])
    await world.send(rows_of("view-only", 3))
    before = await funnel("")
    assert before == ([10, 9], 0)
    # Its first 20 events stay, its sale is beyond them.
    await world.send([*rows_of("runaway", 25), *rows_of("runaway", 1, 25, event="sale")])
    assert await funnel('$distinct_id != "runaway"') == ([10, 9], 6)
    assert await funnel("") == ([11, 9], 6)


async def test_an_export_comes_back_as_it_was_and_its_hot_events_are_not_counted_again(world: World) -> None:
    await world.send([*rows_of("runaway", 50), *rows_of("calm", 5), *rows_of("", 3)])
    exported = await world.cluster.export("acme", START_MS, END_MS)
    again = await world.cluster.import_events("acme", ndjson=exported)
    assert (again.accepted, again.duplicates, again.hot_events_rewritten) == (58, 58, 0)
    await world.cluster.create_tenant("copy", TenantSettings(hot_key_threshold=21))
    copied = await world.cluster.import_events("copy", ndjson=exported)
    assert (copied.accepted, copied.duplicates, copied.hot_events_rewritten) == (58, 0, 30)
    assert await world.cluster.export("copy", START_MS, END_MS) == exported
    # 20 of its events count: one more stays, the next one is hot.
    more = await world.cluster.import_events("copy", ndjson=ndjson_of(rows_of("runaway", 2, 50)))
    assert (more.accepted, more.hot_events_rewritten) == (2, 1)
    original = await world.cluster.import_events("copy", ndjson=ndjson_of(rows_of("runaway", 50)))
    assert (original.accepted, original.duplicates) == (50, 50)


async def test_several_tenants_in_one_payload_have_thresholds_of_their_own(world: World) -> None:
    await world.cluster.create_tenant("beta", TenantSettings(hot_key_threshold=5))
    lines = b"\n".join(
        orjson.dumps({**orjson.loads(line), "tenant": tenant})
        for number in range(30)
        for tenant in ("acme", "beta")
        for line in [ndjson_of(rows_of("runaway", 1, number))]
    )
    answer = await world.cluster.import_events("", ndjson=lines)
    assert {each.tenant: each.hot_events_rewritten for each in answer.by_tenant} == {"acme": 10, "beta": 25}
    assert answer.hot_events_rewritten == 35


async def test_the_example_of_the_published_documents_field_for_field(world: World) -> None:
    example = {
        "event": "Signed up",
        "properties": {
            "time": 1618716477000,
            "distinct_id": "hotshard@mixpanel.com",
            "$insert_id": "36a92782-cd7d-41a0-93af-8c23ec6c4191",
        },
    }
    updated = {
        "event": "$hotshard_events",
        "properties": {
            "time": 1618716477000,
            "distinct_id": "",
            "mp_original_event_name": "Signed up",
            "mp_original_distinct_id": "hotshard@mixpanel.com",
            "$insert_id": "36a92782-cd7d-41a0-93af-8c23ec6c4191",
        },
    }
    before = [
        {**example, "properties": {**example["properties"], "$insert_id": f"{number}"}} for number in range(THRESHOLD)
    ]
    for some, hot in ((before, 0), ([example], 1)):
        answer = await world.cluster.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, some)))
        assert (answer.accepted, answer.hot_events_rewritten) == (len(some), hot)
    for restore_hot, shown in ((False, updated), (True, example)):
        payload = await world.cluster.export("acme", 1618704000000, 1618790400000, restore_hot=restore_hot)
        rows = sorted(map(orjson.loads, payload.splitlines()), key=lambda row: str(row["properties"]["$insert_id"]))
        wanted = sorted([*before, shown], key=lambda row: str(row["properties"]["$insert_id"]))
        assert rows == wanted


async def test_a_key_at_full_rate_is_counted_by_every_counter_and_its_count_is_their_sum() -> None:
    async with MemoryCluster(counters=3, seed=SEED) as cluster:
        await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD))
        sent = 0

        async def is_shared() -> bool:
            nonlocal sent
            await cluster.import_events("acme", ndjson=ndjson_of(rows_of("runaway", 30, sent)))
            sent += 30
            return all([await cluster.hot_keys("acme", of=f"counter-{number}") for number in range(3)])

        await cluster.until(is_shared)

        async def is_summed() -> bool:
            return [(key.distinct_id, key.count) for key in await cluster.hot_keys("acme", of=ROUTER)] == [
                ("runaway", sent)
            ]

        await cluster.until(is_summed)
        parts = [(await cluster.hot_keys("acme", of=f"counter-{number}"))[0].count for number in range(3)]
        assert sum(parts) == sent
        assert all(parts)


async def test_without_counting_no_key_becomes_hot_and_those_that_are_stay() -> None:
    async with MemoryCluster(seed=SEED) as cluster:
        await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD))
        first = await cluster.import_events("acme", ndjson=ndjson_of(rows_of("runaway", 30, 0)))
        assert first.hot_events_rewritten == 10

        async def active() -> bool:
            entries = (await cluster.directory.range(MARKS)).entries
            return [Mark.from_json(entry.value).state for entry in entries] == ["active"]

        await cluster.until(active)
        cluster.settings = Settings(count_keys=False)
        await cluster.stop(ROUTER)
        await cluster.start(ROUTER)
        for user, rewritten in (("runaway", 40), ("other", 0)):
            answer = await cluster.import_events("acme", ndjson=ndjson_of(rows_of(user, 40, 100)))
            assert (answer.accepted, answer.hot_events_rewritten) == (40, rewritten)
        assert len((await cluster.directory.range(MARKS)).entries) == 1


def update(tenant: str) -> tuple[Any, Any]:
    """A change of nothing: the router reads the tenant's record as it is now."""
    return rpcs.UPDATE_TENANT, admin_pb2.UpdateTenantRequest(tenant=tenant)
