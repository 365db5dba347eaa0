"""Tells counters what shards acknowledged as new: after the ack, in the background, from a bounded queue.

Keys are dealt out to counters by hash, those that are marked to all of them in turn: a key that runs away is no more
one counter's than any other's, and its count is their sum.

Nobody waits for it: what does not fit is dropped and said, and so is what a counter does not take. Events are not
touched by that, only counts are too low. The ``KeyWatch`` hears what counters answer, and what they were not told.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.hashing import UInt64
from evenshard.hotkeys.marks import HotKey, Rule
from evenshard.hotkeys.threshold import KeyWatch, Rows
from evenshard.hotkeys.to_count import to_be_counted
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Peers
from evenshard.runtime.endless import until_ended
from evenshard.runtime.logs import logger
from evenshard.runtime.services import ServiceView
from evenshard.runtime.telemetry import LINKS_MAX, is_recording, trace_parent
from evenshard.wire.counting import count_request, counts_of_response, events_of
from evenshard.wire.rpcs import COUNT_EVENTS

GATHER_MS = 200
"""Waits so long for more to send at once: a call costs what counting some thousand rows does."""
JOINED_ROWS = 16_384
"""Small imports are told of as one batch, up to about so many rows: beyond, joining them costs more than a batch."""
CALL_ROWS = 131_072
"""A call tells of so many rows, or of one import's."""
CALL_TIMEOUT_S = 2.0
PAUSE_MS = 1000
"""After a failure; meanwhile the queue fills, then drops."""
CLOSE_TIMEOUT_S = 3.0
LOG_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class _New:
    """Acknowledged rows, of which those that are new count."""

    rows: Rows
    span: str
    """Of the import, in W3C form; empty where nobody traces."""


class CountFeed:
    """Feeds the counters of a cluster. Belongs to one event loop."""

    def __init__(
        self,
        peers: Peers,
        services: ServiceView,
        clock: Clock,
        pool: ThreadPoolExecutor,
        rows_max: int,
        watch: KeyWatch,
        rule_of: Callable[[TenantId], Rule],
    ) -> None:
        self._peers = peers
        self._services = services
        self._clock = clock
        self._pool = pool
        self._rows_max = rows_max
        self._watch = watch
        self._rule_of = rule_of
        self.talking = asyncio.Lock()
        """Held while counters are told of rows: who asks them for counts meanwhile might count those twice."""
        self._queue: deque[_New] = deque()
        self._rows = 0
        self._filled = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._silent_until_ms = -float("inf")
        self._turn = 0
        self.dropped_rows = 0
        """Since the start: rows the counters were not told of."""

    @property
    def queued_rows(self) -> int:
        """Rows that wait to be told."""
        return self._rows

    def start(self) -> None:
        self._task = asyncio.create_task(until_ended(self._run, self._clock, "count feed"), name="count feed")

    def offer(self, rows: Rows) -> None:
        """Acknowledged rows shall be counted: those that are new."""
        if self._rows + rows.times.size > self._rows_max:
            self._drop(rows.times.size, "the queue is full")
            self._watch.tell([rows], (), self._rule_of(rows.tenant).count_min)
            return
        self._queue.append(_New(rows, trace_parent() if is_recording() else ""))
        self._rows += rows.times.size
        self._filled.set()

    async def close(self) -> None:
        """Sends what is queued, for a short while."""
        if self._task is None:
            return
        self._stopping = True
        self._filled.set()
        done, _ = await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        if not done:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Until ``close``; one failure costs what was being sent and a pause."""
        while True:
            await self._filled.wait()
            if not self._stopping:
                await self._clock.sleep(GATHER_MS)
            taken, self._queue = self._queue, deque()
            self._rows = 0
            if not self._stopping:
                self._filled.clear()
            try:
                sent = await self._send(taken)
            except Exception:
                # A defect costs what it met, not the rows' places: they would count as pending for ever.
                await self._give_up(taken)
                raise
            if self._stopping and not self._queue:
                return
            if not sent and not self._stopping:
                await self._clock.sleep(PAUSE_MS)

    async def _send(self, taken: Iterable[_New]) -> bool:
        """False: something was dropped."""
        by_tenant: dict[TenantId, list[_New]] = {}
        for news in taken:
            by_tenant.setdefault(news.rows.tenant, []).append(news)
        whole = True
        loop = asyncio.get_running_loop()
        for tenant, together in by_tenant.items():
            count_min = self._rule_of(tenant).count_min
            rows = [news.rows for news in together]
            async with self.talking:
                told: list[tuple[HotKey, int]] = []
                for some in _grouped(together, CALL_ROWS):
                    whole &= await self._count(tenant, some, count_min, told)
                await loop.run_in_executor(self._pool, self._watch.tell, rows, told, count_min)
        return whole

    async def _give_up(self, taken: Iterable[_New]) -> None:
        """Counters are not told of these."""
        for news in taken:
            count_min = self._rule_of(news.rows.tenant).count_min
            self._drop(news.rows.times.size, "a defect")
            await asyncio.get_running_loop().run_in_executor(self._pool, self._watch.tell, [news.rows], (), count_min)

    async def _count(
        self, tenant: TenantId, together: Sequence[_New], count_min: int, told: list[tuple[HotKey, int]]
    ) -> bool:
        """``told`` gets what counters answered. False: something was dropped."""
        counters = self._services.of_kind("counter")
        if not counters:
            self._drop(sum(len(news.rows.distinct_ids) for news in together), "the directory lists no counter")
            return False
        whole = True
        self._turn += 1
        shares = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._shares, tenant, together, len(counters), self._turn
        )
        imports = list(dict.fromkeys(news.span for news in together if news.span))[:LINKS_MAX]
        for counter, share in zip(counters, shares, strict=True):
            if not share:
                continue
            request = count_request(tenant, share, count_min)
            request.imports.extend(imports)
            try:
                response = await self._peers.call(counter.address, COUNT_EVENTS, request, timeout_s=CALL_TIMEOUT_S)
                told += [
                    ((tenant, key["distinct_id"], key["day"]), key["count"])
                    for key in counts_of_response(response).to_pylist()
                ]
            except EvenshardError as error:
                self._drop(sum(events_of(keys) for keys in share), f"{counter.name}: {error.code}")
                whole = False
        return whole

    def _shares(
        self, tenant: TenantId, together: Sequence[_New], counters: int, turn: int
    ) -> list[list[pa.RecordBatch]]:
        """Counted keys of a tenant in some batches, dealt out to so many counters."""
        shares: list[list[pa.RecordBatch]] = [[] for _ in range(counters)]
        for some in _grouped(together, JOINED_ROWS):
            keys, hashes = _to_be_counted([news.rows for news in some])
            if counters == 1:
                dealt = [keys]
            else:
                turns = np.where(self._watch.marked(tenant, keys, hashes), np.uint64(turn % counters), np.uint64(0))
                owner = (hashes % np.uint64(counters) + turns) % np.uint64(counters)
                dealt = [keys.filter(pa.array(owner == number)) for number in range(counters)]
            for share, part in zip(shares, dealt, strict=True):
                if part.num_rows:
                    share.append(part)
        return shares

    def _drop(self, rows: int, reason: str) -> None:
        self.dropped_rows += rows
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._silent_until_ms:
            self._silent_until_ms = now_ms + LOG_EVERY_MS
            logger().warning("counts dropped", rows=rows, rows_since_start=self.dropped_rows, reason=reason)


def _to_be_counted(rows: Sequence[Rows]) -> tuple[pa.RecordBatch, UInt64]:
    if len(rows) == 1:
        (one,) = rows
        return to_be_counted(one.distinct_ids, one.times, one.hashes, one.counted)
    return to_be_counted(
        pa.concat_arrays([some.distinct_ids for some in rows]),
        np.concatenate([some.times for some in rows]),
        np.concatenate([some.hashes for some in rows]),
        np.concatenate([some.counted for some in rows]),
    )


def _grouped(together: Sequence[_New], rows_max: int) -> Iterator[list[_New]]:
    """All of them, in their order, small ones together: groups of at most so many rows, or of one."""
    group: list[_New] = []
    rows = 0
    for news in together:
        if group and rows + news.rows.times.size > rows_max:
            yield group
            group, rows = [], 0
        group.append(news)
        rows += news.rows.times.size
    yield group
