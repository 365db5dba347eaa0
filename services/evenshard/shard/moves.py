"""What the driver of a move asks of a shard; each call carries the revision of the operation's last change."""

import asyncio
from functools import partial

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.shard.compacting import Compactor
from evenshard.shard.move_compared import MoveCompared
from evenshard.shard.move_follower import MoveFollower
from evenshard.shard.move_source import MoveSource
from evenshard.shard.placements import Placements, ownership
from evenshard.storage.moving.record import move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Ownership
from evenshard.storage.store import Store
from evenshard.wire.moves import agreed_of, counted_message, digest_message, moved_of, progress_message


class Moves:
    """Belongs to one event loop."""

    def __init__(
        self,
        shard: ShardId,
        store: Store,
        placements: Placements,
        compactor: Compactor,
        source: MoveSource,
        follower: MoveFollower,
    ) -> None:
        self._shard = shard
        self._store = store
        self._placements = placements
        self._compactor = compactor
        self.source = source
        self._follower = follower
        self.compared = MoveCompared(store, source, follower)

    async def follow(self, request: shard_pb2.FollowSlotsRequest) -> shard_pb2.FollowSlotsResponse:
        """Begins, or goes on; how far it is. Raises ``OPERATION_STATE`` where this shard owns the slots."""
        moved, message = moved_of(request.moved), request.moved
        owned = await self._owned(moved, request.epoch)
        if _has_any(owned, moved):
            raise EvenshardError("OPERATION_STATE", f"{self._shard} owns the slots it is to follow another shard for")
        record = await asyncio.to_thread(
            self._store.moves.follow,
            moved,
            Epoch(request.epoch),
            message.operation,
            message.revision,
            ShardId(request.source),
            request.source_address,
            request.bytes_per_second,
            request.from_position if request.HasField("from_position") else None,
            request.copies,
        )
        self._follower.go_on(moved.tenant, record.name)
        error = self._follower.error_of(moved.tenant, record.name)
        return progress_message(record, self._follower.log_end_of(moved.tenant, record.name), error)

    async def fence(self, request: shard_pb2.FenceSlotsRequest) -> shard_pb2.FenceSlotsResponse:
        moved, message = moved_of(request.moved), request.moved
        owned = await self._owned(moved, request.epoch)
        if not _has_all(owned, moved):
            raise EvenshardError("OPERATION_STATE", f"{self._shard} does not own the slots that are to be fenced")
        fence = self._store.moves.fence
        position = await asyncio.to_thread(fence, moved, Epoch(request.epoch), message.operation, message.revision)
        record = self._store.moves.get(moved.tenant, message.operation, overflow=moved.overflow)
        if record is not None:
            self.source.watch(moved.tenant, record)
        return shard_pb2.FenceSlotsResponse(position=position)

    async def lift(self, request: shard_pb2.LiftFenceRequest) -> shard_pb2.LiftFenceResponse:
        moved, message = moved_of(request.moved), request.moved
        await asyncio.to_thread(self._store.moves.lift, moved, message.operation, message.revision)
        return shard_pb2.LiftFenceResponse()

    async def digest(self, request: shard_pb2.GetDigestRequest) -> shard_pb2.GetDigestResponse:
        moved, message = moved_of(request.moved), request.moved
        if not request.HasField("position"):
            agreed = agreed_of(request)
            return counted_message(await self.source.count(moved, message.operation, message.revision, agreed), agreed)
        name = move_name(message.operation, overflow=moved.overflow)
        await self._follower.until_at(moved.tenant, name, request.position)
        digest = partial(self._store.moves.digest, with_cells=request.with_cells)
        found = await asyncio.to_thread(digest, moved, message.operation, message.revision, request.position)
        return digest_message(found)

    async def end(self, request: shard_pb2.EndFollowingRequest) -> shard_pb2.EndFollowingResponse:
        moved, message = moved_of(request.moved), request.moved
        await asyncio.to_thread(self._store.moves.end, moved, message.operation, message.revision)
        return shard_pb2.EndFollowingResponse()

    async def drop(self, request: shard_pb2.DropSlotsRequest) -> shard_pb2.DropSlotsResponse:
        """Raises ``OPERATION_STATE`` where this shard owns any of the slots, by the record as it is now."""
        moved, message, epoch = moved_of(request.moved), request.moved, Epoch(request.epoch)
        owned = await self._owned(moved, request.epoch, anew=True)
        if _has_any(owned, moved):
            raise EvenshardError("OPERATION_STATE", f"{self._shard} owns the slots whose rows are to be dropped")
        spread = owned.overflow is None or bool(owned.overflow.any())
        drop = partial(self._store.moves.drop, moved, epoch, message.operation, message.revision, spread=spread)
        return shard_pb2.DropSlotsResponse(rows=await self._compactor.beside(drop))

    async def drop_tenant(self, request: shard_pb2.DropTenantRequest) -> shard_pb2.DropTenantResponse:
        """Raises ``OPERATION_STATE`` where there is such a tenant, by the directory as it is now."""
        tenant = TenantId(request.tenant)
        if await self._placements.is_known(tenant):
            raise EvenshardError("OPERATION_STATE", f"there is a tenant {tenant!r}: its rows stay")
        remove = partial(self._store.moves.remove_tenant, tenant)
        return shard_pb2.DropTenantResponse(rows=await self._compactor.beside(remove))

    async def _owned(self, moved: MovedSlots, epoch: int, *, anew: bool = False) -> Ownership:
        """By the tenant's record; ``anew``: read from the directory now. Raises ``STALE_EPOCH``."""
        tenant = await self._placements.at(moved.tenant, Epoch(epoch), anew=anew)
        return ownership(tenant.placement, self._shard)


def _has_any(owned: Ownership, moved: MovedSlots) -> bool:
    mask = owned.overflow if moved.overflow else owned.home
    return mask is None or bool((mask & moved.mask).any())


def _has_all(owned: Ownership, moved: MovedSlots) -> bool:
    mask = owned.overflow if moved.overflow else owned.home
    return mask is None or bool(mask[moved.mask].all())
