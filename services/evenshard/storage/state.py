"""What the parts of a store share, and the locks that guard it.

Order of locks, where two are held: a tenant's ``maintenance``, ``log_removal_lock``, ``append_lock``, ``catalog_lock``,
``visible_lock``. Nobody who holds one of the last three waits for the disk, but to append and to change the catalog.
"""

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.append import OnSync
from evenshard.storage.catalog import Catalog
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.memory import TailAccount
from evenshard.storage.pins import Pins
from evenshard.storage.quarantine import of_tenant, quarantined_segment
from evenshard.storage.recovery import Recovered
from evenshard.storage.replayed_rows import tenant_rows
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.settings import StorageSettings
from evenshard.storage.tenant import TenantRows


class State:
    """A shard's storage in memory."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        shard: ShardId,
        settings: StorageSettings,
        report: Callable[[str], None],
        on_sync: OnSync,
        found: Recovered,
    ) -> None:
        self.disk = disk
        self.clock = clock
        self.shard = shard
        self.settings = settings
        self.report = report
        self.on_sync = on_sync
        self.catalog = found.catalog
        self.tenants = found.tenants
        self.writer = found.writer
        self.log_files = found.log_files
        self.cache = found.cache
        self.columns = ColumnCache(settings.column_cache_bytes)
        self.pins = Pins(disk, report)
        self.tail = TailAccount(settings.tail_bytes)
        for rows in self.tenants.values():
            rows.account_to(self.tail)
        self.append_lock = threading.Lock()
        """Held while bits are decided and written: nothing else changes identities then."""
        self.visible_lock = threading.Lock()
        """Held, shortly, while visible rows are replaced or pinned."""
        self.log_removal_lock = threading.Lock()
        """Held while log files are removed, the oldest first."""
        self._catalog_lock = threading.Lock()
        self._catalog_broken: EvenshardError | None = None
        self.cache.on_unreadable = self.quarantine_segment

    @property
    def refuses_changes(self) -> EvenshardError | None:
        """Why nothing can be stored before a restart; None: it can."""
        return self.writer.broken or self._catalog_broken

    def quarantine_segment(self, info: SegmentInfo, error: EvenshardError) -> None:
        """A live segment turned out to be damaged: from now on queries of its days are refused, and nothing is looked
        up in it. Durable at return; ``append_lock`` may be held, the locks behind it not."""
        with self.changing_catalog() as catalog:
            new = all(each.file != info.parquet for each in catalog.quarantined)
            catalog.quarantine([quarantined_segment(info, error)])
            concerned = of_tenant(catalog.quarantined, info.tenant)
        self.cache.unreadable.add(info.id)
        with self.visible_lock:
            rows = self.tenants.get(info.tenant)
            if rows is not None:
                rows.visible = replace(rows.visible, quarantined=concerned)
        if new:
            self.report(f"{info.parquet}: in quarantine ({info.rows} rows of {info.tenant}): {error.message}")

    def rows(self, tenant: TenantId) -> TenantRows:
        """The tenant's rows; made where there are none. Under ``append_lock``."""
        rows = self.tenants.get(tenant)
        if rows is None:
            rows = tenant_rows(self.disk, self.catalog, tenant, self.settings, self.cache)
            rows.account_to(self.tail)
            with self.visible_lock:
                self.tenants[tenant] = rows
        return rows

    def needed_from(self, tenant: TenantId) -> int:
        """Rows of the log at lower positions are indexed, and no follower waits for them. Under ``append_lock``."""
        rows = self.tenants.get(tenant)
        kept = None if rows is None else rows.moves.kept_from
        mark = self.catalog.mark(tenant)
        return mark if kept is None else min(mark, kept)

    def fence(self, tenant: TenantId, epoch: Epoch) -> None:
        """Refuses an epoch older than the highest seen with ``STALE_EPOCH``; a newer one is durable at return."""
        self.learn_epoch(tenant, epoch)
        seen = self.catalog.epoch(tenant)
        if epoch < seen:
            raise EvenshardError(
                "STALE_EPOCH",
                f"epoch {epoch} of {tenant} is over, the shard has seen {seen}",
                details={"epoch": str(seen)},
            )

    def learn_epoch(self, tenant: TenantId, epoch: Epoch) -> None:
        """Durable at return, if it is newer than the highest seen."""
        if epoch > self.catalog.epoch(tenant):
            with self.changing_catalog() as catalog:
                catalog.set_epoch(tenant, epoch)

    @contextmanager
    def changing_catalog(self) -> Iterator[Catalog]:
        """The catalog, for one change. SQLite's errors come out as ``DISK_FULL`` or ``SHARD_UNAVAILABLE``; after one
        that leaves the outcome open the catalog is not changed again before a restart."""
        with self._catalog_lock:
            if self._catalog_broken is not None:
                raise replace(self._catalog_broken)
            try:
                yield self.catalog
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    raise EvenshardError("DISK_FULL", f"the catalog could not be written: {error}") from error
                self._catalog_broken = EvenshardError(
                    "SHARD_UNAVAILABLE",
                    f"the catalog could not be written: {error}",
                    hint="see to the shard's disk, then restart it",
                )
                raise replace(self._catalog_broken) from error

    def close_catalog(self) -> None:
        """Nothing changes it any more; a compaction that still runs fails, and its files go at the next start."""
        with self._catalog_lock:
            self._catalog_broken = EvenshardError("SHARD_UNAVAILABLE", "the shard is stopping")
            self.catalog.close()


def refusal(error: OSError, what: str) -> EvenshardError:
    """A failed disk operation as a caller sees it: both may be tried again later."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return EvenshardError("DISK_FULL" if full else "SHARD_UNAVAILABLE", f"{what}: {error}")
