"""Follows sources: copies strip by strip, takes their log as it grows, and goes on by itself, also after a restart.

Ordinary work goes first: strips are taken by a thread that yields to others, no faster than the driver allows, and not
while compaction is behind.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.properties import concat
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Peers
from evenshard.runtime.logs import logger
from evenshard.runtime.priority import yield_to_others
from evenshard.runtime.tenants import TenantView
from evenshard.shard.compacting import Compactor
from evenshard.shard.pacing import Pace
from evenshard.shard.placements import ownership
from evenshard.storage.moving.record import Follow, MoveRecord
from evenshard.storage.moving.strips import StripTaking
from evenshard.storage.moving.taking import TailRows
from evenshard.storage.moving.telling import NOTHING_SEEN
from evenshard.storage.store import Store
from evenshard.wire.moves import (
    deletion_of,
    held_of,
    moved_message,
    name_message,
    rows_of,
    segment_of,
    strip_of,
)
from evenshard.wire.rpcs import COPY_HELD_KEYS, COPY_RUNS, TAIL_LOG

STRIP_TIMEOUT_S: Final = 3_600.0
TAIL_TIMEOUT_S: Final = 30.0
TAIL_WAIT_MS: Final = 2_000
RETRY_MS_MIN: Final = 50.0
RETRY_MS_MAX: Final = 2_000.0
TAKEN_AT_ONCE_BYTES: Final = 8 << 20
BUSY_BACKLOG: Final = 1.0
"""Multiples of what makes a tenant due: with more unindexed nothing is copied."""
FULL_BACKLOG: Final = 8.0
"""With so much unindexed the log is not taken on, either: what waits at the source costs no memory."""
BUSY_WAIT_MS: Final = 50.0
AWAITED_MS: Final = 300.0
"""How long a position that is to be reached is waited for."""
LOOK_EVERY_MS: Final = 2.0

HELD_MS: Final = 5_000.0
"""How long nothing is taken beyond a position, while both sides are compared there."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Hold:
    """Nothing is taken beyond a position of the source's log, for a time."""

    position: int
    until_ms: float


class MoveFollower:
    """Belongs to one event loop."""

    def __init__(
        self, shard: ShardId, store: Store, compactor: Compactor, tenants: TenantView, peers: Peers, clock: Clock
    ) -> None:
        self._shard = shard
        self._store = store
        self._compactor = compactor
        self._tenants = tenants
        self._peers = peers
        self._clock = clock
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="copy", initializer=yield_to_others)
        self._tasks: dict[tuple[TenantId, str], asyncio.Task[None]] = {}
        self._errors: dict[tuple[TenantId, str], EvenshardError] = {}
        self._log_ends: dict[tuple[TenantId, str], int] = {}
        self._held_versions: dict[tuple[TenantId, str], int] = {}
        self._holds: dict[tuple[TenantId, str], _Hold] = {}

    def start(self) -> None:
        """Goes on with what was followed before a restart."""
        for tenant, record in self._store.moves.records():
            if record.follow is not None:
                self.go_on(tenant, record.name)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.to_thread(self._copying.shutdown)

    def go_on(self, tenant: TenantId, name: str) -> None:
        """Follows, unless it does."""
        key = tenant, name
        if key not in self._tasks:
            task = asyncio.create_task(self._run(tenant, name), name=f"follow {name}")
            self._tasks[key] = task
            task.add_done_callback(partial(self._ended, key))

    def error_of(self, tenant: TenantId, name: str) -> EvenshardError | None:
        """What keeps it from going on; None: nothing does."""
        return self._errors.get((tenant, name))

    def log_end_of(self, tenant: TenantId, name: str) -> int | None:
        """Where the source's log ended when it was last heard of."""
        return self._log_ends.get((tenant, name))

    async def until_at(self, tenant: TenantId, name: str, position: int) -> None:
        """Returns when a position of the source's log has been taken, where it is followed; after a while anyway."""
        until_ms = self._clock.monotonic_ms() + AWAITED_MS
        while (record := self._record(tenant, name)) is not None:
            assert record.follow is not None
            is_there = record.follow.is_copied and record.follow.position >= position
            if is_there or self._clock.monotonic_ms() >= until_ms:
                return
            await self._clock.sleep(LOOK_EVERY_MS)

    def hold(self, tenant: TenantId, name: str, position: int) -> None:
        """For some seconds nothing of the source's log is taken beyond a position."""
        self._holds[tenant, name] = _Hold(position, self._clock.monotonic_ms() + HELD_MS)

    def let_go(self, tenant: TenantId, name: str) -> None:
        """It is taken as it comes."""
        self._holds.pop((tenant, name), None)

    def _ended(self, key: tuple[TenantId, str], task: "asyncio.Task[None]") -> None:
        self._tasks.pop(key, None)
        for known in (self._errors, self._log_ends, self._held_versions, self._holds):
            known.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            logger().critical("following ended", operation=key[1], exc_info=task.exception())

    async def _run(self, tenant: TenantId, name: str) -> None:
        wait_ms = RETRY_MS_MIN
        while (record := self._record(tenant, name)) is not None:
            assert record.follow is not None
            try:
                await self._step(tenant, record, record.follow)
            except EvenshardError as error:
                self._errors[tenant, name] = error
                if "begin_anew" in error.details:
                    await asyncio.to_thread(self._store.moves.begin_anew, tenant, name)
                await self._clock.sleep(wait_ms)
                wait_ms = min(RETRY_MS_MAX, 2 * wait_ms)
                continue
            self._errors.pop((tenant, name), None)
            wait_ms = RETRY_MS_MIN

    def _record(self, tenant: TenantId, name: str) -> MoveRecord | None:
        record = self._store.moves.named(tenant, name)
        return record if record is not None and record.follow is not None else None

    async def _step(self, tenant: TenantId, record: MoveRecord, follow: Follow) -> None:
        if not follow.is_cleared:
            self._held_versions.pop((tenant, record.name), None)
            known = self._tenants.get(tenant)
            mine = None if known is None else ownership(known.placement, self._shard).overflow
            spread = mine is None or bool(mine.any())
            clear = self._store.moves.clear
            await self._compactor.beside(lambda pace: clear(tenant, record.name, pace, spread=spread))
            return
        if not follow.is_copied:
            await self._room(tenant, record.name, BUSY_BACKLOG)
            await self._strip(tenant, record, follow)
            now = self._record(tenant, record.name)
            if now is None or now.follow is None or not now.follow.strips_taken:
                return
            follow = now.follow
        await self._tail(tenant, record, follow, TAIL_WAIT_MS if follow.is_copied else 0)

    async def _room(self, tenant: TenantId, name: str, backlog_max: float) -> None:
        """Waits while so much is unindexed, and says so meanwhile."""
        key = tenant, name
        while self._store.backlog(tenant) >= backlog_max:
            self._errors[key] = EvenshardError("OVERLOADED", f"waits for compaction of {tenant} on {self._shard}")
            await self._clock.sleep(BUSY_WAIT_MS)
            if self._store.backlog(tenant) < backlog_max:
                self._errors.pop(key, None)

    async def _strip(self, tenant: TenantId, record: MoveRecord, follow: Follow) -> None:
        """The next days, unless the log comes first."""
        assert follow.next_day is not None
        request = shard_pb2.CopyRunsRequest(
            moved=moved_message(record.moved(tenant), record.operation, record.revision),
            first_day=follow.next_day,
            position=follow.position,
            deletions_seen=follow.deletions_seen if follow.strips_taken else NOTHING_SEEN,
        )
        answers = self._peers.stream(follow.address, COPY_RUNS, request, timeout_s=STRIP_TIMEOUT_S)
        taking: StripTaking | None = None
        is_whole = False
        pace = Pace(float(follow.bytes_per_second), self._clock.monotonic_ms)
        try:
            async for answer in answers:
                match answer.WhichOneof("piece"):
                    case "strip":
                        if answer.strip.tail_first:
                            return
                        told = strip_of(answer.strip)
                        taking = await self._beside(partial(self._store.moves.take_strip, tenant, record.name, told))
                    case "end":
                        is_whole = True
                    case _ if taking is not None:
                        await self._beside(partial(_take, taking, answer, pace))
            if taking is None or not is_whole:
                raise EvenshardError("SHARD_UNAVAILABLE", f"{follow.source} broke off in the middle of a strip")
            await self._beside(taking.commit)
            taking = None
        finally:
            pace.stop()  # whoever is ended does not wait for what a throttle has left
            if taking is not None:
                await self._beside(taking.discard)

    async def _tail(self, tenant: TenantId, record: MoveRecord, follow: Follow, wait_ms: int) -> None:
        """Takes the source's log as it comes, until the source ends the stream."""
        request = shard_pb2.TailLogRequest(
            moved=moved_message(record.moved(tenant), record.operation, record.revision),
            position=follow.position,
            deletions_seen=follow.deletions_seen,
            wait_ms=wait_ms,
        )
        queue: asyncio.Queue[shard_pb2.TailLogResponse | None] = asyncio.Queue(maxsize=64)

        async def read() -> None:
            try:
                answers = self._peers.stream(follow.address, TAIL_LOG, request, timeout_s=TAIL_TIMEOUT_S)
                async for answer in answers:
                    await queue.put(answer)
            except Exception:
                await queue.put(None)
                raise
            await queue.put(None)  # not where it is cancelled: nobody makes room any more

        reader = asyncio.create_task(read(), name="reading a log")
        key = tenant, record.name
        try:
            ended = False
            while not ended:
                messages = [await queue.get()]
                while not queue.empty():
                    messages.append(queue.get_nowait())
                ended = messages[-1] is None
                told = [each for each in messages if each is not None]
                if told:
                    await self._room(tenant, record.name, FULL_BACKLOG)
                    await self._take_in_turn(tenant, record.name, told)
                    self._log_ends[key] = told[-1].end_position
                    copied = self._record(tenant, record.name)
                    is_copied = copied is not None and copied.follow is not None and copied.follow.is_copied
                    if is_copied and told[-1].held_version != self._held_versions.get(key):
                        await self._held(tenant, record, follow)
                        self._held_versions[key] = told[-1].held_version
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _take_in_turn(self, tenant: TenantId, name: str, told: list[shard_pb2.TailLogResponse]) -> None:
        """All of it, as far as it is not held."""
        while told:
            hold = self._holds.get((tenant, name))
            if hold is not None and self._clock.monotonic_ms() >= hold.until_ms:
                self.let_go(tenant, name)
                hold = None
            now = told if hold is None else [each for each in told if each.position <= hold.position]
            if now:
                await asyncio.to_thread(self._take_tail, tenant, name, now)
            told = told[len(now) :]
            if told:
                await self._clock.sleep(LOOK_EVERY_MS)

    def _take_tail(self, tenant: TenantId, name: str, told: list[shard_pb2.TailLogResponse]) -> None:
        """In order; rows that come one after another at once."""
        moves = self._store.moves
        rows: list[TailRows] = []
        size = 0
        for message in told:
            if message.HasField("rows"):
                rows.append(TailRows(message.position, rows_of(message.rows)))
                size += len(message.rows.arrow_ipc)
                if size < TAKEN_AT_ONCE_BYTES:
                    continue
            if rows:
                moves.take_rows(tenant, name, rows)
                rows, size = [], 0
            if message.HasField("deletion"):
                moves.take_deletion(tenant, name, deletion_of(message.deletion), message.position)
            elif not message.HasField("rows"):
                moves.reached(tenant, name, message.position)
        if rows:
            moves.take_rows(tenant, name, rows)

    async def _held(self, tenant: TenantId, record: MoveRecord, follow: Follow) -> None:
        moves, moved = self._store.moves, record.moved(tenant)
        known = await asyncio.to_thread(moves.known_held, tenant, record.name)
        request = shard_pb2.CopyHeldKeysRequest(
            moved=moved_message(moved, record.operation, record.revision),
            known=[name_message(name) for name in known],
        )
        there, pieces = [], list[EventBatch]()
        async for answer in self._peers.stream(follow.address, COPY_HELD_KEYS, request, timeout_s=TAIL_TIMEOUT_S):
            told = held_of(answer)
            if told.originals is not None:
                pieces.append(told.originals)
                continue
            there.append(told.name)
            if told.name not in known:
                joined = EventBatch(concat([piece.record for piece in pieces])) if pieces else None
                await asyncio.to_thread(moves.take_held, tenant, record.name, told, joined)
            pieces = []
        known_as = self._tenants.get(tenant)
        home = None if known_as is None else ownership(known_as.placement, self._shard).home
        await asyncio.to_thread(moves.end_held, tenant, record.name, there, home)

    async def _beside(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._copying, work)


def _take(taking: StripTaking, answer: shard_pb2.CopyRunsResponse, pace: Pace) -> None:
    before = taking.bytes
    match answer.WhichOneof("piece"):
        case "segment":
            taking.segment(segment_of(answer.segment))
        case "data":
            taking.data(answer.data)
        case "rows":
            taking.rows(rows_of(answer.rows))
    pace.written(taking.bytes - before)
