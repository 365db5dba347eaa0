"""Appends are bounded from their coming to their answer; who is refused is told when to come, up to the client."""

import asyncio

import orjson
import pytest
from evenshard.directory.tenant import TenantSettings
from evenshard.runtime.settings import Settings
from evenshard.shard.appends import Appends
from evenshard.storage.memory import BACKLOG_FULL
from evenshard.storage.sequencer import RETRY_MS_MAX, RETRY_MS_MIN
from evenshard.storage.store import Store
from evenshard.testing.cluster import MemoryCluster
from evenshard.wire.shards import BatchAppended, BatchToAppend

TIME_MS = 1_767_225_600_000


def lines(first: int, rows: int, filler: int = 0) -> bytes:
    return b"\n".join(
        orjson.dumps(
            {
                "event": "e",
                "distinct_id": f"u{number}",
                "time": TIME_MS,
                "insert_id": f"i{number}",
                "properties": {"filler": "x" * filler},
            }
        )
        for number in range(first, first + rows)
    )


async def test_events_of_a_tenant_far_behind_come_back_with_the_time_to_send_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backlog = [BACKLOG_FULL]
    monkeypatch.setattr(Store, "backlog", lambda self, tenant: backlog[0])
    async with MemoryCluster(shards=1) as cluster:
        await cluster.create_tenant("a", TenantSettings())
        answer = await cluster.import_events("a", ndjson=lines(0, 5), timeout_s=3.0)
        assert (answer.accepted, answer.rejected, answer.retry_after_ms) == (0, 5, 1500)
        assert {(error.code, error.retryable) for error in answer.errors} == {("SHARD_UNAVAILABLE", True)}
        backlog[0] = 0.0
        again = await cluster.import_events("a", ndjson=lines(0, 5))
        assert (again.accepted, again.duplicates, again.retry_after_ms) == (5, 0, 0)


async def test_what_has_no_room_is_taken_later_and_others_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[BatchAppended] = []
    append = Appends._append

    async def noted(self: Appends, batch: BatchToAppend) -> BatchAppended:
        result = await append(self, batch)
        refused.extend([result] if result.code else [])
        return result

    monkeypatch.setattr(Appends, "_append", noted)
    settings = Settings(shard_memory_bytes=512 << 20)
    async with MemoryCluster(shards=1, settings=settings) as cluster:
        for tenant in ("greedy", "modest"):
            await cluster.create_tenant(tenant, TenantSettings())
        payloads = [lines(500 * number, 500, filler=10_000) for number in range(6)]
        *greedy, modest = await asyncio.gather(
            *(cluster.import_events("greedy", ndjson=payload) for payload in payloads),
            cluster.import_events("modest", ndjson=lines(0, 10)),
        )
        assert (modest.accepted, modest.rejected) == (10, 0)
        assert [(answer.accepted, answer.rejected) for answer in greedy] == [(500, 0)] * 6
        assert {result.code for result in refused} == {"OVERLOADED"}
        assert all(RETRY_MS_MIN <= result.retry_after_ms <= RETRY_MS_MAX for result in refused)
