"""Writes marks to the directory in the background: each once, whoever is first; again while the directory is away.

Each try has a nonce of its own: one that was written, lost its reply and was removed since must not come back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from evenshard.directory.keys import mark_key
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.runtime.endless import until_ended
from evenshard.runtime.logs import logger

QUEUE_MAX = 100_000
"""Marks that wait; beyond, they are dropped: the keys stay hot in this router until it stops."""
RETRY_MS_MIN = 100
RETRY_MS_MAX = 5_000
SWAP_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 3.0
_NOT_THERE = Revision(0)


class MarkWriter:
    """Belongs to one event loop."""

    def __init__(
        self, directory: Directory, clock: Clock, rng: Rng, on_written: Callable[[HotKey], None] = lambda _: None
    ) -> None:
        """``on_written`` is told of marks that are there because this writer wrote them."""
        self._directory = directory
        self._clock = clock
        self._rng = rng
        self._on_written = on_written
        self._queue: deque[tuple[HotKey, Mark]] = deque()
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(until_ended(self._run, self._clock, "marks"), name="marks")

    def write(self, key: HotKey, mark: Mark) -> None:
        """Soon, with another nonce; a mark that is there already stays as it is."""
        if len(self._queue) >= QUEUE_MAX:
            logger().error("a mark was dropped", tenant=key[0], waiting=len(self._queue))
            return
        self._queue.append((key, mark))
        self._filled.set()

    async def forget(self, tenant: TenantId, distinct_ids: Sequence[str]) -> None:
        """Some users are deleted: no mark of theirs is written any more that was decided until now."""
        chosen = frozenset(distinct_ids)
        async with self._writing:
            self._queue = deque(each for each in self._queue if each[0][0] != tenant or each[0][1] not in chosen)

    async def close(self) -> None:
        """Writes what waits, for a short while."""
        if self._task is None:
            return
        self._stopping = True
        self._filled.set()
        done, _ = await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        if not done:
            logger().warning("marks were not written", waiting=len(self._queue))
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Until ``close``."""
        retry_ms = RETRY_MS_MIN
        while True:
            await self._filled.wait()
            while self._queue:
                try:
                    await self._write_first()
                except EvenshardError as error:
                    logger().warning("a mark could not be written", waiting=len(self._queue), code=error.code)
                    await self._clock.sleep(retry_ms)
                    retry_ms = min(RETRY_MS_MAX, 2 * retry_ms)
                    continue
                retry_ms = RETRY_MS_MIN
            if self._stopping:
                return
            self._filled.clear()

    async def _write_first(self) -> None:
        async with self._writing:
            if not self._queue:  # forgotten meanwhile
                return
            key, mark = self._queue[0]
            try:
                name = mark_key(*key)
                put = Put(name, replace(mark, nonce=self._rng.token_hex(8)).to_json())
                result = await self._directory.swap([Unchanged(name, _NOT_THERE)], [put], timeout_s=SWAP_TIMEOUT_S)
                if result.swapped:
                    self._on_written(key)
            except EvenshardError as error:
                if error.retryable:
                    raise
                # It would be refused again, and hold up all behind it. The key stays hot in this router until it stops.
                logger().error("a mark was refused", tenant=key[0], code=error.code, message=error.message)
            except Exception:
                self._queue.popleft()  # what a defect has met once it would meet for ever
                raise
            self._queue.popleft()
