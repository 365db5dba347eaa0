"""Removes what is hidden from every file, for tenants that were asked for, a step at a time between compactions.

A step that fails is logged and tried again when the tenant is asked for again, as its driver does until all is gone.
"""

import asyncio
from dataclasses import replace
from functools import partial

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.runtime.logs import logger
from evenshard.shard.compacting import Compactor
from evenshard.storage.purging import Purge
from evenshard.storage.store import Store


class Purger:
    """Belongs to one event loop; works in the compactor's threads."""

    def __init__(self, store: Store, compactor: Compactor) -> None:
        self._store = store
        self._compactor = compactor
        self._asked: dict[TenantId, bool] = {}
        """Whether the shard owns slots of it."""
        self._failed: dict[TenantId, str] = {}
        """Why the last step failed; gone with the next that does not."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="purge")
        self._task.add_done_callback(_ended)

    async def purge(self, tenant: TenantId, operation: str, *, is_owner: bool = True) -> Purge:
        """How far it is; what is left is gone on with. ``is_owner``: of slots of the tenant; else all that is left here
        of it goes, too."""
        status = await asyncio.to_thread(self._store.purge_status, tenant, operation)
        if status.purged and not is_owner:
            status = await asyncio.to_thread(self._store.left_status, tenant)
        if status.purged:
            return status
        self._asked[tenant] = is_owner
        self._wake.set()
        failed = self._failed.get(tenant)
        return status if failed is None else replace(status, waits_for=failed)

    async def close(self) -> None:
        """Ends the loop; to be called before the compactor is closed, which finishes a step that runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                for tenant in list(self._asked):
                    if not await self._step(tenant):
                        del self._asked[tenant]

    async def _step(self, tenant: TenantId) -> bool:
        """False: there is nothing to do now."""
        try:
            more = await self._compactor.beside(partial(self._store.purge_step, tenant))
            if not more and not self._asked[tenant]:
                more = await self._compactor.beside(partial(self._store.left_step, tenant))
        except Exception as error:  # noqa: BLE001 - logged and shown, whatever it is; the other tenants go on
            known = isinstance(error, EvenshardError)
            self._failed[tenant] = str(error) if known else repr(error)
            logger().error("purge failed", tenant=tenant, exc_info=None if known else error, why=self._failed[tenant])
            return False
        self._failed.pop(tenant, None)
        return more


def _ended(task: "asyncio.Task[None]") -> None:
    """Only a defect ends the loop before ``close``; it must not do so in silence."""
    if not task.cancelled() and task.exception() is not None:
        logger().critical("purging ended", exc_info=task.exception())
