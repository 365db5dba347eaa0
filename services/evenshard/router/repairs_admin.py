"""What operators ask of repairs: begin one, with its plan; undo, compare, give up. Writes records; the elected router
acts on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evenshard.api.v1 import admin_pb2
from evenshard.directory.audit import Audited
from evenshard.directory.begun import OperationBegun
from evenshard.directory.changes import REQUEST_TTL_S, check_request_id, check_revision, tenant_not_found
from evenshard.directory.keys import moving_key, operation_key, repair_key, repairing_key, request_key, tenant_key
from evenshard.directory.operations import Kind, Operation, Verified, check_room, not_found, operation_id
from evenshard.directory.repair import (
    BEFORE_SWITCH,
    Repair,
    RepairRequest,
    begun,
    day_text,
    hot_days,
    repair_request,
    undoing,
)
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import NOT_THERE, RETRY_PAUSE_MS_MAX, TRIES_MAX, ChangeOptions, budget_s
from evenshard.router.key_marks import KeyMarks
from evenshard.router.moving import check_not_moving
from evenshard.router.repairs_compared import differences_of, marks_compared
from evenshard.router.repairs_planning import Planning
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import OperationView, StoredOperation


@dataclass(frozen=True, slots=True)
class Asked:
    """What becomes of a request to repair."""

    stored: StoredOperation
    plan: admin_pb2.RepairPlan | None


class RepairAdmin:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        operations: OperationView,
        shards: TenantShards,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._operations = operations
        self._shards = shards
        self._marks = KeyMarks(directory)
        self._planning = Planning(shards, clock)
        self._clock = clock
        self._rng = rng

    async def repair(self, asked: admin_pb2.RepairHotKeyRequest, options: ChangeOptions) -> Asked:
        """Answers when the operation is written down, with its plan.

        Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``, ``QUERY_INVALID``, ``RANGE_INVALID``,
        ``HOT_KEY_NOT_FOUND``, ``OPERATION_CONFLICT``, ``LIMIT_EXCEEDED``, ``SHARD_UNAVAILABLE``.
        """
        request = _request_of(asked)
        check_request_id(options.request_id)
        wanted = self._operation("repair", request.tenant)
        done = OperationBegun.of("repair", wanted.id, request.tenant, _digested(request))
        for _ in range(TRIES_MAX):
            entry = await self._directory.get(tenant_key(request.tenant), timeout_s=budget_s())
            if options.request_id and not options.dry_run:
                before = await self._directory.get(request_key(options.request_id), timeout_s=budget_s())
                if before is not None:
                    return Asked(await self._shown(done.check_same(options.request_id, before.value)), None)
            if entry is None:
                raise tenant_not_found(request.tenant)
            check_revision(request.tenant, options.expected_revision, entry.revision)
            check_room(request.tenant, (stored.operation for stored in self._operations.all()))
            marks, refused = await self._marks.with_refused(
                request.tenant, request.distinct_id, request.days, budget_s()
            )
            days = hot_days(request, marks)
            if any(mark.state == "crossing" for mark in marks.values()):
                raise EvenshardError(
                    "OPERATION_CONFLICT", f"{request.distinct_id!r} is becoming hot just now: try again in a moment"
                )
            await self._check_free(request.tenant, request.distinct_id)
            plan = await self._planning.plan(request, days, marks, refused, Tenant.from_json(entry.value))
            about = plan.rewritten_rows + (plan.kept_rows if request.takes_kept else 0)
            operation = replace(wanted, rows_total=about, bytes_total=plan.bytes)
            if options.dry_run:
                return Asked(StoredOperation(operation, NOT_THERE), plan)
            repair = begun(operation.id, request, days)
            stored = await self._begin(operation, repair, entry.revision, done, options.request_id)
            if stored is not None:
                return Asked(stored, plan)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {request.tenant!r}: gave up")

    async def undo(self, name: str, options: ChangeOptions) -> StoredOperation:
        """Raises ``OPERATION_NOT_FOUND``, ``OPERATION_STATE``, ``OPERATION_CONFLICT``, ``LIMIT_EXCEEDED``."""
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            undone = await self._shown(OperationId(name))
            tenant = undone.operation.tenant
            wanted = self._operation("repair-undo", tenant)
            done = OperationBegun.of("repair-undo", wanted.id, tenant, name)
            if options.request_id and not options.dry_run:
                before = await self._directory.get(request_key(options.request_id), timeout_s=budget_s())
                if before is not None:
                    return await self._shown(done.check_same(options.request_id, before.value))
            _check_operation_revision(undone, options.expected_revision)
            entry = await self._directory.get(repair_key(undone.operation.id), timeout_s=budget_s())
            if entry is None:
                raise EvenshardError(
                    "OPERATION_STATE",
                    f"operation {name} is no repair: it is a {undone.operation.kind}",
                    details={"operation": name, "state": undone.operation.state},
                )
            repair = Repair.from_json(entry.value)
            undo = undoing(wanted.id, repair, undone.operation.state, self._clock.now_ms())
            await self._check_free(tenant, repair.distinct_id)
            if repair.action != "restore":
                changed = await differences_of(self._shards, repair)
                if changed:
                    raise EvenshardError(
                        "OPERATION_CONFLICT",
                        f"operation {name} cannot be undone: what it left is not there as it was: {'; '.join(changed)}",
                        hint="its events were deleted, have expired or were repaired again since",
                    )
            check_room(tenant, (stored.operation for stored in self._operations.all()))
            total = undone.operation.rows_total
            operation = replace(wanted, rows_total=total, bytes_total=undone.operation.bytes_total)
            if options.dry_run:
                return StoredOperation(operation, NOT_THERE)
            named = replace(repair, undone_by=operation.id)
            tenant_entry = await self._directory.get(tenant_key(tenant), timeout_s=budget_s())
            if tenant_entry is None:
                raise tenant_not_found(tenant)
            stored = await self._begin(
                operation,
                undo,
                tenant_entry.revision,
                done,
                options.request_id,
                conditions=[Unchanged(entry.key, entry.revision)],
                changes=[Put(entry.key, named.to_json())],
            )
            if stored is not None:
                return stored
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing operation {name!r}: gave up")

    async def verify(self, stored: StoredOperation) -> Verified | None:
        """Compares what was planned with what is there now. None: there is nothing to compare, or not yet."""
        entry = await self._directory.get(repair_key(stored.operation.id), timeout_s=budget_s())
        if entry is None:
            return None
        repair = Repair.from_json(entry.value)
        if repair.action in ("restore", "export"):
            return await marks_compared(self._marks, repair, budget_s()) if repair.action == "restore" else None
        if repair.undone_by is not None:
            return Verified((f"operation {repair.undone_by} has undone it",))
        if repair.removed:
            return Verified()
        if stored.operation.state != "complete" and repair.step in ("take", "copy"):
            return None
        return Verified(await differences_of(self._shards, repair))

    async def cancel(self, stored: StoredOperation) -> bool:
        """A repair that runs and has changed nothing is to be given up. False: it is none, or has."""
        entry = await self._directory.get(repair_key(stored.operation.id), timeout_s=budget_s())
        if entry is None:
            return False
        repair = Repair.from_json(entry.value)
        if repair.step == "drop":
            return True
        if repair.step not in BEFORE_SWITCH:
            return False
        key = operation_key(stored.operation.id)
        nonce = self._rng.token_hex(8)
        result = await self._directory.swap(
            [Unchanged(key, stored.revision), Unchanged(entry.key, entry.revision)],
            [
                Put(key, replace(stored.operation, nonce=nonce, paused=False).to_json()),
                Put(entry.key, replace(repair, step="drop").to_json()),
            ],
            timeout_s=budget_s(),
        )
        if not result.swapped:
            raise EvenshardError("OPERATION_CONFLICT", f"operation {stored.operation.id} changed meanwhile")
        return True

    async def free(self, operation: Operation) -> list[Put | Delete]:
        """What to write when an operation is cancelled before it was begun."""
        entry = await self._directory.get(repair_key(operation.id), timeout_s=budget_s())
        if entry is None:
            return []
        repair = Repair.from_json(entry.value)
        changes: list[Put | Delete] = [Delete(repairing_key(repair.tenant, repair.distinct_id))]
        if repair.undoes is not None:
            undone = await self._directory.get(repair_key(repair.undoes), timeout_s=budget_s())
            if undone is not None:
                freed = replace(Repair.from_json(undone.value), undone_by=None)
                changes.append(Put(undone.key, freed.to_json()))
        return changes

    def _operation(self, kind: Kind, tenant: TenantId) -> Operation:
        now_ms = self._clock.now_ms()
        name = operation_id(now_ms, self._rng.token_hex(8))
        who = current_call().principal.name
        return Operation(name, kind, tenant, 1, who, now_ms, now_ms, self._rng.token_hex(8))

    async def _shown(self, name: OperationId) -> StoredOperation:
        found = await self._operations.fetch(name, timeout_s=budget_s())
        if found is None:
            raise not_found(name)
        return found

    async def _check_free(self, tenant: TenantId, distinct_id: str) -> None:
        """Raises ``OPERATION_CONFLICT`` where another repair of the id goes on, or the tenant is being moved."""
        await check_not_moving(self._directory, tenant, budget_s())
        other = await self._directory.get(repairing_key(tenant, distinct_id), timeout_s=budget_s())
        if other is not None:
            raise EvenshardError(
                "OPERATION_CONFLICT",
                f"operation {other.value.decode()} is repairing {distinct_id!r} of {tenant!r}",
                hint=f"wait for its end: evenshard admin wait {other.value.decode()}",
                details={"operation": other.value.decode()},
            )

    async def _begin(
        self,
        operation: Operation,
        repair: Repair,
        tenant: Revision,
        done: OperationBegun,
        request_id: str,
        *,
        conditions: Sequence[Unchanged] = (),
        changes: Sequence[Put] = (),
    ) -> StoredOperation | None:
        """None: the tenant, the key's other repairs, or what the request_id stands for, changed meanwhile."""
        key, lock = operation_key(operation.id), repairing_key(repair.tenant, repair.distinct_id)
        unchanged = [
            Unchanged(tenant_key(repair.tenant), tenant),
            Unchanged(key, NOT_THERE),
            Unchanged(lock, NOT_THERE),
            Unchanged(moving_key(repair.tenant), NOT_THERE),
            *conditions,
        ]
        puts: list[Put | Delete] = [
            Put(key, operation.to_json()),
            Put(repair_key(operation.id), repair.to_json()),
            Put(lock, operation.id.encode()),
            _audited(operation, repair).put(operation.nonce),
            *changes,
        ]
        if request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            unchanged.append(Unchanged(request_key(request_id), NOT_THERE))
            puts.append(Put(request_key(request_id), done.to_json(), lease))
        result = await self._directory.swap(unchanged, puts, timeout_s=budget_s())
        if not result.swapped:
            return None
        stored = StoredOperation(operation, result.revision)
        self._operations.learn(stored)
        return stored


def _audited(operation: Operation, repair: Repair) -> Audited:
    """Without the id, which is to be gone once its user is deleted."""
    told = {
        "operation": operation.id,
        "action": repair.action,
        "undoes": repair.undoes,
        "days": [day_text(day) for day in repair.days],
    }
    return Audited(operation.created_ms, operation.requested_by, operation.kind, repair.tenant, {}, told)


def _request_of(asked: admin_pb2.RepairHotKeyRequest) -> RepairRequest:
    return repair_request(
        tenant_id(asked.tenant),
        asked.distinct_id,
        asked.from_date,
        asked.to_date,
        asked.action,
        asked.distinct_id_from,
        include_earlier=asked.include_earlier,
    )


def _digested(request: RepairRequest) -> Any:
    return [
        request.distinct_id,
        request.first_day,
        request.last_day,
        request.action,
        request.distinct_id_from,
        request.include_earlier,
    ]


def _check_operation_revision(stored: StoredOperation, expected: int) -> None:
    if expected and expected != stored.revision:
        raise EvenshardError(
            "OPERATION_CONFLICT",
            f"operation {stored.operation.id!r} is at revision {stored.revision}, not {expected}",
        )
