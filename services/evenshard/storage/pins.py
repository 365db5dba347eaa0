"""Keeps segment files on disk while a snapshot reads them."""

import threading
from collections.abc import Callable, Iterable

from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.segment.info import SegmentInfo


class Pins:
    """Counts the readers of segments; a removed one goes with its last reader. Files that could not be removed then are
    tried again when others are."""

    def __init__(self, disk: Disk, report: Callable[[str], None]) -> None:
        self._disk = disk
        self._report = report
        self._lock = threading.Lock()
        self._readers: dict[int, int] = {}
        self._removed: dict[int, SegmentInfo] = {}

    def pin(self, segments: Iterable[SegmentInfo]) -> None:
        """One more reader of each."""
        with self._lock:
            for segment in segments:
                self._readers[segment.id] = self._readers.get(segment.id, 0) + 1

    def unpin(self, segments: Iterable[SegmentInfo]) -> None:
        """One reader less; unlinks the files of those that were removed and have none left."""
        gone = []
        with self._lock:
            for segment in segments:
                self._readers[segment.id] -= 1
                if self._readers[segment.id] == 0:
                    del self._readers[segment.id]
                    if segment.id in self._removed:
                        gone.append(self._removed.pop(segment.id))
        self._unlink(gone)

    def remove(self, segments: Iterable[SegmentInfo]) -> None:
        """They are in the catalog no more: unlinks their files, now or with their last reader."""
        with self._lock:
            self._removed.update((segment.id, segment) for segment in segments)
            gone = [segment for number, segment in self._removed.items() if number not in self._readers]
            for segment in gone:
                del self._removed[segment.id]
        self._unlink(gone)

    def kept(self, tenant: TenantId) -> list[SegmentInfo]:
        """Removed segments of a tenant whose files are still there, those nobody reads tried once more."""
        self.remove(())
        with self._lock:
            return [segment for segment in self._removed.values() if segment.tenant == tenant]

    def _unlink(self, segments: Iterable[SegmentInfo]) -> None:
        for segment in segments:
            for name in segment.files:
                try:
                    self._disk.unlink(name)
                except FileNotFoundError:
                    continue  # removed when it was tried before
                except OSError as error:
                    self._report(f"{name}: not removed ({error}); the next start removes it")
                    with self._lock:
                        self._removed[segment.id] = segment
