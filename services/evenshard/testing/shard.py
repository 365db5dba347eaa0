"""The storage of one shard on a disk in memory, for tests: acts on it, what its disk is asked to do and fails at."""

import errno
from random import Random

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Append, Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
DAY_MS = 86_400_000


class Shard:
    """A store, with what it reported."""

    def __init__(self, disk: MemoryDisk | None = None, **settings: int) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self.clock = ManualClock()
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.store = self.open()

    def open(self) -> Store:
        """Starts anew; the one before may have ended in any way."""
        self.reports.clear()
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)
        return self.store

    def crash(self, seed: int = 0) -> None:
        """The power goes, and comes again."""
        self.disk = self.disk.crash(Random(seed))
        self.open()

    def add(self, *events: Event, tenant: str = "acme", epoch: int = 1) -> list[bool]:
        """Stores them as one batch; their duplicate bits."""
        (outcome,) = self.store.append([append_of(events, tenant, epoch)])
        assert isinstance(outcome, Appended), outcome
        bits: list[bool] = outcome.duplicates.tolist()
        return bits

    def refused(self, append: Append) -> str:
        """The code with which it is."""
        (outcome,) = self.store.append([append])
        assert isinstance(outcome, EvenshardError)
        return outcome.code

    def all(self, tenant: str = "acme") -> list[tuple[Event, bool]]:
        """Every row, with its duplicate bit."""
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            return all_events(snapshot)

    def segment_files(self) -> list[tuple[str, ...]]:
        """Of acme's live segments."""
        with self.store.snapshot(ACME) as snapshot:
            return [segment.files for segment in snapshot.segments]


def click(number: int, insert_id: str | None = "x", day: int = 0) -> Event:
    """One event of user ``number``."""
    return Event("click", f"u{number}", 1_700_000_000_000 + number + day * DAY_MS, insert_id)


def operations(shard: Shard) -> list[tuple[str, str]]:
    """From now on, what the disk is asked to do (reads apart)."""
    seen: list[tuple[str, str]] = []

    def hook(operation: str, name: str) -> None:
        if operation not in ("read", "open", "list"):
            seen.append((operation, name))

    shard.disk.hook = hook
    return seen


def fail(shard: Shard, operation: str, code: int = errno.EIO, times: int = 1, folder: str = "log") -> None:
    """The next such operations on the log, or in another folder, fail."""
    left = [times]

    def hook(seen: str, name: str) -> None:
        if seen == operation and name.startswith(folder) and left[0]:
            left[0] -= 1
            raise OSError(code, "made to fail")

    shard.disk.hook = hook
