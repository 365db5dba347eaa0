"""Copies the rows of one source to where they belong: under other ids, or as they were. Piece by piece, so that memory
is bounded; a source is copied whole, or anew.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from evenshard.api.v1 import shard_pb2
from evenshard.directory.repair import Counted, Repair, summed
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.reassigning import new_ids, with_ids
from evenshard.events.row_digest import tally_of
from evenshard.ids import OperationId, ShardId
from evenshard.router.partition import deal
from evenshard.router.tenant_shards import TenantShards
from evenshard.storage.choosing import key_rows
from evenshard.storage.segment.info import DAY_MS
from evenshard.wire.repairs import key_rows_message
from evenshard.wire.rpcs import BRING_ROWS, READ_KEY

STEP_TIMEOUT_S: Final = 300.0
"""Of a call that reads or rewrites what a shard has of a key; it goes on there if nobody waits any more."""
BRING_TIMEOUT_S: Final = 60.0
PIECE_ROWS: Final = 65_536
PIECE_BYTES: Final = 6 << 20


@dataclass(slots=True)
class _Target:
    """What is on its way to one shard."""

    pieces: int = 0
    rows: int = 0
    waiting: list[MarkedRows] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0


class Copying:
    """Copies one source's rows to where they belong under their new ids."""

    def __init__(
        self,
        shards: TenantShards,
        paused: Callable[[OperationId], bool],
        repair: Repair,
        tenant: Tenant,
        source: ShardId,
        spread: frozenset[int],
    ) -> None:
        """``spread``: of rows that come back as they were, the days on which they go by their identity."""
        self._shards = shards
        self._paused = paused
        self._repair = repair
        self._tenant = tenant
        self._source = source
        self._spread = spread
        self._targets = {shard: _Target() for shard in tenant.placement.shards}
        self._sent = Counted()

    async def run(self) -> Counted | None:
        """What was copied; None: it was paused, or ended by somebody."""
        repair = self._repair
        request = shard_pb2.ReadKeyRequest(
            tenant=repair.tenant,
            epoch=self._tenant.placement.epoch,
            layer=repair.taken_layer if repair.undoes is None else f"{repair.undoes}.taken",
            rows=key_rows_message(key_rows(repair.distinct_id, repair.days)),
        )
        async with aclosing(self._shards.stream(self._source, READ_KEY, request, STEP_TIMEOUT_S)) as messages:
            async for message in messages:
                if self._paused(repair.operation):
                    return None
                parts, counted = await asyncio.to_thread(self._deal, message.arrow_ipc)
                self._sent = summed([self._sent, counted])
                for shard, part in parts:
                    await self._add(shard, part)
        for shard, target in self._targets.items():
            await self._flush(shard)
            told = await self._told(shard, self._bring(origin=self._source, pieces=target.pieces))
            if told.rows != target.rows:
                raise EvenshardError(
                    "INTERNAL", f"{shard} stored {told.rows:,} of the {target.rows:,} events {self._source} sent"
                )
        return self._sent

    def _deal(self, payload: bytes) -> tuple[list[tuple[ShardId, MarkedRows]], Counted]:
        marked = MarkedRows.from_ipc(payload)
        if self._repair.undoes is None:
            marked = self._reassigned(marked)
        batch, placement = marked.batch, self._tenant.placement
        hashes = hash_events(self._tenant.name, batch).placement
        spread = None
        if self._spread:
            days = batch.record.column("time").to_numpy() // DAY_MS
            spread = np.isin(days, np.fromiter(self._spread, np.int64, len(self._spread)))
        dealt = deal(self._tenant.name, batch, np.arange(batch.rows), hashes, placement, spread=spread)
        tally = tally_of(batch.record)
        return [(part.shard, marked.take(part.positions)) for part in dealt], Counted(tally.rows, tally.digest)

    def _reassigned(self, marked: MarkedRows) -> MarkedRows:
        """Events of others, none of them hot."""
        ids = new_ids(marked.batch.record, self._repair.distinct_id_from)
        if ids.null_count:
            raise EvenshardError("INTERNAL", f"{ids.null_count} events were taken that get no distinct_id")
        batch = EventBatch(with_ids(marked.batch.record, ids))
        return MarkedRows(batch, marked.duplicate, np.zeros(batch.rows, np.bool_))

    async def _add(self, shard: ShardId, part: MarkedRows) -> None:
        target = self._targets[shard]
        target.waiting.append(part)
        target.waiting_rows += part.rows
        target.waiting_bytes += int(part.batch.record.nbytes)
        if target.waiting_rows >= PIECE_ROWS or target.waiting_bytes >= PIECE_BYTES:
            await self._flush(shard)

    async def _flush(self, shard: ShardId) -> None:
        target = self._targets[shard]
        if not target.waiting:
            return
        payload = await asyncio.to_thread(_joined, target.waiting)
        origin = f"{self._source}/{target.pieces:06d}"
        await self._told(shard, self._bring(origin=origin, arrow_ipc=payload))
        target.pieces += 1
        target.rows += target.waiting_rows
        target.waiting, target.waiting_rows, target.waiting_bytes = [], 0, 0

    async def _told(self, shard: ShardId, request: shard_pb2.BringRowsRequest) -> shard_pb2.BringRowsResponse:
        return await self._shards.one(shard, BRING_ROWS, request, BRING_TIMEOUT_S)

    def _bring(self, **rest: Any) -> shard_pb2.BringRowsRequest:
        return shard_pb2.BringRowsRequest(
            tenant=self._repair.tenant,
            epoch=self._tenant.placement.epoch,
            layer=self._repair.brought_layer,
            **rest,
        )


def _joined(parts: Sequence[MarkedRows]) -> bytes:
    return MarkedRows.joined(parts).to_ipc()
