"""Keeps the unindexed rows of tenants in few sorted runs: off the ack path, in a thread of its own, after appends.

While queries are answered it waits, though not for ever: it would take the interpreter from them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.runtime.logs import logger
from evenshard.runtime.priority import yield_to_others
from evenshard.storage.store import Store

LOOK_EVERY_MS = 100
WAIT_EVERY_MS, WAIT_MS_MAX = 10, 500
"""How long it waits before each run while queries are answered."""
START_REST_MS = 1000
"""What was replayed is sorted so long after the start: those who waited for it ask first."""


class TailSorter:
    """Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        answering: Callable[[], bool],
        number_users: Callable[[TenantId], None] = lambda _: None,
    ) -> None:
        """``number_users`` is called, in the thread, once what was replayed of a tenant is sorted: its users are known
        by the blocks it came in, and would be numbered anew for the next question."""
        self._store = store
        self._clock = clock
        self._answering = answering
        self._number_users = number_users
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sort", initializer=yield_to_others)
        self._appended: dict[TenantId, None] = {}
        self._replayed: set[TenantId] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="tail sorter")

    def appended(self, tenant: TenantId) -> None:
        """The tenant has new rows."""
        self._appended[tenant] = None

    def replayed(self, tenant: TenantId) -> None:
        """The tenant has rows that a start found in the log."""
        self._appended[tenant] = None
        self._replayed.add(tenant)

    async def close(self) -> None:
        """Ends the loop; a sort that runs is finished first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def _run(self) -> None:
        rest_ms = START_REST_MS
        while True:
            await self._clock.sleep(LOOK_EVERY_MS)
            rest_ms -= LOOK_EVERY_MS
            appended, self._appended = self._appended, {}
            for tenant in appended:
                if tenant in self._replayed and rest_ms > 0:
                    self._appended[tenant] = None
                    continue
                try:
                    await self._sort(tenant)
                except Exception as error:  # noqa: BLE001 - logged, whatever it is; unsorted rows are found too
                    logger().error("the tail could not be sorted", tenant=tenant, exc_info=error)

    async def _sort(self, tenant: TenantId) -> None:
        more = True
        while more:
            await self._wait_for_queries()
            more = await asyncio.get_running_loop().run_in_executor(self._pool, self._store.sort_tail, tenant)
        if tenant in self._replayed:
            self._replayed.discard(tenant)
            await self._wait_for_queries()
            await asyncio.get_running_loop().run_in_executor(self._pool, self._number_users, tenant)

    async def _wait_for_queries(self) -> None:
        waited_ms = 0
        while waited_ms < WAIT_MS_MAX and self._answering():
            await self._clock.sleep(WAIT_EVERY_MS)
            waited_ms += WAIT_EVERY_MS
