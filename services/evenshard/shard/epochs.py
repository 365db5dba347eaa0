"""Makes epochs durable that the directory's watch brings, so that what was planned with an older one is refused."""

import asyncio

from evenshard.directory.tenant import Tenant
from evenshard.ids import Epoch, TenantId
from evenshard.runtime.logs import logger
from evenshard.storage.store import Store


class EpochKeeper:
    """Of tenants that have rows here. Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._learned: dict[TenantId, Epoch] = {}
        self._task: asyncio.Task[None] | None = None

    def learned(self, name: str, tenant: Tenant | None) -> None:
        """The directory has this record now."""
        if tenant is None:
            return
        epoch = tenant.placement.epoch
        if 0 < self._store.epoch(tenant.name) < epoch:
            self._learned[tenant.name] = max(epoch, self._learned.get(tenant.name, epoch))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._persist(), name="epochs")

    async def close(self) -> None:
        """Persists what was learned."""
        if self._task is not None:
            await self._task

    async def _persist(self) -> None:
        """Until nothing is left. A failure is logged: the request that carries the epoch fails by it too."""
        while self._learned:
            name, epoch = self._learned.popitem()
            try:
                await asyncio.to_thread(self._store.learn_epoch, name, epoch)
            except Exception as error:  # noqa: BLE001 - logged, whatever it is; the other tenants go on
                logger().error("an epoch could not be persisted", tenant=name, epoch=epoch, exc_info=error)
