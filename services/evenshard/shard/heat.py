"""What a shard has to do: meters of its appends and scans, the keys most of that is of, and its slow queries.

Kept in the loop's thread, in bounded memory, whatever comes. An append costs a look at a few of its rows.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from evenshard.hotkeys.diagnosis import KeyLoad
from evenshard.hotkeys.meters import SLICES, WINDOW_MS, SlidingLatencies, SlidingSum
from evenshard.hotkeys.slow_queries import SlowQueries, SlowQuery, names_of
from evenshard.hotkeys.warm_keys import WarmKey, WarmKeys, sampled
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.queries.about import About, about
from evenshard.runtime.call import current_call
from evenshard.runtime.process_info import disk_bytes, processor_s
from evenshard.storage.append import Append

KEYS_TOLD_MAX: Final = 20
"""Of writes, and as many of reads."""
USAGE_EVERY_MS: Final = WINDOW_MS / SLICES


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process has used so far; None: the machine does not tell."""

    processor_s: float | None
    read_bytes: int | None
    written_bytes: int | None


def own_usage() -> Usage:
    """Of this process."""
    read, written = disk_bytes(os.getpid()) or (None, None)
    return Usage(processor_s(os.getpid()), read, written)


@dataclass(frozen=True, slots=True)
class Heat:
    """The load of the last seconds."""

    window_ms: float
    events_per_second: float
    queries_per_second: float
    query_p99_ms: float | None
    busy: float
    queries_running: int
    cpu: float | None
    read_bytes_per_second: float | None
    write_bytes_per_second: float | None
    keys: tuple[KeyLoad, ...]


class RunningScan:
    """A scan under way: told of its turn in whatever thread runs it, and of its rows at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked_ms = clock.monotonic_ms()
        self.began_ms: float | None = None
        """None: its turn has not come."""
        self.rows = 0

    def begins(self) -> None:
        self.began_ms = self._clock.monotonic_ms()


class ShardHeat:
    """Belongs to one event loop."""

    def __init__(
        self, shard: ShardId, clock: Clock, slow_query_ms: float, usage: Callable[[], Usage] = own_usage
    ) -> None:
        self.slow = SlowQueries(slow_query_ms)
        self._shard = shard
        self._clock = clock
        self._usage = usage
        now_ms = clock.monotonic_ms()
        self._events, self._queries, self._busy = (SlidingSum(now_ms) for _ in range(3))
        self._latencies = SlidingLatencies()
        self._written, self._read = WarmKeys(), WarmKeys()
        self._running = 0
        self._used: deque[tuple[float, Usage]] = deque([(now_ms, usage())], maxlen=SLICES + 2)

    def appended(self, append: Append) -> None:
        """A batch is synced."""
        rows, now_ms = append.batch.rows, self._clock.monotonic_ms()
        self._events.add(now_ms, rows)
        self._note_usage(now_ms)
        if append.hashes is None:
            return
        places, weights = sampled(append.hashes.placement, int(append.hashes.placement[0]) if rows else 0)
        ids = append.batch.record.column("distinct_id")
        named = ((ids[place].as_py(), weight) for place, weight in zip(places.tolist(), weights.tolist(), strict=True))
        self._written.add(now_ms, [((append.tenant, name), float(weight)) for name, weight in named if name])

    @contextlib.contextmanager
    def scanning(self, tenant: str, scan: bytes) -> Iterator[RunningScan]:
        """A query's scan."""
        running, user = RunningScan(self._clock), _user_of(scan)
        self._running += 1
        answered = False
        try:
            yield running
            answered = True
        finally:
            self._running -= 1
            now_ms = self._clock.monotonic_ms()
            began_ms = now_ms if running.began_ms is None else running.began_ms
            wait_ms, run_ms = began_ms - running.asked_ms, now_ms - began_ms
            self._queries.add(now_ms, 1)
            self._busy.add(now_ms, run_ms)
            self._latencies.note(now_ms, wait_ms + run_ms)
            if user:
                self._read.add(now_ms, [((TenantId(tenant), user), run_ms)])
            self._note_usage(now_ms)
            if self.slow.is_slow(wait_ms + run_ms):
                self._note_slow(tenant, about(scan), running.rows, wait_ms, run_ms, answered=answered)

    def _note_slow(
        self, tenant: str, asked: About, rows: int, wait_ms: float, run_ms: float, *, answered: bool
    ) -> None:
        names, trace_id = names_of(asked.events), current_call().trace_id
        at_ms = self._clock.now_ms()
        self.slow.note(
            SlowQuery(
                at_ms, self._shard, tenant, asked.kind, names, rows, wait_ms, run_ms, trace_id, failed=not answered
            )
        )

    @contextlib.contextmanager
    def exporting(self) -> Iterator[None]:
        """A stream of rows; it takes as long as its reader does, so it is no slow query, and its time is nobody's."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._queries.add(self._clock.monotonic_ms(), 1)

    def now(self) -> Heat:
        """As it stands."""
        now_ms = self._clock.monotonic_ms()
        self._note_usage(now_ms)
        watched_ms = self._events.watched_ms(now_ms)
        cpu, read, written = self._used_per_second(now_ms)
        return Heat(
            watched_ms,
            self._events.per_second(now_ms),
            self._queries.per_second(now_ms),
            self._latencies.quantile(now_ms, 0.99),
            self._busy.total(now_ms) / watched_ms,
            self._running,
            cpu,
            read,
            written,
            self._keys(now_ms, watched_ms),
        )

    def _keys(self, now_ms: float, watched_ms: float) -> tuple[KeyLoad, ...]:
        """The largest of writes and of reads; what is among both is told once."""
        written = {each.key: each.weight for each in self._written.largest(now_ms, KEYS_TOLD_MAX)}
        read = {each.key: each.weight for each in self._read.largest(now_ms, KEYS_TOLD_MAX)}
        keys: list[WarmKey] = list(dict.fromkeys([*written, *read]))
        return tuple(
            KeyLoad(tenant, user, 1000 * written.get((tenant, user), 0.0) / watched_ms,
                    read.get((tenant, user), 0.0) / watched_ms)
            for tenant, user in keys
        )  # fmt: skip

    def _note_usage(self, now_ms: float) -> None:
        if now_ms - self._used[-1][0] >= USAGE_EVERY_MS:
            self._used.append((now_ms, self._usage()))

    def _used_per_second(self, now_ms: float) -> tuple[float | None, float | None, float | None]:
        """Since the newest sample that is as old as the window, or the oldest there is."""
        then_ms, then = next((each for each in reversed(self._used) if each[0] <= now_ms - WINDOW_MS), self._used[0])
        now, passed_s = self._usage(), (now_ms - then_ms) / 1000
        if passed_s <= 0:
            return None, None, None
        return (
            _per(now.processor_s, then.processor_s, passed_s),
            _per(now.read_bytes, then.read_bytes, passed_s),
            _per(now.written_bytes, then.written_bytes, passed_s),
        )


def _per(now: float | None, then: float | None, passed_s: float) -> float | None:
    return None if now is None or then is None else (now - then) / passed_s


def _user_of(scan: bytes) -> str:
    """Whose timeline it is; other scans are of nobody in particular, and not worth reading."""
    return about(scan).user if b'"kind":"timeline"' in scan[:40] else ""
