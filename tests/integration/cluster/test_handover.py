"""Hand-overs through a whole cluster in memory: who dies at which step, where rows go, and what is answered."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2, query_pb2, shard_pb2
from evenshard.directory.keys import MARKS
from evenshard.directory.placement import even_placement
from evenshard.directory.tenant import HotKeyMode, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.handover import record_insert_id
from evenshard.hotkeys.marks import Mark
from evenshard.ids import ShardId, TenantId
from evenshard.router import handing_over
from evenshard.router.handing_over import overflow_of
from evenshard.testing.cluster import COUNTER, GATEWAY, ROUTER, MemoryCluster
from evenshard.testing.crossing import DATE, DAY, END_MS, HOT, START_MS, Crossing, chancy, chancy_cluster
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs

SEED = 20260601
STEPS = [
    (moment, rpc)
    for rpc in (rpcs.LEARN_EPOCH, rpcs.SEAL_KEY, rpcs.KEEP_ORIGINALS, rpcs.RECORD_KEY)
    for moment in ("before", "after")
]
VICTIMS = ("home", "overflow", "router", "counter", "directory")
IN_CI = {("after", rpcs.SEAL_KEY.path, "router"), ("before", rpcs.KEEP_ORIGINALS.path, "overflow")}
DEATHS = [
    pytest.param(moment, rpc.path, victim, marks=() if (moment, rpc.path, victim) in IN_CI else pytest.mark.slow)
    for moment, rpc in STEPS
    for victim in VICTIMS
]


async def die(cluster: MemoryCluster, victim: str, seconds: float) -> None:
    """For a short while."""
    if victim == "directory":
        cluster.directory.go_away()
        await asyncio.sleep(seconds)
        cluster.directory.come_back()
        return
    await cluster.crash(victim)
    await asyncio.sleep(seconds)
    await cluster.start(victim)


@pytest.mark.parametrize(("moment", "path", "victim"), DEATHS)
async def test_whoever_dies_at_any_step_nothing_is_lost_or_doubled_and_the_key_is_usable_soon(
    moment: str, path: str, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_over, "TAKE_OVER_MS", 500.0)
    async with chancy_cluster(SEED, routers=2) as cluster:
        crossing = Crossing(cluster, SEED, "rewrite", 60, routers=(ROUTER, "router-1"), threshold=30)
        await crossing.create()
        placement = (await cluster.tenant(crossing.tenant)).placement
        home = placement.home_of(HOT)
        overflow = next(shard for shard in cluster.shard_names if shard != home)
        name = {"home": home, "overflow": overflow, "router": ROUTER, "counter": COUNTER}.get(victim, victim)
        deaths: list[asyncio.Task[None]] = []

        async def at_step(address: str, called: str) -> None:
            if called == path and not deaths:
                deaths.append(asyncio.create_task(die(cluster, name, 0.3)))
                await asyncio.sleep(0.05)

        setattr(chancy(cluster), moment, at_step)
        began_ms = cluster.clock.monotonic_ms()
        first, crossing.routers = crossing.routers, (ROUTER,)
        hot = [row for row in crossing.rows if row["distinct_id"] == HOT]
        await crossing.send(hot[:35])  # it crosses here, and its router begins
        crossing.routers = first
        await crossing.send_all(2, batch_rows_max=20)
        await crossing.until_active(30)
        assert cluster.clock.monotonic_ms() - began_ms < 30_000
        assert deaths, "nobody died"
        await asyncio.gather(*deaths)
        await crossing.check()
        assert await crossing.send_all(1) == len(crossing.rows)
        await crossing.check()


def rows_of(tenant: str, user: str, count: int, first: int = 0) -> list[Row]:
    return [
        {
            "tenant": tenant,
            "event": ("view", "buy")[number % 2],
            "distinct_id": user,
            "time": START_MS + number,
            "insert_id": f"{user}-{number}",
            "properties": {"number": number % 5},
        }
        for number in range(first, first + count)
    ]


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(shards=4, routers=2, seed=SEED) as cluster:
        yield cluster


async def send(cluster: MemoryCluster, rows: list[Row], router: str = ROUTER) -> Any:
    answer = await cluster.import_events(rows[0]["tenant"], ndjson=ndjson_of(rows), router=router)
    assert [error.message for error in answer.errors] == []
    return answer


async def rows_stored(cluster: MemoryCluster, tenant: str) -> dict[ShardId, int]:
    """By shard."""
    found = {}
    for shard in cluster.shard_names:
        request = rpcs.GET_SHARD_STORAGE.request(tenant=tenant)
        stored = (await cluster.call(shard, rpcs.GET_SHARD_STORAGE, request)).tenants
        found[shard] = sum(each.log_rows + each.segment_rows for each in stored)
    return found


STEP = [query_pb2.FunnelStep(events=["view"]), query_pb2.FunnelStep(events=["buy"])]
QUESTIONS: list[tuple[Any, dict[str, Any]]] = [
    (rpcs.QUERY_SEGMENTATION, {"measure": "total", "by": ["$distinct_id"], "limit": 5}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "unique", "by": ["number"]}),
    (rpcs.QUERY_SEGMENTATION, {"measure": "average"}),
    (rpcs.QUERY_FUNNEL, {"steps": STEP, "window_ms": 3_600_000, "count_mode": "total"}),
    (rpcs.QUERY_RETENTION, {"birth": STEP[0], "return": STEP[1]}),
    (rpcs.QUERY_FLOWS, {"anchor": STEP[0], "steps": 2}),
    (rpcs.GET_SCHEMA, {}),
    (rpcs.GET_TIMELINE, {"user": HOT, "page_size": 20}),
]


async def answers(cluster: MemoryCluster, tenant: str, **options: Any) -> list[str]:
    found = []
    for rpc, fields in QUESTIONS:
        dates = {} if rpc in (rpcs.GET_SCHEMA, rpcs.GET_TIMELINE) else {"from_date": DATE, "to_date": DATE}
        answer = await cluster.call(GATEWAY, rpc, rpc.request(tenant=tenant, options=options, **dates, **fields))
        answer.ClearField("meta")
        if rpc is rpcs.GET_TIMELINE:
            answer.ClearField("next_page_token")
        found.append(str(answer))
    return found


async def test_a_runaway_is_spread_evenly_and_every_answer_is_that_of_observe(cluster: MemoryCluster) -> None:
    """One id sends three of five events."""
    random, modes = Random(SEED), ("observe", "rewrite", "salt")
    calm = [(f"user-{number}", 2) for number in range(500)]
    for mode in modes:
        await cluster.create_tenant(mode, TenantSettings(hot_key_threshold=100, hot_key_mode=mode))
        await send(cluster, rows_of(mode, HOT, 101))
        await active(cluster, mode)
    before = {mode: await rows_stored(cluster, mode) for mode in modes}
    for mode in modes:
        rows = [row for user, count in calm for row in rows_of(mode, user, count)] + rows_of(mode, HOT, 1_500, 101)
        Random(SEED).shuffle(rows)
        for first in range(0, len(rows), 500):
            await send(cluster, rows[first : first + 500], random.choice([ROUTER, "router-1"]))
    for mode in modes:
        stored = await rows_stored(cluster, mode)
        came = [count - before[mode][shard] for shard, count in stored.items()]
        mean = sum(came) / len(came)
        if mode == "observe":
            assert max(came) >= 2 * mean
        else:
            assert all(abs(count - mean) <= 0.15 * mean for count in came), (mode, came)
    expected = await answers(cluster, "observe")
    assert await answers(cluster, "salt") == expected
    assert await answers(cluster, "rewrite", restore_hot=True) == expected
    assert await answers(cluster, "rewrite") != expected
    for where in ('$distinct_id != "runaway" and $event != "$hotshard_events"',):
        for measure in ("total", "unique"):
            others = [
                (await cluster.segmentation(mode, DATE, DATE, where=where, measure=measure)).series for mode in modes
            ]
            assert others[0] == others[1] == others[2]
    for mode in modes:
        await cluster.compact(await cluster.tenant(mode))
    assert await answers(cluster, "salt") == await answers(cluster, "observe") == expected
    assert await answers(cluster, "rewrite", restore_hot=True) == expected


async def active(cluster: MemoryCluster, tenant: str) -> Any:
    crossing = Crossing(cluster, 0, "rewrite")
    crossing.tenant = tenant
    return await crossing.until_active()


async def test_a_mark_is_seen_by_every_router_within_a_second_and_recorded_once(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=20))
    await send(cluster, rows_of("acme", HOT, 25))
    mark = await active(cluster, "acme")
    began_ms = cluster.clock.monotonic_ms()
    tenant = await cluster.tenant("acme")
    assert (mark.mode, mark.born, mark.threshold, mark.count) == ("rewrite", "rewrite", 20, 25)
    assert mark.overflow == overflow_of(tenant.placement)
    assert {shard for _, _, shard in mark.overflow} == set(cluster.shard_names)

    numbers = itertools.count(1_000)

    async def seen() -> bool:
        answer = await send(cluster, rows_of("acme", HOT, 1, next(numbers)), "router-1")
        return bool(answer.hot_events_rewritten == 1)

    await cluster.until(seen, 1.0)
    assert cluster.clock.monotonic_ms() - began_ms < 1_000

    async def recorded() -> list[Any]:
        payload = await cluster.export("acme", 0, 1 << 42, events=["$hotshard_record"])
        return [orjson.loads(line) for line in payload.splitlines()]

    (record,) = await recorded()
    properties = record["properties"]
    assert properties.pop("$insert_id") == record_insert_id((TenantId("acme"), HOT, DAY))
    assert abs(properties.pop("time") - cluster.clock.now_ms()) < 60_000
    assert record == {
        "event": "$hotshard_record",
        "properties": {
            "distinct_id": "", "mp_original_distinct_id": HOT, "date": DATE, "threshold": 20, "count": 25,
            "mode": "rewrite",
        },
    }  # fmt: skip
    # Nobody else meets it.
    today = (await cluster.segmentation("acme", DATE, "2027-12-31", unit="month")).series[0].overall.int64_value
    named = await cluster.segmentation("acme", DATE, "2027-12-31", unit="month", events=["$hotshard_record"])
    everything = (await cluster.export("acme", 0, 1 << 42)).splitlines()
    assert (today, named.series[0].overall.int64_value) == (len(everything), 1)
    assert not any(b"$hotshard_record" in line for line in everything)
    request = query_pb2.GetSchemaRequest(tenant="acme", include_hidden=True)
    assert "$hotshard_record" not in {
        each.name for each in (await cluster.call(GATEWAY, rpcs.GET_SCHEMA, request)).events
    }


async def test_no_key_is_sealed_before_every_shard_of_the_tenant_has_persisted_the_epoch(
    cluster: MemoryCluster,
) -> None:
    """Whoever reads by the placement of before would miss rows that go to new places."""
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=20), even_placement(cluster.shard_names[:3]))
    before = await cluster.tenant("acme")
    home = before.placement.home_of(HOT)
    slow = next(shard for shard in before.placement.shards if shard != home)
    cluster.peers.fail(slow, rpcs.LEARN_EPOCH, EvenshardError("UNREACHABLE", "as told"))
    await send(cluster, rows_of("acme", HOT, 25))

    async def placed() -> bool:
        return bool((await cluster.tenant("acme")).placement.overflow)

    await cluster.until(placed)
    await cluster.clock.sleep(300)
    assert (await send(cluster, rows_of("acme", HOT, 10, 25))).hot_events_rewritten == 10
    entries = (await cluster.directory.range(MARKS)).entries
    assert [Mark.from_json(entry.value).state for entry in entries] == ["crossing"]
    cluster.peers.fail(slow, rpcs.LEARN_EPOCH, None)
    mark = await active(cluster, "acme")
    assert {shard for _, _, shard in mark.overflow} == set(cluster.shard_names)
    for shard in before.placement.shards:  # durably: also when they start without a word from the directory
        await cluster.crash(shard)
        await cluster.start(shard)
        request = shard_pb2.ScanRequest(tenant="acme", epoch=before.placement.epoch, scan=b"{}")
        with pytest.raises(EvenshardError, match="STALE_EPOCH"):
            await cluster.call(shard, rpcs.SCAN, request)
    assert (await send(cluster, rows_of("acme", HOT, 60))).duplicates == 35


@pytest.mark.parametrize("mode", ["rewrite", "salt"])
async def test_an_export_with_hot_keys_comes_back_into_a_new_tenant_and_into_its_own(
    cluster: MemoryCluster, mode: HotKeyMode
) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=50, hot_key_mode=mode))
    for first in range(0, 120, 30):
        await send(cluster, [*rows_of("acme", HOT, 30, first), *rows_of("acme", "calm", 10, first)])
    await active(cluster, "acme")
    exported = await cluster.export("acme", START_MS, END_MS)
    before = await answers(cluster, "acme")
    await cluster.create_tenant("copy", TenantSettings(hot_key_threshold=50, hot_key_mode=mode))
    for name in ("copy", "acme"):
        if name == "acme":
            delete = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=[HOT, "calm"])
            await cluster.call(ROUTER, rpcs.DELETE_USERS, delete)
            assert await cluster.export("acme", START_MS, END_MS) == b""
        lines = exported.splitlines()
        for first in range(0, len(lines), 40):
            answer = await cluster.import_events(name, ndjson=b"\n".join(lines[first : first + 40]))
            assert (answer.rejected, answer.duplicates) == (0, 0)
        assert await answers(cluster, name) == before
        assert await cluster.export(name, START_MS, END_MS) == exported
        again = await cluster.import_events(name, ndjson=exported)
        assert (again.accepted, again.duplicates) == (len(lines), len(lines))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"hot_key_threshold": 0}, "hot_key_threshold: 0 is not between 1 and"),
        ({"hot_key_threshold": -1}, "hot_key_threshold: -1 is not between 1 and"),
        ({"hot_key_mode": "pepper"}, "hot_key_mode: 'pepper' is none of rewrite, salt, observe"),
    ],
)
async def test_wrong_thresholds_and_modes_are_refused_by_name(
    cluster: MemoryCluster, settings: dict[str, Any], problem: str
) -> None:
    await cluster.create_tenant("acme")
    request = admin_pb2.UpdateTenantRequest(tenant="acme", settings=admin_pb2.TenantSettings(**settings))
    with pytest.raises(EvenshardError, match=problem) as refused:
        await cluster.call(ROUTER, rpcs.UPDATE_TENANT, request)
    assert refused.value.code == "QUERY_INVALID"


async def test_odd_ids_cross_as_any_other_and_the_empty_one_never_does(cluster: MemoryCluster) -> None:
    odd = ["Zoë/ü ✓", "a%2Fb", "‮right to left", "\u0000nul", "\u00e9", "e\u0301", "🙂" * 60, " ", "..", "\n"]
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=5))
    rows = [row for number, user in enumerate(odd) for row in rows_of("acme", user, 8)]
    for number, row in enumerate(rows):
        row["insert_id"] = f"{number}"
    anonymous = [{**row, "insert_id": f"nobody-{number}"} for number, row in enumerate(rows_of("acme", "", 30))]
    await send(cluster, [*rows, *anonymous])

    async def crossed() -> bool:
        entries = (await cluster.directory.range(MARKS)).entries
        return len(entries) == len(odd) and all(b'"active"' in entry.value for entry in entries)

    await cluster.until(crossed, 20)
    more = [{**row, "time": row["time"] + 1_000} for row in rows]
    assert (await send(cluster, more)).hot_events_rewritten == len(more)
    again = await send(cluster, [*rows, *more, *anonymous])
    assert again.duplicates == again.accepted == len(rows) + len(more) + len(anonymous)


async def test_an_event_of_tomorrow_belongs_to_the_key_of_its_own_date(cluster: MemoryCluster) -> None:
    """Routers whose clocks differ by an hour agree on it: the date is the event's."""
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=20))
    tomorrow = [
        {**row, "time": row["time"] + 86_400_000, "insert_id": f"t-{row['insert_id']}"}
        for row in rows_of("acme", HOT, 30)
    ]
    await send(cluster, rows_of("acme", HOT, 30))
    await active(cluster, "acme")
    assert (await send(cluster, tomorrow[:20], "router-1")).hot_events_rewritten == 0

    async def counted() -> bool:
        return [each.count for each in await cluster.hot_keys("acme") if each.date == "2026-01-02"] == [20]

    await cluster.until(counted)
    assert (await send(cluster, tomorrow[20:])).hot_events_rewritten == 10
