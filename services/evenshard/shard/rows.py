"""Streams rows in time order: read and sorted in threads, one message ahead of the reader, stopped when it has gone."""

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from evenshard.api.v1 import shard_pb2
from evenshard.events.scan import ScannedRows
from evenshard.hotkeys.restored import Restored
from evenshard.hotkeys.view import View
from evenshard.ids import TenantId
from evenshard.queries.plan import ScanStats
from evenshard.queries.rows_that_matter import rows_of_events
from evenshard.shard.scans import Patience, matters
from evenshard.shard.threads import steps
from evenshard.storage.ownership import Ownership
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.storage.time_order import rows_in_time_order
from evenshard.wire.scans import RowsWanted, rows_message, stats_message


async def stream_rows(
    store: Store,
    pool: ThreadPoolExecutor,
    wanted: RowsWanted,
    owned: Ownership,
    restored: Restored,
    remaining_s: float,
) -> AsyncGenerator[shard_pb2.ScanRowsResponse, None]:
    """The rows in slots ``owned`` ordered by (time, distinct_id, event, insert_id), then a message with what was read.
    Raises ``STALE_EPOCH``, ``DATA_DAMAGED``, ``DEADLINE_EXCEEDED``."""
    patience = Patience(remaining_s)
    shown = None if wanted.restore_hot else restored
    messages = steps(pool, lambda: _messages(store, wanted, owned, shown, patience))
    try:
        async for message in messages:
            yield message
    finally:
        patience.give_up()
        await messages.aclose()


class _Shown:
    """A snapshot's rows as they are shown, but for files that have none of the events; they are ordered as such."""

    def __init__(self, snapshot: Snapshot, events: Sequence[str], restored: Restored | None) -> None:
        self._snapshot = snapshot
        self._events = events
        self._restored = restored
        self._matter = matters(rows_of_events(events))

    def scan(
        self, fields: Sequence[str], properties: Sequence[str] | None, start_ms: int, end_ms: int
    ) -> Iterable[ScannedRows]:
        if tuple(fields) == ("time",):  # the view changes no time
            return self._snapshot.scan(fields, properties, start_ms, end_ms, self._matter)
        view = View(fields, properties, events=self._events, restored=self._restored)
        return map(view.show, self._snapshot.scan_to_show(fields, properties, start_ms, end_ms, self._matter))


def _messages(
    store: Store, wanted: RowsWanted, owned: Ownership, restored: Restored | None, patience: Patience
) -> Generator[shard_pb2.ScanRowsResponse, None, None]:
    patience.check()
    tenant = TenantId(wanted.tenant)
    store.fence(tenant, wanted.epoch)
    with store.snapshot(tenant, owned) as snapshot:
        snapshot.check_epoch(wanted.epoch)
        rows = 0
        for record in rows_in_time_order(
            _Shown(snapshot, wanted.events, restored),
            wanted.start_ms,
            wanted.end_ms,
            wanted.events,
            wanted.include_duplicates,
        ):
            patience.check()
            rows += record.num_rows
            yield rows_message(record)
        stats = ScanStats(rows_scanned=rows, rows_given_up=snapshot.rows_given_up(wanted.start_ms, wanted.end_ms))
        yield shard_pb2.ScanRowsResponse(stats=stats_message(stats, snapshot.data_version))
