"""A shard's storage: appends with exact duplicate bits, atomic snapshots, and compaction beside both.

One append group at a time, one compaction a tenant at a time; snapshots and scans wait for neither.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.append import Append, Appended, OnSync
from evenshard.storage.appender import append_group
from evenshard.storage.compaction.plan import storage_day
from evenshard.storage.deleting import hide_users, raise_horizon
from evenshard.storage.hot_keys import HeldKey, UserDay
from evenshard.storage.indexing import Compacted, Pace, compact_tenant, is_unsettled, sort_tail
from evenshard.storage.left_behind import left_status, left_step
from evenshard.storage.log.files import LogUsage
from evenshard.storage.log_age import age_log
from evenshard.storage.memory import BACKLOG_FULL, MemoryPart
from evenshard.storage.moving.store_moves import StoreMoves
from evenshard.storage.ownership import Owned, Ownership
from evenshard.storage.progress import OnProgress
from evenshard.storage.purging import Purge, purge_status, purge_step
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.recovery import recover
from evenshard.storage.sealing import PAGE_ROWS_MAX, Originals, keep, kept, originals, seal, slot_of_user
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State
from evenshard.storage.store_repairs import StoreRepairs
from evenshard.storage.tenant import TenantStorage, Visible

_OVERDUE = 2
"""Rows so many times older than what makes a tenant due go first."""


class Store:
    """Made by ``open``; may be used from several threads. Everything blocks: call it off the event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._closed = False
        self.repairs = StoreRepairs(state)
        self.moves = StoreMoves(
            state, lambda tenant, key: self.snapshot(tenant, slot_of_user(key[0])), lambda: self._closed
        )

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

    def free_bytes(self) -> int:
        """Of its disk."""
        return self._state.disk.free_bytes()

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

    def learn_epoch(self, tenant: TenantId, epoch: Epoch) -> None:
        """From now on older ones are refused; durable at return. One that is not newer changes nothing."""
        self._state.learn_epoch(tenant, epoch)

    def epoch(self, tenant: TenantId) -> Epoch:
        """The highest placement epoch seen; 0: none."""
        return self._state.catalog.epoch(tenant)

    def snapshot(self, tenant: TenantId, owned: Ownership | Owned | None = None) -> Snapshot:
        """The tenant's rows as they are now that are ``owned`` (bool[4096]: by the slots of their users, and all that
        are spread; None: all). To be closed."""
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
            owned,
            state.columns,
        )

    @property
    def refuses_changes(self) -> EvenshardError | None:
        """Why nothing can be stored before a restart, as after a failed sync; None: it can. Reads go on."""
        return self._state.refuses_changes

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """What is lost, of all tenants."""
        return self._state.catalog.quarantined

    def held_keys(self, tenant: TenantId, users: Sequence[str]) -> list[HeldKey]:
        """Hot keys of ``users`` that are sealed here, or of which originals are kept."""
        with self._state.append_lock:
            rows = self._state.tenants.get(tenant)
            return [] if rows is None else rows.held.of_users(users)

    def seal_key(self, tenant: TenantId, epoch: Epoch, key: UserDay, nonce: str, *, has_hot_rows: bool) -> None:
        """From now on rows of the key are taken only where the overflow brings them here; durable at return. Once more
        changes nothing. Raises ``KEY_SEALED`` where something of another mark is known here, ``STALE_EPOCH``,
        ``DISK_FULL``, ``SHARD_UNAVAILABLE``."""
        with self._deleting(tenant, epoch):
            seal(self._state, tenant, key, nonce, has_hot_rows=has_hot_rows)

    def originals(
        self, tenant: TenantId, key: UserDay, stays: Owned | None, hash_from: int = 0, rows_max: int = PAGE_ROWS_MAX
    ) -> Originals:
        """A page of the identities that are stored here of a key, but for those in slots of the overflow that
        ``stays``. Raises ``DATA_DAMAGED``."""
        with self.snapshot(tenant, slot_of_user(key[0])) as snapshot:
            return originals(snapshot, tenant, key, stays, hash_from, rows_max)

    def keep_originals(
        self,
        tenant: TenantId,
        epoch: Epoch,
        key: UserDay,
        nonce: str,
        page: tuple[int, int],
        batch: EventBatch | None,
        *,
        has_hot_rows: bool,
    ) -> None:
        """Keeps a page of identities that another shard has of a key (None: none of it come here); durable at return.
        Once all pages are kept, rows of the key are taken. Raises as ``seal_key``, and ``PAYLOAD_INVALID``."""
        added = keep(self._state, tenant, key, nonce, page, batch)
        try:
            with self._deleting(tenant, epoch):
                new = kept(self._state, tenant, key, nonce, page, added, has_hot_rows=has_hot_rows)
        except EvenshardError as error:
            if error.code != "SHARD_UNAVAILABLE":  # there only the next start knows whether the catalog names them
                self._state.pins.discard(tenant, [info.id for info in added])
            raise
        if not new:
            self._state.pins.discard(tenant, [info.id for info in added])

    def hide_users(
        self, tenant: TenantId, epoch: Epoch, operation: str, users: Sequence[str], ended: Sequence[UserDay] = ()
    ) -> int:
        """Hides every row of ``users`` that is stored now, and none stored later; durable and visible at return.

        An ``operation`` that has been here changes nothing, unless hot keys of theirs have ``ended``, of which
        something is known here: that goes, and rows are hidden again. Returns how many unindexed rows were hidden.
        Raises ``STALE_EPOCH``, ``DISK_FULL``, ``SHARD_UNAVAILABLE``.
        """
        with self._deleting(tenant, epoch):
            return hide_users(self._state, tenant, operation, users, ended)

    def raise_horizon(self, tenant: TenantId, epoch: Epoch, horizon_ms: int) -> int:
        """Hides every row stored now whose time is before the horizon, and none stored later; durable and visible at
        return. One that is not above the last changes nothing. Returns the one that holds. Raises as ``hide_users``."""
        with self._deleting(tenant, epoch):
            return raise_horizon(self._state, tenant, horizon_ms)

    @contextmanager
    def _deleting(self, tenant: TenantId, epoch: Epoch) -> Iterator[None]:
        with self._state.append_lock:
            if self._closed:
                raise EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            self._state.fence(tenant, epoch)
            self._state.rows(tenant).moves.check_change(tenant)
            yield

    def purge_status(self, tenant: TenantId, operation: str = "") -> Purge:
        """How far the removal of what an operation hid is; of all that is hidden for ``""``."""
        return purge_status(self._state, tenant, operation)

    def purge_step(self, tenant: TenantId, pace: Pace = lambda _: None) -> bool:
        """Does the next piece of removing what is hidden; False: there is nothing to do now. Takes as long as a
        compaction. ``pace`` and errors as of ``compact``."""
        return purge_step(self._state, tenant, pace)

    def left_status(self, tenant: TenantId) -> Purge:
        """Of a tenant none of whose slots this shard owns: what is still here of it."""
        return left_status(self._state, tenant)

    def left_step(self, tenant: TenantId, pace: Pace = lambda _: None) -> bool:
        """Removes the next piece of that; as ``purge_step``."""
        return left_step(self._state, tenant, pace)

    def compact(
        self, tenant: TenantId, day: int | None = None, pace: Pace = lambda _: None, *, apart: bool = False
    ) -> Compacted:
        """Indexes everything the tenant has in the log, and tidies its segments. ``day`` (UTC, days since the epoch) is
        indexed with it: what is indexed is always a prefix of the log. ``pace`` is told of bytes written and may wait.
        ``apart``: its rows become runs of their own, nothing else is read or merged: whatever is wrong with the rest
        does not keep them in the log.

        Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``; then everything is as before.
        """
        del day
        return compact_tenant(self._state, tenant, pace, apart=apart)

    def sort_tail(self, tenant: TenantId) -> bool:
        """Joins some of the tenant's unindexed rows into a sorted run, if it is time to; to be called every now and
        then, off the ack path, until it says False."""
        return sort_tail(self._state, tenant)

    def due(self, now_ms: int) -> list[TenantId]:
        """Tenants whose unindexed rows are too many, too large or too old, or the largest where those of all take most
        of their room, or whose segments are to be merged since a day is over or late rows are due. First those whose
        rows are far too old, which keep log files from being removed, the oldest first; then those with the most rows.

        To be called by one thread at a time."""
        settings, day = self._state.settings, storage_day(now_ms)
        largest = self._state.tail.largest()
        due = []
        with self._state.visible_lock:
            seen = [(rows, rows.visible) for rows in self._state.tenants.values()]
        for rows, visible in seen:
            age_ms = now_ms - visible.blocks[0].appended_ms if visible.blocks else 0
            if (
                visible.tail_rows >= settings.compact_rows
                or visible.tail_bytes >= settings.compact_bytes
                or age_ms >= settings.compact_age_ms
                or rows.tenant in largest
                or is_unsettled(rows, visible.segments, day, self._state.cache.unreadable)
            ):
                overdue_ms = age_ms if age_ms >= _OVERDUE * settings.compact_age_ms else 0
                due.append((-overdue_ms, -visible.tail_rows, rows.tenant))
        return [tenant for _, _, tenant in sorted(due)]

    def age_log(self, now_ms: int) -> list[TenantId]:
        """Ends the log file that is written to if it is old, and removes those that may go; to be called every second
        or so. Returns the tenants that have to be indexed now, so that log files go in time: paused or not, and apart
        where their compaction fails. Raises ``DISK_FULL`` and ``SHARD_UNAVAILABLE``; to be tried again."""
        return age_log(self._state, now_ms)

    def log_usage(self) -> LogUsage:
        """The log's files, and whose rows keep the oldest."""
        with self._state.append_lock:
            return self._state.log_files.usage(self._state.catalog.mark)

    def backlog(self, tenant: TenantId) -> float:
        """The tenant's unindexed rows, as a multiple of what makes it due by their number or size; and at least as
        near to ``BACKLOG_FULL`` as their memory is to what is free for the tenant."""
        settings = self._state.settings
        with self._state.visible_lock:
            rows = self._state.tenants.get(tenant)
            visible = rows.visible if rows is not None else Visible()
        return max(
            visible.tail_rows / settings.compact_rows,
            visible.tail_bytes / settings.compact_bytes,
            BACKLOG_FULL * self._state.tail.pressure(tenant),
        )

    def memory(self) -> list[MemoryPart]:
        """What the parts of storage hold in memory."""
        tail, cache, columns = self._state.tail, self._state.cache, self._state.columns
        return [
            MemoryPart("tail", tail.bytes, tail.bytes_max),
            MemoryPart("cache", cache.bytes_held, cache.bytes_max),
            MemoryPart("columns", columns.bytes, columns.bytes_max),
        ]

    def storage(self, tenant: TenantId | None = None) -> list[TenantStorage]:
        """What each tenant takes, or the one asked for ([] if it has nothing here), by name."""
        with self._state.visible_lock:
            tenants = dict(self._state.tenants)
        names = sorted(tenants) if tenant is None else [tenant]
        return [tenants[name].storage() for name in names if name in tenants]

    def close(self) -> None:
        """Writes the marker of a clean stop, puts on record where the log ends, and closes all files. May be called
        twice."""
        with self._state.append_lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._state.writer.close()
                self._note_stop()
            finally:
                self._state.close_catalog()
                self._state.cache.scratch.close()

    def _note_stop(self) -> None:
        """From now on a log that is cut short is known to be, whatever it looks like. Nothing is lost where that
        fails: the next start takes the log for that of a shard that was killed."""
        if self._state.writer.broken is not None:
            return
        try:
            with self._state.changing_catalog() as catalog:
                catalog.note_stop(self._state.writer.next_row)
        except EvenshardError as error:
            self._state.report(f"where the log ends could not be put on record: {error.message}")
