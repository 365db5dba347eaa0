"""Answers queries from snapshots, in threads; stops early when the caller has gone or its time is up."""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from evenshard.errors import EvenshardError
from evenshard.events.scan import ScannedRows
from evenshard.ids import Epoch, TenantId
from evenshard.queries.plan import ScanStats
from evenshard.queries.scans import columns_needed, run, view_for
from evenshard.storage.ownership import Owned
from evenshard.storage.store import Store


@dataclass(frozen=True, slots=True)
class Scanned:
    """The partial answer of this shard."""

    partial: bytes
    stats: ScanStats
    data_version: str


class Patience:
    """How long a thread goes on: until a deadline, or until it is told that nobody waits any more."""

    def __init__(self, remaining_s: float) -> None:
        self._deadline_s = time.monotonic() + remaining_s
        self._gone = threading.Event()

    def give_up(self) -> None:
        """Nobody waits."""
        self._gone.set()

    def check(self) -> None:
        """Raises ``DEADLINE_EXCEEDED``."""
        if self._gone.is_set() or time.monotonic() >= self._deadline_s:
            raise EvenshardError("DEADLINE_EXCEEDED", "the scan was not done in time")

    def during(self, rows: Iterable[ScannedRows]) -> Iterator[ScannedRows]:
        """``rows``, as long as somebody waits."""
        for some in rows:
            self.check()
            yield some


async def scan(
    store: Store,
    pool: ThreadPoolExecutor,
    tenant: TenantId,
    epoch: Epoch,
    owned: Owned,
    plan: bytes,
    remaining_s: float,
) -> Scanned:
    """Runs ``plan`` over everything acknowledged by now in the slots ``owned``. Raises ``STALE_EPOCH``,
    ``QUERY_INVALID``, ``DATA_DAMAGED``, ``DEADLINE_EXCEEDED``."""
    patience = Patience(remaining_s)
    try:
        return await asyncio.get_running_loop().run_in_executor(
            pool, _scan, store, tenant, epoch, owned, plan, patience
        )
    finally:
        patience.give_up()


def _scan(store: Store, tenant: TenantId, epoch: Epoch, owned: Owned, plan: bytes, patience: Patience) -> Scanned:
    patience.check()
    store.fence(tenant, epoch)
    needed, view = columns_needed(plan), view_for(plan)
    with store.snapshot(tenant, owned) as snapshot:
        rows = snapshot.scan_to_show(needed.fields, needed.properties, needed.start_ms, needed.end_ms)
        partial, stats = run(plan, (view.show(some) for some in patience.during(rows)))
        given_up = snapshot.rows_given_up(needed.start_ms, needed.end_ms)
        stats = replace(stats, hot_events_rewritten=view.rewritten, rows_given_up=given_up)
        return Scanned(partial, stats, snapshot.data_version)
