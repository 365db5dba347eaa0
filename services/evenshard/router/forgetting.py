"""Ends what routers and counters know of users who are deleted, so that a user who comes again begins at nothing.

The driver of the operation does so here, and at the counters, before it says that the users are hidden; other routers
follow when they see the operation's key under ``FORGOTTEN``. What a user who came again has by then may be lost to the
counts; what was counted before never counts again.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from evenshard.directory.deletion import Users
from evenshard.directory.keys import FORGOTTEN
from evenshard.errors import EvenshardError
from evenshard.hotkeys.threshold import KeyWatch
from evenshard.ids import OperationId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.ports.peers import Peers
from evenshard.router.counts import CountFeed
from evenshard.router.marking import MarkWriter
from evenshard.runtime.logs import logger
from evenshard.runtime.mirror import START_TIMEOUT_S, Mirror
from evenshard.runtime.services import ServiceView
from evenshard.wire.counting import forget_request
from evenshard.wire.rpcs import FORGET_USERS

COUNTER_TIMEOUT_S = 1.0
DONE_HERE_MAX = 10_000
"""Operations remembered as done by this router itself."""


class Forgetting:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        services: ServiceView,
        peers: Peers,
        clock: Clock,
        watch: KeyWatch,
        feed: CountFeed,
        marks: MarkWriter,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._services = services
        self._peers = peers
        self._watch = watch
        self._feed = feed
        self._marks = marks
        self._pool = pool
        self._mirror = Mirror(directory, clock, FORGOTTEN, Users.from_json, self._told)
        self._done_here: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Follows what other routers do; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)
        self._started = True

    async def close(self) -> None:
        await self._mirror.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def marks_end(self, users: Users) -> None:
        """No mark is written any more that this router has decided until now."""
        await self._marks.forget(users.tenant, users.distinct_ids)

    async def counts_end(self, operation: OperationId, users: Users) -> None:
        """Here and at the counters. A counter that does not answer is said in the log: its counts may be too high."""
        self._done_here[operation] = None
        if len(self._done_here) > DONE_HERE_MAX:
            self._done_here.popitem(last=False)
        await self._forget(operation, users)

    async def _forget(self, operation: str, users: Users) -> None:
        async with self._feed.talking:  # so that no counter is told meanwhile of what is forgotten here
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._watch.forget, users.tenant, users.distinct_ids)
            request = forget_request(users.tenant, users.distinct_ids)
            for counter in self._services.of_kind("counter"):
                try:
                    await self._peers.call(counter.address, FORGET_USERS, request, timeout_s=COUNTER_TIMEOUT_S)
                except EvenshardError as error:
                    logger().warning(
                        "a counter did not forget deleted users",
                        counter=counter.name,
                        operation=operation,
                        code=error.code,
                    )

    def _told(self, operation: str, users: Users | None) -> None:
        if users is None or operation in self._done_here or not self._started:  # who has just begun knows nobody
            return
        task = asyncio.create_task(self._follow(operation, users), name=f"forgetting {operation}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _follow(self, operation: str, users: Users) -> None:
        """At the counters once more: this router may have told them since of what was stored before the deletion."""
        await self.marks_end(users)
        await self._forget(operation, users)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger().critical("users were not forgotten", exc_info=task.exception())
