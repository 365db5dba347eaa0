"""What a source answers in moves: strips and log for its follower, fences, numbers to compare.

A source that was fenced and sees no switch within a second proposes to go back to catching up: whichever change of the
operation's record comes first decides. It stays fenced until it knows.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.propose_back import ProposeBack
from evenshard.runtime.endless import until_ended
from evenshard.runtime.logs import logger
from evenshard.runtime.tenants import TenantView
from evenshard.shard.placements import ownership
from evenshard.shard.threads import steps
from evenshard.storage.moving.counting import Counted
from evenshard.storage.moving.record import Kept, MoveRecord, move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.tailing import Place, Tailed
from evenshard.storage.store import Store
from evenshard.wire.moves import held_message, held_names, moved_of, tailed_message, told_message

PROPOSE_AFTER_MS: Final = 1_000.0
PROPOSE_TIMEOUT_S: Final = 1.0
LOOK_EVERY_MS: Final = 5.0
"""Between two looks whether the log has grown, while a follower waits."""
WAIT_MS_MAX: Final = 10_000
COUNTED_WITHIN_S: Final = 1.0
"""Counting that takes longer goes on, and is asked for again."""
KEPT_MS: Final = 3_600_000.0
"""A follower that has not asked for so long has to begin anew: the log is not kept for it any more."""
LOOK_FOR_SILENT_MS: Final = 60_000.0

_Tailed = tuple[Tailed, Place | None]


class MoveSource:
    """Belongs to one event loop."""

    def __init__(
        self,
        shard: ShardId,
        store: Store,
        tenants: TenantView,
        propose_back: ProposeBack,
        clock: Clock,
        readers: ThreadPoolExecutor,
    ) -> None:
        self._shard = shard
        self._store = store
        self._tenants = tenants
        self._propose_back = propose_back
        self._clock = clock
        self._readers = readers
        self._watching: dict[tuple[TenantId, str], asyncio.Task[None]] = {}
        self._asked_ms: dict[tuple[TenantId, str], float] = {}
        self._counting: dict[tuple[TenantId, str], asyncio.Task[Counted]] = {}
        self._silent: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Goes on with what was fenced before a restart."""
        for tenant, record in self._store.moves.records():
            if record.fenced_at is not None:
                self.watch(tenant, record)
        silent = until_ended(self._look_for_silent, self._clock, "silent followers")
        self._silent = asyncio.create_task(silent, name="silent followers")

    async def close(self) -> None:
        tasks = [*self._watching.values(), *self._counting.values()]
        tasks += [] if self._silent is None else [self._silent]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def watch(self, tenant: TenantId, record: MoveRecord) -> None:
        """It was fenced: if nothing follows, it proposes to go back."""
        key = tenant, record.name
        if key not in self._watching:
            watch = partial(self._watch, record.moved(tenant), record.operation)
            name = f"fence {record.name}"
            task = asyncio.create_task(until_ended(watch, self._clock, name), name=name)
            self._watching[key] = task
            task.add_done_callback(lambda _: self._watching.pop(key, None))

    async def copy(self, request: shard_pb2.CopyRunsRequest) -> AsyncGenerator[shard_pb2.CopyRunsResponse, None]:
        moved, message = moved_of(request.moved), request.moved
        self._heard(moved.tenant, message)
        moves = self._store.moves

        def messages() -> Generator[shard_pb2.CopyRunsResponse, None, None]:
            first, position, seen = request.first_day, request.position, request.deletions_seen
            for told in moves.tell_strip(moved, message.operation, message.revision, first, position, seen):
                yield told_message(told)
            yield shard_pb2.CopyRunsResponse(end=shard_pb2.CopiedEnd())

        async with aclosing(steps(self._readers, messages)) as answers:
            async for answer in answers:
                yield answer

    async def tail(self, request: shard_pb2.TailLogRequest) -> AsyncGenerator[shard_pb2.TailLogResponse, None]:
        moved, message = moved_of(request.moved), request.moved
        moves, taken = self._store.moves, Kept(request.position, request.deletions_seen)
        until_ms = self._clock.monotonic_ms() + min(request.wait_ms, WAIT_MS_MAX)
        told, place = taken, None
        while True:
            self._heard(moved.tenant, message)
            deletions = moves.last_deletion(moved.tenant)
            version = await asyncio.to_thread(moves.held_version, moved)

            def passes(told: Kept = told, place: Place | None = place) -> Generator[_Tailed, None, None]:
                yield from moves.tell_tail(moved, message.operation, message.revision, taken, told, place)

            async with aclosing(steps(self._readers, passes)) as found:
                async for tailed, after in found:
                    seen = told.deletions_seen if tailed.deletion is None else tailed.deletion.seq
                    told, place = Kept(tailed.position, seen), after or place
                    yield tailed_message(tailed, moves.log_end(), version)
            while moves.log_end() <= told.position and moves.last_deletion(moved.tenant) == deletions:
                if self._clock.monotonic_ms() >= until_ms:
                    return
                await self._clock.sleep(LOOK_EVERY_MS)
            if self._clock.monotonic_ms() >= until_ms:
                return

    async def held(
        self, request: shard_pb2.CopyHeldKeysRequest
    ) -> AsyncGenerator[shard_pb2.CopyHeldKeysResponse, None]:
        moved, known = moved_of(request.moved), held_names(request.known)

        def messages() -> Generator[shard_pb2.CopyHeldKeysResponse, None, None]:
            for told in self._store.moves.tell_held(moved, known):
                yield held_message(told)

        async with aclosing(steps(self._readers, messages)) as answers:
            async for answer in answers:
                yield answer

    async def count(self, moved: MovedSlots, operation: str, revision: int, agreed: frozenset[bytes] | None) -> Counted:
        """How far counting is; goes on with it. What is under way may have begun with other files ``agreed``."""
        key = moved.tenant, move_name(operation, overflow=moved.overflow)
        return await self.counted(key, partial(self._store.moves.count, moved, operation, revision, agreed))

    async def counted(self, key: tuple[TenantId, str], count: Callable[[], Counted]) -> Counted:
        """What ``count`` gives, which goes on by itself if it takes long; it runs once at a time."""
        task = self._counting.get(key)
        if task is None or task.done():
            if task is not None and not task.cancelled() and task.exception() is not None:
                del self._counting[key]
                raise task.exception() or AssertionError
            task = self._counting[key] = asyncio.create_task(asyncio.to_thread(count), name=f"count {key[1]}")
        done, _ = await asyncio.wait([task], timeout=COUNTED_WITHIN_S)
        if not done:
            return Counted(is_near=False)
        del self._counting[key]
        return task.result()

    def _heard(self, tenant: TenantId, message: shard_pb2.MovedSlots) -> None:
        self._asked_ms[tenant, move_name(message.operation, overflow=message.overflow)] = self._clock.monotonic_ms()

    async def _watch(self, moved: MovedSlots, operation: str) -> None:
        moves = self._store.moves
        while True:
            await self._clock.sleep(PROPOSE_AFTER_MS)
            record = moves.get(moved.tenant, operation, overflow=moved.overflow)
            if record is None or record.fenced_at is None:
                return
            try:
                if self._has_gone(moved):  # it was switched: the fence has done what it was for
                    await asyncio.to_thread(self._let_go, moved, record)
                    return
                revision = await self._propose_back.propose_back(
                    moved.tenant, operation, record.revision, PROPOSE_TIMEOUT_S
                )
                if revision is not None:
                    await asyncio.to_thread(moves.lift, moved, operation, max(revision, record.revision))
                    return
            except EvenshardError as error:
                logger().warning("a fenced source does not know how it goes on", operation=operation, why=str(error))

    def _let_go(self, moved: MovedSlots, record: MoveRecord) -> None:
        """The epoch at which the slots are another shard's is durable first."""
        tenant = self._tenants.get(moved.tenant)
        if tenant is not None:
            self._store.learn_epoch(moved.tenant, tenant.placement.epoch)
            self._store.moves.lift(moved, record.operation, record.revision)

    def _has_gone(self, moved: MovedSlots) -> bool:
        """Whether the shard owns the slots no more: it was switched."""
        tenant = self._tenants.get(moved.tenant)
        if tenant is None:
            return False
        mine = ownership(tenant.placement, self._shard)
        owned = mine.overflow if moved.overflow else mine.home
        return owned is not None and not (owned & moved.mask).any()

    async def _look_for_silent(self) -> None:
        while True:
            await self._clock.sleep(LOOK_FOR_SILENT_MS)
            now_ms = self._clock.monotonic_ms()
            for tenant, record in self._store.moves.records():
                asked_ms = self._asked_ms.setdefault((tenant, record.name), now_ms)
                if record.kept is not None and now_ms - asked_ms >= KEPT_MS:
                    logger().warning(
                        "a follower is silent: nothing is kept for it any more", operation=record.operation
                    )
                    try:
                        await asyncio.to_thread(self._store.moves.keep_nothing, tenant, record.name)
                    except EvenshardError as error:
                        logger().error(
                            "what a follower needs is still kept", operation=record.operation, why=str(error)
                        )
            try:
                await asyncio.to_thread(self._store.moves.empty_trash, self._clock.now_ms())
            except EvenshardError as error:
                logger().error("trash could not be emptied", why=str(error))
