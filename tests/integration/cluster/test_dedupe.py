"""Deduplication as customers see it: off and on at once, explained by log and segment, and nothing is rewritten."""

from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import query_pb2
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.ids import ShardId
from evenshard.testing.cluster import GATEWAY, MemoryCluster
from evenshard.testing.events import Event
from evenshard.wire import rpcs

SEED = 20260102
START_MS, DAY_MS = 1_767_225_600_000, 86_400_000
FROM, TO = "2026-01-01", "2026-01-10"
USERS, COPIES_IN_SEGMENTS, COPIES_IN_LOG = 60, 25, 18


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=SEED) as made:
        yield made


def visits() -> list[Event]:
    """A view of each user, and an hour later a sale of every other one."""
    made = []
    for user in range(USERS):
        begun_ms = START_MS + user % 9 * DAY_MS + user
        made.append(Event("view", f"u{user}", begun_ms, f"v{user}"))
        if user % 2:
            made.append(Event("sale", f"u{user}", begun_ms + 3_600_000, f"s{user}"))
    return made


async def send(cluster: MemoryCluster, events: list[Event]) -> int:
    """Returns how many were duplicates."""
    lines = [
        {"event": e.event, "properties": {"distinct_id": e.distinct_id, "time": e.time, "$insert_id": e.insert_id}}
        for e in events
    ]
    answer = await cluster.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, lines)))
    assert (answer.accepted, answer.rejected) == (len(events), 0)
    return int(answer.duplicates)


async def stored(cluster: MemoryCluster) -> tuple[Tenant, list[Event]]:
    """Everything indexed with some copies, then copies of any age in the log."""
    print("seed", SEED)
    random, events = Random(SEED), visits()
    tenant = await cluster.create_tenant("acme")
    assert await send(cluster, events) == 0
    early, late = random.sample(events, COPIES_IN_SEGMENTS), random.choices(events, k=COPIES_IN_LOG)
    assert await send(cluster, early) == COPIES_IN_SEGMENTS
    await cluster.compact(tenant)
    assert await send(cluster, late) == COPIES_IN_LOG
    return tenant, [*early, *late]


async def answers(cluster: MemoryCluster, **options: bool) -> dict[str, Any]:
    """What a segmentation, a funnel and an export say, and what they skipped in logs and segments."""
    trend = await cluster.segmentation("acme", FROM, TO, options=options)
    steps = [query_pb2.FunnelStep(events=["view"])] * 2  # who has viewed twice: only a copy looks like it
    asked = query_pb2.QueryFunnelRequest(tenant="acme", from_date=FROM, to_date=TO, steps=steps, options=options)
    funnel = await cluster.call(GATEWAY, rpcs.QUERY_FUNNEL, asked)
    payload = await cluster.export("acme", START_MS, START_MS + 10 * DAY_MS, **options)
    return {
        "events": trend.series[0].overall.int64_value,
        "steps": [step.count for step in funnel.overall.steps],
        "rows": len(payload.splitlines()),
        "skipped": [
            (meta.duplicates_skipped.log, meta.duplicates_skipped.segment) for meta in (trend.meta, funnel.meta)
        ],
    }


def skipped_of(copies: list[Event]) -> list[tuple[int, int]]:
    """In logs and in segments: of all events, and of views."""
    early, late = copies[:COPIES_IN_SEGMENTS], copies[COPIES_IN_SEGMENTS:]
    views = [sum(copy.event == "view" for copy in some) for some in (late, early)]
    return [(len(late), len(early)), (views[0], views[1])]


def files(cluster: MemoryCluster) -> dict[tuple[str, str], bytes]:
    """The bytes of every file of every shard."""
    found = {}
    for shard in map(ShardId, ("shard-0", "shard-1")):
        disk = cluster.disk(shard)
        for folder in ("log", "segments"):
            for name in disk.list(folder):
                file = disk.open(f"{folder}/{name}")
                found[shard, name] = file.read(0, file.size())
    return found


async def test_dedupe_off_and_on_changes_every_answer_at_once_and_no_file(cluster: MemoryCluster) -> None:
    tenant, copies = await stored(cluster)
    events = len(visits())
    before = files(cluster)
    clean = await answers(cluster)
    assert clean == {
        "events": events,
        "steps": [USERS, 0],
        "rows": events,
        "skipped": skipped_of(copies),
    }
    raw = await answers(cluster, include_duplicates=True)
    assert raw["events"] == raw["rows"] == events + len(copies)
    assert raw["skipped"] == [(0, 0)] * 2
    assert raw["steps"] == [USERS, len({copy.distinct_id for copy in copies if copy.event == "view"})]

    for dedupe, expected in ((False, raw), (True, clean), (False, raw)):
        await cluster.put_tenant(replace(tenant, settings=TenantSettings(dedupe=dedupe)))

        async def is_known(wanted: bool = dedupe) -> bool:
            trend = await cluster.segmentation("acme", FROM, TO)
            return bool(trend.meta.duplicates_skipped.log) == wanted

        await cluster.until(is_known)
        assert await answers(cluster) == expected, dedupe
        assert await answers(cluster, include_duplicates=True) == raw
    assert files(cluster) == before


async def test_bits_are_decided_while_dedupe_is_off(cluster: MemoryCluster) -> None:
    tenant = await cluster.create_tenant("acme", TenantSettings(dedupe=False))
    events = visits()
    assert await send(cluster, events) == 0
    await cluster.compact(tenant)
    assert await send(cluster, events) == len(events)
    assert (await answers(cluster))["events"] == 2 * len(events)
    await cluster.compact(tenant)
    await cluster.put_tenant(replace(tenant, settings=TenantSettings(dedupe=True)))

    async def is_known() -> bool:
        return bool((await cluster.segmentation("acme", FROM, TO)).meta.duplicates_skipped.segment)

    await cluster.until(is_known)
    assert await answers(cluster) == {
        "events": len(events),
        "steps": [USERS, 0],
        "rows": len(events),
        "skipped": [(0, len(events)), (0, USERS)],
    }


async def test_copies_of_any_age_are_found_again_and_again(cluster: MemoryCluster) -> None:
    """Years old, in ranges that were merged since; the account tells where each copy lies."""
    tenant = await cluster.create_tenant("acme")
    old = [Event("view", f"u{n % 9}", START_MS - n * 40 * DAY_MS, f"o{n}") for n in range(90)]
    for first in range(0, 90, 30):
        assert await send(cluster, old[first : first + 30]) == 0
        await cluster.compact(tenant)
    for round_ in range(3):
        assert await send(cluster, old) == 90, round_
        await cluster.compact(tenant)
    assert await send(cluster, old[:7]) == 7
    trend = await cluster.segmentation("acme", "2016-01-01", TO, unit="month")
    skipped = trend.meta.duplicates_skipped
    assert (trend.series[0].overall.int64_value, skipped.log, skipped.segment) == (90, 7, 270)
