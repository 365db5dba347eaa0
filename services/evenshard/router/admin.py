"""Creates, changes and shows tenants: decides by pure functions, writes by compare-and-swap, safe to send again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evenshard.directory.audit import Audited
from evenshard.directory.changes import (
    REQUEST_TTL_S,
    DoneRequest,
    SettingsPatch,
    check_request_id,
    check_revision,
    new_tenant,
    nowhere_to_be,
    tenant_not_found,
    updated_tenant,
)
from evenshard.directory.deleted_tenant import DeletedTenant, last_epoch
from evenshard.directory.keys import SERVICES, SHARD_STATES, TENANTS, deleted_key, epoch_key, request_key, tenant_key
from evenshard.directory.required_labels import missing, required_of
from evenshard.directory.service import ServiceRecord
from evenshard.directory.shard_state import ShardState
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, Revision, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Entry, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.runtime.call import current_call
from evenshard.runtime.tenants import TenantView

TRIES_MAX = 10
"""Of one change, while others keep changing the same tenant."""
RETRY_PAUSE_MS_MAX = 50.0
SHARE_FOR_WAITING = 0.85
"""Of the time the caller has, where the answer waits for something."""
DIRECTORY_TIMEOUT_S = 5.0
NOT_THERE = Revision(0)


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """What makes a change safe to send; as the proto's."""

    request_id: str = ""
    dry_run: bool = False
    expected_revision: int = 0


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """A tenant and the directory revision of its last change (0: only planned)."""

    tenant: Tenant
    revision: Revision


class TenantAdmin:
    """Answers once the router's own ``tenants`` show the change."""

    def __init__(self, directory: Directory, tenants: TenantView, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._tenants = tenants
        self._clock = clock
        self._rng = rng

    async def create(self, name: str, patch: SettingsPatch, options: ChangeOptions) -> StoredTenant:
        """Raises ``TENANT_EXISTS``, ``TENANT_NAME_INVALID``, ``PLACEMENT_UNSATISFIABLE``, ``OPERATION_CONFLICT``."""
        tenant = tenant_id(name)
        shards = await self._shards_with(patch.required_labels or ())
        deleted = await self._directory.get(deleted_key(tenant), timeout_s=budget_s())
        if deleted is not None:
            kept = DeletedTenant.from_json(deleted.value)
            raise EvenshardError(
                "TENANT_EXISTS",
                f"a tenant {name!r} was deleted, and is kept until {kept.kept_until_ms} ms",
                hint=f"bring it back: evenshard admin undelete-tenant {name}",
            )
        gone = await self._directory.get(epoch_key(tenant), timeout_s=budget_s())
        first = Epoch(last_epoch(None if gone is None else gone.value) + 1)
        return await self._change(
            "create",
            tenant,
            patch,
            options,
            lambda current: new_tenant(current, tenant, patch, shards, self._nonce(), first),
        )

    async def update(self, name: str, patch: SettingsPatch, options: ChangeOptions) -> StoredTenant:
        """Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``, ``QUERY_INVALID``, ``OPERATION_CONFLICT``;
        ``PLACEMENT_UNSATISFIABLE`` for labels that no shard has."""
        tenant = tenant_id(name)
        if patch.required_labels and not await self._shards_with(patch.required_labels):
            raise nowhere_to_be(name, patch.required_labels)
        return await self._change(
            "update", tenant, patch, options, lambda current: updated_tenant(current, tenant, patch, self._nonce())
        )

    async def show(self, name: str) -> StoredTenant:
        """As it stands now. Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``."""
        stored = await self._read(tenant_id(name))
        if stored is None:
            raise tenant_not_found(name)
        return stored

    async def all(self) -> list[StoredTenant]:
        """All tenants as they stand now, by name."""
        snapshot = await self._directory.range(TENANTS, timeout_s=budget_s())
        return [_stored(entry) for entry in snapshot.entries]

    async def _shards_with(self, labels: Sequence[str]) -> list[ShardId]:
        """Those that may be used, and have the labels, by name. Raises ``QUERY_INVALID``."""
        required = required_of(labels)
        services = await self._directory.range(SERVICES, timeout_s=budget_s())
        states = await self._directory.range(SHARD_STATES, timeout_s=budget_s())
        spared = {ShardState.from_json(entry.value).shard for entry in states.entries}
        records = [ServiceRecord.from_json(entry.value) for entry in services.entries]
        fit = (record for record in records if record.kind == "shard" and not missing(record.labels, required))
        return sorted({ShardId(record.name) for record in fit} - spared)

    async def _change(
        self,
        verb: str,
        name: TenantId,
        patch: SettingsPatch,
        options: ChangeOptions,
        decide: Callable[[Tenant | None], Tenant],
    ) -> StoredTenant:
        """Reads, decides, swaps; again while others came between."""
        check_request_id(options.request_id)
        for _ in range(TRIES_MAX):
            stored = await self._read(name)
            if options.request_id and not options.dry_run:
                # After the tenant: were it read later, it could show this very request's change, made meanwhile.
                done = await self._done(verb, name, patch, options.request_id)
                if done is not None:
                    return done
            revision = stored.revision if stored else NOT_THERE
            check_revision(name, options.expected_revision, revision)
            wanted = decide(stored.tenant if stored else None)
            if options.dry_run:
                return StoredTenant(wanted, revision)
            swapped_at = await self._swap(
                DoneRequest(verb, patch, wanted), stored.tenant if stored else None, revision, options.request_id
            )
            if swapped_at is not None:
                self._tenants.learn(wanted, swapped_at)
                return StoredTenant(wanted, swapped_at)
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing tenant {name!r}: gave up after {TRIES_MAX}")

    async def _swap(
        self, request: DoneRequest, before: Tenant | None, revision: Revision, request_id: str
    ) -> Revision | None:
        """The revision of the change; ``None``: the tenant, or what the request_id stands for, changed meanwhile."""
        key = tenant_key(request.tenant.name)
        conditions = [Unchanged(key, revision)]
        changes = [Put(key, request.tenant.to_json()), self._audited(request, before)]
        if request_id:
            lease = await self._directory.grant(REQUEST_TTL_S, timeout_s=budget_s())
            conditions.append(Unchanged(request_key(request_id), NOT_THERE))
            changes.append(Put(request_key(request_id), request.to_json(), lease))
        result = await self._directory.swap(conditions, changes, timeout_s=budget_s())
        return result.revision if result.swapped else None

    async def _done(self, verb: str, name: TenantId, patch: SettingsPatch, request_id: str) -> StoredTenant | None:
        """What the same request answered before, if it was sent before."""
        entry = await self._directory.get(request_key(request_id), timeout_s=budget_s())
        if entry is None:
            return None
        done = DoneRequest.from_json(entry.value, request_id)
        done.check_same(request_id, verb, name, patch)
        self._tenants.learn(done.tenant, entry.revision)
        return StoredTenant(done.tenant, entry.revision)

    async def _read(self, name: TenantId) -> StoredTenant | None:
        entry = await self._directory.get(tenant_key(name), timeout_s=budget_s())
        return None if entry is None else _stored(entry)

    def _audited(self, request: DoneRequest, before: Tenant | None) -> Put:
        who, tenant = current_call().principal.name, request.tenant
        told = [{} if each is None else _settings(each) for each in (before, tenant)]
        return Audited(self._clock.now_ms(), who, f"{request.verb}-tenant", tenant.name, *told).put(tenant.nonce)

    def _nonce(self) -> str:
        return self._rng.token_hex(8)


def budget_s() -> float:
    """What one call to the directory may take of the caller's time."""
    return max(0.05, min(DIRECTORY_TIMEOUT_S, 0.8 * current_call().remaining_s()))


def _settings(tenant: Tenant) -> dict[str, Any]:
    return {**asdict(tenant.settings), "epoch": tenant.placement.epoch}


def _stored(entry: Entry) -> StoredTenant:
    return StoredTenant(Tenant.from_json(entry.value), entry.revision)
