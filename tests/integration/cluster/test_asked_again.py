"""What a gateway keeps of answers, over real shards: after every import, compaction, deletion and crash an answer from
what is known equals one computed anew, and has every event that was acknowledged."""

import random
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2, query_pb2
from evenshard.testing.cluster import GATEWAY, ROUTER, MemoryCluster
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
STEPS = 40


async def asked(cluster: MemoryCluster, *, no_cache: bool) -> query_pb2.QueryFunnelResponse:
    request = query_pb2.QueryFunnelRequest(
        tenant="acme",
        from_date=FROM,
        to_date=TO,
        steps=[query_pb2.FunnelStep(events=[name]) for name in ("view", "buy")],
        options=query_pb2.QueryOptions(no_cache=no_cache),
    )
    answer: query_pb2.QueryFunnelResponse = await cluster.call(GATEWAY, rpcs.QUERY_FUNNEL, request)
    return answer


@pytest.mark.parametrize("seed", range(3))
async def test_known_answers_are_those_of_now(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    viewers: set[str] = set()
    hits = 0
    async with MemoryCluster(shards=2, seed=seed) as cluster:
        tenant = await cluster.create_tenant("acme")
        for step in range(STEPS):
            match chance.randrange(12):
                case 0 | 1 | 2:
                    users = [f"user-{chance.randrange(60)}" for _ in range(chance.randrange(1, 8))]
                    lines = [line(user, step, number) for number, user in enumerate(users)]
                    payload = b"\n".join(map(orjson.dumps, lines))
                    assert (await cluster.import_events("acme", ndjson=payload)).accepted == len(lines)
                    viewers.update(users)
                case 3:
                    await cluster.compact(tenant)
                case 4 if viewers:
                    gone = chance.choice(sorted(viewers))
                    request = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=[gone])
                    await cluster.call(ROUTER, rpcs.DELETE_USERS, request)
                    viewers.discard(gone)
                case 5:
                    shard = chance.choice(list(cluster.shard_names))
                    await cluster.crash(shard)
                    await cluster.start(shard)
                case _:
                    known, anew = [await asked(cluster, no_cache=no_cache) for no_cache in (False, True)]
                    assert (known.overall, known.groups) == (anew.overall, anew.groups)
                    assert known.overall.steps[0].count == len(viewers)
                    assert known.meta.duplicates_skipped == anew.meta.duplicates_skipped
                    hits += known.meta.cache == "hit"
    assert hits > 0


def line(user: str, step: int, number: int) -> dict[str, Any]:
    properties = {"distinct_id": user, "time": START_MS + step * 1000 + number, "$insert_id": f"{step}-{number}"}
    return {"event": "view", "properties": properties}
