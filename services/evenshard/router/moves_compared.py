"""Compares source and target of a move anew, while rows come and go: what each slot and day has on both sides.

Nothing waits for it but the follower, which is held for a moment at a position of the source's log; a difference that
was seen once may be what is just on its way, so it is looked for again before it is told.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.operations import Operation, Verified
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.ports.clock import Clock
from evenshard.router.move_ways import CALL_TIMEOUT_S, MoveWays, Way, all_of, come_to_terms
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import StoredOperation
from evenshard.wire.move_calls import compare_request, digest_differences
from evenshard.wire.rpcs import COMPARE_SLOTS

TRIES_MAX: Final = 5
"""Of counting anew, where something was removed meanwhile."""
LOOKS_MAX: Final = 5
"""For a difference that stays."""
POLL_MS: Final = 100.0
ENDED_WITHIN_S: Final = 2.0
NOW_TIMEOUT_S: Final = 10.0


class MoveComparer:
    """Belongs to one event loop."""

    def __init__(self, shards: TenantShards, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._calls = MoveWays(shards)

    async def verified(self, stored: StoredOperation, found: Verified | None) -> Verified | None:
        """What comparing a move finds now; of one whose rows only one side has, or is to have, what was ``found``
        before. Raises ``DEADLINE_EXCEEDED``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``."""
        if not _has_two_sides(stored.operation):
            return found
        ways = self._calls.ways(stored, back=stored.operation.state == "switched")
        try:
            for tries_left in reversed(range(TRIES_MAX)):
                await self._counted(ways)
                try:
                    differences = await all_of(self._differences(way) for way in ways)
                    break
                except EvenshardError as error:
                    if "begin_anew" not in error.details or not tries_left:
                        raise
        finally:
            await self._end(ways)
        return Verified(tuple(told for each in differences for told in each))

    async def _counted(self, ways: Sequence[Way]) -> None:
        while not all(await all_of(come_to_terms(partial(self._counts, way)) for way in ways)):
            if current_call().remaining_s() < 2 * ENDED_WITHIN_S:
                raise EvenshardError("DEADLINE_EXCEEDED", "not all rows were counted in time", hint="give it longer")
            await self._clock.sleep(POLL_MS)

    async def _counts(self, way: Way, agreed: frozenset[bytes] | None) -> list[shard_pb2.GetDigestResponse]:
        request = compare_request(way.moved, shard_pb2.COMPARE_STEP_COUNT, agreed=agreed)
        told = await all_of(
            self._shards.one(shard, COMPARE_SLOTS, request, CALL_TIMEOUT_S) for shard in (way.source, way.target)
        )
        return [each.digest for each in told]

    async def _differences(self, way: Way) -> tuple[str, ...]:
        differences: tuple[str, ...] = ()
        for _ in range(LOOKS_MAX):
            differences = await self._looked(way)
            if not differences:
                break
            await self._clock.sleep(POLL_MS)
        return differences

    async def _looked(self, way: Way) -> tuple[str, ...]:
        while True:
            await self._asked(way, way.target, shard_pb2.COMPARE_STEP_HOLD, 0)
            one = await self._asked(way, way.source, shard_pb2.COMPARE_STEP_NOW, None)
            try:
                other = await self._asked(way, way.target, shard_pb2.COMPARE_STEP_NOW, one.log_position)
            except EvenshardError as error:
                if "behind" not in error.details or current_call().remaining_s() < 2 * ENDED_WITHIN_S:
                    raise
                await self._clock.sleep(POLL_MS)  # who has just lost its slots is told to follow soon
                continue
            leg = replace(way.moved.leg, source=way.source, target=way.target)
            return digest_differences(leg, one, other)

    async def _asked(
        self, way: Way, shard: ShardId, step: shard_pb2.CompareStep, position: int | None
    ) -> shard_pb2.GetDigestResponse:
        request = compare_request(way.moved, step, position)
        return (await self._shards.one(shard, COMPARE_SLOTS, request, NOW_TIMEOUT_S)).digest

    async def _end(self, ways: Sequence[Way]) -> None:
        """Who does not answer ends by itself: a hold after a time, a count with the move."""
        for way in ways:
            request = compare_request(way.moved, shard_pb2.COMPARE_STEP_END)
            await self._shards.ask((way.source, way.target), COMPARE_SLOTS, request, ENDED_WITHIN_S)


def _has_two_sides(operation: Operation) -> bool:
    """Whether one shard follows another, and is to do so for a while."""
    is_ending = operation.move is None or operation.move.wish in ("cancel", "complete")
    return operation.state in ("catching_up", "switched") and not is_ending
