"""Drives hand-overs: what is next is decided by the mark (``hotkeys.handover``), which is changed by compare-and-swap.

The router that wrote a mark begins at once, and so does one that starts with all that are crossing; every other one
that sees it crossing takes it up a little later. All of them may be at it together: each effect may be repeated, and
only the first change counts.
"""

import asyncio
from dataclasses import replace
from typing import Final, assert_never

import numpy as np

from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import mark_key, tenant_key
from evenshard.directory.placement import Placement, with_overflow
from evenshard.directory.required_labels import missing
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import slots_of
from evenshard.hotkeys.handover import HandedOver, Placed, Recorded, after, next_effect
from evenshard.hotkeys.marks import HotKey, Mark, Overflow
from evenshard.ids import Revision, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
from evenshard.ports.peers import Peers, Request, Response, Rpc
from evenshard.ports.rng import Rng
from evenshard.router.tenant_shards import TenantShards, first_failure
from evenshard.runtime.logs import logger
from evenshard.runtime.services import ServiceView
from evenshard.runtime.shard_states import ShardStateView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import KEEP_ORIGINALS, LEARN_EPOCH, RECORD_KEY, SEAL_KEY
from evenshard.wire.sealing import keep_request, learn_epoch_request, record_request, seal_request, told_of

HANDED_OVER_AT_ONCE: Final = 8
TAKE_OVER_MS: Final = 3_000.0
"""After a mark was seen crossing: then its writer has had time enough."""
PAUSE_MS_MIN: Final = 50.0
PAUSE_MS_MAX: Final = 2_000.0
DIRECTORY_TIMEOUT_S: Final = 5.0
SHARD_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 3.0


class HandOver:
    """Belongs to one event loop."""

    def __init__(
        self,
        directory: Directory,
        tenants: TenantView,
        services: ServiceView,
        states: ShardStateView,
        shards: TenantShards,
        peers: Peers,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._tenants = tenants
        self._services = services
        self._states = states
        self._shards = shards
        self._peers = peers
        self._clock = clock
        self._rng = rng
        self._permits = asyncio.Semaphore(HANDED_OVER_AT_ONCE)
        self._tasks: dict[HotKey, asyncio.Task[None]] = {}
        self._mine: dict[HotKey, asyncio.Event] = {}
        """Of keys that are at work; set where this router has just written the mark, or has just started."""
        self._starting = True

    def written(self, key: HotKey) -> None:
        """This router has written the key's mark: it hands it over, at once."""
        self._begin(key)
        self._mine[key].set()

    def told(self, key: HotKey, mark: Mark | None) -> None:
        """The directory has this mark now."""
        if mark is not None and mark.state == "crossing":
            self._begin(key)
            if self._starting:
                self._mine[key].set()

    def started(self) -> None:
        """All marks there are have been told."""
        self._starting = False

    async def close(self) -> None:
        """Finishes what it has begun, for a short while. What is not done is another router's, or this one's when it
        starts again."""
        mine = [task for key, task in self._tasks.items() if self._mine[key].is_set()]
        if mine:
            await asyncio.wait(mine, timeout=CLOSE_TIMEOUT_S)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: HotKey) -> None:
        if key not in self._tasks:
            self._mine[key] = asyncio.Event()
            task = asyncio.create_task(self._hand_over(key), name=f"hand-over {key}")
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: HotKey, task: "asyncio.Task[None]") -> None:
        del self._tasks[key], self._mine[key]
        if not task.cancelled() and task.exception() is not None:
            logger().critical("a hand-over broke off", tenant=key[0], exc_info=task.exception())

    async def _hand_over(self, key: HotKey) -> None:
        """Until the mark is active, or gone."""
        await self._turn(key)
        pause_ms = PAUSE_MS_MIN
        while True:
            try:
                async with self._permits:
                    if await self._step(key):
                        return
                pause_ms = PAUSE_MS_MIN
            except EvenshardError as error:
                logger().warning("a hand-over waits", tenant=key[0], day=key[2], code=error.code, message=error.message)
                await self._clock.sleep(pause_ms * (0.5 + self._rng.random() / 2))
                pause_ms = min(PAUSE_MS_MAX, 2 * pause_ms)

    async def _turn(self, key: HotKey) -> None:
        """Gives whoever wrote the mark some time."""
        over = asyncio.ensure_future(self._clock.sleep(TAKE_OVER_MS * (1 + self._rng.random() / 2)))
        mine = asyncio.ensure_future(self._mine[key].wait())
        try:
            await asyncio.wait((mine, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            mine.cancel()
            over.cancel()

    async def _step(self, key: HotKey) -> bool:
        """True: nothing is left to do. Raises what keeps it from being done now."""
        entry = await self._directory.get(mark_key(*key), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            return True
        mark = Mark.from_json(entry.value)
        tenant, revision = await self._tenant(key)
        effect = next_effect(mark, overflow_of(tenant.placement))
        match effect:
            case None:
                return True
            case "place":
                if not tenant.placement.overflow:
                    await self._place(tenant, revision)
                    return False
                changed = after(mark, Placed(overflow_of(tenant.placement)))
            case "hand over":
                await self._seal(key, mark, tenant)
                await self._record(key, mark, tenant)
                changed = after(mark, HandedOver())
            case "record":
                await self._record(key, mark, tenant)
                changed = after(mark, Recorded())
            case _:
                assert_never(effect)
        # Nothing of it counts if the placement has changed meanwhile: then it is done again, by the new one.
        conditions = [Unchanged(entry.key, entry.revision), Unchanged(tenant_key(tenant.name), revision)]
        await self._directory.swap(conditions, [Put(entry.key, changed.to_json())], timeout_s=DIRECTORY_TIMEOUT_S)
        return False

    async def _tenant(self, key: HotKey) -> tuple[Tenant, Revision]:
        entry = await self._directory.get(tenant_key(key[0]), timeout_s=DIRECTORY_TIMEOUT_S)
        if entry is None:
            raise tenant_not_found(key[0])
        tenant = Tenant.from_json(entry.value)
        self._tenants.learn(tenant, entry.revision)
        return tenant, entry.revision

    async def _place(self, tenant: Tenant, revision: Revision) -> None:
        """Gives the tenant its overflow, unless somebody else does."""
        writable = self._fitting(tenant)
        placement = with_overflow(tenant.placement, tenant.name, writable)
        changed = replace(tenant, placement=placement, nonce=self._rng.token_hex(8))
        name = tenant_key(tenant.name)
        result = await self._directory.swap(
            [Unchanged(name, revision)], [Put(name, changed.to_json())], timeout_s=DIRECTORY_TIMEOUT_S
        )
        if result.swapped:
            self._tenants.learn(changed, result.revision)

    def _fitting(self, tenant: Tenant) -> list[ShardId]:
        """Shards that may take something new, and have the tenant's labels; where none has them, those it lives on."""
        required, found = tenant.settings.requires, list[ShardId]()
        for shard in self._states.writable(self._services.shards()):
            record = self._services.get(shard)
            if record is not None and not missing(record.labels, required):
                found.append(shard)
        return found or list(tenant.placement.shards)

    async def _seal(self, key: HotKey, mark: Mark, tenant: Tenant) -> None:
        """Seals the key at its home and brings its identities to the overflow. First every shard of the tenant refuses
        older placements: who reads by one would miss rows that go to new places."""
        placement, user_day = tenant.placement, key[1:]
        _, failed = await self._shards.each(
            tenant.name, LEARN_EPOCH, lambda epoch: learn_epoch_request(tenant.name, epoch), lambda: SHARD_TIMEOUT_S
        )
        if failed:
            raise first_failure(failed)
        home = placement.home_of(key[1])
        hash_from = 0
        while True:
            request = seal_request(tenant.name, placement.epoch, user_day, mark.nonce, hash_from)
            told = told_of(await self._call(home, SEAL_KEY, request))
            owner = placement.shard_of_overflow_slot[slots_of(told.identity)]
            page = hash_from, told.hash_next
            calls = []
            for number, shard in enumerate(placement.shards):
                if shard in placement.overflow_shards and shard != home:
                    some = EventBatch(told.batch.record.take(np.flatnonzero(owner == number)))
                    kept = keep_request(tenant.name, placement.epoch, user_day, mark.nonce, page, some)
                    calls.append(self._call(shard, KEEP_ORIGINALS, kept))
            for result in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
            if told.hash_next == 0:
                return
            hash_from = told.hash_next

    async def _record(self, key: HotKey, mark: Mark, tenant: Tenant) -> None:
        """Has the audit event written; written again it is a copy of itself."""
        placement = tenant.placement
        request = record_request(tenant.name, placement.epoch, key[1:], mark.nonce)
        await self._call(placement.home_of(key[1]), RECORD_KEY, request)

    async def _call(self, shard: ShardId, rpc: Rpc[Request, Response], request: Request) -> Response:
        record = self._services.get(shard)
        if record is None:
            raise EvenshardError("SHARD_UNAVAILABLE", f"{shard} is not listed in the directory")
        return await self._peers.call(record.address, rpc, request, timeout_s=SHARD_TIMEOUT_S)


def overflow_of(placement: Placement) -> Overflow:
    """As marks pin it."""
    return tuple((piece.first, piece.last, piece.shard) for piece in placement.overflow)
