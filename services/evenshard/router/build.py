"""Builds a router."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from evenshard.api.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.hotkeys.threshold import KeyWatch
from evenshard.router.admin_service import AdminService
from evenshard.router.appending import Appender
from evenshard.router.counts import CountFeed
from evenshard.router.hot_keys import HotKeys, rule_of
from evenshard.router.importing import Importer
from evenshard.router.lookups import CounterLookups
from evenshard.router.marking import MarkWriter
from evenshard.router.service import IngestService
from evenshard.runtime.marks import MarkView
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import ADMIN_SERVICE, INGEST_SERVICE


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A router; it keeps nothing of its own."""
    settings = options.settings
    tenants = TenantView(ports.directory, ports.clock)
    services = ServiceView(ports.directory, ports.clock)
    await tenants.start()
    await services.start()
    pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="import")
    watch = KeyWatch(threading.Lock())
    marks = MarkView(ports.directory, ports.clock, lambda key, mark: _marked(watch, key, mark))
    await marks.start()
    marker = MarkWriter(ports.directory, ports.clock)
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
    lookups = CounterLookups(ports.peers, services)
    hot_keys = HotKeys(watch, tenants, feed, lookups, marker, ports.clock, ports.rng, pool)
    appender = Appender(ports.peers, services)
    importer = Importer(tenants, appender, hot_keys, ports.clock, pool, settings.shard_append_timeout_ms)
    ingest = IngestService(importer, pool, settings.router_inflight_bytes)
    admin = AdminService(ports.directory, tenants, services, ports.peers, ports.clock, ports.rng, etcd=options.etcd)

    async def close() -> None:
        await marker.close()
        await feed.close()
        await marks.close()
        await tenants.close()
        await services.close()
        pool.shutdown(wait=True)

    return Running(
        [
            Servicer(INGEST_SERVICE, add_IngestServiceServicer_to_server, ingest),
            Servicer(ADMIN_SERVICE, add_AdminServiceServicer_to_server, admin),
        ],
        close,
    )


def _marked(watch: KeyWatch, key: HotKey, mark: Mark | None) -> None:
    if mark is None:
        watch.unmark(key)
    else:
        watch.mark(key, mark.mode)
