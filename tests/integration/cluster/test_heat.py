"""Load, slow queries, hot keys and their report through a whole cluster in memory."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, counter_pb2, debug_pb2, query_pb2
from evenshard.client.heat import shards_document, slow_queries_document, top_document
from evenshard.directory.keys import MARKS
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.runtime.settings import Settings
from evenshard.testing.clock import START_MS
from evenshard.testing.cluster import COUNTER, GATEWAY, ROUTER, MemoryCluster
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs
from evenshard.wire.hot_key_report import report_document

DAY_MS = 86_400_000
THRESHOLD = 100
DAY = "2026-01-01"
SHARDS = 4


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(shards=SHARDS, seed=20261126, settings=Settings(slow_query_ms=0)) as cluster:
        yield cluster


def rows(user: str, count: int, first: int = 0, event: str = "view", day: int = 0, **properties: Any) -> list[Row]:
    return [
        {
            "tenant": "acme",
            "event": event,
            "distinct_id": user,
            "time": START_MS + day * DAY_MS + number,
            "insert_id": f"{event}-{day}-{number}",
            "properties": properties,
        }
        for number in range(first, first + count)
    ]


async def send(cluster: MemoryCluster, some: list[Row]) -> None:
    answer = await cluster.import_events("acme", ndjson=ndjson_of(some))
    assert answer.rejected == 0


async def shards(cluster: MemoryCluster) -> admin_pb2.ListShardsResponse:
    answer: admin_pb2.ListShardsResponse = await cluster.call(ROUTER, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())
    return answer


async def top(cluster: MemoryCluster, limit: int = 20) -> dict[str, Any]:
    counted = await cluster.call(ROUTER, rpcs.LIST_HOT_KEYS, counter_pb2.ListHotKeysRequest(limit=100))
    return top_document(await shards(cluster), counted, limit)


async def counted(cluster: MemoryCluster, user: str, count: int) -> None:
    async def known() -> bool:
        return any((key.distinct_id, key.count) == (user, count) for key in await cluster.hot_keys("acme", 1000))

    await cluster.until(known)


async def report(cluster: MemoryCluster, first: str = DAY, last: str = DAY) -> dict[str, Any]:
    request = counter_pb2.GetHotKeyReportRequest(tenant="acme", from_date=first, to_date=last)
    return report_document(await cluster.call(ROUTER, rpcs.GET_HOT_KEY_REPORT, request))


async def test_a_runaway_makes_its_shard_hot_and_is_named(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode="observe"))
    calm = [row for user in range(200) for row in rows(f"u{user}", 10)]
    await send(cluster, [*rows("runaway", 3_000), *calm])
    await counted(cluster, "runaway", 3_000)
    document = await top(cluster, limit=3)
    assert [(each["kind"], each["subject"]) for each in document["diagnosis"]] == [("hot_key", "runaway")]
    first = document["keys"][0]
    assert (first["tenant"], first["distinct_id"], first["date"], first["count"]) == ("acme", "runaway", DAY, 3_000)
    assert first["share"] == pytest.approx(0.6, abs=0.1)
    assert len(document["keys"]) == 3
    busiest = max(document["shards"], key=lambda each: each["events_per_second"])
    assert busiest["shard"] == document["diagnosis"][0]["shard"]
    assert (document["load_of"], busiest["state"]) == ("events_per_second", "active")
    assert document["skew"] == pytest.approx(SHARDS * busiest["share"])
    assert document["skew"] >= 2
    assert sum(each["rows"] for each in document["shards"]) - 5_000 in (0, 1)  # and the record of the crossing
    assert sum(each["share"] for each in document["shards"]) == pytest.approx(1)


async def test_many_warm_users_on_one_shard_are_a_hot_shard(cluster: MemoryCluster) -> None:
    """A tenant of its own shard: nobody of it stands out."""
    from evenshard.directory.placement import even_placement

    await cluster.create_tenant("acme", placement=even_placement([cluster.shard_names[2]]))
    await send(cluster, [row for user in range(300) for row in rows(f"u{user}", 10)])
    [one] = (await top(cluster))["diagnosis"]
    assert (one["kind"], one["subject"], one["dimension"]) == ("hot_shard", "shard-2", "writes")
    assert "rebalance" in one["advice"]


async def test_even_load_is_nothing_to_tell_of(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    await send(cluster, [row for user in range(400) for row in rows(f"u{user}", 10)])
    document = await top(cluster)
    assert document["diagnosis"] == []
    assert document["skew"] < 1.4


async def test_a_user_whose_timeline_is_read_again_and_again_is_hot_by_reads(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    await send(cluster, rows("celebrity", 50))
    request = query_pb2.GetTimelineRequest(
        tenant="acme", user="celebrity", from_date=DAY, to_date=DAY, options=query_pb2.QueryOptions(no_cache=True)
    )
    home = None
    for _ in range(200):
        await cluster.call(GATEWAY, rpcs.GET_TIMELINE, request)
        loads = shards_document(await shards(cluster))["shards"]
        home = next((each for each in loads if each["busy"] > 0.1), None)
        if home is not None:
            break
    assert home is not None
    found = [each for each in (await top(cluster))["diagnosis"] if each["dimension"] == "reads"]
    assert [(each["kind"], each["subject"], each["shard"]) for each in found] == [
        ("hot_key", "celebrity", home["shard"])
    ]


async def test_a_shard_that_is_down_is_listed_as_such(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    await send(cluster, rows("u", 10))
    await cluster.stop("shard-3")
    states = {each["shard"]: each for each in shards_document(await shards(cluster))["shards"]}
    assert {name: each["state"] for name, each in states.items()} == {
        "shard-0": "active", "shard-1": "active", "shard-2": "active", "shard-3": "down",
    }  # fmt: skip
    assert (states["shard-3"]["rows"], states["shard-3"]["share"]) == (None, None)
    assert states["shard-3"]["reason"]


async def test_slow_queries_are_told_with_their_wait_by_shard_tenant_and_event(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    await cluster.create_tenant("other")
    await send(cluster, [row for user in range(40) for row in rows(f"u{user}", 5)])
    await cluster.segmentation("acme", DAY, DAY, events=["view"])
    steps = [query_pb2.FunnelStep(events=["view"]), query_pb2.FunnelStep(events=["buy"])]
    funnel = query_pb2.QueryFunnelRequest(tenant="acme", from_date=DAY, to_date=DAY, steps=steps)
    await cluster.call(GATEWAY, rpcs.QUERY_FUNNEL, funnel)
    await cluster.segmentation("other", DAY, DAY)

    async def told(**request: Any) -> dict[str, Any]:
        message = debug_pb2.ListSlowQueriesRequest(**request)
        return slow_queries_document(await cluster.call(ROUTER, rpcs.LIST_SLOW_QUERIES, message))

    by_tenant = await told(by="tenant")
    assert {(each["tenant"], each["count"] > 0) for each in by_tenant["queries"]} == {("acme", True), ("other", True)}
    assert {(each["tenant"], each["count"]) for each in by_tenant["gateways"]} == {("acme", 2), ("other", 1)}
    by_shard = await told(by="shard", tenant="acme")
    assert {each["shard"] for each in by_shard["queries"]} == set(cluster.shard_names)
    assert sum(each["rows"] for each in by_shard["queries"]) >= 400  # every row by each of both
    for each in by_shard["queries"]:
        assert 0 <= each["wait_p99_ms"] <= each["max_ms"]
        assert each["p99_ms"] == each["max_ms"]
    by_event = await told(by="event", tenant="acme")
    assert {each["event"] for each in by_event["gateways"]} == {"view", "buy, view"}
    assert {(each["gateway"], each["kind"]) for each in (await told(tenant="acme"))["gateways"]} == {
        ("gateway-0", "segmentation"), ("gateway-0", "funnel"),
    }  # fmt: skip
    assert len((await told(limit=1))["queries"]) == 1
    with pytest.raises(EvenshardError, match="by: 'user' is none of shard, tenant, event"):
        await told(by="user")
    await cluster.stop("shard-1")
    assert (await told())["missing"] == ["shard-1"]


async def test_a_query_that_ends_without_an_answer_is_slow_too(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme")
    cluster.peers.fail("shard-0", rpcs.SCAN, EvenshardError("UNREACHABLE", "cut"))
    with pytest.raises(EvenshardError, match="shard-0"):
        await cluster.segmentation("acme", DAY, DAY)
    request = debug_pb2.ListSlowQueriesRequest(each=True)
    answer = await cluster.call(GATEWAY, rpcs.LIST_SLOW_QUERIES, request)
    assert [(each.place, each.kind, each.failed) for each in answer.queries] == [("gateway-0", "segmentation", True)]


async def test_the_report_names_ids_events_and_the_build_that_stands_out(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD, timezone="America/Los_Angeles"))
    broken, fine = {"sdk": "4.2.0", "plan": "pro"}, {"sdk": "4.1.9", "plan": "pro"}
    calm = [row for user in range(60) for row in rows(f"u{user}", 5, **fine)]
    await send(cluster, [*rows("runaway", 160, event="heartbeat", **broken), *rows("runaway", 20, first=200, **fine)])
    await send(cluster, [*calm, *rows("null", 130, day=1, **fine)])
    await counted(cluster, "null", 130)
    assert await report(cluster, "2026-01-03", "2026-01-09") == {
        "tenant": "acme", "from": "2026-01-03", "to": "2026-01-09", "hot_keys": [], "more_hot_keys": 0,
    }  # fmt: skip
    document = await report(cluster, DAY, "2026-01-07")
    runaway, null = document["hot_keys"]
    assert {name: runaway[name] for name in ("distinct_id", "date", "mode", "threshold", "kept", "rewritten")} == {
        "distinct_id": "runaway", "date": DAY, "mode": "rewrite", "threshold": THRESHOLD, "kept": 100, "rewritten": 80,
    }  # fmt: skip
    assert runaway["events"] == {"heartbeat": 160, "view": 20}
    assert runaway["stands_out"] == [
        {"property": "sdk", "value": "4.2.0", "share": pytest.approx(160 / 180), "share_elsewhere": 0.0}
    ]
    assert 'sdk is "4.2.0" in 89% of its events, and in 0% of all others' in runaway["likely_cause"]
    assert "89% of its events are 'heartbeat'" in runaway["likely_cause"]
    assert 'where sdk is "4.2.0"' in runaway["advice"]
    assert (null["distinct_id"], null["date"], null["kept"], null["rewritten"]) == ("null", "2026-01-02", 100, 30)
    assert null["stands_out"] == []
    assert "'null' is a placeholder" in null["likely_cause"]
    request = counter_pb2.GetHotKeyReportRequest(tenant="acme", from_date=DAY, to_date="2026-01-07")
    assert report_document(await cluster.call(COUNTER, rpcs.GET_HOT_KEY_REPORT, request)) == document
    # A counter that has forgotten everything changes nothing: it is the stored events that are asked.
    await cluster.stop(COUNTER)
    assert await report(cluster, DAY, "2026-01-07") == document


async def test_remediated_events_that_were_imported_are_reported_without_a_mark(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD))
    originals = {"mp_original_event_name": "view", "mp_original_distinct_id": "moved"}
    await send(cluster, [row | {"distinct_id": "", "event": "$hotshard_events"} for row in rows("x", 7, **originals)])
    [key] = (await report(cluster))["hot_keys"]
    assert (key["distinct_id"], key["mode"], key["threshold"], key["kept"], key["rewritten"], key["events"]) == (
        "moved", "rewrite", None, 0, 7, {"view": 7},
    )  # fmt: skip


async def test_an_observed_key_is_reported_as_it_is(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode="observe"))
    await send(cluster, rows('o\'dd "id" `x` 日本', 150))

    async def marked() -> bool:
        return bool((await report(cluster))["hot_keys"])

    await cluster.until(marked)
    [key] = (await report(cluster))["hot_keys"]
    assert (key["distinct_id"], key["mode"], key["kept"], key["rewritten"]) == (
        "o'dd \"id\" `x` 日本", "observe", 150, 0,
    )  # fmt: skip
    assert "nothing was done with its events" in key["advice"]


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [("2026-1-1", DAY, "RANGE_INVALID"), (DAY, "2025-12-31", "RANGE_INVALID"), (DAY, "2026-03-01", "RANGE_INVALID")],
)
async def test_days_that_cannot_be_are_refused(cluster: MemoryCluster, first: str, last: str, code: str) -> None:
    with pytest.raises(EvenshardError) as refused:
        await report(cluster, first, last)
    assert refused.value.code == code


async def test_a_report_of_nobody_and_without_gateways_says_so(cluster: MemoryCluster) -> None:
    with pytest.raises(EvenshardError) as refused:
        await report(cluster)
    assert refused.value.code == "TENANT_NOT_FOUND"
    await cluster.create_tenant("acme")
    await cluster.stop(GATEWAY)
    with pytest.raises(EvenshardError) as refused:
        await report(cluster)
    assert (refused.value.code, refused.value.retryable) == ("UNREACHABLE", True)


@pytest.mark.parametrize("mode", ["rewrite", "salt"])
async def test_a_runaway_that_was_handed_over_makes_no_shard_hot_any_more(cluster: MemoryCluster, mode: Any) -> None:
    await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode=mode))
    await send(cluster, rows("runaway", THRESHOLD + 1))

    async def active() -> bool:
        marks = [Mark.from_json(entry.value) for entry in (await cluster.directory.range(MARKS)).entries]
        return any(mark.state == "active" for mark in marks)

    await cluster.until(active)
    for number in range(5):
        calm = [row for user in range(200) for row in rows(f"u{user}", 2, 2 * number)]
        await send(cluster, [*rows("runaway", 600, 1_000 + 600 * number), *calm])
    document = await top(cluster)
    assert document["diagnosis"] == []
    assert document["skew"] < 1.3
    assert (document["keys"][0]["distinct_id"], document["keys"][0]["share"] > 0.4) == ("runaway", True)
    [key] = (await report(cluster))["hot_keys"]
    total = THRESHOLD + 1 + 3_000
    kept = total if mode == "salt" else THRESHOLD
    assert (key["mode"], key["kept"], key["rewritten"], key["events"]) == (mode, kept, total - kept, {"view": total})
