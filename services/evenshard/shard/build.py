"""Builds a shard."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.debug_pb2_grpc import add_DebugServiceServicer_to_server
from evenshard.api.v1.shard_pb2_grpc import add_ShardServiceServicer_to_server
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.runtime.debug_service import DebugService
from evenshard.runtime.fences import FenceProposals
from evenshard.runtime.logs import logger
from evenshard.runtime.memory import give_back
from evenshard.runtime.process_info import rss_bytes
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.settings import Settings
from evenshard.runtime.tenants import TenantView
from evenshard.shard.appends import Appends
from evenshard.shard.compacting import Compactor
from evenshard.shard.condition import Condition
from evenshard.shard.epochs import EpochKeeper
from evenshard.shard.giving_back import MemoryGiver
from evenshard.shard.heat import ShardHeat
from evenshard.shard.measuring import observe_shard, recording_syncs
from evenshard.shard.memory import MemoryView
from evenshard.shard.move_follower import MoveFollower
from evenshard.shard.move_source import MoveSource
from evenshard.shard.moves import Moves
from evenshard.shard.placements import Placements
from evenshard.shard.preparing import number_users, to_prepare
from evenshard.shard.purging import Purger
from evenshard.shard.repairing import Repairer, RepairGate
from evenshard.shard.restored import RestoredView
from evenshard.shard.scan_room import ScanRoom
from evenshard.shard.sealing import Sealing
from evenshard.shard.service import ShardService
from evenshard.shard.tags import Tags, new_incarnation
from evenshard.shard.tidying import TailSorter
from evenshard.shard.tracing import ShardSpans
from evenshard.storage.fair_queue import FairShare
from evenshard.storage.memory import MemoryBudget
from evenshard.storage.progress import Replaying
from evenshard.storage.sequencer import Sequencer
from evenshard.storage.settings import APPEND_GROUP_BYTES, StorageSettings
from evenshard.storage.store import Store
from evenshard.wire.rpcs import DEBUG_SERVICE, SHARD_SERVICE

DRAIN_TIMEOUT_S = 10.0
_MB = 1_000_000
TELL_EVERY_MS = 500.0


def storage_settings(settings: Settings) -> StorageSettings:
    """What the process's settings say of storage."""
    budget = MemoryBudget.of(settings.shard_memory_bytes)
    return StorageSettings(
        append_queue_bytes=budget.queue,
        append_group_bytes=min(APPEND_GROUP_BYTES, budget.queue // 2),
        tail_bytes=budget.tail,
        window_bytes=budget.window_bytes,
        value_keys_bytes=budget.value_keys_bytes,
        identity_cache_bytes=budget.cache,
        identity_scratch_bytes=settings.shard_scratch_bytes,
        column_cache_bytes=budget.columns,
        compact_rows=settings.compact_rows,
        compact_bytes=min(settings.compact_bytes, budget.compact_bytes_max),
        compact_age_ms=1000 * settings.compact_age_seconds,
        log_age_ms=1000 * settings.log_age_seconds,
    )


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A shard, once its disk is recovered. Raises what ``Store.open`` raises."""
    if ports.disk is None:
        raise EvenshardError("USAGE", "a shard needs a data directory")
    shard = ShardId(options.name)
    stored = storage_settings(options.settings)
    spans = ShardSpans(shard)
    on_progress = _Telling(ports.tell, ports.clock).replaying
    store = await asyncio.to_thread(
        Store.open, ports.disk, ports.clock, shard, stored, _report, recording_syncs(spans.on_sync), on_progress
    )
    prepared = to_prepare(store.storage(), stored.column_cache_bytes)

    def number(tenant: TenantId) -> None:
        if tenant in prepared:
            number_users(store, tenant, _report)

    ports.tell("")
    sequencer = Sequencer(
        store.append, queue_bytes_max=stored.append_queue_bytes, group_bytes_max=stored.append_group_bytes
    )
    threads = max(2, os.cpu_count() or 1)
    writers = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="append")
    readers = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="scan")
    epochs = EpochKeeper(store)
    tenants = TenantView(ports.directory, ports.clock, epochs.learned)
    restored = RestoredView(ports.directory, ports.clock)
    compactor = Compactor(store, ports.clock, spans, options.settings.compact_mb_per_second * _MB)
    budget = MemoryBudget.of(options.settings.shard_memory_bytes)
    scans = ScanRoom(budget.scans, threads)
    sorter = TailSorter(store, ports.clock, lambda: scans.scans > 0, number)
    purger = Purger(store, compactor)
    gate = RepairGate(store)
    repairer = Repairer(store, compactor, readers)
    condition = Condition(store, ports.clock, ports.tell, ports.note)
    giver = MemoryGiver(ports.clock, options.settings.shard_memory_bytes, lambda: rss_bytes(os.getpid()), give_back)

    proposals = FenceProposals(shard, ports.directory, ports.clock, ports.rng)
    source = MoveSource(shard, store, tenants, proposals, ports.clock, readers)
    follower = MoveFollower(shard, store, compactor, tenants, ports.peers, ports.clock)

    async def close() -> None:
        """Nothing more is taken; what was taken is synced; then the end marker."""
        parts = (follower, source, giver, condition, gate, purger, compactor, sorter, restored, tenants, epochs)
        for part in parts:  # who acts comes before what it knows
            await part.close()
        try:
            await asyncio.to_thread(sequencer.close, DRAIN_TIMEOUT_S)
            await asyncio.to_thread(readers.shutdown)
            await asyncio.to_thread(writers.shutdown)
        finally:
            await asyncio.to_thread(store.close)

    try:
        await tenants.start()
        await restored.start()
        for tenant in prepared:
            await asyncio.to_thread(number, tenant)
    except BaseException:
        await close()
        raise
    compactor.start()
    sorter.start()
    purger.start()
    for stored_rows in store.storage():
        sorter.replayed(stored_rows.tenant)  # it is not sorted yet
    condition.start()
    giver.start()
    placements = Placements(tenants, gate.passed, store.epoch)
    room = FairShare(stored.append_queue_bytes)
    heat = ShardHeat(shard, ports.clock, options.settings.slow_query_ms)
    appends = Appends(
        shard, placements, sequencer, writers, ports.clock, room, store.backlog, sorter.appended, spans, heat
    )
    memory = MemoryView(shard, options.settings.shard_memory_bytes, budget, store, room, compactor, scans)
    tags = Tags(store, new_incarnation(ports.rng))
    observe_shard(store, sequencer, compactor, memory, heat)
    sealing = Sealing(shard, store, sequencer, placements, ports.directory)
    moves = Moves(shard, store, placements, compactor, source, follower)
    source.start()
    follower.start()
    service = ShardService(
        shard,
        store,
        placements,
        appends,
        compactor,
        purger,
        repairer,
        readers,
        scans,
        tags,
        memory,
        heat,
        sealing,
        restored,
        moves,
    )
    return Running(
        [
            Servicer(SHARD_SERVICE, add_ShardServiceServicer_to_server, service),
            Servicer(DEBUG_SERVICE, add_DebugServiceServicer_to_server, DebugService(heat.slow, "shard")),
        ],
        close,
    )


class _Telling:
    """Tells of a replay, not of every frame."""

    def __init__(self, tell: Callable[[str], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._next_ms = clock.monotonic_ms() + TELL_EVERY_MS  # a short one is not worth a word

    def replaying(self, progress: Replaying) -> None:
        """In the thread that replays."""
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + TELL_EVERY_MS
            self._tell(str(progress))


def _report(line: str) -> None:
    logger().warning("recovery", what=line)
