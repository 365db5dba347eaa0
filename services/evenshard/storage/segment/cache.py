"""A cache bounded by bytes that forgets what was not used for longest. Not thread-safe."""

from collections import OrderedDict
from collections.abc import Callable, Container, Hashable
from typing import Any, Final

from evenshard.errors import EvenshardError
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.written_keys import WrittenKeys

WRITTEN: Final = "written"
"""With a segment's id the key of what was kept of it when it was written: ``LaterColumns``, one a row group,
of the first ones."""
_SPARE_EIGHTHS: Final = 7
"""Of the room that is left: what was written has a filter too, and is of no use where that takes its room."""

OnUnreadable = Callable[[SegmentInfo, EvenshardError], None]
"""Told that a segment is damaged, before anything is decided without it; puts that on record."""


class SegmentCache:
    """Decoded parts of segments. Keys hold the segment's id, which is never reused, so nothing in it goes stale."""

    def __init__(self, budget_bytes: int, scratch: KeyScratch) -> None:
        self._budget_bytes = budget_bytes
        self.scratch = scratch
        """What does not fit into memory; closed by whom the cache belongs to."""
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._spare: dict[Hashable, None] = {}
        """Keys of what was not of use yet."""
        self._writing: WrittenKeys | None = None
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
        self._spare.pop(key, None)
        return held[0]

    def peek(self, key: Hashable) -> Any:
        """The same, of which it is not clear yet whether it is of use."""
        held = self._entries.get(key)
        return None if held is None else held[0]

    def forget(self, segment_ids: Container[int]) -> None:
        """Nothing of some segments is held any more: they were replaced."""
        for key in [key for key in self._entries if isinstance(key, tuple) and key[0] in segment_ids]:
            self._drop(key)

    def has_room(self, size: int) -> bool:
        """Whether nothing that was of use has to go for a value of so many bytes."""
        return self.bytes - self._spare_bytes + size <= self._budget_bytes

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Holds a value that is not held, unless it is larger than the budget."""
        if size <= self._budget_bytes:
            self._entries[key] = (value, size)
            self.bytes += size
            while self.bytes > self._budget_bytes:
                self._drop(next(iter(self._spare)) if self._spare else next(iter(self._entries)))
            if self._writing is not None:
                self._writing.yield_room()

    def begin_writing(self) -> WrittenKeys:
        """What gathers the identities that are written from now on, in the room that is left; none where another does.
        What was gathered before and not of use goes. ``end_writing`` must follow."""
        if self._writing is not None:
            return WrittenKeys(lambda: 0)
        for key in tuple(self._spare):
            self._drop(key)
        self._writing = WrittenKeys(lambda: (self._budget_bytes - self.bytes) * _SPARE_EIGHTHS // 8)
        return self._writing

    def end_writing(self, written: WrittenKeys) -> None:
        """Holds what was gathered: until the room is needed, or as anything else once it was of use."""
        if written is not self._writing:
            return
        self._writing = None
        for segment_id, groups in written.take().items():
            key, size = (segment_id, WRITTEN), sum(columns.bytes for columns in groups)
            if self.bytes + size <= self._budget_bytes:
                self.put(key, groups, size)
                self._spare[key] = None

    @property
    def bytes_held(self) -> int:
        """With what is being gathered."""
        return self.bytes + (0 if self._writing is None else self._writing.bytes)

    @property
    def _spare_bytes(self) -> int:
        return sum(self._entries[key][1] for key in self._spare)

    def _drop(self, key: Hashable) -> None:
        self.bytes -= self._entries.pop(key)[1]
        self._spare.pop(key, None)
