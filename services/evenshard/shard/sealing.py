"""Seals hot keys, keeps originals and writes audit events for marks that are there, and lets go of all of it when users
are deleted.

Whoever seals or records has just read the mark in the directory, and nobody hides users of the tenant meanwhile; a
deletion removes its users' marks before it hides them. So what is sealed or stored for a mark that goes is met by the
deletion that took it away.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np

from evenshard.directory.keys import mark_key
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.hotkeys.marks import Mark
from evenshard.hotkeys.records import record_event
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.directory import Directory
from evenshard.shard.placements import Placements
from evenshard.shard.threads import settled
from evenshard.storage.append import Append
from evenshard.storage.hot_keys import UserDay
from evenshard.storage.sealing import Originals
from evenshard.storage.sequencer import Sequencer
from evenshard.storage.store import Store

MARK_TIMEOUT_S = 2.0

_Result = TypeVar("_Result")


class Sealing:
    """Belongs to one event loop."""

    def __init__(
        self, shard: ShardId, store: Store, sequencer: Sequencer, placements: Placements, directory: Directory
    ) -> None:
        self._shard = shard
        self._store = store
        self._sequencer = sequencer
        self._placements = placements
        self._directory = directory
        self._locks: dict[TenantId, asyncio.Lock] = {}

    async def learn_epoch(self, name: str, epoch: Epoch) -> None:
        """Durable at return. Raises ``STALE_EPOCH``."""
        tenant = await self._placements.at(name, epoch)
        await asyncio.to_thread(self._store.fence, tenant.name, epoch)

    async def seal(self, name: str, epoch: Epoch, key: UserDay, nonce: str, hash_from: int) -> Originals:
        """Seals the key, and tells a page of the identities that are here. Raises what ``Store.seal_key`` does, and
        ``OPERATION_CONFLICT`` where its mark is gone."""
        tenant = await self._placements.at(name, epoch)
        stays = tenant.placement.overflow_of(self._shard)
        await asyncio.to_thread(self._store.originals, tenant.name, key, stays, hash_from, 0)  # what is damaged says so

        async def sealed() -> None:
            mark = await self._mark(tenant.name, key, nonce)
            await asyncio.to_thread(
                self._store.seal_key, tenant.name, epoch, key, nonce, has_hot_rows=mark.has_hot_rows
            )

        await self._alone(tenant.name, sealed())
        return await asyncio.to_thread(self._store.originals, tenant.name, key, stays, hash_from)

    async def keep(
        self, name: str, epoch: Epoch, key: UserDay, nonce: str, page: tuple[int, int], batch: EventBatch | None
    ) -> None:
        """Keeps a page of originals. Raises what ``Store.keep_originals`` does, and ``OPERATION_CONFLICT`` where the
        mark is gone."""
        tenant = await self._placements.at(name, epoch)

        async def kept() -> None:
            mark = await self._mark(tenant.name, key, nonce)
            await asyncio.to_thread(
                self._store.keep_originals,
                tenant.name,
                epoch,
                key,
                nonce,
                page,
                batch,
                has_hot_rows=mark.has_hot_rows,
            )

        await self._alone(tenant.name, kept())

    async def record(self, name: str, epoch: Epoch, key: UserDay, nonce: str) -> None:
        """Stores the audit event of the key; durable at return. Raises what an append does, and
        ``OPERATION_CONFLICT`` where the mark is gone."""
        tenant = await self._placements.at(name, epoch)
        owned = tenant.placement.taken_by(self._shard)

        async def recorded() -> None:
            mark = await self._mark(tenant.name, key, nonce)
            event = record_event((tenant.name, *key), mark)
            hot = np.ones(event.rows, np.bool_)
            append = Append(tenant.name, epoch, owned, event, event.to_ipc(), hot=hot, audits=True)
            await settled(self._sequencer.submit(append))

        await self._alone(tenant.name, recorded())

    async def hide_users(self, tenant: TenantId, epoch: Epoch, operation: str, users: Sequence[str]) -> int:
        """As ``Store.hide_users``; hot keys whose marks are gone end. Raises ``DIRECTORY_UNAVAILABLE`` where that
        cannot be told."""

        async def hidden() -> int:
            ended = []
            for held in await asyncio.to_thread(self._store.held_keys, tenant, users):
                mark = await self._read(tenant, held.key)
                if mark is None or mark.nonce != held.nonce:
                    ended.append(held.key)
            return await asyncio.to_thread(self._store.hide_users, tenant, epoch, operation, users, ended)

        return await self._alone(tenant, hidden())

    async def _mark(self, tenant: TenantId, key: UserDay, nonce: str) -> Mark:
        mark = await self._read(tenant, key)
        if mark is None or mark.nonce != nonce:
            raise EvenshardError("OPERATION_CONFLICT", f"the mark of a key of {tenant} is gone")
        return mark

    async def _read(self, tenant: TenantId, key: UserDay) -> Mark | None:
        entry = await self._directory.get(mark_key(tenant, *key), timeout_s=MARK_TIMEOUT_S)
        return None if entry is None else Mark.from_json(entry.value)

    async def _alone(self, tenant: TenantId, work: Coroutine[Any, Any, _Result]) -> _Result:
        """One at a time of a tenant, to its end, also where nobody waits any more."""
        lock = self._locks.setdefault(tenant, asyncio.Lock())

        async def run() -> _Result:
            async with lock:
                return await work

        task = asyncio.create_task(run())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)
