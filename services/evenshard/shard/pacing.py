"""Holds a compaction to so many bytes a second, in the thread that compacts."""

import threading
from collections.abc import Callable
from typing import Final

WAIT_S_MAX: Final = 10.0
"""One wait is not longer, however much was written at once."""


class Pace:
    """``written`` waits as long as what was written so far is ahead of the rate. For one thread at a time."""

    def __init__(self, bytes_per_second: float, now_ms: Callable[[], float]) -> None:
        """0 bytes a second: no waiting."""
        self._bytes_per_second = bytes_per_second
        self._now_ms = now_ms
        self._stopping = threading.Event()
        self._free_at_ms = 0.0

    def written(self, size: int) -> None:
        """Returns when the next bytes may be written, or once ``stop`` was called."""
        if not self._bytes_per_second:
            return
        now_ms = self._now_ms()
        self._free_at_ms = max(now_ms, self._free_at_ms) + 1000 * size / self._bytes_per_second
        self._stopping.wait(min(WAIT_S_MAX, (self._free_at_ms - now_ms) / 1000))

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopping.set()
