"""Drives moves, as their table says; called by whoever drives operations, while this router leads.

Every effect may be repeated and carries the revision of the operation's last change: shards refuse what is older than
they have seen, and every write is conditional on the record and on the leader's key. So a driver that was overtaken
changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never, cast

from evenshard.api.v1 import shard_pb2
from evenshard.directory.keys import REPAIRING, moving_key
from evenshard.directory.move_table import (
    Completed,
    Copied,
    CopiesAnew,
    Fenced,
    FencedBack,
    MoveEffect,
    MoveSignal,
    MoveState,
    Progressed,
    Recopies,
    RolledBack,
    move_effect,
)
from evenshard.directory.moves import COPIES_MAX
from evenshard.directory.operations import Dropped, Noted, Operation, Signal, Started
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.move_switching import MoveSwitching
from evenshard.router.move_ways import CALL_TIMEOUT_S, DIRECTORY_TIMEOUT_S, MoveWays, move_of
from evenshard.router.operation_writing import OperationWriter
from evenshard.router.shard_uses import no_more_isolated
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.runtime.operations import OperationView, StoredOperation
from evenshard.runtime.telemetry import tracer
from evenshard.wire.rpcs import (
    DROP_SLOTS,
    END_FOLLOWING,
    LEARN_EPOCH,
    LIFT_FENCE,
)
from evenshard.wire.sealing import learn_epoch_request

DROP_TIMEOUT_S: Final = 60.0
POLL_MS: Final = 100.0
POLL_MS_MIN: Final = 10.0
"""How often followers are asked how far they are; the more often, the sooner they will be there."""
NOTE_EVERY_MS: Final = 1_000.0
"""How often that is written down."""
SHIPPING_LOOKED_AT_MS: Final = 500.0
SHIPPING_NOTED_EVERY_MS: Final = 5_000.0
"""The same of what is shipped back, while nobody wants it."""
LAG_ROWS_MAX: Final = 4_000
"""A follower that is behind by more is not waited for by a fence; where it stays behind, doubles every
``LAG_DOUBLES_MS``, up to ``LAG_DOUBLINGS_MAX`` times: so fast an import would else put a move off for ever."""
LAG_DOUBLES_MS: Final = 2_000.0
LAG_DOUBLINGS_MAX: Final = 8
SEEN_MAX: Final = 10_000
HELD_BACK_MS: Final = 2_000.0
"""After a fence that came to nothing; doubles with each, up to ``HELD_BACK_MS_MAX``."""
HELD_BACK_MS_MAX: Final = 8_000.0
"""So that a move goes on soon after the end of what kept its fences from a switch."""


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
        self._calls = MoveWays(shards)
        self._writer = OperationWriter(directory, operations, clock, rng)
        self._switching = MoveSwitching(directory, operations, shards, self._writer, clock, rng)
        self._seen: dict[str, tuple[float, int]] = {}

    async def carry_out(self, stored: StoredOperation, term: Term) -> bool:
        """Does what is next, for some seconds at most while nothing changes. False: nothing came of it, try again
        later. Raises ``TENANT_NOT_FOUND``, and what shards and the directory raise."""
        operation = stored.operation
        effect = move_effect(cast(MoveState, operation.state), move_of(stored))
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
                return await self._switching.switch(stored, term, back=effect == "switch_back")
            case "give_up":
                return await self._give_up(stored, term)
            case "take_back":
                return await self._end(stored, term, move_of(stored).targets)
            case "finish":
                return await self._end(stored, term, move_of(stored).sources)
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
            told = await self._calls.followed(stored, back=False)
            if all(each.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP for each in told) and not _trouble(told):
                await self._write(stored, self._progress(stored, told), term)
                return await self._advance(stored, Copied(), term)
            if self._clock.monotonic_ms() >= until_ms:
                return await self._progressed(stored, told, term)
            if self._is_old(stored):
                return True
            await self._clock.sleep(self._pause_ms(stored, told))

    async def _follow(self, stored: StoredOperation, term: Term, *, back: bool) -> bool:
        """Fences once followers are close behind, and both sides are ready to be compared."""
        move = move_of(stored)
        wanted = not back or move.wish == "rollback"
        if wanted and move.differences and move.copies < COPIES_MAX:
            logger().warning("it is copied anew", operation=stored.operation.id, differences=move.differences)
            return await self._advance(stored, CopiesAnew(), term)
        until_ms = self._clock.monotonic_ms() + (NOTE_EVERY_MS if wanted else SHIPPING_NOTED_EVERY_MS)
        while True:
            told = await self._calls.followed(stored, back=back)
            if any(each.phase == shard_pb2.FOLLOW_PHASE_COPYING for each in told) and not back:
                return await self._advance(stored, Recopies(), term)
            close = all(
                each.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP and each.lag_rows <= self._lag_allowed(stored)
                for each in told
            )
            ready = wanted and close and not _trouble(told) and self._may_fence(stored)
            if ready and await self._calls.are_counted(stored, back=back):
                await self._persist_epoch(stored)
                return await self._advance(stored, FencedBack() if back else Fenced(), term)
            if self._clock.monotonic_ms() >= until_ms:
                return await self._progressed(stored, told, term)
            if self._is_old(stored):
                return True
            await self._clock.sleep(POLL_MS if wanted else SHIPPING_LOOKED_AT_MS)

    def _pause_ms(self, stored: StoredOperation, told: Sequence[shard_pb2.FollowSlotsResponse]) -> float:
        """Until followers that copy are asked again: a part of what they took so far, and of what they will take."""
        progress = self._progress(stored, told)
        began_ms, _ = self._first_seen(stored.operation.id, progress.bytes_done)
        taken_ms = self._clock.monotonic_ms() - began_ms
        left_ms = taken_ms if progress.eta_seconds is None else 1000 * progress.eta_seconds
        return max(POLL_MS_MIN, min(POLL_MS, taken_ms / 4, left_ms / 4))

    def _first_seen(self, what: str, size: int) -> tuple[float, int]:
        """When this driver first met something of a move, and a size that it had then."""
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()  # waiting begins anew
        return self._seen.setdefault(what, (self._clock.monotonic_ms(), size))

    def _lag_allowed(self, stored: StoredOperation) -> float:
        operation = stored.operation
        began_ms, _ = self._first_seen(f"{operation.id}#{operation.state}", 0)
        doubled = min(LAG_DOUBLINGS_MAX, int((self._clock.monotonic_ms() - began_ms) / LAG_DOUBLES_MS))
        return float(LAG_ROWS_MAX << doubled)

    def _may_fence(self, stored: StoredOperation) -> bool:
        """Not too soon after a fence that came to nothing."""
        operation, fences = stored.operation, move_of(stored).fences
        held_back_ms = min(HELD_BACK_MS_MAX, HELD_BACK_MS * 2 ** min(fences, 10) / 2) if fences else 0.0
        began_ms, _ = self._first_seen(f"{operation.id}#{fences}", 0)
        return self._clock.monotonic_ms() - began_ms >= held_back_ms

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

    async def _give_up(self, stored: StoredOperation, term: Term) -> bool:
        for way in self._calls.ways(stored, back=False):
            lift = shard_pb2.LiftFenceRequest(moved=way.moved.message())
            await self._shards.one(way.source, LIFT_FENCE, lift, CALL_TIMEOUT_S)
        return await self._end(stored, term, move_of(stored).targets)

    async def _end(self, stored: StoredOperation, term: Term, losers: Sequence[ShardId]) -> bool:
        """Nobody follows any more; ``losers`` drop what they have of the slots, into their trash."""
        tenant = await self._calls.tenant(stored)
        for way in self._calls.ways(stored, back=False):
            for shard in (way.target, way.source):
                end = shard_pb2.EndFollowingRequest(moved=way.moved.message())
                await self._shards.one(shard, END_FOLLOWING, end, CALL_TIMEOUT_S)
            for shard in {way.source, way.target} & set(losers):
                drop = shard_pb2.DropSlotsRequest(moved=way.moved.message(), epoch=tenant.placement.epoch)
                await self._shards.one(shard, DROP_SLOTS, drop, DROP_TIMEOUT_S)
        wish, gone = move_of(stored).wish, Delete(moving_key(stored.operation.tenant))
        if wish == "complete":
            return await self._write(stored, Completed(), term, [gone])
        use = await no_more_isolated(
            self._directory,
            stored.operation,
            who=stored.operation.requested_by,
            now_ms=self._clock.now_ms(),
            nonce=self._rng.token_hex(8),
            timeout_s=DIRECTORY_TIMEOUT_S,
        )
        signal = Dropped() if wish == "cancel" else RolledBack()
        return await self._write(stored, signal, term, [gone, *use.changes], use.conditions)

    # Of several effects

    def _is_old(self, stored: StoredOperation) -> bool:
        """Somebody changed the record meanwhile."""
        return self._operations.revision_of(stored.operation.id) > stored.revision

    async def _progressed(
        self, stored: StoredOperation, told: Sequence[shard_pb2.FollowSlotsResponse], term: Term
    ) -> bool:
        """Writes it down, where it is news."""
        signal = self._progress(stored, told)
        operation, move = stored.operation, move_of(stored)
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
        size = move_of(stored).bytes_done if copied else sum(each.bytes_done for each in told)
        whole = operation.bytes_total if copied else sum(each.bytes_total for each in told)
        lag = max(each.lag_rows for each in told)
        eta = self._eta_seconds(operation, size, whole) if operation.state == "copying" else None
        return Progressed(done, total, size, whole, lag, eta, _trouble(told))

    def _eta_seconds(self, operation: Operation, size: int, whole: int) -> float | None:
        now_ms = self._clock.monotonic_ms()
        began_ms, began = self._first_seen(operation.id, size)
        if size <= began or now_ms <= began_ms:
            return None
        return max(0.0, (whole - size) * (now_ms - began_ms) / (size - began) / 1000)

    async def _note(self, stored: StoredOperation, error: str, term: Term) -> None:
        """Writes down what it waits for, where that is news."""
        operation, move = stored.operation, move_of(stored)
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
        self, stored: StoredOperation, signal: Copied | Recopies | CopiesAnew | Fenced | FencedBack, term: Term
    ) -> bool:
        """On the record as it is now, unless somebody wants something else by now."""
        now = self._operations.stored(stored.operation.id)
        if now is None or now.operation.state != stored.operation.state or now.operation.paused:
            return True
        if move_of(now).wish != move_of(stored).wish:
            return True
        return await self._write(now, signal, term)

    async def _write(
        self,
        stored: StoredOperation,
        signal: Signal | MoveSignal,
        term: Term,
        changes: Sequence[Put | Delete] = (),
        conditions: Sequence[Unchanged] = (),
    ) -> bool:
        return await self._writer.write(stored, signal, term, changes, conditions) is not None


def _trouble(told: Sequence[shard_pb2.FollowSlotsResponse]) -> str:
    return "; ".join(f"{each.error_code}: {each.error}" for each in told if each.error_code)
