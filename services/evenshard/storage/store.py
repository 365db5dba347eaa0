"""A shard's storage: appends with exact duplicate bits, atomic snapshots, and compaction beside both.

One append group at a time, one compaction a tenant at a time; snapshots and scans wait for neither.
"""

from collections.abc import Callable, Sequence

from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.append import Append, Appended, OnSync
from evenshard.storage.appender import append_group
from evenshard.storage.indexing import Compacted, compact_tenant, sort_tail
from evenshard.storage.progress import OnProgress
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.recovery import recover
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantStorage, Visible


class Store:
    """Made by ``open``; may be used from several threads. Everything blocks: call it off the event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._closed = False

    @staticmethod
    def open(
        disk: Disk,
        clock: Clock,
        shard: ShardId,
        settings: StorageSettings,
        report: Callable[[str], None],
        on_sync: OnSync = lambda _: None,
        on_progress: OnProgress = lambda _: None,
    ) -> "Store":
        """Recovers what is on the disk, or begins. ``report`` gets a line where something was cut, removed or put into
        quarantine.

        Raises ``DATA_DAMAGED``, naming file and offset, and ``FORMAT_TOO_NEW``; then nothing was touched.
        """
        found = recover(disk, clock, shard, settings, report, on_progress)
        return Store(State(disk, clock, shard, settings, report, on_sync, found))

    def append(self, group: Sequence[Append]) -> list[Appended | EvenshardError]:
        """Stores batches in this order with one write and one sync; at return they are durable and visible.

        For each batch its duplicate bits, or why it was not stored: ``STALE_EPOCH`` (an epoch that is over, or rows in
        slots that are not owned), ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``. After a failed sync nothing
        is taken any more; reads go on.
        """
        with self._state.append_lock:
            if self._closed:
                stopped = EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
                return [stopped] * len(group)
            return append_group(self._state, group)

    def fence(self, tenant: TenantId, epoch: Epoch) -> None:
        """Refuses an epoch older than the highest seen with ``STALE_EPOCH``; a newer one is durable at return."""
        self._state.fence(tenant, epoch)

    def epoch(self, tenant: TenantId) -> Epoch:
        """The highest placement epoch seen; 0: none."""
        return self._state.catalog.epoch(tenant)

    def snapshot(self, tenant: TenantId) -> Snapshot:
        """The tenant's rows as they are now. To be closed."""
        state = self._state
        with state.visible_lock:
            rows = state.tenants.get(tenant)
            visible = rows.visible if rows is not None else Visible()
            state.pins.pin(visible.segments)

        def on_unreadable(info: SegmentInfo, error: EvenshardError) -> None:
            try:
                state.quarantine_segment(info, error)
            except EvenshardError as failed:  # who asked is refused all the same, and the next one finds it again
                state.report(f"{info.parquet}: could not be put into quarantine: {failed}")

        return Snapshot(
            state.disk,
            tenant,
            self.epoch(tenant),
            visible,
            lambda seen: state.pins.unpin(seen.segments),
            on_unreadable,
        )

    @property
    def refuses_changes(self) -> EvenshardError | None:
        """Why nothing can be stored before a restart, as after a failed sync; None: it can. Reads go on."""
        return self._state.refuses_changes

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """What is lost, of all tenants."""
        return self._state.catalog.quarantined

    def compact(self, tenant: TenantId, day: int | None = None) -> Compacted:
        """Indexes everything the tenant has in the log, and tidies its segments. ``day`` (UTC, days since the epoch) is
        indexed with it: what is indexed is always a prefix of the log.

        Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``; then everything is as before.
        """
        del day
        return compact_tenant(self._state, tenant)

    def sort_tail(self, tenant: TenantId) -> bool:
        """Joins some of the tenant's unindexed rows into a sorted run, if it is time to; to be called every now and
        then, off the ack path, until it says False."""
        return sort_tail(self._state, tenant)

    def due(self, now_ms: int) -> list[TenantId]:
        """Tenants whose unindexed rows are too many, too large or too old, the most rows first."""
        settings = self._state.settings
        due = []
        with self._state.visible_lock:
            seen = [(name, rows.visible) for name, rows in self._state.tenants.items() if rows.visible.blocks]
        for name, visible in seen:
            if (
                visible.tail_rows >= settings.compact_rows
                or visible.tail_bytes >= settings.compact_bytes
                or now_ms - visible.blocks[0].appended_ms >= settings.compact_age_ms
            ):
                due.append((visible.tail_rows, name))
        return [name for _, name in sorted(due, reverse=True)]

    def backlog(self, tenant: TenantId) -> float:
        """The tenant's unindexed rows, as a multiple of what makes it due by their number or size."""
        settings = self._state.settings
        with self._state.visible_lock:
            rows = self._state.tenants.get(tenant)
            visible = rows.visible if rows is not None else Visible()
        return max(visible.tail_rows / settings.compact_rows, visible.tail_bytes / settings.compact_bytes)

    def storage(self, tenant: TenantId | None = None) -> list[TenantStorage]:
        """What each tenant takes, or the one asked for ([] if it has nothing here), by name."""
        with self._state.visible_lock:
            tenants = dict(self._state.tenants)
        names = sorted(tenants) if tenant is None else [tenant]
        return [tenants[name].storage() for name in names if name in tenants]

    def close(self) -> None:
        """Writes the marker of a clean stop and closes all files. May be called twice."""
        with self._state.append_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._state.writer.close()
            finally:
                self._state.close_catalog()
