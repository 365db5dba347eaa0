"""Raises the horizon of each tenant whose events expire, while this router leads; then sees the bytes go.

The horizon is the start of a UTC day, and only rises: shards keep theirs, and what was hidden once stays hidden
whatever the setting says later. A new leader raises all anew, which changes nothing where it was done.
"""

import asyncio
from typing import Final

from evenshard.directory.deletion import horizon_ms
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, TenantId
from evenshard.ports.clock import Clock
from evenshard.router.tenant_shards import TenantShards, first_failure
from evenshard.runtime.election import Term
from evenshard.runtime.logs import logger
from evenshard.runtime.tenants import TenantView
from evenshard.wire.operations import horizon_request, purge_progress, purge_request
from evenshard.wire.rpcs import PURGE, RAISE_HORIZON

LOOK_EVERY_MS: Final = 60_000
"""When nothing changes but the day."""
AGAIN_AFTER_MS: Final = 5_000
"""While a shard did not answer, or has bytes to remove."""
TENANTS_AT_ONCE: Final = 16
SHARD_TIMEOUT_S: Final = 5.0


class RetentionKeeper:
    """``lead`` it while this router is the elected one; belongs to one event loop."""

    def __init__(self, tenants: TenantView, shards: TenantShards, clock: Clock) -> None:
        self._tenants = tenants
        self._shards = shards
        self._clock = clock

    async def lead(self, term: Term) -> None:
        """Until it is cancelled. Nothing is written to the directory: ``term`` is not needed."""
        raised: dict[TenantId, tuple[Epoch, int]] = {}
        purging: set[TenantId] = set()
        permits = asyncio.Semaphore(TENANTS_AT_ONCE)
        while True:
            version = self._tenants.version
            tenants = [tenant for tenant in self._tenants.all() if tenant.settings.retention_days]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep(tenant, raised, purging, permits)) for tenant in tenants]
            whole = all(task.result() for task in tasks)
            await self._pause(version, LOOK_EVERY_MS if whole else AGAIN_AFTER_MS)

    async def _keep(
        self,
        tenant: Tenant,
        raised: dict[TenantId, tuple[Epoch, int]],
        purging: set[TenantId],
        permits: asyncio.Semaphore,
    ) -> bool:
        """False: there is something left to do."""
        wanted = (tenant.placement.epoch, horizon_ms(self._clock.now_ms(), tenant.settings.retention_days))
        async with permits:
            try:
                if wanted[1] > 0 and raised.get(tenant.name) != wanted:
                    await self._raise(tenant.name, wanted[1])
                    raised[tenant.name] = wanted
                    purging.add(tenant.name)
                if tenant.name in purging:
                    if not await self._purged(tenant.name):
                        return False
                    purging.discard(tenant.name)
                return True
            except EvenshardError as error:
                logger().warning("retention waits", tenant=tenant.name, code=error.code, message=error.message)
                return False

    async def _raise(self, name: TenantId, horizon: int) -> None:
        _, failed = await self._shards.each(
            name, RAISE_HORIZON, lambda epoch: horizon_request(name, epoch, horizon), lambda: SHARD_TIMEOUT_S
        )
        if failed:
            raise first_failure(failed)

    async def _purged(self, name: TenantId) -> bool:
        answered, failed = await self._shards.each(
            name, PURGE, lambda epoch: purge_request(name, epoch, None), lambda: SHARD_TIMEOUT_S
        )
        if failed:
            raise first_failure(failed)
        return not purge_progress(answered).shards_left

    async def _pause(self, version: int, duration_ms: float) -> None:
        """Until a tenant has changed, at most so long."""
        waiting = {
            asyncio.ensure_future(self._tenants.wait_beyond(version)),
            asyncio.ensure_future(self._clock.sleep(duration_ms)),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
