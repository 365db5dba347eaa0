"""Routers amid shards that only hide and purge, on a clock that stands still: for operations and retention."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from evenshard.api.v1 import admin_pb2, counter_pb2, shard_pb2
from evenshard.directory.keys import OPERATIONS, mark_key, service_key, tenant_key
from evenshard.directory.operations import Operation
from evenshard.directory.placement import even_placement
from evenshard.directory.service import Kind, ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.directory import Put
from evenshard.router.build import build
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.settings import Settings
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.mortal import Life, MortalDirectory, MortalPeers
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire import rpcs

TENANT: Final = TenantId("acme")
SHARDS: Final = (ShardId("shard-0"), ShardId("shard-1"))
COUNTER: Final = "counter-0"
STEP_MS: Final = 200.0
STEPS_MAX: Final = 20_000
CALL_TIMEOUT_S: Final = 600.0
"""On the clock that stands still: tests wait for outcomes, not for time."""


@dataclass(slots=True)
class StoredEvent:
    """One event as a shard has it."""

    distinct_id: str
    time_ms: int
    name: str
    hidden: bool = False


@dataclass
class DeletingShard:
    """Keeps events of one tenant; hides and removes them as shards promise to."""

    events: list[StoredEvent] = field(default_factory=list)
    epoch: int = 1
    horizon_ms: int = 0
    polls_to_purge: int = 2
    """How often somebody asks until hidden events are gone."""
    operations: dict[str, int] = field(default_factory=dict)
    """Those that hid users here, and how often they asked since whether the bytes are gone."""
    hides: int = 0
    """That changed something."""
    asked: list[Any] = field(default_factory=list)

    def store(self, distinct_id: str, time_ms: int, name: str) -> None:
        self.events.append(StoredEvent(distinct_id, time_ms, name))

    @property
    def visible(self) -> list[str]:
        """Names, in the order stored."""
        return [event.name for event in self.events if not event.hidden and event.time_ms >= self.horizon_ms]

    async def HideUsers(self, request: Any, context: Any) -> shard_pb2.HideUsersResponse:
        self._check(request)
        if request.operation not in self.operations:
            self.operations[request.operation] = 0
            self.hides += 1
            for event in self.events:
                event.hidden |= event.distinct_id in request.distinct_ids
        return shard_pb2.HideUsersResponse(rows=sum(event.hidden for event in self.events))

    async def RaiseHorizon(self, request: Any, context: Any) -> shard_pb2.RaiseHorizonResponse:
        self._check(request)
        self.horizon_ms = max(self.horizon_ms, request.horizon_ms)
        return shard_pb2.RaiseHorizonResponse(horizon_ms=self.horizon_ms)

    async def Purge(self, request: Any, context: Any) -> shard_pb2.PurgeResponse:
        self._check(request)
        asked = self.operations[request.operation] = self.operations.get(request.operation, 0) + 1
        if asked <= self.polls_to_purge:
            left = self.polls_to_purge - asked + 1
            return shard_pb2.PurgeResponse(rows_left=left, rows_done=asked - 1, waits_for="a compaction")
        self.events = [event for event in self.events if not event.hidden and event.time_ms >= self.horizon_ms]
        return shard_pb2.PurgeResponse(purged=True, rows_done=self.polls_to_purge)

    def _check(self, request: Any) -> None:
        self.asked.append(request)
        if request.epoch < self.epoch:
            raise EvenshardError("STALE_EPOCH", f"the epoch is {self.epoch}")


@dataclass
class ForgettingCounter:
    """Says whom it forgot."""

    forgotten: list[tuple[str, list[str]]] = field(default_factory=list)

    async def ForgetUsers(self, request: Any, context: Any) -> counter_pb2.ForgetUsersResponse:
        self.forgotten.append((request.tenant, list(request.distinct_ids)))
        return counter_pb2.ForgetUsersResponse()


def _nothing(*_: Any) -> None:
    """Servicers in memory are added to no server."""


class DeletionWorld:
    """An async context manager: a tenant on two shards, a counter, and as many routers as are started."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.directory = MemoryDirectory(self.clock)
        self.peers = MemoryPeers(self.clock, SeededRng(seed))
        self.shards = {name: DeletingShard() for name in SHARDS}
        self.counter = ForgettingCounter()
        self.lives: dict[str, Life] = {}
        self._seed = seed
        self._running: dict[str, Running] = {}

    async def __aenter__(self) -> "DeletionWorld":
        for name, shard in self.shards.items():
            await self._list(name, "shard", Servicer(rpcs.SHARD_SERVICE, _nothing, shard))
        await self._list(COUNTER, "counter", Servicer(rpcs.COUNTER_SERVICE, _nothing, self.counter))
        await self.put_tenant()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            if self.lives[name].still:
                self.lives[name].bury()
            self.lives[name].arm(None, "before")
            await self.stop(name)
        await self.peers.close()

    async def put_tenant(self, epoch: int = 1, **settings: Any) -> None:
        record = Tenant(TENANT, TenantSettings(**settings), even_placement(SHARDS, Epoch(epoch)), f"n{epoch}{settings}")
        await self.directory.swap([], [Put(tenant_key(TENANT), record.to_json())])

    async def put_mark(self, distinct_id: str, day: int = 20_000) -> str:
        """Marks a key as hot; returns the directory's key."""
        key = mark_key(TENANT, distinct_id, day)
        await self.directory.swap([], [Put(key, Mark("rewrite", 5, 6, "n").to_json())])
        return key

    # Routers

    async def start(self, name: str) -> None:
        """A router; the first one leads."""
        life = self.lives[name] = Life()
        rng = SeededRng(self._seed + len(self.lives))
        directory, peers = MortalDirectory(self.directory, life), MortalPeers(self.peers, life)
        options = ServiceOptions("router", name, name, (), None, 0, Settings())
        self._running[name] = await build(Ports(self.clock, rng, directory, peers, None), options)
        self.peers.register(name, self._running[name].servicers)
        await self.pass_time(STEP_MS)

    async def stop(self, name: str) -> None:
        """A clean stop."""
        self.peers.unregister(name)
        closing = asyncio.ensure_future(self._running.pop(name).close())
        await self.until(closing.done)
        await closing

    async def _list(self, name: str, kind: Kind, servicer: Servicer) -> None:
        self.peers.register(name, [servicer])
        record = ServiceRecord(name, kind, name, "localhost", 1, 0)
        await self.directory.swap([], [Put(service_key(name), record.to_json())])

    # Time

    async def pass_time(self, duration_ms: float) -> None:
        """In small steps, so that threads have their turns too."""
        for _ in range(math.ceil(duration_ms / STEP_MS)):
            await self.clock.advance(STEP_MS)
            await asyncio.sleep(0.0005)

    async def until(self, met: Callable[[], Any]) -> None:
        """Lets time pass until ``met()``; fails where that does not come."""
        for _ in range(STEPS_MAX):
            if met():
                return
            await self.pass_time(STEP_MS)
        raise AssertionError("it did not come to pass")

    async def answer(self, call: Awaitable[Any]) -> Any:
        """What a call gives, while time passes."""
        task = asyncio.ensure_future(call)
        try:
            await self.until(task.done)
            return await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, EvenshardError):
                await task

    # Calls

    def call(self, router: str, rpc: Any, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Awaitable[Any]:
        return self.peers.call(router, rpc, request, timeout_s=timeout_s)

    async def delete_users(
        self,
        router: str,
        distinct_ids: Sequence[str],
        *,
        tenant: str = TENANT,
        block: bool = False,
        timeout_s: float = CALL_TIMEOUT_S,
        **options: Any,
    ) -> admin_pb2.Operation:
        request = admin_pb2.DeleteUsersRequest(
            tenant=tenant, distinct_ids=distinct_ids, block=block, options=admin_pb2.ChangeOptions(**options)
        )
        answer = await self.answer(self.call(router, rpcs.DELETE_USERS, request, timeout_s))
        operation: admin_pb2.Operation = answer.operation
        return operation

    async def records(self) -> list[Operation]:
        """As the directory has them, the oldest first."""
        return [Operation.from_json(entry.value) for entry in (await self.directory.range(OPERATIONS)).entries]

    async def ended(self, operation: str) -> Operation:
        """The operation, once it has ended."""
        for _ in range(STEPS_MAX):
            found = next(each for each in await self.records() if each.id == operation)
            if found.ended:
                return found
            await self.pass_time(STEP_MS)
        raise AssertionError(f"it did not end: {found}")

    async def keys(self, prefix: str) -> list[str]:
        """Keys below ``prefix``, without it."""
        return [entry.key.removeprefix(prefix) for entry in (await self.directory.range(prefix)).entries]
