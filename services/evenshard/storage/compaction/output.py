"""Writes a sorted run as segments of at most so many rows and bytes, cut between slots where that is near."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import SLOT_SHIFT, UInt64
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.ports.disk import Disk
from evenshard.storage.segment.format import SEGMENT_BYTES_MAX, SEGMENT_ROWS_MAX
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.loose_hashes import LooseHashes
from evenshard.storage.segment.order import only_chunk
from evenshard.storage.segment.value_keys import KEYS_MAX
from evenshard.storage.segment.writer import SegmentPlace, SegmentWriter, without_identities
from evenshard.storage.segment.written_keys import WrittenKeys


def cut_point(hashes: UInt64, room: int) -> int:
    """How many of the rows with these sorted hashes go into a file with room for ``room`` rows.

    All if they fit. Else as many as end with a slot, if that is at least half of the room; else exactly ``room``.
    """
    if hashes.size <= room:
        return int(hashes.size)
    slot = hashes[room] >> np.uint64(SLOT_SHIFT)
    start_of_slot = int(np.searchsorted(hashes, slot << np.uint64(SLOT_SHIFT), "left"))
    return start_of_slot if start_of_slot * 2 >= room else room


class RunWriter:
    """One run of one range; ``append`` sorted tables that follow one another, then ``finish``.

    ``written`` are the segments finished so far; on any failure ``discard`` removes every file.
    """

    def __init__(
        self,
        disk: Disk,
        next_id: Callable[[], int],
        place: SegmentPlace,
        rows_max: int,
        keys_max: int = KEYS_MAX,
        *,
        loose: list[LooseHashes] | None = None,
        kept: WrittenKeys | None = None,
    ) -> None:
        """``loose``: the rows are written to one file, and these will be their identity hashes when ``finish`` is
        called, which empties it; None: they come with the rows, or are made of them. ``kept`` gets the identity fields
        of what is written."""
        self._disk = disk
        self._next_id = next_id
        self._place = place
        self._rows_max = min(rows_max, SEGMENT_ROWS_MAX)
        self._keys_max = keys_max
        self._loose = loose
        self._kept = kept
        self._current: SegmentWriter | None = None
        self._current_bytes = 0
        self.written: list[SegmentInfo] = []

    @property
    def bytes(self) -> int:
        """Written so far."""
        current = 0 if self._current is None else self._current.bytes
        return current + sum(info.bytes for info in self.written)

    def append(self, table: pa.Table) -> None:
        """Rows in segment order; none is allowed."""
        while table.num_rows:
            if self._current is None:
                self._current = SegmentWriter(
                    self._disk, self._next_id(), self._place, self._keys_max, self._kept, self._loose
                )
                self._current_bytes = 0
            bytes_per_row = max(1, table.nbytes // table.num_rows)
            room = min(
                self._rows_max - self._current.rows,
                max(SEGMENT_BYTES_MAX - self._current_bytes, bytes_per_row) // bytes_per_row,
            )
            room = room if self._loose is None else table.num_rows
            count = cut_point(only_chunk(table.column(PLACEMENT_HASH)).to_numpy(), room)
            if count < table.num_rows:
                table = without_identities(table)
            if count:
                self._current.append(table.slice(0, count))
                self._current_bytes += count * bytes_per_row
            if count < table.num_rows:
                self._close_current()
            table = table.slice(count)

    def finish(self) -> list[SegmentInfo]:
        self._close_current()
        return self.written

    def discard(self) -> None:
        """Removes what was written."""
        current, self._current = self._current, None
        if current is not None:
            current.discard()
        for info in self.written:
            for name in info.files:
                self._disk.unlink(name)
        self.written = []

    def _close_current(self) -> None:
        if self._current is not None:
            if self._current.rows:
                self.written.append(self._current.finish())
            self._current = None
