"""What operators ask of operations that have begun. Writes records; the elected router acts on them."""

from collections.abc import Sequence

from evenshard.directory.audit import Audited
from evenshard.directory.changes import check_request_id
from evenshard.directory.keys import OPERATIONS, moving_key, operation_key, users_key
from evenshard.directory.move_table import (
    WISHES,
    CancelAsked,
    CompleteAsked,
    MoveSignal,
    RollbackAsked,
    unfencing,
)
from evenshard.directory.operations import (
    GROUP_KINDS,
    Cancelled,
    Operation,
    Paused,
    Resumed,
    Signal,
    Verified,
    act_of,
    after,
    not_found,
    refused,
)
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import RETRY_PAUSE_MS_MAX, SHARE_FOR_WAITING, TRIES_MAX, ChangeOptions, budget_s
from evenshard.router.deletions_admin import DeletionAdmin
from evenshard.router.groups_admin import GroupAdmin
from evenshard.router.importing import Importer
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.shard_uses import no_more_isolated
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import OperationView, StoredOperation


class _ChangedMeanwhileError(Exception):
    """Of a record between reading and writing it."""


class OperationAdmin:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        blocked: BlockedView,
        importer: Importer | None,
        repairs: RepairAdmin,
        clock: Clock,
        rng: Rng,
    ) -> None:
        """``importer``: this router's, None where it takes no imports."""
        self._directory = directory
        self._operations = operations
        self._repairs = repairs
        self._groups = GroupAdmin(directory, operations, clock, rng)
        self.deletions = DeletionAdmin(directory, operations, blocked, importer, clock, rng)
        self._clock = clock
        self._rng = rng

    async def show(self, name: str) -> StoredOperation:
        """As it stands now. Raises ``OPERATION_NOT_FOUND``, ``FORMAT_TOO_NEW``."""
        found = await self._operations.fetch(name, timeout_s=budget_s())
        if found is None:
            raise not_found(name)
        return found

    async def all(self, tenant: str) -> list[StoredOperation]:
        """As they stand now, of one tenant or (empty) of all; the newest first."""
        wanted = tenant_id(tenant) if tenant else None
        snapshot = await self._directory.range(OPERATIONS, timeout_s=budget_s())
        found = [StoredOperation.of(entry) for entry in reversed(snapshot.entries)]
        return [stored for stored in found if wanted is None or stored.operation.tenant == wanted]

    async def wait(self, name: str, timeout_ms: int) -> StoredOperation:
        """As it is when it has ended, or has switched and waits to be completed, or the time is over. Raises
        ``OPERATION_NOT_FOUND``."""
        until_ms = self._clock.monotonic_ms() + SHARE_FOR_WAITING * current_call().remaining_s() * 1000
        if timeout_ms > 0:
            until_ms = min(until_ms, self._clock.monotonic_ms() + timeout_ms)
        stored = await self.show(name)
        if not _is_settled(stored.operation):
            await self._operations.wait_for(name, _is_settled, self._left_s(until_ms))
            stored = await self.show(name)
        return stored

    async def cancel(self, name: str, options: ChangeOptions) -> StoredOperation:
        """Ends one that has hidden nothing yet; one that is cancelled stays so. What it blocked is free again.

        Raises ``OPERATION_NOT_FOUND``, ``OPERATION_STATE``, ``OPERATION_CONFLICT``.
        """
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            stored = await self.show(name)
            operation = stored.operation
            self._check_revision(stored, options)
            if operation.state != "cancelled":
                if operation.move is not None and operation.state != "planned":
                    try:
                        return await self._asked(stored, CancelAsked(), options)
                    except _ChangedMeanwhileError:
                        continue
                if operation.kind in GROUP_KINDS and operation.state == "running":
                    asked = await self._groups.ask(stored, "cancel", dry_run=options.dry_run)
                    if asked is None:
                        continue
                    return asked
                if operation.state == "running" and not options.dry_run and await self._repairs.cancel(stored):
                    return await self.show(name)
                if operation.state != "planned":
                    raise refused(operation, "cancelled")
                wanted = self._after(operation, Cancelled())
                if options.dry_run:
                    return StoredOperation(wanted, stored.revision)
                gone = [
                    Delete(users_key(operation.id)),
                    *([Delete(moving_key(operation.tenant))] if operation.move is not None else []),
                    *await self._repairs.free(operation),
                ]
                use = await no_more_isolated(
                    self._directory,
                    operation,
                    who=current_call().principal.name,
                    now_ms=self._clock.now_ms(),
                    nonce=self._rng.token_hex(8),
                    timeout_s=budget_s(),
                )
                cancelled = await self._written(stored, wanted, "cancel", [*gone, *use.changes], use.conditions)
                if cancelled is None:
                    continue
                stored = cancelled
            if not options.dry_run:
                await self.deletions.unblock(operation)
            return stored
        raise EvenshardError("OPERATION_CONFLICT", f"operation {name!r} kept changing: gave up after {TRIES_MAX}")

    async def pause(self, name: str, options: ChangeOptions) -> StoredOperation:
        """Holds an operation that has not ended: it begins with nothing new. What shards were asked for goes on there.
        One that is paused stays so. Raises as ``cancel``."""
        return await self._changed(name, options, Paused(), "paused")

    async def resume(self, name: str, options: ChangeOptions) -> StoredOperation:
        """A paused operation goes on; another stays as it is. Raises as ``cancel``."""
        return await self._changed(name, options, Resumed(), "resumed")

    async def rollback(self, name: str, options: ChangeOptions) -> StoredOperation:
        """Takes a move back that has switched, or moves of several tenants that go on. Raises as ``cancel``."""
        return await self._wished(name, RollbackAsked(), options)

    async def complete(self, name: str, options: ChangeOptions) -> StoredOperation:
        """Ends a move that has switched: its sources drop what they still have. Raises as ``cancel``."""
        return await self._wished(name, CompleteAsked(), options)

    async def _wished(
        self, name: str, signal: RollbackAsked | CompleteAsked, options: ChangeOptions
    ) -> StoredOperation:
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            stored = await self.show(name)
            self._check_revision(stored, options)
            reached = {RollbackAsked: "rolled_back", CompleteAsked: "complete"}[type(signal)]
            if stored.operation.state == reached:
                return stored
            operation = stored.operation
            if operation.kind in GROUP_KINDS and not operation.ended and isinstance(signal, RollbackAsked):
                asked = await self._groups.ask(stored, "rollback", dry_run=options.dry_run)
                if asked is not None:
                    return asked
                await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
                continue
            if operation.move is None:
                raise refused(operation, act_of(signal))
            try:
                return await self._asked(stored, signal, options)
            except _ChangedMeanwhileError:
                await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"operation {name!r} kept changing: gave up after {TRIES_MAX}")

    async def _asked(
        self, stored: StoredOperation, signal: CancelAsked | RollbackAsked | CompleteAsked, options: ChangeOptions
    ) -> StoredOperation:
        """Writes a wish down; a fence that goes on comes to nothing by it."""
        operation = stored.operation
        assert operation.move is not None
        if operation.move.wish == WISHES[type(signal)]:
            return stored
        if operation.state == "fenced" and isinstance(signal, CancelAsked) and not operation.move.back:
            operation = self._after(operation, unfencing(operation.move))
        wanted = self._after(operation, signal)
        if options.dry_run:
            return StoredOperation(wanted, stored.revision)
        changed = await self._written(stored, wanted, WISHES[type(signal)])
        if changed is None:
            raise _ChangedMeanwhileError
        return changed

    async def _written(
        self,
        before: StoredOperation,
        wanted: Operation,
        verb: str,
        changes: Sequence[Put | Delete] = (),
        conditions: Sequence[Unchanged] = (),
    ) -> StoredOperation | None:
        """With what goes along, and who asked; None: it changed meanwhile."""
        key = operation_key(wanted.id)
        result = await self._directory.swap(
            [Unchanged(key, before.revision), *conditions],
            [Put(key, wanted.to_json()), *changes, self._audited(before.operation, verb)],
            timeout_s=budget_s(),
        )
        if not result.swapped:
            return None
        stored = StoredOperation(wanted, result.revision)
        self._operations.learn(stored)
        return stored

    def _after(self, operation: Operation, signal: Signal | MoveSignal) -> Operation:
        return after(operation, signal, self._clock.now_ms(), self._rng.token_hex(8))

    def _audited(self, operation: Operation, verb: str) -> Put:
        call, before = current_call(), {"state": operation.state}
        audited = Audited(self._clock.now_ms(), call.principal.name, verb, operation.id, before, {"asked": verb})
        return audited.put(self._rng.token_hex(8))

    def _check_revision(self, stored: StoredOperation, options: ChangeOptions) -> None:
        if options.expected_revision and options.expected_revision != stored.revision:
            raise EvenshardError(
                "OPERATION_CONFLICT",
                f"operation {stored.operation.id!r} is at revision {stored.revision}, not {options.expected_revision}",
            )

    async def verify(self, name: str) -> tuple[StoredOperation, Verified | None]:
        """The operation, and what comparing its plan with what is there found; None: there is nothing to compare."""
        stored = await self.show(name)
        if stored.operation.move is not None:
            found = stored.operation.move.differences
            return stored, None if found is None else Verified(found)
        return stored, await self._repairs.verify(stored)

    async def _changed(self, name: str, options: ChangeOptions, signal: Paused | Resumed, act: str) -> StoredOperation:
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            stored = await self.show(name)
            self._check_revision(stored, options)
            if stored.operation.ended:
                raise refused(stored.operation, act)
            if stored.operation.paused == isinstance(signal, Paused):
                return stored
            operation = stored.operation
            if operation.state == "fenced" and operation.move is not None:  # the fence comes to nothing by it
                operation = self._after(operation, unfencing(operation.move))
            wanted = self._after(operation, signal)
            if options.dry_run:
                return StoredOperation(wanted, stored.revision)
            changed = await self._written(stored, wanted, act)
            if changed is not None:
                return changed
        raise EvenshardError("OPERATION_CONFLICT", f"operation {name!r} kept changing: gave up after {TRIES_MAX}")

    def _left_s(self, until_ms: float) -> float:
        return max(0.0, until_ms - self._clock.monotonic_ms()) / 1000


def _is_settled(operation: Operation) -> bool:
    """Nothing more happens to it by itself."""
    waits = operation.state == "switched" and operation.move is not None
    return operation.ended or (waits and operation.move is not None and not operation.move.wish)
