"""Lives of a tenant on real shards in one process, over links that delay, lose and repeat: it is moved, split, merged,
taken back; shards lose power, and the directory fails. What was acknowledged is there once, whenever it is looked at.
"""

import asyncio
import contextlib
from collections import Counter
from random import Random
from typing import Any, Final

import orjson

from evenshard.api.v1 import admin_pb2
from evenshard.directory.placement import even_placement
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.testing.crossing import Chances, chancy, chancy_cluster
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs

START_MS: Final = 1_767_225_600_000
END_MS: Final = START_MS + 86_400_000
TENANT: Final = "acme"
ROUTERS: Final = ("router-0", "router-1")
SHARDS: Final = tuple(ShardId(f"shard-{number}") for number in range(3))
HEALED_WITHIN_S: Final = 30.0


class ChancyLife:
    """One tenant, from a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(f"moving life {seed}")
        self.cluster = chancy_cluster(seed, shards=len(SHARDS), routers=len(ROUTERS))
        self.rows: list[Row] = []
        self.acked: set[str] = set()
        self.moves = 0
        self.looks = 0
        self._down: set[str] = set()

    async def live(self, steps: int) -> None:
        """So many things that people do, or that go wrong; then everything is healed."""
        async with self.cluster as cluster:
            tenant = await cluster.create_tenant(TENANT, placement=even_placement(SHARDS[:2]))
            await self._send(300)
            await cluster.compact(tenant)
            await cluster.until(self._moved, HEALED_WITHIN_S)  # whatever chance brings, it was moved once
            traffic = asyncio.create_task(self._traffic())
            for _ in range(steps):
                await self._something()
                await cluster.clock.sleep(self.random.random() * 300)
                assert not traffic.done(), traffic.exception()
            await self._heal()
            traffic.cancel()
            await asyncio.gather(traffic, return_exceptions=True)
            await self._settled()

    async def _traffic(self) -> None:
        while True:
            await self._send(self.random.randrange(1, 30))
            await self._look()
            await self.cluster.clock.sleep(self.random.random() * 20)

    async def _send(self, count: int) -> None:
        new = [self._row(number) for number in range(len(self.rows), len(self.rows) + count)]
        self.rows += new
        batch = [*new, *self.random.choices(self.rows, k=count // 3)]
        with contextlib.suppress(EvenshardError):
            answer = await self.cluster.import_events(
                TENANT, router=self.random.choice(ROUTERS), ndjson=ndjson_of(batch), timeout_s=3
            )
            refused = {error.index for error in answer.errors}
            self.acked |= {row["insert_id"] for at, row in enumerate(batch) if at not in refused}

    def _row(self, number: int) -> Row:
        return {
            "event": "view",
            "distinct_id": f"u{number % 61}" if number % 7 else "",
            "time": START_MS + number % 86_400_000,
            "insert_id": f"i{number}",
            "properties": {"number": number},
        }

    async def _look(self) -> bool:
        """False: there is no answer now."""
        acked = set(self.acked)
        try:
            payload = await self.cluster.export(TENANT, START_MS, END_MS)
        except (EvenshardError, AssertionError):
            return False
        found = Counter(orjson.loads(line)["properties"]["$insert_id"] for line in payload.splitlines())
        twice = [name for name, count in found.items() if count > 1]
        assert not twice, f"seed {self.seed}: {twice[:3]} twice"
        lost = sorted(acked - found.keys())
        assert not lost, f"seed {self.seed}: {len(lost)} acknowledged events lost, as {lost[:3]}"
        self.looks += 1
        return True

    async def _something(self) -> None:
        match self.random.randrange(8):
            case 0 | 1 | 2:
                await self._move()
            case 3 | 4:
                await self._wish()
            case 5:
                await self._power()
            case 6:
                self._links()
            case 7:
                self._directory()

    async def _asked(self, rpc: Any, request: Any) -> Any:
        try:
            return await self.cluster.call(self.random.choice(ROUTERS), rpc, request, timeout_s=3)
        except EvenshardError:
            return None

    async def _moved(self) -> bool:
        await self._move()
        return self.moves > 0

    async def _move(self) -> None:
        to = self.random.choice(SHARDS)
        match self.random.randrange(3):
            case 0:
                answer = await self._asked(rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant=TENANT, to=to))
            case 1:
                answer = await self._asked(rpcs.SPLIT_TENANT, admin_pb2.SplitTenantRequest(tenant=TENANT, to=[to]))
            case _:
                slots = sorted(self.random.choices(range(4096), k=2))
                wanted = admin_pb2.WantedSlots(first=slots[0], last=slots[1])
                request = admin_pb2.MoveTenantRequest(tenant=TENANT, to=to, slots=wanted)
                answer = await self._asked(rpcs.MOVE_TENANT, request)
        self.moves += answer is not None

    async def _wish(self) -> None:
        listed = await self._asked(rpcs.LIST_OPERATIONS, admin_pb2.ListOperationsRequest(tenant=TENANT))
        if listed is None or not listed.operations:
            return
        name = listed.operations[0].operation
        match self.random.randrange(5):
            case 0:
                await self._asked(rpcs.CANCEL_OPERATION, admin_pb2.CancelOperationRequest(operation=name))
            case 1 | 2:
                await self._asked(rpcs.ROLLBACK_OPERATION, admin_pb2.RollbackOperationRequest(operation=name))
            case _:
                await self._asked(rpcs.COMPLETE_OPERATION, admin_pb2.CompleteOperationRequest(operation=name))

    async def _power(self) -> None:
        """A shard, or a router, is gone for a moment."""
        name = self.random.choice([*SHARDS, *ROUTERS])
        if name in self._down:
            return
        self._down.add(name)
        await self.cluster.crash(name)
        await self.cluster.clock.sleep(self.random.random() * 400)
        self.cluster.directory.fail_next(0)  # it would try again
        self.cluster.directory.lose_reply_next(0)
        await self.cluster.start(name)
        self._down.discard(name)

    def _links(self) -> None:
        chance = self.random.choice
        chancy(self.cluster).chances = Chances(
            lose=chance([0, 0.03, 0.1]),
            lose_answer=chance([0, 0.03, 0.1]),
            repeat=chance([0, 0.1, 0.3]),
            delay=chance([0, 0.2, 0.5]),
            pause=chance([0, 0.05]),
        )

    def _directory(self) -> None:
        match self.random.randrange(3):
            case 0:
                self.cluster.directory.break_watches()
            case 1:
                self.cluster.directory.fail_next(1)
            case 2:
                self.cluster.directory.lose_reply_next()

    async def _heal(self) -> None:
        self.cluster.directory.fail_next(0)
        self.cluster.directory.lose_reply_next(0)
        chancy(self.cluster).chances = Chances()
        await chancy(self.cluster).settle()

    async def _settled(self) -> None:
        """Everything goes on: answers come, and what is under way comes to where nothing more happens by itself."""
        await self.cluster.until(self._look, HEALED_WITHIN_S)

        async def calm() -> bool:
            request = admin_pb2.ListOperationsRequest(tenant=TENANT)
            listed = await self.cluster.call(ROUTERS[0], rpcs.LIST_OPERATIONS, request)
            ends = ("switched", "complete", "cancelled", "rolled_back")
            return all(each.state in ends or each.paused for each in listed.operations)

        await self.cluster.until(calm, HEALED_WITHIN_S)
        await self.cluster.until(self._look, HEALED_WITHIN_S)
