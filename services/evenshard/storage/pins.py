"""Keeps segment files on disk while a snapshot reads them."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.segment.info import FOLDER, SegmentInfo, file_names


@dataclass(frozen=True, slots=True)
class _Removed:
    """A segment that the catalog does not name, whose files may still be there."""

    tenant: TenantId
    files: tuple[str, ...]


class Pins:
    """Counts the readers of segments; a removed one goes with its last reader. Files that could not be removed then are
    tried again when others are."""

    def __init__(self, disk: Disk, report: Callable[[str], None]) -> None:
        self._disk = disk
        self._report = report
        self._lock = threading.Lock()
        self._readers: dict[int, int] = {}
        self._removed: dict[int, _Removed] = {}

    def pin(self, segments: Iterable[SegmentInfo]) -> None:
        """One more reader of each."""
        with self._lock:
            for segment in segments:
                self._readers[segment.id] = self._readers.get(segment.id, 0) + 1

    def unpin(self, segments: Iterable[SegmentInfo]) -> None:
        """One reader less; unlinks the files of those that were removed and have none left."""
        with self._lock:
            for segment in segments:
                self._readers[segment.id] -= 1
                if self._readers[segment.id] == 0:
                    del self._readers[segment.id]
        self._unlink_unread()

    def remove(self, segments: Iterable[SegmentInfo]) -> None:
        """They are in the catalog no more: unlinks their files, now or with their last reader."""
        with self._lock:
            self._removed.update((segment.id, _Removed(segment.tenant, segment.files)) for segment in segments)
        self._unlink_unread()

    def discard(self, tenant: TenantId, segment_ids: Iterable[int]) -> None:
        """They never came into the catalog: unlinks what is left of their files."""
        left = {number: _Removed(tenant, file_names(number)) for number in segment_ids}
        if left:
            with self._lock:
                self._removed.update(left)
            self._unlink_unread()

    def kept(self, tenant: TenantId) -> list[str]:
        """Files of a tenant's removed segments that are still there, those nobody reads tried once more."""
        self._unlink_unread()
        with self._lock:
            return [name for removed in self._removed.values() if removed.tenant == tenant for name in removed.files]

    def _unlink_unread(self) -> None:
        with self._lock:
            unread = {number: removed for number, removed in self._removed.items() if number not in self._readers}
            for number in unread:
                del self._removed[number]
        if not unread:
            return
        failed = {number: removed for number, removed in unread.items() if not self._unlink(removed)}
        with self._lock:
            self._removed.update(failed)

    def _unlink(self, removed: _Removed) -> bool:
        """False: a file may still be there."""
        try:
            existing = {f"{FOLDER}/{name}" for name in self._disk.list(FOLDER)}
            for name in removed.files:
                if name in existing:
                    self._disk.unlink(name)
        except OSError as error:
            self._report(f"{removed.files[0]}: not removed ({error}); the next start removes it")
            return False
        return True
