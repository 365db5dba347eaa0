"""A cache bounded by bytes that forgets what was not used for longest. Not thread-safe."""

from collections import OrderedDict
from collections.abc import Callable, Container, Hashable
from typing import Any

from evenshard.errors import EvenshardError
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch

OnUnreadable = Callable[[SegmentInfo, EvenshardError], None]
"""Told that a segment is damaged, before anything is decided without it; puts that on record."""


class SegmentCache:
    """Decoded parts of segments. Keys hold the segment's id, which is never reused, so nothing in it goes stale."""

    def __init__(self, budget_bytes: int, scratch: KeyScratch) -> None:
        self._budget_bytes = budget_bytes
        self.scratch = scratch
        """What does not fit into memory; closed by whom the cache belongs to."""
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.bytes = 0
        self.unreadable: set[int] = set()
        """Segments that are in quarantine: nothing is looked up in them."""
        self.on_unreadable: OnUnreadable | None = None

    @property
    def bytes_max(self) -> int:
        return self._budget_bytes

    def get(self, key: Hashable, load: Callable[[], tuple[Any, int]]) -> Any:
        """The value of ``key``; ``load`` gives it and its bytes where it is not held. One larger than the budget is not
        kept."""
        value = self.held(key)
        if value is None:
            value, size = load()
            self.put(key, value, size)
        return value

    def held(self, key: Hashable) -> Any:
        """The value of ``key``; None: it is not held."""
        held = self._entries.get(key)
        if held is None:
            return None
        self._entries.move_to_end(key)
        return held[0]

    def forget(self, segment_ids: Container[int]) -> None:
        """Nothing of some segments is held any more: they were replaced."""
        for key in [key for key in self._entries if isinstance(key, tuple) and key[0] in segment_ids]:
            self.bytes -= self._entries.pop(key)[1]

    def has_room(self, size: int) -> bool:
        """Whether nothing has to go for a value of so many bytes."""
        return self.bytes + size <= self._budget_bytes

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Holds a value that is not held, unless it is larger than the budget."""
        if size <= self._budget_bytes:
            self._entries[key] = (value, size)
            self.bytes += size
            while self.bytes > self._budget_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self.bytes -= freed
