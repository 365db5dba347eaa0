"""How many scans decode rows at once.

Those of queries are as many as there are threads; exports, which hold a window of rows for as long as their reader
takes, are refused beyond what memory allows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from evenshard.errors import EvenshardError

SCAN_BYTES: Final = 8 << 20
"""What a query's scan holds decoded at a time, beside the cache of columns: a part's that found no room there."""
EXPORT_BYTES: Final = 16 << 20
"""What an export holds: a window of whole rows."""
RETRY_AFTER_MS: Final = 1000


class ScanRoom:
    """Belongs to one event loop."""

    def __init__(self, bytes_max: int, threads: int) -> None:
        self._threads = threads
        self._exports_max = max(1, (bytes_max - threads * SCAN_BYTES) // EXPORT_BYTES)
        self._scans = 0
        self._exports = 0

    @property
    def bytes(self) -> int:
        """Held now, at most."""
        return min(self._scans, self._threads) * SCAN_BYTES + self._exports * EXPORT_BYTES

    @property
    def scans(self) -> int:
        """Of queries, now."""
        return self._scans

    @contextmanager
    def scan(self) -> Iterator[None]:
        self._scans += 1
        try:
            yield
        finally:
            self._scans -= 1

    @contextmanager
    def export(self) -> Iterator[None]:
        """Raises ``OVERLOADED`` where too many are open."""
        if self._exports >= self._exports_max:
            raise EvenshardError(
                "OVERLOADED", f"{self._exports} exports read from this shard already", retry_after_ms=RETRY_AFTER_MS
            )
        self._exports += 1
        try:
            yield
        finally:
            self._exports -= 1
