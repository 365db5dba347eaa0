"""A whole cluster in one process and one loop, on the in-memory ports: routers, a counter, shards and a gateway.

The same builds as in real processes; between them messages are copied and errors travel as on the wire. Shards can
lose power and come back, links can be cut, the directory can be changed behind everybody's back.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import TracebackType
from typing import Any, Final

from evenshard.api.v1 import counter_pb2, ingest_pb2, query_pb2, shard_pb2
from evenshard.counter.build import build as build_counter
from evenshard.directory.keys import service_key, tenant_key
from evenshard.directory.placement import Placement, even_placement
from evenshard.directory.service import Kind, ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.gateway.build import build as build_gateway
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Put
from evenshard.ports.peers import Rpc
from evenshard.router.build import build as build_router
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.service import Build, Ports, Running, ServiceOptions
from evenshard.runtime.settings import Settings
from evenshard.shard.build import build as build_shard
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire import rpcs

_BUILDS: Final[dict[Kind, Build]] = {
    "router": build_router,
    "counter": build_counter,
    "shard": build_shard,
    "gateway": build_gateway,
}
ROUTER: Final = "router-0"
GATEWAY: Final = "gateway-0"
COUNTER: Final = "counter-0"
CALL_TIMEOUT_S: Final = 20.0


@dataclass
class _Service:
    """One service: its disk stays when it is stopped or crashes."""

    kind: Kind
    disk: MemoryDisk | None
    running: Running | None = None
    restarts: int = 0


class MemoryCluster:
    """An async context manager. Services are named as ``up`` names them, and their names are their addresses."""

    def __init__(
        self,
        *,
        shards: int = 2,
        routers: int = 1,
        counters: int = 1,
        seed: int = 0,
        clock: Clock | None = None,
        clocks: Mapping[str, Clock] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._clocks = clocks or {}
        """Of services that have another one."""
        self.rng = SeededRng(seed)
        self.random = Random(seed)
        self.settings = settings or Settings()
        self.directory = MemoryDirectory(self.clock)
        self.peers = MemoryPeers(self.clock, self.rng)
        self.shard_names: Sequence[ShardId] = [ShardId(f"shard-{number}") for number in range(shards)]
        self._services = {f"counter-{number}": _Service("counter", None) for number in range(counters)}
        self._services |= {name: _Service("shard", MemoryDisk()) for name in self.shard_names}
        self._services |= {f"router-{number}": _Service("router", None) for number in range(routers)}
        self._services[GATEWAY] = _Service("gateway", None)

    async def __aenter__(self) -> "MemoryCluster":
        for name in self._services:
            await self.start(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(self._services):
            await self.stop(name)
        await self.peers.close()

    # Services

    async def start(self, name: str) -> None:
        """Starts a service on the disk it has, and lists it in the directory."""
        service = self._services[name]
        ports = Ports(self._clocks.get(name, self.clock), self.rng, self.directory, self.peers, service.disk)
        options = ServiceOptions(service.kind, name, name, (), None, service.restarts, self.settings)
        service.running = await _BUILDS[service.kind](ports, options)
        self.peers.register(name, service.running.servicers)
        record = ServiceRecord(name, service.kind, name, "localhost", 1, service.restarts)
        await self.directory.swap([], [Put(service_key(name), record.to_json())])

    async def add_shard(self) -> ShardId:
        """One shard more, with nothing on it."""
        name = ShardId(f"shard-{len(self.shard_names)}")
        self.shard_names = [*self.shard_names, name]
        self._services[name] = _Service("shard", MemoryDisk())
        await self.start(name)
        return name

    async def stop(self, name: str) -> None:
        """A clean stop; nothing happens to a service that does not run."""
        service = self._services[name]
        if service.running is not None:
            self.peers.unregister(name)
            running, service.running = service.running, None
            await running.close()

    async def crash(self, name: str) -> None:
        """The machine of a service loses power: callers lose the connection, its disk keeps what was synced."""
        service = self._services[name]
        assert service.running is not None
        self.peers.partition(name)
        self.peers.unregister(name)
        if service.disk is not None:
            service.disk = service.disk.crash(self.random)
        running, service.running = service.running, None
        with contextlib.suppress(OSError, EvenshardError, sqlite3.Error):  # what it cannot write is what the crash took
            await running.close()  # ends its threads
        service.restarts += 1
        self.peers.heal(name)

    def disk(self, shard: ShardId) -> MemoryDisk:
        """The disk of a shard, to hurt it."""
        disk = self._services[shard].disk
        assert disk is not None
        return disk

    def put_disk(self, shard: ShardId, disk: MemoryDisk) -> None:
        """The disk a stopped shard starts on next."""
        self._services[shard].disk = disk

    # Tenants

    async def create_tenant(
        self, name: str, settings: TenantSettings | None = None, placement: Placement | None = None
    ) -> Tenant:
        """Writes a tenant's record; all slots are spread evenly over the shards, unless told."""
        placed = placement or even_placement(self.shard_names)
        tenant = Tenant(TenantId(name), settings or TenantSettings(), placed, self.rng.token_hex(8))
        await self.put_tenant(tenant)
        return tenant

    async def put_tenant(self, tenant: Tenant) -> None:
        """Replaces a tenant's record, whatever it was."""
        written = replace(tenant, nonce=self.rng.token_hex(8))
        await self.directory.swap([], [Put(tenant_key(tenant.name), written.to_json())])

    async def tenant(self, name: str) -> Tenant:
        """A tenant's record as it is now."""
        entry = await self.directory.get(tenant_key(TenantId(name)))
        assert entry is not None
        return Tenant.from_json(entry.value)

    async def change_settings(self, name: str, settings: TenantSettings) -> None:
        """The placement stays."""
        await self.put_tenant(replace(await self.tenant(name), settings=settings))

    # Calls

    async def import_events(
        self, tenant: str, *, router: str = ROUTER, timeout_s: float = CALL_TIMEOUT_S, **request: Any
    ) -> ingest_pb2.ImportEventsResponse:
        """``arrow_ipc=`` or ``ndjson=``, and whatever else the request has."""
        message = ingest_pb2.ImportEventsRequest(tenant=tenant, **request)
        result: ingest_pb2.ImportEventsResponse = await self.call(
            router, rpcs.IMPORT_EVENTS, message, timeout_s=timeout_s
        )
        return result

    async def segmentation(self, tenant: str, from_date: str, to_date: str, **request: Any) -> Any:
        message = query_pb2.QuerySegmentationRequest(tenant=tenant, from_date=from_date, to_date=to_date, **request)
        return await self.call(GATEWAY, rpcs.QUERY_SEGMENTATION, message)

    async def export(self, tenant: str, start_ms: int, end_ms: int, **request: Any) -> bytes:
        """The whole payload; checks that it is complete."""
        message = query_pb2.ExportEventsRequest(tenant=tenant, start_ms=start_ms, end_ms=end_ms, **request)
        payload, complete = [], False
        async for answer in self.peers.stream(GATEWAY, rpcs.EXPORT_EVENTS, message, timeout_s=CALL_TIMEOUT_S):
            payload.append(answer.payload)
            complete = answer.complete
        assert complete
        return b"".join(payload)

    async def compact(self, tenant: Tenant) -> Sequence[shard_pb2.CompactResponse]:
        """Indexes all of a tenant's rows, on every shard of it, as it is placed now; anew where that changes meanwhile,
        as when a key crosses."""
        while True:
            tenant = await self.tenant(tenant.name)
            message = shard_pb2.CompactRequest(tenant=tenant.name, epoch=tenant.placement.epoch, wait=True)
            try:
                result: Sequence[shard_pb2.CompactResponse] = await asyncio.gather(
                    *(self.call(shard, rpcs.COMPACT, message) for shard in tenant.placement.shards)
                )
            except EvenshardError as error:
                if error.code != "STALE_EPOCH" or await self.tenant(tenant.name) == tenant:
                    raise
            else:
                return result

    async def hot_keys(self, tenant: str, limit: int = 20, *, of: str = COUNTER) -> Sequence[counter_pb2.KeyCount]:
        """As a counter knows them, or a router, which adds up."""
        message = counter_pb2.ListHotKeysRequest(tenant=tenant, limit=limit)
        return list((await self.call(of, rpcs.LIST_HOT_KEYS, message)).keys)

    async def call(self, name: str, rpc: Rpc[Any, Any], request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Any call to any service."""
        return await self.peers.call(name, rpc, request, timeout_s=timeout_s)

    async def until(self, met: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
        """Waits until ``met()`` (a coroutine function) is true; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_s):
            while not await met():
                await self.clock.sleep(10)
