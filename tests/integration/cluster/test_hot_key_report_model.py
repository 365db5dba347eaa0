"""The report of hot keys over random imports equals what a loop over all events says, before and after compaction."""

from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import counter_pb2
from evenshard.directory.keys import MARKS
from evenshard.directory.tenant import TenantSettings
from evenshard.testing.clock import START_MS
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.reference import Reference, Row, ndjson_of
from evenshard.wire import rpcs
from evenshard.wire.hot_key_report import report_document

HOT_EVENT = "$hotshard_events"
DAY_MS = 86_400_000
THRESHOLD = 15
FIRST, LAST = "2026-01-01", "2026-01-03"
ZONES = ("UTC", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Apia")


def random_row(random: Random) -> Row:
    user = random.choices(["runaway", 'o\'dd "one"', "calm", "ünï", ""], [8, 4, 1, 2, 2])[0]
    broken = user == "runaway" and random.random() < 0.9
    properties: dict[str, Any] = {"sdk": "4.2.0" if broken else random.choice(["4.1.8", "4.1.9", 4])}
    if random.random() < 0.7:
        properties["plan"] = random.choice([True, None, 3, 3.5, "3"])
    return {
        "tenant": "acme",
        "event": "heartbeat" if broken else random.choice(["view", "buy"]),
        "distinct_id": user,
        "time": START_MS + random.randrange(3 * DAY_MS),
        "insert_id": f"i{random.randrange(10**9)}",
        "properties": properties,
    }


def expected_keys(rows: list[Row]) -> list[dict[str, Any]]:
    """Of every hot key, largest first: what is kept, rewritten, and which of its values stand out."""
    seen = [row for row in rows if not row["duplicate"]]
    whose = [row["properties"].get("mp_original_distinct_id", row["distinct_id"]) for row in seen]
    days = [datetime.fromtimestamp(row["time"] / 1000, UTC).date().isoformat() for row in seen]
    hot = {key for key, row in zip(zip(whose, days, strict=True), seen, strict=True) if row["event"] == HOT_EVENT}
    told = []
    for user, day in hot:
        mine = [row for row, name, at in zip(seen, whose, days, strict=True) if (name, at) == (user, day)]
        events = Counter(row["properties"].get("mp_original_event_name", row["event"]) for row in mine)
        rewritten = sum(row["event"] == HOT_EVENT for row in mine)
        told.append((user, day, len(mine) - rewritten, rewritten, dict(events)))
    told.sort(key=lambda each: (-each[2] - each[3], each[1], each[0]))
    hot_days, hot_users = {day for _, day in hot}, {user for user, _ in hot}
    rest = [row for row, name, day in zip(seen, whose, days, strict=True) if day in hot_days and name not in hot_users]
    return [
        {
            "distinct_id": user,
            "date": day,
            "kept": kept,
            "rewritten": rewritten,
            "events": events,
            "stands_out": stands_out(
                [row for row, name, at in zip(seen, whose, days, strict=True) if name == user and at in hot_days], rest
            ),
        }
        for user, day, kept, rewritten, events in told
    ]


def stands_out(mine: list[Row], rest: list[Row]) -> list[dict[str, Any]]:
    found = []
    for name in ("plan", "sdk"):
        values, others = (Counter(orjson.dumps(row["properties"].get(name)) for row in rows) for rows in (mine, rest))
        for value, count in values.items():
            share, elsewhere = count / len(mine), others[value] / max(1, len(rest))
            if rest and share >= 0.5 and share >= 2 * elsewhere:
                found.append((elsewhere - share, name, value, share, elsewhere))
    return [
        {
            "property": name,
            "value": orjson.loads(value),
            "share": pytest.approx(share),
            "share_elsewhere": pytest.approx(elsewhere),
        }
        for _, name, value, share, elsewhere in sorted(found)
    ]


@pytest.mark.parametrize("seed", [20261127, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20))])
async def test_a_report_equals_a_loop_over_all_events(seed: int) -> None:
    print("seed", seed)
    random = Random(seed)
    zone = random.choice(ZONES)
    async with MemoryCluster(shards=3, seed=seed) as cluster:
        tenant = await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD, timezone=zone))
        reference = Reference(thresholds={"acme": THRESHOLD})
        sent: list[Row] = []
        for _ in range(12):
            batch = [random_row(random) for _ in range(random.randrange(1, 60))]
            batch += random.sample(sent, min(len(sent), random.randrange(8)))
            random.shuffle(batch)
            reference.import_events(batch)
            await cluster.import_events("acme", ndjson=ndjson_of(batch))
            sent += batch
        expected = expected_keys(reference.rows)
        assert len(expected) >= 3

        async def marked() -> bool:
            return len((await cluster.directory.range(MARKS)).entries) == len(expected)

        await cluster.until(marked)
        for _ in range(2):
            request = counter_pb2.GetHotKeyReportRequest(tenant="acme", from_date=FIRST, to_date=LAST)
            document = report_document(await cluster.call(ROUTER, rpcs.GET_HOT_KEY_REPORT, request))
            names = ("distinct_id", "date", "kept", "rewritten", "events", "stands_out")
            assert [{name: key[name] for name in names} for key in document["hot_keys"]] == expected
            assert {(key["mode"], key["threshold"]) for key in document["hot_keys"]} == {("rewrite", THRESHOLD)}
            await cluster.compact(tenant)
