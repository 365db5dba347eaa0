"""``ShardService``: the gRPC edge of a shard. Every call is fenced by the epoch it was planned with."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Protocol

from evenshard.api.v1 import common_pb2, shard_pb2, shard_pb2_grpc
from evenshard.directory.tenant import Tenant
from evenshard.hotkeys.restored import Restored
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.queries.reunion import split_at
from evenshard.runtime.call import current_call
from evenshard.runtime.telemetry import tracer
from evenshard.shard.appends import Appends
from evenshard.shard.compacting import Compactor
from evenshard.shard.heat import ShardHeat
from evenshard.shard.memory import MemoryView, ShardMemory
from evenshard.shard.moves import Moves
from evenshard.shard.placements import Placements, owned_slots
from evenshard.shard.purging import Purger
from evenshard.shard.repairing import Repairer
from evenshard.shard.restored import RestoredView
from evenshard.shard.rows import stream_rows
from evenshard.shard.scan_room import ScanRoom
from evenshard.shard.scans import scan
from evenshard.shard.sealing import Sealing
from evenshard.shard.tags import Tags
from evenshard.shard.telling import load_message
from evenshard.shard.tracing import append_attributes
from evenshard.storage.store import Store
from evenshard.wire.deletions import purge_response, users_to_hide
from evenshard.wire.scans import compact_response, day_of, rows_wanted, scan_response, storage_response
from evenshard.wire.sealing import originals_of, seal_response
from evenshard.wire.shards import append_response, batches_of

LOG_KEEPERS_NAMED_MAX: Final = 100


def _tenant_or_all(name: str) -> TenantId | None:
    return TenantId(name) if name else None


def memory_message(memory: ShardMemory) -> common_pb2.ShardMemory:
    """As it travels."""
    return common_pb2.ShardMemory(
        shard=memory.shard,
        bytes_max=memory.bytes_max,
        resident_bytes=memory.resident_bytes,
        resident_bytes_peak=memory.resident_bytes_peak,
        parts=[
            common_pb2.MemoryPart(part=each.part, bytes=each.bytes, bytes_max=each.bytes_max) for each in memory.parts
        ],
    )


class _OfTenant(Protocol):
    """A request that was planned with a placement."""

    @property
    def tenant(self) -> str: ...

    @property
    def epoch(self) -> int: ...


class ShardService(shard_pb2_grpc.ShardServiceServicer):
    """Holds no state of its own."""

    def __init__(
        self,
        shard: ShardId,
        store: Store,
        placements: Placements,
        appends: Appends,
        compactor: Compactor,
        purger: Purger,
        repairer: Repairer,
        readers: ThreadPoolExecutor,
        scans: ScanRoom,
        tags: Tags,
        memory: MemoryView,
        heat: ShardHeat,
        sealing: Sealing,
        restored: RestoredView,
        moves: Moves,
    ) -> None:
        self._shard = shard
        self._store = store
        self._placements = placements
        self._appends = appends
        self._compactor = compactor
        self._purger = purger
        self._repairer = repairer
        self._readers = readers
        self._scans = scans
        self._tags = tags
        self._memory = memory
        self._heat = heat
        self._sealing = sealing
        self._restored = restored
        self._moves = moves

    async def AppendEvents(
        self, request: shard_pb2.AppendEventsRequest, context: Any
    ) -> shard_pb2.AppendEventsResponse:
        batches = batches_of(request)
        with tracer().start_as_current_span("shard.append") as span:
            results = await self._appends.append(batches)
            if span.is_recording():
                span.set_attributes(append_attributes(self._shard, batches, results))
            return append_response(results)

    async def Scan(self, request: shard_pb2.ScanRequest, context: Any) -> shard_pb2.ScanResponse:
        remaining_s = current_call().remaining_s()
        with tracer().start_as_current_span("shard.scan", attributes=self._scanned(request)) as span:
            epoch = Epoch(request.epoch)
            tenant = await self._placements.at(request.tenant, epoch)
            restored, owned = self._restored.of(tenant.name), owned_slots(tenant, self._shard)
            self._store.moves.check_scan(tenant.name, owned)
            if request.known_tag:
                tag = await self._tag(tenant.name, epoch, restored)
                if tag == request.known_tag:
                    span.set_attribute("evenshard.cache_hit", True)
                    return shard_pb2.ScanResponse(tag=tag, unchanged=True)
            told, bytes_max = request.split_users, request.split_bytes_max
            split = partial(split_at, tenant.placement, self._shard, request.scan, told, bytes_max)
            with self._scans.scan(), self._heat.scanning(tenant.name, request.scan) as running:
                found, version = await scan(
                    self._store,
                    self._readers,
                    tenant.name,
                    epoch,
                    owned,
                    request.scan,
                    split,
                    restored,
                    remaining_s,
                    running.begins,
                )
                running.rows = found.stats.rows_scanned
            stats = found.stats
            span.set_attributes(
                {
                    "evenshard.rows": stats.rows_scanned,
                    "evenshard.bytes": stats.bytes_scanned,
                    "evenshard.duplicates": stats.duplicates_skipped_log + stats.duplicates_skipped_segment,
                    "evenshard.cache_hit": False,
                }
            )
            return scan_response(found, version, self._tags.of(version, restored))

    async def _tag(self, tenant: TenantId, epoch: Epoch, restored: Restored) -> str:
        """In a thread only where the epoch has to be stored: to change threads takes as long as all the rest."""
        if self._store.epoch(tenant) == epoch:
            return self._tags.now(tenant, epoch, restored)
        return await asyncio.to_thread(self._tags.now, tenant, epoch, restored)

    async def ScanRows(
        self, request: shard_pb2.ScanRowsRequest, context: Any
    ) -> AsyncGenerator[shard_pb2.ScanRowsResponse, None]:
        wanted = rows_wanted(request)
        attributes = self._scanned(request)
        with (
            self._scans.export(),
            self._heat.exporting(),
            tracer().start_as_current_span("shard.scan", attributes=attributes) as span,
        ):
            tenant = await self._placements.at(wanted.tenant, wanted.epoch)
            owned, restored = owned_slots(tenant, self._shard), self._restored.of(tenant.name)
            self._store.moves.check_scan(tenant.name, owned)
            remaining_s = current_call().remaining_s()
            messages = stream_rows(self._store, self._readers, wanted, owned, restored, remaining_s)
            size = 0
            try:
                async for message in messages:
                    size += len(message.arrow_ipc)
                    if message.HasField("stats"):
                        span.set_attributes({"evenshard.rows": message.stats.rows_scanned, "evenshard.bytes": size})
                    yield message
            finally:
                await messages.aclose()

    async def Compact(self, request: shard_pb2.CompactRequest, context: Any) -> shard_pb2.CompactResponse:
        tenant = (await self._placements.at(request.tenant, Epoch(request.epoch))).name
        await asyncio.to_thread(self._store.fence, tenant, Epoch(request.epoch))
        day = day_of(request.day)
        if request.wait:
            return compact_response(await self._compactor.compact(tenant, day))
        self._compactor.ask(tenant, day)
        backlog = await asyncio.to_thread(self._store.storage, tenant)
        return shard_pb2.CompactResponse(backlog_rows=sum(each.log_rows for each in backlog))

    async def LearnEpoch(self, request: shard_pb2.LearnEpochRequest, context: Any) -> shard_pb2.LearnEpochResponse:
        await self._sealing.learn_epoch(request.tenant, Epoch(request.epoch))
        return shard_pb2.LearnEpochResponse()

    async def SealKey(self, request: shard_pb2.SealKeyRequest, context: Any) -> shard_pb2.SealKeyResponse:
        key = request.key.distinct_id, request.key.day
        told = await self._sealing.seal(request.tenant, Epoch(request.epoch), key, request.nonce, request.hash_from)
        return seal_response(told.batch, told.identity, told.hash_next)

    async def KeepOriginals(
        self, request: shard_pb2.KeepOriginalsRequest, context: Any
    ) -> shard_pb2.KeepOriginalsResponse:
        key, page = (request.key.distinct_id, request.key.day), (request.hash_from, request.hash_next)
        originals = originals_of(request)
        await self._sealing.keep(request.tenant, Epoch(request.epoch), key, request.nonce, page, originals)
        return shard_pb2.KeepOriginalsResponse()

    async def RecordKey(self, request: shard_pb2.RecordKeyRequest, context: Any) -> shard_pb2.RecordKeyResponse:
        key = request.key.distinct_id, request.key.day
        await self._sealing.record(request.tenant, Epoch(request.epoch), key, request.nonce)
        return shard_pb2.RecordKeyResponse()

    async def HideUsers(self, request: shard_pb2.HideUsersRequest, context: Any) -> shard_pb2.HideUsersResponse:
        tenant = (await self._placements.at(request.tenant, Epoch(request.epoch))).name
        wanted = users_to_hide(request)
        rows = await self._sealing.hide_users(tenant, Epoch(request.epoch), wanted.operation, wanted.distinct_ids)
        return shard_pb2.HideUsersResponse(rows=rows)

    async def RaiseHorizon(
        self, request: shard_pb2.RaiseHorizonRequest, context: Any
    ) -> shard_pb2.RaiseHorizonResponse:
        tenant = (await self._placements.at(request.tenant, Epoch(request.epoch))).name
        horizon_ms = await asyncio.to_thread(
            self._store.raise_horizon, tenant, Epoch(request.epoch), request.horizon_ms
        )
        return shard_pb2.RaiseHorizonResponse(horizon_ms=horizon_ms)

    async def Purge(self, request: shard_pb2.PurgeRequest, context: Any) -> shard_pb2.PurgeResponse:
        tenant = await self._placements.at(request.tenant, Epoch(request.epoch))
        is_owner = self._shard in tenant.placement.shards
        return purge_response(await self._purger.purge(tenant.name, request.operation, is_owner=is_owner))

    async def LookAtKey(self, request: shard_pb2.LookAtKeyRequest, context: Any) -> shard_pb2.LookAtKeyResponse:
        tenant = await self._at(request)
        return await self._repairer.look(tenant.name, owned_slots(tenant, self._shard), request)

    async def ReadKey(
        self, request: shard_pb2.ReadKeyRequest, context: Any
    ) -> AsyncGenerator[shard_pb2.ReadKeyResponse, None]:
        tenant = await self._at(request)
        messages = self._repairer.read(tenant.name, owned_slots(tenant, self._shard), request)
        try:
            async for message in messages:
                yield message
        finally:
            await messages.aclose()

    async def TakeLayer(self, request: shard_pb2.TakeLayerRequest, context: Any) -> shard_pb2.TakeLayerResponse:
        return await self._repairer.take((await self._at(request)).name, request)

    async def BringRows(self, request: shard_pb2.BringRowsRequest, context: Any) -> shard_pb2.BringRowsResponse:
        return await self._repairer.bring((await self._at(request)).name, request)

    async def PrepareRepair(
        self, request: shard_pb2.PrepareRepairRequest, context: Any
    ) -> shard_pb2.PrepareRepairResponse:
        return await self._repairer.prepare((await self._at(request)).name, request)

    async def SettleRepairs(
        self, request: shard_pb2.SettleRepairsRequest, context: Any
    ) -> shard_pb2.SettleRepairsResponse:
        await self._at(request)
        return shard_pb2.SettleRepairsResponse()

    async def TallyLayers(self, request: shard_pb2.TallyLayersRequest, context: Any) -> shard_pb2.TallyLayersResponse:
        return await self._repairer.tally((await self._at(request)).name, request)

    async def DropLayers(self, request: shard_pb2.DropLayersRequest, context: Any) -> shard_pb2.DropLayersResponse:
        return await self._repairer.drop((await self._at(request)).name, request)

    async def FollowSlots(self, request: shard_pb2.FollowSlotsRequest, context: Any) -> shard_pb2.FollowSlotsResponse:
        return await self._moves.follow(request)

    async def CopyRuns(
        self, request: shard_pb2.CopyRunsRequest, context: Any
    ) -> AsyncGenerator[shard_pb2.CopyRunsResponse, None]:
        async with aclosing(self._moves.source.copy(request)) as answers:
            async for answer in answers:
                yield answer

    async def TailLog(
        self, request: shard_pb2.TailLogRequest, context: Any
    ) -> AsyncGenerator[shard_pb2.TailLogResponse, None]:
        async with aclosing(self._moves.source.tail(request)) as answers:
            async for answer in answers:
                yield answer

    async def CopyHeldKeys(
        self, request: shard_pb2.CopyHeldKeysRequest, context: Any
    ) -> AsyncGenerator[shard_pb2.CopyHeldKeysResponse, None]:
        async with aclosing(self._moves.source.held(request)) as answers:
            async for answer in answers:
                yield answer

    async def FenceSlots(self, request: shard_pb2.FenceSlotsRequest, context: Any) -> shard_pb2.FenceSlotsResponse:
        return await self._moves.fence(request)

    async def LiftFence(self, request: shard_pb2.LiftFenceRequest, context: Any) -> shard_pb2.LiftFenceResponse:
        return await self._moves.lift(request)

    async def GetDigest(self, request: shard_pb2.GetDigestRequest, context: Any) -> shard_pb2.GetDigestResponse:
        return await self._moves.digest(request)

    async def CompareSlots(
        self, request: shard_pb2.CompareSlotsRequest, context: Any
    ) -> shard_pb2.CompareSlotsResponse:
        return await self._moves.compared.step(request)

    async def EndFollowing(
        self, request: shard_pb2.EndFollowingRequest, context: Any
    ) -> shard_pb2.EndFollowingResponse:
        return await self._moves.end(request)

    async def DropSlots(self, request: shard_pb2.DropSlotsRequest, context: Any) -> shard_pb2.DropSlotsResponse:
        return await self._moves.drop(request)

    async def _at(self, request: _OfTenant) -> Tenant:
        """Raises ``STALE_EPOCH``, ``TENANT_NOT_FOUND``."""
        epoch = Epoch(request.epoch)
        tenant = await self._placements.at(request.tenant, epoch)
        await asyncio.to_thread(self._store.fence, tenant.name, epoch)
        return tenant

    async def DropTenant(self, request: shard_pb2.DropTenantRequest, context: Any) -> shard_pb2.DropTenantResponse:
        return await self._moves.drop_tenant(request)

    async def GetShardStorage(
        self, request: shard_pb2.GetShardStorageRequest, context: Any
    ) -> shard_pb2.GetShardStorageResponse:
        stored = await asyncio.to_thread(self._store.storage, _tenant_or_all(request.tenant))
        return storage_response(stored, await self._compaction(), memory_message(self._memory.now()))

    async def GetShardLoad(
        self, request: shard_pb2.GetShardLoadRequest, context: Any
    ) -> shard_pb2.GetShardLoadResponse:
        stored = await asyncio.to_thread(self._store.storage, None)
        pending, free = self._memory.room.bytes, await asyncio.to_thread(self._store.free_bytes)
        return shard_pb2.GetShardLoadResponse(load=load_message(self._shard, self._heat.now(), stored, pending, free))

    async def SetShardCompaction(
        self, request: shard_pb2.SetShardCompactionRequest, context: Any
    ) -> shard_pb2.SetShardCompactionResponse:
        change = self._compactor.pause if request.paused else self._compactor.resume
        change(_tenant_or_all(request.tenant))
        return shard_pb2.SetShardCompactionResponse(state=await self._compaction())

    async def _compaction(self) -> common_pb2.CompactionState:
        state = await asyncio.to_thread(self._compactor.state)
        return common_pb2.CompactionState(
            shard=self._shard,
            paused=state.paused,
            paused_tenants=state.paused_tenants,
            failing_tenants=state.failing_tenants,
            backlog_rows=state.backlog_rows,
            log_files=state.log_files,
            log_kept_by=state.log_kept_by[:LOG_KEEPERS_NAMED_MAX],
        )

    def _scanned(self, request: shard_pb2.ScanRequest | shard_pb2.ScanRowsRequest) -> dict[str, str | int]:
        return {
            "evenshard.tenant": request.tenant,
            "evenshard.shard": self._shard,
            "evenshard.epoch": request.epoch,
        }
