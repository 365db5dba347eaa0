"""What a driver asks of the shards of a move, leg by leg, in the direction in which rows go."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar, cast

from evenshard.api.v1 import shard_pb2
from evenshard.directory.moves import Move, leg_name
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.operations import StoredOperation
from evenshard.wire.move_calls import Moved, count_request, follow_request
from evenshard.wire.rpcs import FOLLOW_SLOTS, GET_DIGEST

DIRECTORY_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 5.0

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Way:
    """One leg in the direction in which rows go."""

    moved: Moved
    source: ShardId
    target: ShardId
    from_position: int | None = None
    """Of the source's log: what was before it is at the target already; None: nothing is."""


class MoveWays:
    """Belongs to one event loop."""

    def __init__(self, shards: TenantShards) -> None:
        self._shards = shards

    def ways(self, stored: StoredOperation, *, back: bool) -> list[Way]:
        operation, move = stored.operation, move_of(stored)
        found = []
        for number, leg in enumerate(move.legs):
            moved = Moved(operation.tenant, leg_name(operation.id, move, number), stored.revision, leg)
            if back:
                found.append(Way(moved, leg.target, leg.source, move.positions[number]))
            else:
                found.append(Way(moved, leg.source, leg.target))
        return found

    async def followed(self, stored: StoredOperation, *, back: bool) -> list[shard_pb2.FollowSlotsResponse]:
        tenant = await self.tenant(stored)
        move = move_of(stored)
        return await all_of(self.asked(way, tenant, move) for way in self.ways(stored, back=back))

    async def asked(self, way: Way, tenant: Tenant, move: Move) -> shard_pb2.FollowSlotsResponse:
        """How far a follower is."""
        address = self._shards.address(way.source)
        request = follow_request(
            way.moved,
            tenant.placement.epoch,
            way.source,
            address,
            move.bytes_per_second,
            way.from_position,
            move.copies,
        )
        try:
            return await self._shards.one(way.target, FOLLOW_SLOTS, request, CALL_TIMEOUT_S)
        except EvenshardError as error:
            raise replace(error, message=f"{way.target}: {error.message}") from error

    async def are_counted(self, stored: StoredOperation, *, back: bool) -> bool:
        """Whether all that is to be compared is counted up to now."""
        counted = await all_of(come_to_terms(partial(self._counts, way)) for way in self.ways(stored, back=back))
        return all(counted)

    async def _counts(self, way: Way, agreed: frozenset[bytes] | None) -> list[shard_pb2.GetDigestResponse]:
        request = count_request(way.moved, agreed)
        return await all_of(
            self._shards.one(shard, GET_DIGEST, request, CALL_TIMEOUT_S) for shard in (way.source, way.target)
        )

    async def tenant(self, stored: StoredOperation) -> Tenant:
        return await self._shards.tenant(stored.operation.tenant, DIRECTORY_TIMEOUT_S)


async def come_to_terms(
    counts: Callable[[frozenset[bytes] | None], Awaitable[list[shard_pb2.GetDigestResponse]]],
) -> bool:
    """Whether source and target have counted all that there is. Files that both have byte for byte are counted as
    files, the rows of all others one by one. ``counts``: asks both how far they are, given which files both have; None:
    that is to be found out."""
    mine, other = await counts(None)
    agreed = frozenset(mine.files) & frozenset(other.files)
    if frozenset(mine.files) != agreed or frozenset(other.files) != agreed:
        if not (mine.ready and other.ready):  # one has not told yet what it has
            return False
        mine, other = await counts(agreed)
    return mine.ready and other.ready


async def all_of(work: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """All at once; the first failure is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    failures = [each for each in results if isinstance(each, BaseException)]
    if failures:
        raise failures[0]
    return cast("list[_Result]", results)


def move_of(stored: StoredOperation) -> Move:
    """Of an operation that is one."""
    assert stored.operation.move is not None
    return stored.operation.move
