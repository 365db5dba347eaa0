"""Pausing compaction through a router: every shard of the tenant is told, says so, and forgets it when it restarts."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.wire import rpcs

START_MS = 1_767_225_600_000


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=7) as made:
        yield made


async def test_a_pause_is_shown_by_every_shard_and_ends_with_its_process(cluster: MemoryCluster) -> None:
    async def pause(tenant: str, paused: bool) -> list[tuple[str, bool, list[str]]]:
        answer = await cluster.call(
            ROUTER, rpcs.SET_COMPACTION, admin_pb2.SetCompactionRequest(tenant=tenant, paused=paused)
        )
        return stands(answer.shards)

    async def stored() -> Any:
        return await cluster.call(ROUTER, rpcs.GET_STORAGE, admin_pb2.GetStorageRequest())

    def stands(states: Any) -> list[tuple[str, bool, list[str]]]:
        return [(state.shard, state.paused, list(state.paused_tenants)) for state in states]

    acme = await cluster.create_tenant("acme")
    lines = [{"event": "e", "properties": {"distinct_id": f"u{n}", "time": START_MS + n}} for n in range(50)]
    await cluster.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, lines)))
    assert await pause("acme", True) == [("shard-0", False, ["acme"]), ("shard-1", False, ["acme"])]
    assert await pause("", True) == [("shard-0", True, ["acme"]), ("shard-1", True, ["acme"])]
    before = await stored()
    assert stands(before.compaction) == [("shard-0", True, ["acme"]), ("shard-1", True, ["acme"])]
    assert sum(state.backlog_rows for state in before.compaction) == 50
    assert [(state.log_files, list(state.log_kept_by)) for state in before.compaction] == [(1, ["acme"])] * 2
    # Who asks is not held up, and what is not paused is not shown as such.
    await cluster.compact(acme)
    assert [state.backlog_rows for state in (await stored()).compaction] == [0, 0]
    await cluster.stop("shard-1")
    await cluster.start("shard-1")
    assert stands((await stored()).compaction) == [("shard-0", True, ["acme"]), ("shard-1", False, [])]
    assert await pause("", False) == [("shard-0", False, []), ("shard-1", False, [])]
