"""A cluster in one process whose tenants move while events come in and are asked for: the traffic, and the moves."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from evenshard.api.v1 import admin_pb2
from evenshard.ids import ShardId
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs

START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
A, B, C = (ShardId(f"shard-{number}") for number in range(3))


class Traffic:
    """Imports batch after batch, every third event again, and asks what there is, until it is told to stop."""

    def __init__(self, cluster: MemoryCluster, tenant: str, routers: Sequence[str] = (ROUTER,)) -> None:
        self.cluster = cluster
        self.tenant = tenant
        self.routers = routers
        self.rows: list[Row] = []
        self.acked = 0
        self.longest_ms = 0.0
        self._stop = False

    def _row(self, number: int) -> Row:
        return {
            "event": ("view", "buy")[number % 2],
            "distinct_id": f"u{number % 97}" if number % 11 else "",
            "time": START_MS + number * 1_009 % (5 * DAY_MS),
            "insert_id": f"i{number}",
            "properties": {"number": number},
        }

    async def send(self, count: int) -> None:
        first = len(self.rows)
        new = [self._row(number) for number in range(first, first + count)]
        self.rows += new
        batch = [*new, *self.rows[: first : max(1, first // 20)]] if first else new
        began_ms = self.cluster.clock.monotonic_ms()
        router = self.routers[first % len(self.routers)]
        answer = await self.cluster.import_events(self.tenant, router=router, ndjson=ndjson_of(batch))
        self.longest_ms = max(self.longest_ms, self.cluster.clock.monotonic_ms() - began_ms)
        assert not answer.errors, answer.errors[0]
        assert (answer.accepted, answer.duplicates) == (len(batch), len(batch) - count)
        self.acked = len(self.rows)

    async def imports(self) -> None:
        while not self._stop:
            await self.send(20)

    async def asks(self) -> None:
        while not self._stop:
            acked = self.acked
            answer = await self.cluster.segmentation(self.tenant, "2026-01-01", "2026-01-05", unit="day")
            found = answer.series[0].overall.int64_value if answer.series else 0
            assert acked <= found <= len(self.rows)

    async def during(self, work: Any) -> Any:
        """What ``work`` gives, with traffic from its begin to its end."""
        self._stop = False
        running = [asyncio.create_task(self.imports()), asyncio.create_task(self.asks())]
        try:
            result = await work
            assert not any(task.done() for task in running), [task.exception() for task in running if task.done()]
            return result
        finally:
            self._stop = True
            await asyncio.gather(*running)

    async def check(self) -> None:
        """Each event once, as it was sent."""
        payload = await self.cluster.export(self.tenant, START_MS, START_MS + 6 * DAY_MS)
        found = Counter(orjson.loads(line)["properties"]["$insert_id"] for line in payload.splitlines())
        assert found == Counter(row["insert_id"] for row in self.rows)


async def began(cluster: MemoryCluster, rpc: Any, request: Any) -> str:
    return str((await cluster.call(ROUTER, rpc, request)).operation.operation)


async def shown(cluster: MemoryCluster, operation: str) -> admin_pb2.Operation:
    answer = await cluster.call(ROUTER, rpcs.GET_OPERATION, admin_pb2.GetOperationRequest(operation=operation))
    found: admin_pb2.Operation = answer.operation
    return found


async def until(cluster: MemoryCluster, operation: str, *states: str, timeout_s: float = 60.0) -> admin_pb2.Operation:
    async def met() -> bool:
        found = await shown(cluster, operation)
        if found.paused:
            raise AssertionError(str(found))
        return found.state in states

    try:
        await cluster.until(met, timeout_s)
    except TimeoutError as error:
        raise AssertionError(str(await shown(cluster, operation))) from error
    return await shown(cluster, operation)


async def complete(cluster: MemoryCluster, operation: str) -> admin_pb2.Operation:
    await cluster.call(ROUTER, rpcs.COMPLETE_OPERATION, admin_pb2.CompleteOperationRequest(operation=operation))
    return await until(cluster, operation, "complete")


async def rows_of(cluster: MemoryCluster, tenant: str) -> dict[str, int]:
    found = {}
    for shard in cluster.shard_names:
        answer = await cluster.call(shard, rpcs.GET_SHARD_STORAGE, rpcs.GET_SHARD_STORAGE.request(tenant=tenant))
        found[str(shard)] = sum(each.log_rows + each.segment_rows for each in answer.tenants)
    return found


async def holds_nothing(cluster: MemoryCluster, tenant: str, *shards: ShardId) -> bool:
    stored = await rows_of(cluster, tenant)
    return not any(stored[shard] for shard in shards)


async def moved(cluster: MemoryCluster, tenant: str, to: ShardId, *, overflow: bool = False) -> None:
    """There, and complete."""
    request = admin_pb2.MoveTenantRequest(tenant=tenant, to=to, overflow=overflow)
    operation = await began(cluster, rpcs.MOVE_TENANT, request)
    found = await until(cluster, operation, "switched")
    assert found.verify.equal
    await complete(cluster, operation)
