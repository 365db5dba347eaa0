"""Puts the rows of split users together again and runs the scan over them, within memory and in time."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.queries.plan import ScanStats
from evenshard.queries.reunion import SplitRows, reunited
from evenshard.queries.split import too_many_rows

RETRY_AFTER_MS: Final = 500


class Waiting(Protocol):
    """How long somebody waits."""

    def remaining_s(self) -> float:
        """Raises ``DEADLINE_EXCEEDED`` when it is over."""
        ...


class Reunion:
    """Belongs to one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        """Of rows, of all questions at a time."""
        self.bytes = 0
        """Held now."""

    async def of(
        self, scan: bytes, of_shards: Sequence[SplitRows], size: int, users: Sequence[str], waiting: Waiting
    ) -> tuple[pa.Table, ScanStats]:
        """The partial of the users whose rows shards gave back, and what it left out. ``size``: memory of the rows;
        ``users``: some of them, to be named.

        Raises ``QUERY_INVALID`` for rows that would never fit, ``OVERLOADED`` where others hold the room.
        """
        gone = threading.Event()

        def check() -> None:
            waiting.remaining_s()
            if gone.is_set():
                raise EvenshardError("DEADLINE_EXCEEDED", "nobody waits any more")

        self._take(size, users)
        # The room is held as long as the rows are: a thread that nobody waits for any more goes on to its next check.
        work = asyncio.get_running_loop().run_in_executor(None, reunited, scan, of_shards, check)
        work.add_done_callback(lambda done: self._give_back(size, done))
        try:
            return await asyncio.shield(work)
        finally:
            gone.set()

    def _take(self, size: int, users: Sequence[str]) -> None:
        if size > self.bytes_max:
            raise too_many_rows(users, self.bytes_max)
        if self.bytes + size > self.bytes_max:
            raise EvenshardError(
                "OVERLOADED",
                f"{self.bytes} bytes of rows of split users are held for other questions: {size} more exceed "
                f"{self.bytes_max}",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self.bytes += size

    def _give_back(self, size: int, done: "asyncio.Future[tuple[pa.Table, ScanStats]]") -> None:
        self.bytes -= size
        if not done.cancelled():
            done.exception()  # told to whoever still waits
