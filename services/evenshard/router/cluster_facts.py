"""Gathers what plans are made of: shards as the directory lists them and as they answer, and what tenants store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import SHARD_STATES, shard_state_key, tenant_key
from evenshard.directory.planning import ShardFacts, Shards, TenantFacts
from evenshard.directory.shard_state import ShardState, Use
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Revision, ShardId, TenantId
from evenshard.ports.directory import Directory, Unchanged
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import GET_SHARD_LOAD, GET_SHARD_STORAGE

ASK_TIMEOUT_S: Final = 2.0
LOG_ROW_BYTES: Final = 50
"""Of a row that is not indexed yet, once it is; for telling sizes."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """How a shard is to be used, and since which revision of the directory; 0: nobody ever said."""

    use: Use
    revision: Revision


@dataclass(frozen=True, slots=True)
class Facts:
    """As of ``revision`` of the directory, or later."""

    revision: Revision
    shards: Shards
    states: Mapping[ShardId, StoredState]
    tenants: Mapping[TenantId, TenantFacts]
    revisions: Mapping[TenantId, Revision]

    def conditions(self, tenant: TenantId, targets: Iterable[ShardId]) -> list[Unchanged]:
        """What must be unchanged for a plan to be begun."""
        shards = [
            Unchanged(shard_state_key(shard), self.states[shard].revision if shard in self.states else Revision(0))
            for shard in dict.fromkeys(targets)
        ]
        return [Unchanged(tenant_key(tenant), self.revisions[tenant]), *shards]

    def check_pinned(self, revision: int, tenants: Iterable[TenantId], shards: Iterable[ShardId]) -> None:
        """Raises ``PLAN_STALE`` where one of them was changed after ``revision``; 0: anything goes."""
        if not revision:
            return
        changed = [f"tenant {name!r}" for name in tenants if self.revisions[name] > revision]
        changed += [shard for shard in shards if shard in self.states and self.states[shard].revision > revision]
        if changed:
            raise EvenshardError(
                "PLAN_STALE", f"changed since the plan of revision {revision}: {', '.join(sorted(set(changed)))}"
            )


class ClusterFacts:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, tenants: TenantView, services: ServiceView, shards: TenantShards) -> None:
        self._directory = directory
        self._tenants = tenants
        self._services = services
        self._shards = shards

    async def of_tenant(self, name: str, timeout_s: float) -> Facts:
        """With one tenant, as the directory has it now. Raises ``TENANT_NOT_FOUND``, ``TENANT_NAME_INVALID``,
        ``DIRECTORY_UNAVAILABLE``."""
        entry = await self._directory.get(tenant_key(tenant_id(name)), timeout_s=timeout_s)
        if entry is None:
            raise tenant_not_found(name)
        tenant = Tenant.from_json(entry.value)
        return await self._gathered({tenant.name: tenant}, {tenant.name: entry.revision}, tenant.name, timeout_s)

    async def of_all(self, timeout_s: float) -> Facts:
        """With all tenants, as this router knows them."""
        tenants = {tenant.name: tenant for tenant in self._tenants.all()}
        revisions = {name: self._tenants.revision_of(name) for name in tenants}
        return await self._gathered(tenants, revisions, "", timeout_s)

    async def _gathered(
        self, tenants: Mapping[TenantId, Tenant], revisions: Mapping[TenantId, Revision], only: str, timeout_s: float
    ) -> Facts:
        snapshot = await self._directory.range(SHARD_STATES, timeout_s=timeout_s)
        states = {
            state.shard: StoredState(state.use, entry.revision)
            for entry in snapshot.entries
            for state in [ShardState.from_json(entry.value)]
        }
        records = self._services.of_kind("shard")
        names = [ShardId(record.name) for record in records]
        ask_s = min(ASK_TIMEOUT_S, timeout_s)
        loads, _ = await self._shards.ask(names, GET_SHARD_LOAD, shard_pb2.GetShardLoadRequest(), ask_s)
        asked = shard_pb2.GetShardStorageRequest(tenant=only)
        stored, _ = await self._shards.ask(list(loads), GET_SHARD_STORAGE, asked, ask_s)
        rows: dict[str, dict[ShardId, int]] = {}
        sizes: dict[str, dict[ShardId, int]] = {}
        for shard, answer in stored.items():
            for each in answer.tenants:
                rows.setdefault(each.tenant, {})[shard] = each.log_rows + each.segment_rows
                sizes.setdefault(each.tenant, {})[shard] = each.bytes + LOG_ROW_BYTES * each.log_rows
        shards = [
            ShardFacts(
                name,
                states[name].use if name in states else "active",
                name in loads,
                record.labels,
                loads[name].load.rows if name in loads else 0,
                loads[name].load.bytes if name in loads else 0,
                _free_bytes(loads[name]) if name in loads else None,
            )
            for name, record in zip(names, records, strict=True)
        ]
        facts = {
            name: TenantFacts(name, tenant.placement, rows.get(name, {}), sizes.get(name, {}), tenant.settings.requires)
            for name, tenant in tenants.items()
        }
        return Facts(snapshot.revision, Shards(shards), states, facts, revisions)


def _free_bytes(answer: shard_pb2.GetShardLoadResponse) -> int | None:
    return answer.load.disk_free_bytes if answer.load.HasField("disk_free_bytes") else None
