"""A cache of what scans decode, bounded by bytes. Safe to use from several threads.

What was not used for longest goes first, but nothing that a scan used goes for what the same scan adds: of data that
is larger than the cache, as much as fits stays in it, where the plain rule would throw out each part just before it is
asked for again.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class _Entry:
    value: Any
    bytes: int
    used_by: int
    """The last scan that used it."""


class ColumnCache:
    """Values by keys that never name anything else again."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._scans = 0

    def begin(self) -> int:
        """The number of a scan that begins."""
        with self._lock:
            self._scans += 1
            return self._scans

    def get(self, key: Hashable, scan: int) -> Any | None:
        """What is held under ``key``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            entry.used_by = max(entry.used_by, scan)
            return entry.value

    def put(self, key: Hashable, value: Any, size: int, scan: int) -> None:
        """Holds ``value`` from now on, if there is room, or can be made."""
        with self._lock:
            self._drop(key)
            while self.bytes + size > self.bytes_max:
                oldest = next(iter(self._entries), None)
                if oldest is None or self._entries[oldest].used_by >= scan:
                    return
                self._drop(oldest)
            self._entries[key] = _Entry(value, size, scan)
            self.bytes += size

    def drop(self, key: Hashable) -> None:
        """Holds nothing under ``key`` any more."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.bytes
