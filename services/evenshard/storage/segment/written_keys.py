"""The identity fields of rows just indexed, as a compaction has them in its hands: what came last comes again soonest.

They are kept as they are, without copying, in room of the cache that nobody else has: whoever needs it takes it, also
while they are gathered. Of a segment the first row groups are kept, as many as find room; they go together, since they
share memory.
"""

import threading
from collections.abc import Callable, Sequence

import pyarrow as pa

from evenshard.storage.segment.key_columns import LaterColumns


class WrittenKeys:
    """Of one compaction. Safe to use from the thread that writes and those that need room."""

    def __init__(self, room: Callable[[], int]) -> None:
        """``room``: bytes that nobody else has now."""
        self._room = room
        self._lock = threading.Lock()
        self._of_segment: dict[int, list[LaterColumns]] = {}
        self._given_up: set[int] = set()
        self.bytes = 0

    def begin(self) -> None:
        """Nothing was written yet, or what was is void."""
        with self._lock:
            self._forget(tuple(self._of_segment))
            self._given_up.clear()

    def add(self, segment_id: int, rows: pa.Table) -> None:
        """The next row group of a segment."""
        if segment_id in self._given_up:
            return
        columns = LaterColumns(rows)
        with self._lock:
            if segment_id in self._given_up:  # meanwhile
                return
            if self.bytes + columns.bytes > self._room():
                self._given_up.add(segment_id)
                return
            self._of_segment.setdefault(segment_id, []).append(columns)
            self.bytes += columns.bytes

    def yield_room(self) -> None:
        """Somebody else has come to need room: what no longer fits goes."""
        with self._lock:
            for segment_id in tuple(self._of_segment):
                if self.bytes <= self._room():
                    break
                self._forget((segment_id,))

    def take(self) -> dict[int, Sequence[LaterColumns]]:
        """What was kept, by segment, of its first row groups; nothing is any more."""
        with self._lock:
            kept: dict[int, Sequence[LaterColumns]] = {**self._of_segment}
            self._forget(tuple(kept))
            return kept

    def _forget(self, segment_ids: Sequence[int]) -> None:
        for segment_id in segment_ids:
            self._given_up.add(segment_id)
            self.bytes -= sum(columns.bytes for columns in self._of_segment.pop(segment_id))
