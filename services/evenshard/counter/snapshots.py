"""Keeps a counter's counts over its end: written each minute, when users were forgotten, and when it stops.

A counter that was killed begins with the counts last written, and owns up to what it may have missed since
(``Counts.start_ms``); one that stopped cleanly goes on as if nothing had been. A file of the name ``running`` tells the
two apart. What cannot be read is left out with a warning, and what cannot be written is tried again: counts are an aid.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from evenshard.hotkeys.counting import Counts
from evenshard.hotkeys.saved_counts import SavedCounts, SavedCountsError, decoded, encoded
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.runtime.endless import until_ended
from evenshard.runtime.logs import logger

SNAPSHOT_EVERY_MS: Final = 60_000
"""A copy costs what some hundred thousand events do."""
COUNTS: Final = "counts"
_NEW: Final = "counts.new"
_RUNNING: Final = "running"


def load_counts(disk: Disk, keys_max: int, now_ms: int) -> Counts:
    """What was written last, or nothing. From now on the counter has not stopped cleanly."""
    names = disk.list("")
    counts = Counts(keys_max, now_ms)
    if COUNTS in names:
        try:
            saved = _read(disk)
            if saved.keys_max == 2 * (keys_max // 2):
                counts = Counts.restore(saved, now_ms if _RUNNING in names else saved.start_ms)
            else:
                logger().warning("counts begin anew: counter_keys was changed", before=saved.keys_max, now=keys_max)
        except SavedCountsError as error:
            logger().warning("counts begin anew: what was saved cannot be read", reason=str(error))
    if _RUNNING not in names:
        disk.open(_RUNNING, create=True).close()
        disk.sync_directory("")
    return counts


class Snapshots:
    """Belongs to one event loop; ``pool`` is the one thread that counts."""

    def __init__(
        self, disk: Disk, counts: Counts, clock: Clock, pool: ThreadPoolExecutor, note: Callable[[str], None]
    ) -> None:
        """``note`` is told what an operator should look at; empty: nothing."""
        self._disk = disk
        self._counts = counts
        self._clock = clock
        self._pool = pool
        self._note = note
        self._writing = asyncio.Lock()
        self._counted = False
        self._stopping = False
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(until_ended(self._run, self._clock, "snapshots"), name="snapshots")

    def counted(self) -> None:
        """There is something new to write."""
        self._counted = True

    async def forgotten(self) -> None:
        """Users were forgotten: what was written does not come back. Raises ``OSError``."""
        async with self._writing:
            await asyncio.to_thread(_remove, self._disk, COUNTS)
        self._counted = True
        self._due.set()

    async def close(self) -> None:
        """Writes everything; the counter has stopped cleanly then. Nobody counts any more."""
        self._stopping = True
        self._due.set()
        if self._task is not None:
            await self._task
        if await self._write():
            await asyncio.to_thread(_remove, self._disk, _RUNNING)

    async def _run(self) -> None:
        while not self._stopping:
            waiting = asyncio.ensure_future(self._due.wait())
            pausing = asyncio.ensure_future(self._clock.sleep(SNAPSHOT_EVERY_MS))
            try:
                await asyncio.wait((waiting, pausing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                pausing.cancel()
            self._due.clear()
            if self._counted and not self._stopping:
                await self._write()

    async def _write(self) -> bool:
        """False: the disk did not take it."""
        async with self._writing:
            self._counted = False
            saved = await asyncio.get_running_loop().run_in_executor(self._pool, self._counts.save)
            try:
                await asyncio.to_thread(_save, self._disk, saved)
            except OSError as error:
                self._counted = True
                self._note(f"counts of keys are not saved: {error}")
                logger().warning("counts were not saved", reason=str(error))
                return False
        self._note("")
        return True


def _read(disk: Disk) -> SavedCounts:
    try:
        file = disk.open(COUNTS)
        try:
            return decoded(file.read(0, file.size()))
        finally:
            file.close()
    except OSError as error:
        raise SavedCountsError(str(error)) from error


def _save(disk: Disk, saved: SavedCounts) -> None:
    _remove(disk, _NEW)
    file = disk.open(_NEW, create=True)
    try:
        file.write(encoded(saved))
        file.sync()
    finally:
        file.close()
    disk.rename(_NEW, COUNTS)
    disk.sync_directory("")


def _remove(disk: Disk, name: str) -> None:
    if name in disk.list(""):
        disk.unlink(name)
        disk.sync_directory("")
