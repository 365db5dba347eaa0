"""Builds a router."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from evenshard.api.v1.counter_pb2_grpc import add_CounterServiceServicer_to_server
from evenshard.api.v1.debug_pb2_grpc import add_DebugServiceServicer_to_server
from evenshard.api.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server
from evenshard.directory.keys import LEADER
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.hotkeys.threshold import KeyWatch
from evenshard.router.admin_service import AdminService
from evenshard.router.appending import Appender
from evenshard.router.cluster_facts import ClusterFacts
from evenshard.router.counter_service import ClusterCounterService
from evenshard.router.counts import CountFeed
from evenshard.router.forgetting import Forgetting
from evenshard.router.groups_driver import GroupDriver
from evenshard.router.handing_over import HandOver
from evenshard.router.hot_keys import HotKeys, rule_of
from evenshard.router.importing import Importer
from evenshard.router.lookups import CounterLookups
from evenshard.router.marking import MarkWriter
from evenshard.router.measuring import observe_router
from evenshard.router.moves_admin import MoveAdmin
from evenshard.router.moves_driver import MoveDriver
from evenshard.router.operations_admin import OperationAdmin
from evenshard.router.operations_driver import OperationDriver
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.repairs_driver import RepairDriver
from evenshard.router.repairs_ended import EndedRepairs
from evenshard.router.retention import RetentionKeeper
from evenshard.router.sealed_rows import SealedRows
from evenshard.router.service import IngestService
from evenshard.router.slow_queries_service import ClusterDebugService
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.election import Election, Term
from evenshard.runtime.hot_key_reports import HotKeyReports
from evenshard.runtime.marks import MarkView
from evenshard.runtime.operations import OperationView
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.shard_states import ShardStateView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import ADMIN_SERVICE, COUNTER_SERVICE, DEBUG_SERVICE, INGEST_SERVICE


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A router; it keeps nothing of its own."""
    settings = options.settings
    tenants = TenantView(ports.directory, ports.clock)
    services = ServiceView(ports.directory, ports.clock)
    await tenants.start()
    await services.start()
    states = ShardStateView(ports.directory, ports.clock)
    await states.start()
    pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="import")
    watch = KeyWatch(threading.Lock())
    shards = TenantShards(tenants, services, ports.peers)
    appender = Appender(ports.peers, services)
    hand_over = HandOver(ports.directory, tenants, services, states, shards, ports.peers, ports.clock, ports.rng)
    marks = MarkView(ports.directory, ports.clock, lambda key, mark: _marked(watch, hand_over, key, mark))
    await marks.start()
    hand_over.started()
    marker = MarkWriter(ports.directory, ports.clock, ports.rng, hand_over.written)
    marker.start()
    feed = CountFeed(
        ports.peers,
        services,
        ports.clock,
        pool,
        settings.count_queue_rows,
        watch,
        lambda name: rule_of(tenants.get(name)),
    )
    feed.start()
    blocked = BlockedView(ports.directory, ports.clock)
    await blocked.start()
    operations = OperationView(ports.directory, ports.clock)
    await operations.start()
    forgetting = Forgetting(ports.directory, services, ports.peers, ports.clock, watch, feed, marker, pool)
    await forgetting.start()
    facts = ClusterFacts(ports.directory, tenants, services, shards)
    driver = _driver(ports, operations, shards, facts, forgetting, marks)
    retention = RetentionKeeper(tenants, shards, ports.clock)
    election = Election(
        ports.directory, ports.clock, ports.rng, LEADER, options.name, lambda term: _lead(driver, retention, term)
    )
    election.start()
    lookups = CounterLookups(ports.peers, services)
    hot_keys = HotKeys(
        watch, tenants, feed, lookups, marker, ports.clock, ports.rng, pool, counting=settings.count_keys
    )
    sealed = SealedRows(tenants, marks, ports.clock)
    importer = Importer(
        tenants, appender, hot_keys, sealed, blocked, ports.clock, pool, settings.shard_append_timeout_ms
    )
    ingest = IngestService(importer, pool, settings.router_inflight_bytes)
    observe_router(
        tenants,
        operations,
        marks,
        ports.clock,
        in_flight_bytes=lambda: ingest.bytes_in_flight,
        counts_queued=lambda: feed.queued_rows,
        counts_dropped=lambda: feed.dropped_rows,
        is_leader=lambda: election.term is not None,
    )
    repairs = RepairAdmin(ports.directory, operations, shards, ports.clock, ports.rng)
    admin = AdminService(
        ports.directory,
        tenants,
        services,
        ports.peers,
        ports.clock,
        ports.rng,
        shards,
        OperationAdmin(ports.directory, operations, blocked, importer, repairs, ports.clock, ports.rng),
        repairs,
        MoveAdmin(ports.directory, tenants, operations, facts, ports.clock, ports.rng),
        states,
        etcd=options.etcd,
    )
    reports = HotKeyReports(ports.directory, ports.peers, services)
    debug = ClusterDebugService(options.name, ports.peers, services)
    counters = ClusterCounterService(ports.directory, ports.peers, services, reports)

    async def close() -> None:
        parts = (
            election, forgetting, operations, blocked, marker, hand_over, feed, marks, states, tenants, services
        )  # fmt: skip
        for part in parts:  # who acts comes before what it knows
            await part.close()
        pool.shutdown(wait=True)

    return Running(
        [
            Servicer(INGEST_SERVICE, add_IngestServiceServicer_to_server, ingest),
            Servicer(ADMIN_SERVICE, add_AdminServiceServicer_to_server, admin),
            Servicer(COUNTER_SERVICE, add_CounterServiceServicer_to_server, counters),
            Servicer(DEBUG_SERVICE, add_DebugServiceServicer_to_server, debug),
        ],
        close,
    )


def _driver(
    ports: Ports,
    operations: OperationView,
    shards: TenantShards,
    facts: ClusterFacts,
    forgetting: Forgetting,
    marks: MarkView,
) -> OperationDriver:
    """Of every kind of operation."""
    return OperationDriver(
        ports.directory,
        operations,
        shards,
        forgetting,
        RepairDriver(ports.directory, operations, shards, ports.clock, ports.rng),
        EndedRepairs(ports.directory, operations, shards, ports.clock),
        MoveDriver(ports.directory, operations, shards, ports.clock, ports.rng),
        GroupDriver(ports.directory, operations, facts, ports.clock, ports.rng),
        marks,
        ports.clock,
        ports.rng,
    )


async def _lead(driver: OperationDriver, retention: RetentionKeeper, term: Term) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.lead(term))
        group.create_task(retention.lead(term))


def _marked(watch: KeyWatch, hand_over: HandOver, key: HotKey, mark: Mark | None) -> None:
    if mark is None:
        watch.unmark(key)
    else:
        watch.mark(key, mark)
    hand_over.told(key, mark)
