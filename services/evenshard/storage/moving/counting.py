"""Numbers for what a shard holds of some slots, in any order: rows, and two sums of their hashes, by slot and day.

What there is when counting begins is read once, beside appends; what comes later is added as it comes. So the numbers
as of a fence are there at once. Whatever changes what is shown otherwise, as a deletion does, ends a count; the next
one begins anew. Files that both sides have byte for byte are added as files, by what they contain: their rows need not
be read.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.content_hashes import content_hashes
from evenshard.events.hashing import UInt64, slots_of
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Identities
from evenshard.storage.segment.info import DAY_MS, SegmentInfo
from evenshard.storage.tail.block import Block
from evenshard.storage.tail.scan import scan_block

CELLS_MAX: Final = 1_000_000
NEAR_ROWS: Final = 5_000
"""So many rows are counted in some milliseconds. Where more than that always wait, as they come so fast, the bound
doubles with every ``NEAR_DOUBLES_LOOKS`` looks, up to ``NEAR_DOUBLINGS_MAX`` times."""
NEAR_DOUBLES_LOOKS: Final = 8
NEAR_DOUBLINGS_MAX: Final = 4
PENDING_ROWS_MAX: Final = 2_000_000
"""Rows that wait to be counted; of more the count is given up, and begins anew when it is asked for."""
_DAYS_BEFORE: Final = 1 << 24
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_MODULUS: Final = 1 << 64

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cell:
    """Of one slot and UTC day."""

    slot: int
    day: int
    rows: int
    digest: int
    digest_high: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Of all cells."""

    rows: int
    digest: int
    digest_high: int

    def plus_files(self, files: Mapping[bytes, SegmentInfo]) -> "Sum":
        """With files, each by its content: 16 bytes."""
        low = sum(int.from_bytes(content[:8]) for content in files)
        high = sum(int.from_bytes(content[8:]) for content in files)
        rows = sum(info.rows for info in files.values())
        return Sum(self.rows + rows, (self.digest + low) % _MODULUS, (self.digest_high + high) % _MODULUS)


@dataclass(frozen=True, slots=True)
class Counted:
    """How far counting is."""

    is_near: bool
    """Nearly all has been counted."""
    files: tuple[bytes, ...] = ()
    """What the files contain that were counted as files; in order."""

    def is_ready(self, agreed: Collection[bytes] | None) -> bool:
        """Whether nothing was counted as a file that is not ``agreed``; None: all are."""
        return self.is_near and (agreed is None or set(self.files) <= set(agreed))


class Cells:
    """Sums by slot and day; mutable."""

    def __init__(self) -> None:
        self._keys: UInt64 = np.zeros(0, np.uint64)
        self._rows: Int64 = np.zeros(0, np.int64)
        self._low: UInt64 = np.zeros(0, np.uint64)
        self._high: UInt64 = np.zeros(0, np.uint64)

    def add(self, slots: Int64, days: Int64, low: UInt64, high: UInt64) -> None:
        """One each a row."""
        keys = np.concatenate([self._keys, (slots.astype(np.uint64) << np.uint64(32)) | _of_days(days)])
        rows = np.concatenate([self._rows, np.ones(slots.size, np.int64)])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if keys.size else np.zeros(0, np.int64)
        self._keys = keys[starts]
        self._rows = np.add.reduceat(rows[order], starts) if keys.size else rows
        self._low = _sums(np.concatenate([self._low, low])[order], starts)
        self._high = _sums(np.concatenate([self._high, high])[order], starts)

    def sum(self) -> Sum:
        return Sum(
            int(self._rows.sum()),
            int(self._low.sum(dtype=np.uint64)) % _MODULUS,
            int(self._high.sum(dtype=np.uint64)) % _MODULUS,
        )

    def listed(self) -> list[Cell]:
        """By slot and day; more than ``CELLS_MAX``: none."""
        if self._keys.size > CELLS_MAX:
            return []
        slots = (self._keys >> np.uint64(32)).tolist()
        days = ((self._keys & np.uint64(0xFFFFFFFF)).astype(np.int64) - _DAYS_BEFORE).tolist()
        columns = zip(slots, days, self._rows.tolist(), self._low.tolist(), self._high.tolist(), strict=True)
        return [Cell(*each) for each in columns]


def _of_days(days: Int64) -> UInt64:
    return (days + _DAYS_BEFORE).astype(np.uint64)


def _sums(values: UInt64, starts: Int64) -> UInt64:
    result: UInt64 = np.add.reduceat(values, starts) if values.size else values
    return result


class Counting:
    """Of one move. ``came`` and ``taken`` under the store's ``append_lock``; the rest under ``one``, taken before."""

    def __init__(self, moved: MovedSlots) -> None:
        self.moved = moved
        self.has_begun = False
        """What there was has been read."""
        self.one = threading.Lock()
        self.cells = Cells()
        self.files: dict[bytes, SegmentInfo] = {}
        """By their content: segments whose rows are not in ``cells``."""
        self.is_given_up = False
        self.has_too_many = False
        """It came to more than is kept to be counted."""
        self._looks = 0
        self._pending: list[Block] = []
        self._pending_rows = 0

    def came(self, blocks: Sequence[Block]) -> None:
        """Rows that were stored since it was made."""
        self._pending += blocks
        self._pending_rows += sum(block.rows for block in blocks)
        if self._pending_rows > PENDING_ROWS_MAX:
            self.has_too_many = self.is_given_up = True
            self._pending.clear()

    def looked(self) -> None:
        """Somebody asked whether it is near."""
        self._looks += 1

    @property
    def is_near(self) -> bool:
        """Little waits to be counted."""
        near_rows = NEAR_ROWS << min(NEAR_DOUBLINGS_MAX, self._looks // NEAR_DOUBLES_LOOKS)
        return self._pending_rows <= near_rows and not self.is_given_up

    def taken(self) -> list[Block]:
        """What is to be counted now; under ``append_lock``."""
        blocks, self._pending, self._pending_rows = self._pending, [], 0
        return blocks

    def sum(self) -> Sum:
        """Of cells and files."""
        return self.cells.sum().plus_files(self.files)

    def count_blocks(self, blocks: Sequence[Block]) -> None:
        """Adds the rows of blocks that are meant."""
        for block in blocks:
            times = block.batch.record.column("time").to_numpy()
            fields = ("event", "distinct_id", "time", "insert_id", HOT, SPREAD, PLACEMENT_HASH)
            scanned = scan_block(block, fields, None, int(times.min()), int(times.max()) + 1)
            if scanned is not None:
                self.count(scanned.record)

    def count(self, record: pa.RecordBatch) -> None:
        """Adds the rows that are meant of those that were scanned with all fields, properties, and what storage knows
        of them."""
        placement: UInt64 = record.column(PLACEMENT_HASH).to_numpy()
        kept = np.flatnonzero(self.moved.rows(record, placement, record.column(SPREAD)))
        if not kept.size:
            return
        if kept.size < record.num_rows:
            record = record.take(pa.array(kept))
        placement = placement[kept]
        slots = slots_of(placement)
        if self.moved.overflow:
            slots = slots_of(Identities(self.moved.tenant, record, placement)(np.arange(kept.size)))
        bits = sum(
            record.column(name).fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint64) << np.uint64(at)
            for at, name in enumerate((DUPLICATE, HOT))
        )
        low = _mixed(content_hashes(record) + (bits + np.uint64(1)) * _MIX)
        high = _mixed(low ^ (low << np.uint64(31)))
        self.cells.add(slots, record.column("time").to_numpy() // DAY_MS, low, high)


def _mixed(values: UInt64) -> UInt64:
    """Two rows that differ in a bit alone are to differ in the sums, too."""
    values = (values ^ (values >> _SHIFT)) * np.uint64(0xBF58476D1CE4E5B9)
    result: UInt64 = (values ^ (values >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return result ^ (result >> _SHIFT)
