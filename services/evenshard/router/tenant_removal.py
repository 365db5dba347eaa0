"""Removes what is left of tenants that were deleted so long ago that nobody can have them back; by the leader."""

import json
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.deleted_tenant import DeletedTenant, epoch_record
from evenshard.directory.keys import (
    BLOCKED,
    DELETED,
    GROUPS,
    OPERATIONS,
    REPAIRS,
    USERS,
    cohorts_of,
    deleted_key,
    epoch_key,
    marks_of,
    reports_of,
)
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.wire.rpcs import DROP_TENANT

DIRECTORY_TIMEOUT_S: Final = 5.0
DROP_TIMEOUT_S: Final = 600.0
CHANGES_AT_ONCE: Final = 100
"""In one swap; etcd takes 128."""


class TenantRemoval:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, shards: TenantShards, clock: Clock) -> None:
        self._directory = directory
        self._shards = shards
        self._clock = clock

    async def remove_old(self, term: Term) -> None:
        """Rows first, then what the directory has; the record that says so last, so that nothing is forgotten."""
        snapshot = await self._directory.range(DELETED, timeout_s=DIRECTORY_TIMEOUT_S)
        for entry in snapshot.entries:
            deleted = DeletedTenant.from_json(entry.value)
            if self._clock.now_ms() <= deleted.kept_until_ms:
                continue
            name, placement = deleted.tenant.name, deleted.tenant.placement
            request = shard_pb2.DropTenantRequest(tenant=name)
            _, failed = await self._shards.ask(placement.shards, DROP_TENANT, request, DROP_TIMEOUT_S)
            if failed:
                why = {str(shard): error.code for shard, error in failed.items()}
                logger().warning("a deleted tenant is not removed yet", tenant=name, shards=why)
                continue
            for prefix in (marks_of(name), cohorts_of(name), reports_of(name), f"{BLOCKED}{name}/"):
                await self._remove(prefix, term)
            await self._remove_operations(name, term)
            await self._directory.swap(
                [term.condition, Unchanged(entry.key, entry.revision)],
                [Delete(deleted_key(name)), Put(epoch_key(name), epoch_record(placement.epoch))],
                timeout_s=DIRECTORY_TIMEOUT_S,
            )

    async def _remove(self, prefix: str, term: Term) -> None:
        snapshot = await self._directory.range(prefix, timeout_s=DIRECTORY_TIMEOUT_S)
        await self._delete([entry.key for entry in snapshot.entries], term)

    async def _remove_operations(self, tenant: TenantId, term: Term) -> None:
        snapshot = await self._directory.range(OPERATIONS, timeout_s=DIRECTORY_TIMEOUT_S)
        names = [
            entry.key.removeprefix(OPERATIONS)
            for entry in snapshot.entries
            if json.loads(entry.value).get("tenant") == tenant
        ]
        await self._delete([prefix + name for name in names for prefix in (OPERATIONS, USERS, REPAIRS, GROUPS)], term)

    async def _delete(self, keys: list[str], term: Term) -> None:
        for first in range(0, len(keys), CHANGES_AT_ONCE):
            gone = [Delete(key) for key in keys[first : first + CHANGES_AT_ONCE]]
            await self._directory.swap([term.condition], gone, timeout_s=DIRECTORY_TIMEOUT_S)
