"""``delete-users``: begins the operation, answers when it hides them, and keeps events of theirs out where asked to."""

from collections.abc import Sequence
from typing import Final

from evenshard.directory.audit import Audited
from evenshard.directory.changes import REQUEST_TTL_S, check_request_id, check_revision, tenant_not_found
from evenshard.directory.deletion import DELETE_USERS, Block, DeletionRequest, Users, users_to_delete
from evenshard.directory.keys import BLOCKED, blocked_key, operation_key, request_key, tenant_key, users_key
from evenshard.directory.operations import Operation, check_room, not_found, operation_id
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import (
    NOT_THERE,
    RETRY_PAUSE_MS_MAX,
    SHARE_FOR_WAITING,
    TRIES_MAX,
    ChangeOptions,
    budget_s,
)
from evenshard.router.importing import Importer
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import OperationView, StoredOperation

SETTLE_TIMEOUT_S: Final = 2.0
"""For imports that were under way when ids were blocked."""
CHANGES_AT_ONCE: Final = 100
"""In one swap; etcd takes 128."""


class DeletionAdmin:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        blocked: BlockedView,
        importer: Importer | None,
        clock: Clock,
        rng: Rng,
    ) -> None:
        """``importer``: this router's, None where it takes no imports."""
        self._directory = directory
        self._operations = operations
        self._blocked = blocked
        self._importer = importer
        self._clock = clock
        self._rng = rng

    async def delete_users(
        self, name: str, distinct_ids: Sequence[str], options: ChangeOptions, *, block: bool
    ) -> StoredOperation:
        """Answers when the users are hidden on every shard (and, with ``block``, events of theirs refused here).

        Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``, ``QUERY_INVALID``, ``OPERATION_CONFLICT``,
        ``LIMIT_EXCEEDED``; ``SHARD_UNAVAILABLE`` and ``DEADLINE_EXCEEDED``, both ``in_doubt`` and with the operation in
        their details, where the time was over first: then it goes on.
        """
        call = current_call()
        until_ms = self._clock.monotonic_ms() + SHARE_FOR_WAITING * call.remaining_s() * 1000
        users = users_to_delete(tenant_id(name), distinct_ids)
        check_request_id(options.request_id)
        now_ms = self._clock.now_ms()
        wanted = Operation(
            operation_id(now_ms, self._rng.token_hex(8)),
            DELETE_USERS,
            users.tenant,
            len(users.distinct_ids),
            call.principal.name,
            now_ms,
            now_ms,
            self._rng.token_hex(8),
        )
        request = DeletionRequest.of(wanted.id, users, block=block)
        for _ in range(TRIES_MAX):
            tenant = await self._directory.get(tenant_key(users.tenant), timeout_s=budget_s())
            if options.request_id and not options.dry_run:
                done = await self._done(request, options.request_id)
                if done is not None:
                    return await self._hidden(done, until_ms)
            if tenant is None:
                raise tenant_not_found(name)
            check_revision(users.tenant, options.expected_revision, tenant.revision)
            check_room(users.tenant, (stored.operation for stored in self._operations.all()))
            if options.dry_run:
                return StoredOperation(wanted, NOT_THERE)
            if block:
                await self._block(users, wanted.id)
            if await self._begin(wanted, users, tenant.revision, request, options.request_id):
                return await self._hidden(wanted.id, until_ms)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {name!r}: gave up after {TRIES_MAX}")

    async def unblock(self, operation: Operation) -> None:
        """Removes its blocks that nobody else has asked for since."""
        prefix = f"{BLOCKED}{operation.tenant}/"
        snapshot = await self._directory.range(prefix, timeout_s=budget_s())
        for entry in snapshot.entries:
            if Block.from_json(entry.value).operation == operation.id:
                await self._directory.swap(
                    [Unchanged(entry.key, entry.revision)], [Delete(entry.key)], timeout_s=budget_s()
                )

    async def _begin(
        self, wanted: Operation, users: Users, tenant: Revision, request: DeletionRequest, request_id: str
    ) -> bool:
        """False: the tenant, or what the request_id stands for, changed meanwhile."""
        key = operation_key(wanted.id)
        conditions = [Unchanged(tenant_key(users.tenant), tenant), Unchanged(key, NOT_THERE)]
        # Whom it deletes is not told: that is to be gone when they are.
        told = {"operation": wanted.id, "users": len(users.distinct_ids)}
        audited = Audited(wanted.created_ms, wanted.requested_by, wanted.kind, users.tenant, {}, told)
        changes = [
            Put(key, wanted.to_json()),
            Put(users_key(wanted.id), users.to_json()),
            audited.put(self._rng.token_hex(8)),
        ]
        if request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            conditions.append(Unchanged(request_key(request_id), NOT_THERE))
            changes.append(Put(request_key(request_id), request.to_json(), lease))
        result = await self._directory.swap(conditions, changes, timeout_s=budget_s())
        if result.swapped:
            self._operations.learn(StoredOperation(wanted, result.revision))
        return result.swapped

    async def _done(self, request: DeletionRequest, request_id: str) -> OperationId | None:
        """The operation that the same request began, if it was sent before."""
        entry = await self._directory.get(request_key(request_id), timeout_s=budget_s())
        if entry is None:
            return None
        done = DeletionRequest.from_json(entry.value, request_id)
        done.check_same(request_id, request)
        return done.operation

    async def _hidden(self, name: OperationId, until_ms: float) -> StoredOperation:
        """The operation, once its users are hidden."""
        await self._operations.wait_for(
            name,
            lambda operation: operation.ended or operation.hidden_ms is not None,
            max(0.0, until_ms - self._clock.monotonic_ms()) / 1000,
        )
        stored = await self._operations.fetch(name, timeout_s=budget_s())
        if stored is None:
            raise not_found(name)
        operation = stored.operation
        details = {"operation": str(name), "state": operation.state}
        if operation.state in ("cancelled", "failed"):
            why = f": {operation.error}" if operation.error else ""
            raise EvenshardError("OPERATION_STATE", f"operation {name} is {operation.state}{why}", details=details)
        if operation.hidden_ms is None:
            if operation.shards_left:
                details["shards"] = ", ".join(operation.shards_left)
            raise EvenshardError(
                "SHARD_UNAVAILABLE" if operation.shards_left else "DEADLINE_EXCEEDED",
                f"not hidden everywhere yet: {operation.error or 'no router has begun with it'}",
                hint=f"it goes on by itself; to follow it: evenshard admin wait {name}",
                in_doubt=True,
                details=details,
            )
        return stored

    async def _block(self, users: Users, operation: OperationId) -> None:
        block = Block(operation)
        for first in range(0, len(users.distinct_ids), CHANGES_AT_ONCE):
            some = users.distinct_ids[first : first + CHANGES_AT_ONCE]
            puts = [Put(blocked_key(users.tenant, distinct_id), block.to_json()) for distinct_id in some]
            result = await self._directory.swap([], puts, timeout_s=budget_s())
            self._blocked.learn(users.tenant, some, block, result.revision)
        if self._importer is not None:  # what has passed here before is stored before it is hidden
            await self._importer.settle(min(SETTLE_TIMEOUT_S, budget_s()))
