"""Takes tenants out of use, and brings them back: their records move, their rows stay where they are for a while."""

from datetime import UTC, datetime

from evenshard.directory.audit import Audited
from evenshard.directory.changes import (
    REQUEST_TTL_S,
    DoneRequest,
    SettingsPatch,
    check_request_id,
    check_revision,
    tenant_not_found,
)
from evenshard.directory.deleted_tenant import DeletedTenant
from evenshard.directory.keys import OPERATIONS, deleted_key, moving_key, request_key, tenant_key
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import NOT_THERE, RETRY_PAUSE_MS_MAX, TRIES_MAX, ChangeOptions, StoredTenant, budget_s
from evenshard.router.moving import check_not_moving
from evenshard.runtime.call import current_call
from evenshard.runtime.operations import StoredOperation
from evenshard.runtime.tenants import TenantView

_NOTHING = SettingsPatch()


class TenantDeletion:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, tenants: TenantView, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._tenants = tenants
        self._clock = clock
        self._rng = rng

    async def delete(self, name: str, options: ChangeOptions) -> tuple[StoredTenant, int]:
        """The tenant as it was, and until when it can be had back.

        Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``; ``OPERATION_CONFLICT`` while it is being moved, or another
        operation of it goes on.
        """
        tenant = tenant_id(name)
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            entry = await self._directory.get(tenant_key(tenant), timeout_s=budget_s())
            gone = await self._directory.get(deleted_key(tenant), timeout_s=budget_s())
            done = await self._done("delete", tenant, options)
            if done is not None:
                kept = 0 if gone is None else DeletedTenant.from_json(gone.value).kept_until_ms
                return done, kept
            if entry is None:
                if gone is not None:
                    raise deleted_already(DeletedTenant.from_json(gone.value), tenant)
                raise tenant_not_found(name)
            check_revision(tenant, options.expected_revision, entry.revision)
            await check_not_moving(self._directory, tenant, budget_s())
            await self._check_idle(tenant)
            record = Tenant.from_json(entry.value)
            deleted = DeletedTenant(record, self._clock.now_ms(), current_call().principal.name)
            if options.dry_run:
                return StoredTenant(record, entry.revision), deleted.kept_until_ms
            conditions = [
                Unchanged(tenant_key(tenant), entry.revision),
                Unchanged(moving_key(tenant), NOT_THERE),
                Unchanged(deleted_key(tenant), NOT_THERE if gone is None else gone.revision),
            ]
            changes: list[Put | Delete] = [Delete(tenant_key(tenant)), Put(deleted_key(tenant), deleted.to_json())]
            if await self._swap("delete", record, conditions, changes, options.request_id):
                await self._unseen(tenant)
                return StoredTenant(record, entry.revision), deleted.kept_until_ms
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {name!r}: gave up after {TRIES_MAX}")

    async def undelete(self, name: str, options: ChangeOptions) -> StoredTenant:
        """Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``, ``TENANT_EXISTS``, ``OPERATION_CONFLICT``."""
        tenant = tenant_id(name)
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            gone = await self._directory.get(deleted_key(tenant), timeout_s=budget_s())
            done = await self._done("undelete", tenant, options)
            if done is not None:
                return done
            if gone is None:
                if await self._directory.get(tenant_key(tenant), timeout_s=budget_s()) is not None:
                    raise EvenshardError("TENANT_EXISTS", f"tenant {name!r} is not deleted")
                raise tenant_not_found(name)
            check_revision(tenant, options.expected_revision, gone.revision)
            deleted = DeletedTenant.from_json(gone.value)
            if self._clock.now_ms() > deleted.kept_until_ms:
                raise tenant_not_found(name)
            restored = deleted.restored(self._rng.token_hex(8))
            if options.dry_run:
                return StoredTenant(restored, gone.revision)
            conditions = [Unchanged(deleted_key(tenant), gone.revision), Unchanged(tenant_key(tenant), NOT_THERE)]
            changes: list[Put | Delete] = [Put(tenant_key(tenant), restored.to_json()), Delete(deleted_key(tenant))]
            revision = await self._swap("undelete", restored, conditions, changes, options.request_id)
            if revision is not None:
                self._tenants.learn(restored, revision)
                return StoredTenant(restored, revision)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {name!r}: gave up after {TRIES_MAX}")

    async def _check_idle(self, tenant: TenantId) -> None:
        """Raises ``OPERATION_CONFLICT`` where an operation of it has not ended: it could not, without its tenant."""
        snapshot = await self._directory.range(OPERATIONS, timeout_s=budget_s())
        for entry in snapshot.entries:
            operation = StoredOperation.of(entry).operation
            if operation.tenant == tenant and not operation.ended:
                raise EvenshardError(
                    "OPERATION_CONFLICT",
                    f"operation {operation.id}, a {operation.kind} of tenant {tenant!r}, goes on",
                    hint=f"wait for its end: evenshard admin wait {operation.id}",
                    details={"operation": operation.id},
                )

    async def _swap(
        self,
        verb: str,
        tenant: Tenant,
        conditions: list[Unchanged],
        changes: list[Put | Delete],
        request_id: str,
    ) -> Revision | None:
        """The revision of the change; None: something it is about changed meanwhile."""
        who, nonce = current_call().principal.name, self._rng.token_hex(8)
        there, gone = {"epoch": tenant.placement.epoch}, dict[str, int]()
        audited = Audited(
            self._clock.now_ms(), who, f"{verb}-tenant", tenant.name,
            there if verb == "delete" else gone, gone if verb == "delete" else there,
        )  # fmt: skip
        puts: list[Put | Delete] = [*changes, audited.put(nonce)]
        if request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            conditions = [*conditions, Unchanged(request_key(request_id), NOT_THERE)]
            puts.append(Put(request_key(request_id), DoneRequest(verb, _NOTHING, tenant).to_json(), lease))
        result = await self._directory.swap(conditions, puts, timeout_s=budget_s())
        return result.revision if result.swapped else None

    async def _done(self, verb: str, tenant: TenantId, options: ChangeOptions) -> StoredTenant | None:
        if not options.request_id or options.dry_run:
            return None
        entry = await self._directory.get(request_key(options.request_id), timeout_s=budget_s())
        if entry is None:
            return None
        done = DoneRequest.from_json(entry.value, options.request_id)
        done.check_same(options.request_id, verb, tenant, _NOTHING)
        return StoredTenant(done.tenant, entry.revision)

    async def _unseen(self, tenant: TenantId) -> None:
        """This router refuses its events from the answer on."""
        await self._tenants.fetch(tenant, timeout_s=budget_s())


def deleted_already(deleted: DeletedTenant, tenant: TenantId) -> EvenshardError:
    """``TENANT_NOT_FOUND``, that says how to have it back."""
    until = datetime.fromtimestamp(deleted.kept_until_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return EvenshardError(
        "TENANT_NOT_FOUND",
        f"tenant {tenant!r} was deleted; until {until} it can be had back",
        hint=f"bring it back: evenshard admin undelete-tenant {tenant}",
    )
