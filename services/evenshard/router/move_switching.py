"""Fence, catch up, compare, switch: within a time in which writes may be held, or not at all.

The switch is one swap: the tenant's placement and the operation's record, together. A source that sees none in time
proposes its way back by the same compare-and-swap: whichever comes first is true.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from evenshard.api.v1 import shard_pb2
from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import tenant_key
from evenshard.directory.move_table import Switched, SwitchedBack, unfencing
from evenshard.directory.moves import placement_moved
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.move_ways import CALL_TIMEOUT_S, DIRECTORY_TIMEOUT_S, MoveWays, Way, all_of, move_of
from evenshard.router.operation_writing import OperationWriter
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.wire.move_calls import digest_differences, digest_request
from evenshard.wire.rpcs import FENCE_SLOTS, GET_DIGEST, LEARN_EPOCH, LIFT_FENCE
from evenshard.wire.sealing import learn_epoch_request

POLL_FENCED_MS: Final = 3.0
FENCE_MS_MAX: Final = 700.0
"""From the fence to the switch; sources give up after a second."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Read:
    """A tenant as it stands in the directory."""

    key: str
    revision: Revision
    tenant: Tenant


class MoveSwitching:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        shards: TenantShards,
        writer: OperationWriter,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._calls = MoveWays(shards)
        self._writer = writer
        self._clock = clock
        self._rng = rng

    async def switch(self, stored: StoredOperation, term: Term, *, back: bool) -> bool:
        """Fence, catch up, compare, switch; within ``FENCE_MS_MAX``, or not at all."""
        before = await self._read(stored.operation.tenant)  # while nobody waits for it
        began_ms = self._clock.monotonic_ms()
        error, differences = "", None
        try:
            work = self._try_switch(stored, term, before, began_ms, back=back)
            done = await self._in_time(work, began_ms + FENCE_MS_MAX)
            if isinstance(done, Tenant):
                await self._tell(done)
                return True
            if done is None:
                return False
            error, differences = "source and target are not the same", done
        except EvenshardError as failed:
            if failed.in_doubt:
                raise  # it may have switched: the record tells
            error = f"not switched: {failed.code}: {failed.message}"
        logger().warning("a fence came to nothing", operation=stored.operation.id, why=error, differences=differences)
        written = await self._writer.write(stored, unfencing(move_of(stored), error, differences), term)
        if written is not None:
            await self._lift(written, back=back)
        return written is not None

    async def _try_switch(
        self, stored: StoredOperation, term: Term, before: _Read, began_ms: float, *, back: bool
    ) -> Tenant | tuple[str, ...] | None:
        """The tenant as it is then; what source and target differ in, if they do; None: somebody else decided."""
        operation = stored.operation
        ways = self._calls.ways(stored, back=back)
        epoch = before.tenant.placement.epoch
        fenced = await all_of(
            self._shards.one(
                way.source,
                FENCE_SLOTS,
                shard_pb2.FenceSlotsRequest(moved=way.moved.message(), epoch=epoch),
                FENCE_MS_MAX / 1000,
            )
            for way in ways
        )
        positions = [each.position for each in fenced]
        found = await all_of(
            self._compared(way, position, with_cells=False) for way, position in zip(ways, positions, strict=True)
        )
        if any(differences for differences, _ in found):
            found = await all_of(
                self._compared(way, position, with_cells=True) for way, position in zip(ways, positions, strict=True)
            )
            return tuple(told for differences, _ in found for told in differences)
        while True:
            placement = placement_moved(before.tenant.placement, move_of(stored).legs, back=back)
            moved = replace(before.tenant, placement=placement, nonce=self._rng.token_hex(8))
            held_ms = self._clock.monotonic_ms() - began_ms
            signal = SwitchedBack(held_ms) if back else Switched(held_ms, tuple(at for _, at in found))
            written = await self._writer.write(
                stored,
                signal,
                term,
                [Put(before.key, moved.to_json())],
                [Unchanged(before.key, before.revision)],
            )
            if written is not None:
                self._shards.learn(moved, written.revision)
                return moved
            now = await self._operations.fetch(operation.id, timeout_s=DIRECTORY_TIMEOUT_S)
            if now is None or now.revision != stored.revision:
                return None
            still = await self._directory.get(term.condition.key, timeout_s=DIRECTORY_TIMEOUT_S)
            if still is None or still.revision != term.condition.revision:
                return None
            # The tenant's record changed meanwhile: its settings, or it got an overflow.
            before = await self._read(operation.tenant)

    async def _read(self, name: TenantId) -> _Read:
        """The tenant as the directory has it now. Raises ``TENANT_NOT_FOUND``."""
        entry = await self._directory.get(tenant_key(name), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            raise tenant_not_found(name)
        return _Read(entry.key, entry.revision, Tenant.from_json(entry.value))

    async def _compared(self, way: Way, position: int, *, with_cells: bool) -> tuple[tuple[str, ...], int]:
        """What both sides differ in, once the target has got to the fence, and where the target's log ended."""
        request = digest_request(way.moved, position, with_cells=with_cells)
        mine = self._shards.one(way.source, GET_DIGEST, request, CALL_TIMEOUT_S)
        one, other = await all_of((mine, self._reached(way, request)))
        leg = replace(way.moved.leg, source=way.source, target=way.target)
        return digest_differences(leg, one, other), other.log_position

    async def _reached(self, way: Way, request: shard_pb2.GetDigestRequest) -> shard_pb2.GetDigestResponse:
        """What the target says, which waits a while until it has got there, and is asked again if that was too soon."""
        while True:
            try:
                return await self._shards.one(way.target, GET_DIGEST, request, CALL_TIMEOUT_S)
            except EvenshardError as error:
                if error.code != "OPERATION_STATE":
                    raise
            await self._clock.sleep(POLL_FENCED_MS)

    async def _tell(self, tenant: Tenant) -> None:
        """Shards that wait to learn of the placement need not ask for it; one that does not answer asks by itself."""
        request = learn_epoch_request(tenant.name, tenant.placement.epoch)
        await self._shards.ask(tenant.placement.shards, LEARN_EPOCH, request, FENCE_MS_MAX / 1000)

    async def _lift(self, stored: StoredOperation, *, back: bool) -> None:
        """Sources that were fenced take writes again; one that does not answer proposes it by itself."""
        for way in self._calls.ways(stored, back=back):
            try:
                request = shard_pb2.LiftFenceRequest(moved=way.moved.message())
                await self._shards.one(way.source, LIFT_FENCE, request, CALL_TIMEOUT_S)
            except EvenshardError as error:
                logger().warning("a fence was not lifted", shard=way.source, code=error.code, message=error.message)

    async def _in_time(self, work: Awaitable[_Result], until_ms: float) -> _Result:
        """Raises ``DEADLINE_EXCEEDED`` where it takes longer."""
        task = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self._clock.sleep(until_ms - self._clock.monotonic_ms()))
        try:
            await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise EvenshardError("DEADLINE_EXCEEDED", f"not within {FENCE_MS_MAX:.0f} ms")
            return await task
        finally:
            over.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
