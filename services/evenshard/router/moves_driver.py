"""Drives moves, as their table says; called by whoever drives operations, while this router leads.

Every effect may be repeated and carries the revision of the operation's last change: shards refuse what is older than
they have seen, and every write is conditional on the record and on the leader's key. So a driver that was overtaken
changes nothing. The switch is one swap: the tenant's placement and the operation's record, together or not at all.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, assert_never, cast

from evenshard.api.v1 import shard_pb2
from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import REPAIRING, moving_key, tenant_key
from evenshard.directory.move_table import (
    Completed,
    Copied,
    Fenced,
    FencedBack,
    MoveEffect,
    MoveState,
    Progressed,
    Recopies,
    RolledBack,
    Switched,
    SwitchedBack,
    move_effect,
    unfencing,
)
from evenshard.directory.moves import Move, leg_name, placement_moved
from evenshard.directory.operations import Dropped, Noted, Operation, Started
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.operation_writing import OperationWriter
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.runtime.telemetry import tracer
from evenshard.wire.move_calls import Moved, digest_differences, digest_request, follow_request
from evenshard.wire.rpcs import (
    DROP_SLOTS,
    END_FOLLOWING,
    FENCE_SLOTS,
    FOLLOW_SLOTS,
    GET_DIGEST,
    LEARN_EPOCH,
    LIFT_FENCE,
)
from evenshard.wire.sealing import learn_epoch_request

DIRECTORY_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 5.0
DROP_TIMEOUT_S: Final = 60.0
POLL_MS: Final = 100.0
"""How often followers are asked how far they are."""
POLL_FENCED_MS: Final = 3.0
NOTE_EVERY_MS: Final = 1_000.0
"""How often that is written down."""
SHIPPING_LOOKED_AT_MS: Final = 500.0
SHIPPING_NOTED_EVERY_MS: Final = 5_000.0
"""The same of what is shipped back, while nobody wants it."""
LAG_ROWS_MAX: Final = 20_000
"""A follower that is behind by more is not waited for by a fence."""
FENCE_MS_MAX: Final = 700.0
"""From the fence to the switch; sources give up after a second."""
HELD_BACK_MS: Final = 2_000.0
"""After a fence that came to nothing; doubles with each, up to ``HELD_BACK_MS_MAX``."""
HELD_BACK_MS_MAX: Final = 30_000.0

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Way:
    """One leg in the direction in which rows go."""

    moved: Moved
    source: ShardId
    target: ShardId
    from_position: int = 0


class MoveDriver:
    """Belongs to one event loop."""

    def __init__(
        self, directory: Directory, operations: OperationView, shards: TenantShards, clock: Clock, rng: Rng
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._clock = clock
        self._rng = rng
        self._writer = OperationWriter(directory, operations, clock, rng)
        self._seen: dict[OperationId, tuple[float, int]] = {}

    async def carry_out(self, stored: StoredOperation, term: Term) -> bool:
        """Does what is next, for some seconds at most while nothing changes. False: nothing came of it, try again
        later. Raises ``TENANT_NOT_FOUND``, and what shards and the directory raise."""
        operation = stored.operation
        effect = move_effect(cast(MoveState, operation.state), _move(stored))
        if effect is None:
            return await self._start(stored, term)
        attributes = {"evenshard.tenant": operation.tenant, "evenshard.move_state": operation.state}
        with tracer().start_as_current_span("router.move", attributes=attributes) as span:
            try:
                return await self._done(effect, stored, term)
            except EvenshardError as error:
                if error.code == "TENANT_NOT_FOUND":
                    raise
                if error.code == "STALE_EPOCH":
                    await self._shards.refreshed(operation.tenant, DIRECTORY_TIMEOUT_S)
                span.set_attribute("evenshard.error", error.code)
                await self._note(stored, f"{error.code}: {error.message}", term)
                return False

    async def _done(self, effect: MoveEffect, stored: StoredOperation, term: Term) -> bool:
        match effect:
            case "copy":
                return await self._copy(stored, term)
            case "follow" | "ship_back":
                return await self._follow(stored, term, back=effect == "ship_back")
            case "switch" | "switch_back":
                return await self._switch(stored, term, back=effect == "switch_back")
            case "give_up":
                return await self._give_up(stored, term)
            case "take_back":
                return await self._end(stored, term, _move(stored).targets)
            case "finish":
                return await self._end(stored, term, _move(stored).sources)
        assert_never(effect)

    # Effects

    async def _start(self, stored: StoredOperation, term: Term) -> bool:
        """Nothing is begun while a repair of the tenant is under way: none begins as long as the move lasts."""
        operation = stored.operation
        prefix = f"{REPAIRING}{operation.tenant}/"
        repairing = await self._directory.range(prefix, timeout_s=DIRECTORY_TIMEOUT_S)
        if repairing.entries:
            names = ", ".join(entry.value.decode() for entry in repairing.entries[:3])
            await self._note(stored, f"waits for the end of repair {names}", term)
            return False
        return await self._write(stored, Started(), term)

    async def _copy(self, stored: StoredOperation, term: Term) -> bool:
        until_ms = self._clock.monotonic_ms() + NOTE_EVERY_MS
        while True:
            told = await self._followed(stored, back=False)
            if all(each.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP for each in told) and not _trouble(told):
                await self._write(stored, self._progress(stored, told), term)
                return await self._advance(stored, Copied(), term)
            if self._clock.monotonic_ms() >= until_ms:
                return await self._progressed(stored, told, term)
            if self._is_old(stored):
                return True
            await self._clock.sleep(POLL_MS)

    async def _follow(self, stored: StoredOperation, term: Term, *, back: bool) -> bool:
        """Fences once followers are close behind, and both sides are ready to be compared."""
        move = _move(stored)
        wanted = not back or move.wish == "rollback"
        until_ms = self._clock.monotonic_ms() + (NOTE_EVERY_MS if wanted else SHIPPING_NOTED_EVERY_MS)
        while True:
            told = await self._followed(stored, back=back)
            if any(each.phase == shard_pb2.FOLLOW_PHASE_COPYING for each in told) and not back:
                return await self._advance(stored, Recopies(), term)
            close = all(
                each.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP and each.lag_rows <= LAG_ROWS_MAX for each in told
            )
            ready = wanted and close and not _trouble(told) and self._may_fence(stored)
            if ready and await self._are_counted(stored, back=back):
                await self._persist_epoch(stored)
                return await self._advance(stored, FencedBack() if back else Fenced(), term)
            if self._clock.monotonic_ms() >= until_ms:
                return await self._progressed(stored, told, term)
            if self._is_old(stored):
                return True
            await self._clock.sleep(POLL_MS if wanted else SHIPPING_LOOKED_AT_MS)

    def _may_fence(self, stored: StoredOperation) -> bool:
        """Not too soon after a fence that came to nothing."""
        operation, fences = stored.operation, _move(stored).fences
        held_back_ms = min(HELD_BACK_MS_MAX, HELD_BACK_MS * 2 ** min(fences, 10) / 2) if fences else 0.0
        began_ms, _ = self._seen.setdefault(OperationId(f"{operation.id}#{fences}"), (self._clock.monotonic_ms(), 0))
        return self._clock.monotonic_ms() - began_ms >= held_back_ms

    async def _switch(self, stored: StoredOperation, term: Term, *, back: bool) -> bool:
        """Fence, catch up, compare, switch; within ``FENCE_MS_MAX``, or not at all."""
        began_ms = self._clock.monotonic_ms()
        error, differences = "", None
        try:
            done = await self._in_time(self._try_switch(stored, term, began_ms, back=back), began_ms + FENCE_MS_MAX)
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
        written = await self._writer.write(stored, unfencing(_move(stored), error, differences), term)
        if written is not None:
            await self._lift(written, back=back)
        return written is not None

    async def _try_switch(
        self, stored: StoredOperation, term: Term, began_ms: float, *, back: bool
    ) -> Tenant | tuple[str, ...] | None:
        """The tenant as it is then; what source and target differ in, if they do; None: somebody else decided."""
        operation, tenant = stored.operation, await self._tenant(stored)
        ways = self._ways(stored, back=back)
        epoch = tenant.placement.epoch
        fenced = await _all(
            self._shards.one(
                way.source,
                FENCE_SLOTS,
                shard_pb2.FenceSlotsRequest(moved=way.moved.message(), epoch=epoch),
                FENCE_MS_MAX / 1000,
            )
            for way in ways
        )
        positions = [each.position for each in fenced]
        await _all(
            self._reached(way, tenant, _move(stored), position) for way, position in zip(ways, positions, strict=True)
        )
        found = await _all(
            self._compared(way, position, with_cells=False) for way, position in zip(ways, positions, strict=True)
        )
        if any(differences for differences, _ in found):
            found = await _all(
                self._compared(way, position, with_cells=True) for way, position in zip(ways, positions, strict=True)
            )
            return tuple(told for differences, _ in found for told in differences)
        while True:
            entry = await self._directory.get(tenant_key(operation.tenant), timeout_s=DIRECTORY_TIMEOUT_S)
            if entry is None:
                raise tenant_not_found(operation.tenant)
            before = Tenant.from_json(entry.value)
            placement = placement_moved(before.placement, _move(stored).legs, back=back)
            moved = replace(before, placement=placement, nonce=self._rng.token_hex(8))
            held_ms = self._clock.monotonic_ms() - began_ms
            signal = SwitchedBack(held_ms) if back else Switched(held_ms, tuple(at for _, at in found))
            written = await self._writer.write(
                stored,
                signal,
                term,
                [Put(entry.key, moved.to_json())],
                [Unchanged(entry.key, entry.revision)],
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

    async def _reached(self, way: _Way, tenant: Tenant, move: Move, position: int) -> None:
        while True:
            told = await self._asked(way, tenant, move)
            if told.position >= position and told.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP:
                return
            await self._clock.sleep(POLL_FENCED_MS)

    async def _compared(self, way: _Way, position: int, *, with_cells: bool) -> tuple[tuple[str, ...], int]:
        """What both sides differ in, and where the target's log ended."""
        request = digest_request(way.moved, position, with_cells=with_cells)
        one, other = await _all(
            self._shards.one(shard, GET_DIGEST, request, CALL_TIMEOUT_S) for shard in (way.source, way.target)
        )
        leg = replace(way.moved.leg, source=way.source, target=way.target)
        return digest_differences(leg, one, other), other.log_position

    async def _are_counted(self, stored: StoredOperation, *, back: bool) -> bool:
        """Whether all that is to be compared is counted up to now."""
        told = await _all(
            self._shards.one(shard, GET_DIGEST, digest_request(way.moved, 0), CALL_TIMEOUT_S)
            for way in self._ways(stored, back=back)
            for shard in (way.source, way.target)
        )
        return all(each.ready for each in told)

    async def _persist_epoch(self, stored: StoredOperation) -> None:
        """Every current shard of the tenant knows its placement durably before there is another. Raises the failure of
        one that does not."""
        name = stored.operation.tenant
        _, failed = await self._shards.each(
            name, LEARN_EPOCH, lambda epoch: learn_epoch_request(name, epoch), lambda: CALL_TIMEOUT_S
        )
        if failed:
            shard, error = sorted(failed.items())[0]
            raise replace(error, message=f"{shard}: {error.message}")

    async def _tell(self, tenant: Tenant) -> None:
        """Shards that wait to learn of the placement need not ask for it; one that does not answer asks by itself."""
        request = learn_epoch_request(tenant.name, tenant.placement.epoch)
        await self._shards.ask(tenant.placement.shards, LEARN_EPOCH, request, FENCE_MS_MAX / 1000)

    async def _lift(self, stored: StoredOperation, *, back: bool) -> None:
        """Sources that were fenced take writes again; one that does not answer proposes it by itself."""
        for way in self._ways(stored, back=back):
            try:
                request = shard_pb2.LiftFenceRequest(moved=way.moved.message())
                await self._shards.one(way.source, LIFT_FENCE, request, CALL_TIMEOUT_S)
            except EvenshardError as error:
                logger().warning("a fence was not lifted", shard=way.source, code=error.code, message=error.message)

    async def _give_up(self, stored: StoredOperation, term: Term) -> bool:
        for way in self._ways(stored, back=False):
            lift = shard_pb2.LiftFenceRequest(moved=way.moved.message())
            await self._shards.one(way.source, LIFT_FENCE, lift, CALL_TIMEOUT_S)
        return await self._end(stored, term, _move(stored).targets)

    async def _end(self, stored: StoredOperation, term: Term, losers: Sequence[ShardId]) -> bool:
        """Nobody follows any more; ``losers`` drop what they have of the slots, into their trash."""
        tenant = await self._tenant(stored)
        for way in self._ways(stored, back=False):
            for shard in (way.target, way.source):
                end = shard_pb2.EndFollowingRequest(moved=way.moved.message())
                await self._shards.one(shard, END_FOLLOWING, end, CALL_TIMEOUT_S)
            for shard in {way.source, way.target} & set(losers):
                drop = shard_pb2.DropSlotsRequest(moved=way.moved.message(), epoch=tenant.placement.epoch)
                await self._shards.one(shard, DROP_SLOTS, drop, DROP_TIMEOUT_S)
        wish = _move(stored).wish
        signal = Dropped() if wish == "cancel" else RolledBack() if wish == "rollback" else Completed()
        return await self._write(stored, signal, term, [Delete(moving_key(stored.operation.tenant))])

    # Of several effects

    def _ways(self, stored: StoredOperation, *, back: bool) -> list[_Way]:
        operation, move = stored.operation, _move(stored)
        found = []
        for number, leg in enumerate(move.legs):
            moved = Moved(operation.tenant, leg_name(operation.id, move, number), stored.revision, leg)
            if back:
                found.append(_Way(moved, leg.target, leg.source, move.positions[number]))
            else:
                found.append(_Way(moved, leg.source, leg.target))
        return found

    async def _followed(self, stored: StoredOperation, *, back: bool) -> list[shard_pb2.FollowSlotsResponse]:
        tenant = await self._tenant(stored)
        move = _move(stored)
        return await _all(self._asked(way, tenant, move) for way in self._ways(stored, back=back))

    async def _asked(self, way: _Way, tenant: Tenant, move: Move) -> shard_pb2.FollowSlotsResponse:
        """How far a follower is."""
        address = self._shards.address(way.source)
        request = follow_request(
            way.moved, tenant.placement.epoch, way.source, address, move.bytes_per_second, way.from_position
        )
        try:
            return await self._shards.one(way.target, FOLLOW_SLOTS, request, CALL_TIMEOUT_S)
        except EvenshardError as error:
            raise replace(error, message=f"{way.target}: {error.message}") from error

    async def _tenant(self, stored: StoredOperation) -> Tenant:
        return await self._shards.tenant(stored.operation.tenant, DIRECTORY_TIMEOUT_S)

    def _is_old(self, stored: StoredOperation) -> bool:
        """Somebody changed the record meanwhile."""
        return self._operations.revision_of(stored.operation.id) > stored.revision

    async def _progressed(
        self, stored: StoredOperation, told: Sequence[shard_pb2.FollowSlotsResponse], term: Term
    ) -> bool:
        """Writes it down, where it is news."""
        signal = self._progress(stored, told)
        operation, move = stored.operation, _move(stored)
        known = (operation.rows_done, operation.rows_total, move.bytes_done, operation.bytes_total, move.lag_rows)
        now = (signal.rows_done, signal.rows_total, signal.bytes_done, signal.bytes_total, signal.lag_rows)
        if (known, operation.error) == (now, signal.error):
            return not signal.error
        return await self._write(stored, signal, term) and not signal.error

    def _progress(self, stored: StoredOperation, told: Sequence[shard_pb2.FollowSlotsResponse]) -> Progressed:
        """Of all legs together. What was copied stays said, whoever follows whom by now."""
        operation = stored.operation
        copied = operation.state == "switched"
        done = operation.rows_done if copied else sum(each.rows_done for each in told)
        total = operation.rows_total if copied else sum(each.rows_total for each in told)
        size = _move(stored).bytes_done if copied else sum(each.bytes_done for each in told)
        whole = operation.bytes_total if copied else sum(each.bytes_total for each in told)
        lag = max(each.lag_rows for each in told)
        eta = self._eta_seconds(operation, size, whole) if operation.state == "copying" else None
        return Progressed(done, total, size, whole, lag, eta, _trouble(told))

    def _eta_seconds(self, operation: Operation, size: int, whole: int) -> float | None:
        now_ms = self._clock.monotonic_ms()
        began_ms, began = self._seen.setdefault(operation.id, (now_ms, size))
        if size <= began or now_ms <= began_ms:
            return None
        return max(0.0, (whole - size) * (now_ms - began_ms) / (size - began) / 1000)

    async def _note(self, stored: StoredOperation, error: str, term: Term) -> None:
        """Writes down what it waits for, where that is news."""
        operation, move = stored.operation, _move(stored)
        if operation.error == error or operation.state == "fenced":
            return
        if operation.state == "planned":
            await self._write(stored, Noted(error, (), 0, 0), term)
            return
        said = Progressed(
            operation.rows_done,
            operation.rows_total,
            move.bytes_done,
            operation.bytes_total,
            move.lag_rows,
            move.eta_seconds,
            error,
        )
        await self._write(stored, said, term)

    async def _advance(
        self, stored: StoredOperation, signal: Copied | Recopies | Fenced | FencedBack, term: Term
    ) -> bool:
        """On the record as it is now, unless somebody wants something else by now."""
        now = self._operations.stored(stored.operation.id)
        if now is None or now.operation.state != stored.operation.state or now.operation.paused:
            return True
        if _move(now).wish != _move(stored).wish:
            return True
        return await self._write(now, signal, term)

    async def _write(
        self, stored: StoredOperation, signal: object, term: Term, changes: Sequence[Put | Delete] = ()
    ) -> bool:
        return await self._writer.write(stored, signal, term, changes) is not None  # type: ignore[arg-type]

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


async def _all(work: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """All at once; the first failure is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    failures = [each for each in results if isinstance(each, BaseException)]
    if failures:
        raise failures[0]
    return cast("list[_Result]", results)


def _move(stored: StoredOperation) -> Move:
    assert stored.operation.move is not None
    return stored.operation.move


def _trouble(told: Sequence[shard_pb2.FollowSlotsResponse]) -> str:
    return "; ".join(f"{each.error_code}: {each.error}" for each in told if each.error_code)
