"""Compacts what is due, one tenant at a time, off the ack path; a failure is logged, and tried again later.

It takes what appends and scans leave of the cores, and writes no faster than it is told to, until a tenant has several
times as much unindexed as makes it due: from then on it competes with them, so that what is not indexed does not grow
for ever. For the same reason a pause holds only until then, and until the rows keep a log file too long; who keeps one
and cannot be compacted is indexed apart. A pause ends with the process: one that was forgotten must not fill a disk
with logs.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.runtime.logs import logger
from evenshard.runtime.memory import give_back
from evenshard.runtime.metrics import count, timed
from evenshard.runtime.priority import yield_to_others
from evenshard.shard.pacing import Pace
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.indexing import Compacted
from evenshard.storage.store import Store

LOOK_EVERY_MS = 1000
URGENT_BACKLOG = 6.0
"""Multiples of what makes a tenant due."""
RETRY_MS_MIN = 1_000
RETRY_MS_MAX = 60_000
"""A tenant that cannot be compacted is tried again at most this much later: its rows are safe in the log."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class CompactionState:
    """How compaction stands on this shard."""

    paused: bool
    paused_tenants: tuple[TenantId, ...]
    failing_tenants: tuple[TenantId, ...]
    backlog_rows: int
    """Not indexed yet."""
    log_files: int
    log_kept_by: tuple[TenantId, ...]
    """Tenants with unindexed rows in the oldest log file."""


@dataclass(frozen=True, slots=True)
class _Failing:
    times: int
    next_try_ms: float
    apart: bool = False
    """The last try was to index it apart."""


class Compactor:
    """Owns the threads that compact, one of them at a time. Belongs to one event loop."""

    def __init__(self, store: Store, clock: Clock, spans: ShardSpans, bytes_per_second: float = 0.0) -> None:
        """0 bytes a second: as fast as it can."""
        self._store = store
        self._clock = clock
        self._spans = spans
        self._calm = ThreadPoolExecutor(1, thread_name_prefix="compact", initializer=yield_to_others)
        self._urgent = ThreadPoolExecutor(1, thread_name_prefix="compact-urgent")
        self._one = asyncio.Lock()
        self._asked: dict[tuple[TenantId, int | None], None] = {}
        self._failing: dict[TenantId, _Failing] = {}
        self._pace = Pace(bytes_per_second, clock.monotonic_ms)
        self._paused = False
        self._paused_tenants: set[TenantId] = set()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="compaction")
        self._task.add_done_callback(_ended)

    async def compact(
        self, tenant: TenantId, day: int | None, *, urgent: bool = True, apart: bool = False
    ) -> Compacted:
        """Compacts a tenant now, after what is being compacted; ``day``: only that one (days since the epoch).
        ``apart``: only gets its rows out of the log."""
        with self._spans.compaction(tenant) as span:
            in_haste = urgent or self._is_urgent(tenant)
            pool = self._urgent if in_haste else self._calm
            pace = self._while_open(_as_fast_as_it_can if in_haste else self._pace.written)
            with timed("evenshard.shard.compaction.duration", self._now_s):
                done = await self._alone(pool, lambda: self._compact(tenant, day, pace, apart=apart))
            count("evenshard.shard.compaction.rows", done.rows)
            span.set_attributes({"evenshard.rows": done.rows, "evenshard.duplicates": done.duplicates_marked})
            logger().info("compacted", tenant=tenant, rows=done.rows, segments=done.segments_written)
            return done

    def _compact(self, tenant: TenantId, day: int | None, pace: Callable[[int], None], *, apart: bool) -> Compacted:
        try:
            return self._store.compact(tenant, day, pace, apart=apart)
        finally:
            give_back()

    async def beside(self, work: Callable[[Callable[[int], None]], _Result]) -> _Result:
        """Runs some work of a tenant's storage in the place of a compaction, after what is being compacted; it is given
        the pace that compactions keep."""
        return await self._alone(self._calm, lambda: work(self._while_open(self._pace.written)))

    async def _alone(self, pool: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        """Whoever stops waiting leaves the work in its place: nothing else begins before it has ended."""

        async def run() -> _Result:
            async with self._one:
                return await asyncio.get_running_loop().run_in_executor(pool, work)

        task = asyncio.create_task(run())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # also where nobody waits any more
        return await asyncio.shield(task)

    def _while_open(self, pace: Callable[[int], None]) -> Callable[[int], None]:
        """The pace of work that is broken off once this is closing; then everything is as before it."""

        def written(size_bytes: int) -> None:
            if self._closing:
                raise EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            pace(size_bytes)

        return written

    def _now_s(self) -> float:
        return self._clock.monotonic_ms() / 1000

    @property
    def at_work(self) -> bool:
        """Whether something is compacted, or purged, now."""
        return self._one.locked()

    def ask(self, tenant: TenantId, day: int | None) -> None:
        """Compacts a tenant soon."""
        self._asked[tenant, day] = None

    def pause(self, tenant: TenantId | None) -> None:
        """The tenant's rows (None: nobody's) are compacted only if they are urgent or somebody asks; what runs is
        finished."""
        if tenant is None:
            self._paused = True
        else:
            self._paused_tenants.add(tenant)

    def resume(self, tenant: TenantId | None) -> None:
        """Ends a pause of the tenant, or every pause."""
        if tenant is None:
            self._paused = False
            self._paused_tenants.clear()
        else:
            self._paused_tenants.discard(tenant)

    def state(self) -> CompactionState:
        """Blocks shortly: to be called in a thread."""
        usage = self._store.log_usage()
        return CompactionState(
            paused=self._paused,
            paused_tenants=tuple(sorted(self._paused_tenants)),
            failing_tenants=tuple(sorted(self._failing)),
            backlog_rows=sum(each.log_rows for each in self._store.storage()),
            log_files=usage.files,
            log_kept_by=usage.kept_by,
        )

    async def close(self) -> None:
        """Ends the loop; a compaction that runs is broken off at its next write."""
        self._closing = True
        self._pace.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for pool in (self._calm, self._urgent):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_MS)
            asked, self._asked = self._asked, {}
            keepers = await self._keepers()
            due = await asyncio.to_thread(self._store.due, self._clock.now_ms())
            unasked = ((tenant, None) for tenant in due if not self._is_held(tenant))
            for tenant, day in dict.fromkeys([*((keeper, None) for keeper in keepers), *asked, *unasked]):
                await self._try(tenant, day, keeps_log=tenant in keepers)

    async def _keepers(self) -> list[TenantId]:
        """Whose rows keep a log file too long."""
        try:
            return await asyncio.to_thread(self._store.age_log, self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 - logged, whatever it is; it is tried again in a second
            known = isinstance(error, EvenshardError)
            logger().error("no new log file was begun", exc_info=None if known else error, why=str(error))
            return []

    def _is_held(self, tenant: TenantId) -> bool:
        return (self._paused or tenant in self._paused_tenants) and not self._is_urgent(tenant)

    def _is_urgent(self, tenant: TenantId) -> bool:
        return self._store.backlog(tenant) >= URGENT_BACKLOG

    async def _try(self, tenant: TenantId, day: int | None, *, keeps_log: bool = False) -> None:
        failing = self._failing.get(tenant)
        apart = keeps_log and failing is not None
        waits = failing is not None and self._clock.monotonic_ms() < failing.next_try_ms
        if waits and failing is not None and (failing.apart or not apart):
            return
        try:
            await self.compact(tenant, day, urgent=False, apart=apart)
        except Exception as error:  # noqa: BLE001 - logged, whatever it is; the other tenants go on
            times = failing.times + 1 if failing else 1
            wait_ms = min(RETRY_MS_MAX, RETRY_MS_MIN << min(times, 10))
            self._failing[tenant] = _Failing(times, self._clock.monotonic_ms() + wait_ms, apart)
            logger().error("compaction failed", tenant=tenant, times=times, again_in_ms=wait_ms, exc_info=error)
            return
        if apart and failing is not None:  # its rows are out of the log; why it fails is still to be found
            self._failing[tenant] = replace(failing, apart=False)
        else:
            self._failing.pop(tenant, None)


def _as_fast_as_it_can(_: int) -> None:
    """No pace."""


def _ended(task: "asyncio.Task[None]") -> None:
    """Only a defect ends the loop before ``close``; it must not do so in silence."""
    if not task.cancelled() and task.exception() is not None:
        logger().critical("compaction ended", exc_info=task.exception())
