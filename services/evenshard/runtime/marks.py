"""Every mark of the directory, as its watch tells: whoever asks is told of each as it comes."""

from collections import Counter
from collections.abc import Callable, Mapping

from evenshard.directory.keys import MARKS, mark_key, marked_key
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.runtime.logs import logger
from evenshard.runtime.mirror import START_TIMEOUT_S, Mirror


class MarkView:
    """Tells ``on_change`` of each mark, and with None of each that is gone."""

    def __init__(self, directory: Directory, clock: Clock, on_change: Callable[[HotKey, Mark | None], None]) -> None:
        self._on_change = on_change
        self._mirror = Mirror(directory, clock, MARKS, Mark.from_json, self._changed)

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all marks and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def states(self) -> Mapping[str, int]:
        """How many marks are in each state. From any thread."""
        return Counter(mark.state for mark in self._mirror.values())

    async def wait_revision(self, revision: Revision, timeout_s: float) -> bool:
        """Until all up to ``revision``, at which some mark changed, was told. False: not within ``timeout_s``."""
        return await self._mirror.wait_revision(revision, timeout_s)

    async def fetch(self, key: HotKey, timeout_s: float) -> Mark | None:
        """Asks the directory now. Raises ``DIRECTORY_UNAVAILABLE``."""
        return await self._mirror.fetch(mark_key(*key).removeprefix(MARKS), timeout_s=timeout_s)

    async def wait_active(self, key: HotKey, timeout_s: float) -> None:
        """Until the key's mark is active, as far as the watch tells, or ``timeout_s`` has passed."""
        name = mark_key(*key).removeprefix(MARKS)
        await self._mirror.wait_for(name, lambda mark: mark.state == "active", timeout_s)

    def _changed(self, name: str, mark: Mark | None) -> None:
        try:
            key = marked_key(name)
        except ValueError:
            logger().error("a mark has a key that cannot be read", name=name)
            return
        self._on_change(key, mark)
