"""Takes batches into the log: each is read and checked in a thread, sequenced, and answered once it is synced."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELDS, EventBatch
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.runtime.metrics import count, is_measuring
from evenshard.shard.backpressure import DELAY_MS_MAX, append_delay_ms
from evenshard.shard.heat import ShardHeat
from evenshard.shard.placements import Placements
from evenshard.shard.threads import settled
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.append import Append
from evenshard.storage.fair_queue import FairShare
from evenshard.storage.hot_keys import KeySealedError
from evenshard.storage.sequencer import Sequencer
from evenshard.wire.shards import NO_BITS, BatchAppended, BatchToAppend, Bools, hot_of, refused

MESSAGE_COPIES: Final = 2
"""Memory of a batch while it is taken, as a multiple of its payload: gRPC's message holds it too."""


class Appends:
    """Batches of one call stand and fall each by itself."""

    def __init__(
        self,
        shard: ShardId,
        placements: Placements,
        sequencer: Sequencer,
        pool: ThreadPoolExecutor,
        clock: Clock,
        room: FairShare,
        backlog: Callable[[TenantId], float],
        on_stored: Callable[[TenantId], None],
        spans: ShardSpans,
        heat: ShardHeat,
    ) -> None:
        """``room`` is for batches from their coming until their answer, the queue before the log included; ``backlog``
        tells how far compaction of a tenant is behind; ``on_stored`` is told of new rows."""
        self._shard = shard
        self._placements = placements
        self._sequencer = sequencer
        self._pool = pool
        self._clock = clock
        self._room = room
        self._backlog = backlog
        self._on_stored = on_stored
        self._spans = spans
        self._heat = heat

    async def append(self, batches: Sequence[BatchToAppend]) -> Sequence[BatchAppended]:
        """One result for each batch, when all that could be stored are synced."""
        return await asyncio.gather(*(self._append(batch) for batch in batches))

    async def _append(self, batch: BatchToAppend) -> BatchAppended:
        size = MESSAGE_COPIES * len(batch.payload)
        if not self._room.take(batch.tenant, size):
            return refused(
                "OVERLOADED",
                f"{self._shard}: {self._room.bytes:,} bytes of appends are being taken already",
                self._sequencer.retry_after_ms(),
            )
        try:
            return await self._take(batch)
        finally:
            self._room.give_back(batch.tenant, size)

    async def _take(self, batch: BatchToAppend) -> BatchAppended:
        try:
            tenant = await self._placements.at(batch.tenant, batch.epoch)
            self._delay_ms(batch.tenant)  # refused before the work of reading it
            owned, overflow = tenant.placement.taken_by(self._shard), tenant.placement.overflow_of(self._shard)
            append = await asyncio.get_running_loop().run_in_executor(self._pool, _read, batch, owned, overflow)
            if append.batch.rows == 0:
                return BatchAppended("", "", NO_BITS, 0)
            if delay_ms := self._delay_ms(batch.tenant):
                await self._clock.sleep(delay_ms)
            appended = await settled(self._sequencer.submit(append))
        except KeySealedError as error:
            return refused(error.code, f"{self._shard}: {error.message}", sealed=error.keys)
        except EvenshardError as error:
            return refused(error.code, error.message, error.retry_after_ms)
        self._on_stored(batch.tenant)
        self._heat.appended(append)
        self._spans.appended(batch.tenant, appended.sync)
        if is_measuring():
            count("evenshard.shard.events", append.batch.rows)
            count("evenshard.shard.duplicates", int(np.count_nonzero(appended.duplicates)))
        return BatchAppended("", "", appended.duplicates, appended.position)

    def _delay_ms(self, tenant: TenantId) -> float:
        """How long an append waits while compaction is behind; raises ``OVERLOADED`` where it is far behind."""
        delay_ms = append_delay_ms(self._backlog(tenant))
        if delay_ms is None:
            raise EvenshardError(
                "OVERLOADED",
                f"{self._shard}: compaction of {tenant} is behind what is imported",
                retry_after_ms=int(DELAY_MS_MAX),
            )
        return delay_ms


def _read(batch: BatchToAppend, owned: Bools, overflow: Bools | None) -> Append:
    """The batch as the log takes it, its hashes computed. Raises ``PAYLOAD_INVALID``."""
    try:
        events = EventBatch.from_ipc(batch.payload)
        events.record.validate()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise EvenshardError("PAYLOAD_INVALID", f"the batch cannot be read: {error}") from error
    if list(events.record.schema)[: len(FIELDS)] != list(FIELDS):
        raise EvenshardError("PAYLOAD_INVALID", "the batch is not in canonical form")
    hot = hot_of(batch, events.rows)
    return Append(batch.tenant, batch.epoch, owned, events, batch.payload, hot=hot, overflow=overflow).prepared()
