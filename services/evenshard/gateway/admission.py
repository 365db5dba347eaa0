"""Lets in so many queries of a tenant at once; others wait their turn, and an equal question shares the one that waits.

A query that has begun is never shared: it may have read its shards already, and an answer holds everything
acknowledged before it was asked for. One that still waits will read them later than all who share it asked.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from evenshard.errors import EvenshardError
from evenshard.gateway.scatter import Deadline
from evenshard.ports.clock import Clock
from evenshard.runtime.bucket import BURST_MS, Bucket

RETRY_AFTER_MS: Final = 1000
_PRUNE_AT_MIN: Final = 1024

_Answered = TypeVar("_Answered")


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Of each tenant, on one gateway."""

    at_once: int
    """Queries that run."""
    waiting: int
    """Different questions that wait for those."""
    scan_bytes_per_second: int
    """Bytes of columns that its queries read on shards; 0: no limit."""


@dataclass(slots=True, eq=False)
class _Waiting:
    turn: asyncio.Future[None]
    task: asyncio.Task[Any] | None = None
    askers: int = 0


@dataclass(slots=True)
class _Tenant:
    running: int = 0
    queue: deque[_Waiting] = field(default_factory=deque)
    questions: dict[Hashable, _Waiting] = field(default_factory=dict)
    """Of those that wait."""


class Admission:
    """Belongs to one event loop."""

    def __init__(self, clock: Clock, limits: QueryLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._tenants: dict[str, _Tenant] = {}
        self._buckets: dict[str, Bucket] = {}
        self._prune_at = _PRUNE_AT_MIN

    async def run(
        self, tenant: str, question: Hashable, deadline: Deadline, work: Callable[[], Awaitable[_Answered]]
    ) -> _Answered:
        """What ``work`` gives, once it is its turn; ``question``: equal ones have equal answers.

        Raises ``LIMIT_EXCEEDED``, with ``retry_after_ms``, where too many wait or the tenant's queries have read too
        much, ``DEADLINE_EXCEEDED`` where the turn does not come in time, and whatever ``work`` raises.
        """
        while True:
            self._check_bytes(tenant)
            of = self._tenants.setdefault(tenant, _Tenant())
            if of.running < self._limits.at_once:
                of.running += 1
                try:
                    return await work()
                finally:
                    self._leave(tenant, of)
            waiting = of.questions.get(question)
            shared = waiting is not None
            if waiting is None:
                waiting = self._enqueue(tenant, of, question, deadline, work)
            try:
                return cast(_Answered, await self._answer_of(waiting, deadline))
            except EvenshardError as error:
                # It ran out of the time of whoever asked first.
                if not shared or error.code != "DEADLINE_EXCEEDED" or self._clock.monotonic_ms() >= deadline.at_ms:
                    raise

    def load(self) -> tuple[int, int]:
        """Queries that run, and that wait. From any thread."""
        tenants = list(self._tenants.values())
        return sum(each.running for each in tenants), sum(len(each.queue) for each in tenants)

    def paid(self, tenant: str, scan_bytes: int) -> None:
        """Notes what a query of the tenant has read."""
        per_second = self._limits.scan_bytes_per_second
        if not per_second or not scan_bytes:
            return
        now_ms = self._clock.monotonic_ms()
        if tenant not in self._buckets and len(self._buckets) >= self._prune_at:
            self._buckets = {name: each for name, each in self._buckets.items() if each.wait_ms(now_ms) > 0}
            self._prune_at = max(_PRUNE_AT_MIN, 2 * len(self._buckets))
        self._buckets.setdefault(tenant, Bucket(per_second, now_ms - BURST_MS)).pay(scan_bytes, now_ms)

    def _check_bytes(self, tenant: str) -> None:
        bucket = self._buckets.get(tenant)
        now_ms = self._clock.monotonic_ms()
        if bucket is None or bucket.wait_ms(now_ms) <= 0:
            return
        retry_after_ms = max(1, -int(-bucket.turn_ms(now_ms) // 1))
        raise EvenshardError(
            "LIMIT_EXCEEDED",
            f"queries of tenant {tenant!r} have read more than {bucket.per_second:,} bytes a second on this gateway; "
            f"its turn comes in {retry_after_ms:,} ms",
            hint="ask for fewer days or properties, or have tenant_scan_bytes_per_second raised",
            retry_after_ms=retry_after_ms,
            details={"tenant": tenant, "limit": "scan_bytes_per_second", "per_second": str(bucket.per_second)},
        )

    def _enqueue(
        self,
        tenant: str,
        of: _Tenant,
        question: Hashable,
        deadline: Deadline,
        work: Callable[[], Awaitable[Any]],
    ) -> _Waiting:
        if len(of.queue) >= self._limits.waiting:
            raise EvenshardError(
                "LIMIT_EXCEEDED",
                f"{of.running} queries of tenant {tenant!r} run on this gateway and {len(of.queue)} wait",
                hint="ask again later, or ask less at a time",
                retry_after_ms=RETRY_AFTER_MS,
                details={"tenant": tenant, "limit": "queries"},
            )
        waiting = _Waiting(asyncio.get_running_loop().create_future())
        of.queue.append(waiting)
        of.questions[question] = waiting
        waiting.task = asyncio.create_task(self._when_its_turn(tenant, of, question, waiting, deadline, work))
        return waiting

    async def _when_its_turn(
        self,
        tenant: str,
        of: _Tenant,
        question: Hashable,
        waiting: _Waiting,
        deadline: Deadline,
        work: Callable[[], Awaitable[_Answered]],
    ) -> _Answered:
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                await waiting.turn
        except (TimeoutError, asyncio.CancelledError) as gone:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self._leave(tenant, of)  # its turn came just as it went
            elif waiting in of.queue:
                of.queue.remove(waiting)
            if isinstance(gone, TimeoutError):
                raise EvenshardError(
                    "DEADLINE_EXCEEDED", f"too many queries of tenant {tenant!r} ran before this one"
                ) from None
            raise
        finally:
            del of.questions[question]  # from here on nobody joins
        try:
            return await work()
        finally:
            self._leave(tenant, of)

    async def _answer_of(self, waiting: _Waiting, deadline: Deadline) -> Any:
        """The answer, shared with others; the last one who goes takes the query along."""
        task = cast(asyncio.Task[Any], waiting.task)
        waiting.askers += 1
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                return await asyncio.shield(task)
        except TimeoutError:
            raise EvenshardError("DEADLINE_EXCEEDED", "the query took longer than its caller waits") from None
        finally:
            waiting.askers -= 1
            if not waiting.askers and not task.done():
                task.cancel()

    def _leave(self, tenant: str, of: _Tenant) -> None:
        """One has ended: its place is the next one's."""
        while of.queue:
            following = of.queue.popleft()
            if not following.turn.done():
                following.turn.set_result(None)
                return
        of.running -= 1
        if not of.running:
            self._tenants.pop(tenant, None)
