"""What a shard does for repairs, and the gate before every other call: what is planned with a record that names repairs
is answered once they have come true here, and not before.

So a query sees a repair on all shards or on none: the record that names it has a new epoch, older ones are refused, and
nothing comes true before the new epoch is persisted.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from evenshard.api.v1 import shard_pb2
from evenshard.directory.tenant import Tenant
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.properties import concat
from evenshard.ids import TenantId
from evenshard.runtime.logs import logger
from evenshard.shard.compacting import Compactor
from evenshard.shard.threads import steps
from evenshard.storage.choosing import KeyRows
from evenshard.storage.ownership import Ownership
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.storage.store_repairs import FIELDS_READ
from evenshard.wire.repairs import key_rows_of, prepared_of, tally_message

BATCH_BYTES = 1 << 20
"""Of rows in one message, about."""
BATCH_ROWS_MAX = 65_536


class RepairGate:
    """Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settling: dict[tuple[TenantId, str], asyncio.Task[None]] = {}
        self._settled: dict[TenantId, frozenset[str]] = {}

    async def passed(self, tenant: Tenant) -> None:
        """Once all that the record names has come true. Raises what keeps it from that; the next caller tries again."""
        if not tenant.repairs or self._settled.get(tenant.name) == frozenset(tenant.repairs):
            return
        for operation in tenant.repairs:
            key = (tenant.name, operation)
            task = self._settling.get(key)
            if task is None:
                task = asyncio.create_task(self._settle(tenant, operation), name=f"repair {operation}")
                self._settling[key] = task
                task.add_done_callback(partial(self._ended, key))
            await asyncio.shield(task)
        self._settled[tenant.name] = frozenset(tenant.repairs)

    async def close(self) -> None:
        await asyncio.gather(*self._settling.values(), return_exceptions=True)

    async def _settle(self, tenant: Tenant, operation: str) -> None:
        if await asyncio.to_thread(self._store.repairs.is_settled, tenant.name, operation):
            return
        await asyncio.to_thread(self._store.learn_epoch, tenant.name, tenant.placement.epoch)
        await asyncio.to_thread(self._store.repairs.settle, tenant.name, operation)

    def _ended(self, key: tuple[TenantId, str], task: "asyncio.Task[None]") -> None:
        del self._settling[key]
        if not task.cancelled() and task.exception() is not None:
            logger().error("a repair could not come true", tenant=key[0], operation=key[1], why=repr(task.exception()))


class Repairer:
    """Answers the calls of repairs; works in the compactor's threads where it writes, so one thing at a time."""

    def __init__(self, store: Store, compactor: Compactor, readers: ThreadPoolExecutor) -> None:
        self._store = store
        self._compactor = compactor
        self._readers = readers

    async def look(
        self, tenant: TenantId, owned: Ownership, request: shard_pb2.LookAtKeyRequest
    ) -> shard_pb2.LookAtKeyResponse:
        wanted = key_rows_of(request.rows)
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, _look, self._store, tenant, owned, wanted, request.examples_max
        )

    async def read(
        self, tenant: TenantId, owned: Ownership, request: shard_pb2.ReadKeyRequest
    ) -> AsyncGenerator[shard_pb2.ReadKeyResponse, None]:
        wanted = key_rows_of(request.rows)
        messages = steps(self._readers, lambda: _messages(self._store, tenant, owned, wanted, request.layer))
        try:
            async for message in messages:
                yield message
        finally:
            await messages.aclose()

    async def take(self, tenant: TenantId, request: shard_pb2.TakeLayerRequest) -> shard_pb2.TakeLayerResponse:
        wanted = key_rows_of(request.rows)
        repairs, foreign = self._store.repairs, request.foreign_layer
        await self._compactor.beside(partial(repairs.take, tenant, request.layer, wanted, foreign_layer=foreign))
        tally = await asyncio.to_thread(self._store.repairs.tally, tenant, request.layer)
        return shard_pb2.TakeLayerResponse(tally=tally_message(request.layer, tally))

    async def bring(self, tenant: TenantId, request: shard_pb2.BringRowsRequest) -> shard_pb2.BringRowsResponse:
        repairs = self._store.repairs
        if request.arrow_ipc:
            marked = await asyncio.to_thread(MarkedRows.from_ipc, request.arrow_ipc)
            await self._compactor.beside(lambda _: repairs.bring(tenant, request.layer, request.origin, marked))
            return shard_pb2.BringRowsResponse(rows=marked.rows)
        source = request.origin + "/"
        named = frozenset(piece_name(request.origin, number) for number in range(request.pieces))
        await asyncio.to_thread(
            repairs.end_of, tenant, request.layer, lambda origin: not origin.startswith(source) or origin in named
        )
        told = await asyncio.to_thread(repairs.rows_of, tenant, request.layer, source)
        return shard_pb2.BringRowsResponse(rows=told)

    async def prepare(
        self, tenant: TenantId, request: shard_pb2.PrepareRepairRequest
    ) -> shard_pb2.PrepareRepairResponse:
        prepared, repairs = prepared_of(request), self._store.repairs
        coming = [change.layer for change in prepared.changes if change.shown and change.counts]
        for change in prepared.changes:
            if change.frees:
                await self._compactor.beside(partial(repairs.free, tenant, change))
        tallies = []
        for layer in coming:
            if repairs.is_waiting(tenant, layer):
                await self._compactor.beside(partial(repairs.seal, tenant, layer, changes=prepared.changes))
            tallies.append(tally_message(layer, await asyncio.to_thread(repairs.tally, tenant, layer)))
        await asyncio.to_thread(repairs.prepare, tenant, prepared)
        return shard_pb2.PrepareRepairResponse(tallies=tallies)

    async def tally(self, tenant: TenantId, request: shard_pb2.TallyLayersRequest) -> shard_pb2.TallyLayersResponse:
        tallies = [
            tally_message(layer, await asyncio.to_thread(self._store.repairs.tally, tenant, layer))
            for layer in request.layers
        ]
        return shard_pb2.TallyLayersResponse(tallies=tallies)

    async def drop(self, tenant: TenantId, request: shard_pb2.DropLayersRequest) -> shard_pb2.DropLayersResponse:
        await asyncio.to_thread(self._store.repairs.drop, tenant, list(request.layers), request.operation)
        return shard_pb2.DropLayersResponse()


def piece_name(source: str, number: int) -> str:
    """The origin of a source's piece; names sort as the numbers do."""
    return f"{source}/{number:06d}"


def _rows(snapshot: Snapshot, wanted: KeyRows) -> Generator[pa.RecordBatch, None, None]:
    """Those that are wanted, as they are stored, with ``duplicate`` and ``hot``."""
    for scanned in snapshot.scan(FIELDS_READ, None, wanted.start_ms, wanted.end_ms):
        mask = wanted.rows(scanned.record)
        if mask.any():
            yield scanned.record.filter(pa.array(mask))


def _pieces(record: pa.RecordBatch) -> Generator[MarkedRows, None, None]:
    rows = max(1, min(BATCH_ROWS_MAX, BATCH_BYTES * record.num_rows // max(1, record.nbytes)))
    marked = MarkedRows.of_scanned(record)
    for start in range(0, marked.rows, rows):
        yield marked.slice(start, min(rows, marked.rows - start))


def _messages(
    store: Store, tenant: TenantId, owned: Ownership, wanted: KeyRows, layer: str
) -> Generator[shard_pb2.ReadKeyResponse, None, None]:
    opened = store.repairs.layer(tenant, layer, owned) if layer else store.snapshot(tenant, owned)
    with opened as snapshot:
        for record in _rows(snapshot, wanted):
            for piece in _pieces(record):
                yield shard_pb2.ReadKeyResponse(arrow_ipc=piece.to_ipc())


@dataclass
class _Count:
    """Of rows of one kind."""

    rows: int = 0
    bytes: int = 0
    examples: pa.RecordBatch | None = None

    def add(self, record: pa.RecordBatch, examples_max: int) -> None:
        if not record.num_rows:
            return
        self.rows += record.num_rows
        self.bytes += int(record.nbytes)
        shown = 0 if self.examples is None else self.examples.num_rows
        if shown < examples_max:
            some = MarkedRows.of_scanned(record.slice(0, examples_max - shown)).to_record()
            self.examples = some if self.examples is None else concat([self.examples, some])

    def message(self) -> shard_pb2.KeyRowCount:
        examples = b"" if self.examples is None else MarkedRows.of_record(self.examples).to_ipc()
        return shard_pb2.KeyRowCount(rows=self.rows, bytes=self.bytes, examples=examples)


def _look(
    store: Store, tenant: TenantId, owned: Ownership, wanted: KeyRows, examples_max: int
) -> shard_pb2.LookAtKeyResponse:
    kept, rewritten, left = _Count(), _Count(), _Count()
    with store.snapshot(tenant, owned) as snapshot:
        for scanned in snapshot.scan(FIELDS_READ, None, wanted.start_ms, wanted.end_ms):
            of_key = wanted.key_rows(scanned.record)
            if not of_key.any():
                continue
            record = scanned.record.filter(pa.array(of_key))
            copies = record.column("duplicate").to_numpy(zero_copy_only=False)
            record = record.filter(pa.array(~copies)) if copies.any() else record
            meant, hot = wanted.rows(record), record.column("hot").to_numpy(zero_copy_only=False)
            kept.add(record.filter(pa.array(meant & ~hot)), examples_max)
            rewritten.add(record.filter(pa.array(meant & hot)), examples_max)
            left.add(record.filter(pa.array(~meant)), examples_max)
    return shard_pb2.LookAtKeyResponse(kept=kept.message(), rewritten=rewritten.message(), left=left.message())
