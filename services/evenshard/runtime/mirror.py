"""Keeps all records under one prefix of the directory in memory, fed by its watch; a lookup is a dict's.

While the directory is away it keeps serving what it knows, and says since when (``stale_since_ms``).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Changes, Directory, Entry
from evenshard.runtime.logs import logger

Record = TypeVar("Record")

_following: "list[Mirror[Any]]" = []
"""Those of this process that were started and not closed."""
START_TIMEOUT_S = 30.0
BACKOFF_MS_MIN = 50.0
BACKOFF_MS_MAX = 2_000.0
RANGE_TIMEOUT_S = 5.0
RELIST_EVERY_MS = 600_000.0
"""A watch tells everything; should it ever not, what is shown is wrong for no longer."""


class Mirror(Generic[Record]):
    """The records under ``prefix`` by name (the key without the prefix), as ``parse`` reads them.

    A record that ``parse`` refuses is left out and logged; ``fetch`` raises its error.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        prefix: str,
        parse: Callable[[bytes], Record],
        on_change: Callable[[str, Record | None], None] | None = None,
    ) -> None:
        """``on_change`` is told of each record that was set, by name, and with None of each that is gone."""
        self._directory = directory
        self._clock = clock
        self._prefix = prefix
        self._parse = parse
        self._on_change = on_change
        self._records: dict[str, Record] = {}
        self._revisions: dict[str, Revision] = {}  # of each known key's last change, records that were refused too
        self._revision = Revision(0)
        self._changed = asyncio.Event()
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self._relisting: asyncio.Task[None] | None = None
        self._stale_since_ms: float | None = None

    @property
    def revision(self) -> Revision:
        """Everything up to this revision of the directory is known here."""
        return self._revision

    @property
    def stale_since_ms(self) -> float | None:
        """Since when the watch is broken, on the clock's ``monotonic_ms``; ``None``: it stands."""
        return self._stale_since_ms

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads everything, then follows changes until ``close``. Raises ``DIRECTORY_UNAVAILABLE`` if the directory
        does not answer within ``timeout_s``."""
        await self._load(self._clock.monotonic_ms() + timeout_s * 1000)
        self._task = asyncio.create_task(self._follow(), name=f"mirror {self._prefix}")
        self._task.add_done_callback(self._ended)
        self._relisting = asyncio.create_task(self._relist(), name=f"listing {self._prefix}")
        _following.append(self)

    async def close(self) -> None:
        """Ends the watch."""
        tasks = [task for task in (self._task, self._relisting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._task is not None:
            self._task = self._relisting = None
            _following.remove(self)

    def get(self, name: str) -> Record | None:
        """As last seen; costs a dict lookup."""
        return self._records.get(name)

    def count(self) -> int:
        """How many records there are."""
        return len(self._records)

    def values(self) -> list[Record]:
        """Every record, in no order; from any thread."""
        return list(self._records.values())

    def lag_s(self) -> float:
        """How long the watch has been broken; 0: it stands."""
        since_ms = self._stale_since_ms
        return 0.0 if since_ms is None else max(0.0, self._clock.monotonic_ms() - since_ms) / 1000

    def all(self) -> list[Record]:
        """Every record, by name."""
        return [self._records[name] for name in sorted(self._records)]

    def revision_of(self, name: str) -> Revision:
        """The revision of its last change; 0: it is not known here."""
        return self._revisions.get(name, Revision(0))

    async def fetch(self, name: str, *, timeout_s: float = RANGE_TIMEOUT_S) -> Record | None:
        """Asks the directory now (linearizable); the mirror shows the answer from then on."""
        before = self.revision_of(name)
        entry = await self._directory.get(self._prefix + name, timeout_s=timeout_s)
        if entry is None:
            if before and self.revision_of(name) == before:
                self._forget(name)
                self._announce()
            return None
        self.learn(entry)
        return self._parse(entry.value)

    def learn(self, entry: Entry) -> None:
        """Shows what the caller has just read or written, unless something newer is known: its end, too."""
        name = entry.key.removeprefix(self._prefix)
        if entry.revision > self._revision or name in self._revisions:
            self._set(entry)
            self._announce()

    async def wait_for(self, name: str, met: Callable[[Record], bool], timeout_s: float) -> Record | None:
        """The record as soon as it meets ``met``; ``None`` if it does not within ``timeout_s``."""

        def found() -> bool:
            record = self._records.get(name)
            return record is not None and met(record)

        return self._records[name] if await self._wait(found, timeout_s) else None

    @property
    def version(self) -> int:
        """Rises with all that is learnt."""
        return self._version

    async def wait_beyond(self, version: int) -> None:
        """Until something is learnt that is not in ``version``; for whoever may wait for ever, else give a deadline."""
        while self._version == version:
            await self._changed.wait()

    async def wait_revision(self, revision: Revision, timeout_s: float) -> bool:
        """Until the watch has told everything up to ``revision``, at which something under the prefix changed. False:
        it has not within ``timeout_s``."""
        return await self._wait(lambda: self._revision >= revision, timeout_s)

    async def _wait(self, met: Callable[[], bool], timeout_s: float) -> bool:
        """Until ``met()``, looked at whenever something is learnt. False: it was not within ``timeout_s``."""
        over = asyncio.ensure_future(self._clock.sleep(timeout_s * 1000))
        try:
            while not met():
                if over.done():
                    return False
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((changed, over), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            return True
        finally:
            over.cancel()

    async def _load(self, until_ms: float) -> None:
        backoff_ms = BACKOFF_MS_MIN
        while True:
            remaining_ms = until_ms - self._clock.monotonic_ms()
            try:
                timeout_s = max(0.1, min(RANGE_TIMEOUT_S, remaining_ms / 1000))
                snapshot = await self._directory.range(self._prefix, timeout_s=timeout_s)
            except EvenshardError as error:
                if not error.retryable or remaining_ms <= backoff_ms:
                    raise
                await self._clock.sleep(backoff_ms)
                backoff_ms = min(BACKOFF_MS_MAX, 2 * backoff_ms)
                continue
            self._apply(Changes(snapshot.entries, (), snapshot.revision, reload=True))
            return

    async def _follow(self) -> None:
        """For as long as the mirror lives; waits between two tries are bounded by ``BACKOFF_MS_MAX``."""
        backoff_ms = BACKOFF_MS_MIN
        while True:
            try:
                async for changes in self._directory.watch(self._prefix, self._revision):
                    self._apply(changes)
                    self._stale_since_ms = None
                    backoff_ms = BACKOFF_MS_MIN
            except EvenshardError as error:
                if self._stale_since_ms is None:
                    self._stale_since_ms = self._clock.monotonic_ms()
                    logger().warning(
                        "directory watch lost", prefix=self._prefix, code=error.code, message=error.message
                    )
            except Exception as defect:  # noqa: BLE001 - said in full; what is shown meanwhile is stale, and says so
                if self._stale_since_ms is None:
                    self._stale_since_ms = self._clock.monotonic_ms()
                logger().critical("directory watch broke off", prefix=self._prefix, exc_info=defect)
                backoff_ms = BACKOFF_MS_MAX
            await self._clock.sleep(backoff_ms)
            backoff_ms = min(BACKOFF_MS_MAX, 2 * backoff_ms)

    async def _relist(self) -> None:
        """Now and then, for as long as the mirror lives."""
        while True:
            await self._clock.sleep(RELIST_EVERY_MS)
            try:
                snapshot = await self._directory.range(self._prefix, timeout_s=RANGE_TIMEOUT_S)
            except EvenshardError as error:
                logger().warning("directory not listed again", prefix=self._prefix, code=error.code)
                continue
            if snapshot.revision >= self._revision:
                self._apply(Changes(snapshot.entries, (), snapshot.revision, reload=True))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Only a defect ends the task before ``close``; it must not do so in silence."""
        if not task.cancelled():
            self._stale_since_ms = self._clock.monotonic_ms()
            logger().critical("directory watch ended", prefix=self._prefix, exc_info=task.exception())

    def _apply(self, changes: Changes) -> None:
        """A key's newer revision wins: ``fetch`` may be ahead of the watch."""
        for entry in changes.entries:
            self._set(entry)
        if changes.reload:
            present = {entry.key for entry in changes.entries}
            gone = [name for name in self._revisions if self._prefix + name not in present]
        else:
            gone = [key.removeprefix(self._prefix) for key in changes.deleted]
        for name in gone:
            if self.revision_of(name) <= changes.revision:
                self._forget(name)
        self._revision = changes.revision if changes.reload else max(self._revision, changes.revision)
        if changes.entries or gone:
            self._announce()

    def _set(self, entry: Entry) -> None:
        name = entry.key.removeprefix(self._prefix)
        if self.revision_of(name) >= entry.revision:
            return
        self._revisions[name] = entry.revision
        try:
            self._records[name] = self._parse(entry.value)
        except (EvenshardError, ValueError, KeyError, TypeError) as error:
            self._records.pop(name, None)
            logger().error("directory record unreadable", key=entry.key, error=str(error))
        if self._on_change is not None:
            self._on_change(name, self._records.get(name))

    def _forget(self, name: str) -> None:
        self._revisions.pop(name, None)
        self._records.pop(name, None)
        if self._on_change is not None:
            self._on_change(name, None)

    def _announce(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()


def directory_lag_s() -> float:
    """Of the mirrors of this process the longest time a watch has been broken; 0: all stand. From any thread."""
    return max((mirror.lag_s() for mirror in list(_following)), default=0.0)
