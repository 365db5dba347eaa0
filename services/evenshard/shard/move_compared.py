"""What a shard does where somebody wants source and target of a move compared while rows come.

The follower is held where the source's log ends at that moment, so both tell what they had at one position. Both read
all of it anew, beside what the move itself counts; nothing that is stored changes.
"""

import asyncio
from functools import partial

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.shard.move_follower import MoveFollower
from evenshard.shard.move_source import MoveSource
from evenshard.storage.moving.record import move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.store import Store
from evenshard.wire.moves import agreed_of, counted_message, digest_message, moved_of


class MoveCompared:
    """Belongs to one event loop."""

    def __init__(self, store: Store, source: MoveSource, follower: MoveFollower) -> None:
        self._store = store
        self._source = source
        self._follower = follower

    async def step(self, request: shard_pb2.CompareSlotsRequest) -> shard_pb2.CompareSlotsResponse:
        """Raises ``OPERATION_STATE``, ``PAYLOAD_INVALID``, ``SHARD_UNAVAILABLE`` where a follower is behind."""
        moved, operation = moved_of(request.moved), request.moved.operation
        name, answer = move_name(operation, overflow=moved.overflow), shard_pb2.CompareSlotsResponse()
        match request.step:
            case shard_pb2.COMPARE_STEP_COUNT:
                agreed = agreed_of(request)
                counted = await self._source.counted(
                    (moved.tenant, f"{name}, compared"),
                    partial(self._store.moves.count_beside, moved, operation, agreed),
                )
                answer.digest.CopyFrom(counted_message(counted, agreed))
            case shard_pb2.COMPARE_STEP_HOLD:
                self._follower.hold(moved.tenant, name, request.position)
            case shard_pb2.COMPARE_STEP_NOW:
                answer.digest.CopyFrom(await self._now(moved, operation, name, request))
            case shard_pb2.COMPARE_STEP_END:
                self._follower.let_go(moved.tenant, name)
                await asyncio.to_thread(self._store.moves.end_beside, moved, operation)
            case _:
                raise EvenshardError("PAYLOAD_INVALID", "a comparison has steps, and this is none of them")
        return answer

    async def _now(
        self, moved: MovedSlots, operation: str, name: str, request: shard_pb2.CompareSlotsRequest
    ) -> shard_pb2.GetDigestResponse:
        is_follower, position = request.HasField("position"), request.position
        if is_follower:
            await self._until_at(moved.tenant, name, position)
        digest, followed = await asyncio.to_thread(self._store.moves.digest_now, moved, operation)
        if is_follower and followed != position:
            how_far = "does not follow yet" if followed is None else f"follows up to {followed:,}"
            raise EvenshardError(
                "SHARD_UNAVAILABLE", f"it {how_far}, and was to be at {position:,}", details={"behind": "1"}
            )
        return digest_message(digest)

    async def _until_at(self, tenant: TenantId, name: str, position: int) -> None:
        """Held there, and nothing beyond."""
        self._follower.hold(tenant, name, position)
        await self._follower.until_at(tenant, name, position)
