"""Key pages of row groups that were decoded once, in files without a name: looking up reads what it needs, no more.

Identities of what is indexed do not fit into memory where they are many, and to decode a row group for each batch that
has one row in it costs a hundred times the batch. So a page is written to a *part*: a file of the shard's disk whose
name is taken away at once, so that it is gone when the process is. Nothing is synced. The operating system's page cache
holds what is used, as far as it has room; none of it is memory of the shard's. There are so many parts; where all are
full the oldest goes, and its pages with it. Where the disk refuses, pages are not kept; where it has little room left,
the oldest parts go one by one.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from evenshard.ports.disk import Disk, File
from evenshard.storage.segment.keys import START_BYTES, BatchKeys, KeyPage, buckets_of, nonce_of
from evenshard.storage.segment.order import Int64

Bools = npt.NDArray[np.bool_]

FOLDER: Final = "scratch"
_NAME: Final = f"{FOLDER}/keys"
PARTS: Final = 8
FREE_BYTES_MIN: Final = 1 << 30
"""What is left free on the disk: scratch takes no room that events could need."""
_CHUNK_BYTES: Final = 4 << 20
"""Buckets read at a time."""
_NOWHERE: Final = -1


@dataclass(slots=True)
class _Part:
    number: int
    file: File
    bytes: int = 0


@dataclass(slots=True)
class _Placed:
    """Where the pages of a segment's row groups are; arrays have one entry a row group."""

    parts: Int64
    """Numbers of parts; ``_NOWHERE``: it is not kept."""
    offsets: Int64
    buckets: Int64


class KeyScratch:
    """Not thread-safe. ``bytes_max``: of all parts. ``report`` is told when the disk refuses, once until it does not.
    Must be closed."""

    def __init__(self, disk: Disk, bytes_max: int, report: Callable[[str], None] = lambda _: None) -> None:
        self._disk = disk
        self._part_bytes_max = bytes_max // PARTS
        self._report = report
        self._parts: list[_Part] = []
        self._next_part = 0
        self._placed: dict[int, _Placed] = {}
        self._refused = False

    @property
    def bytes(self) -> int:
        """On the disk."""
        return sum(part.bytes for part in self._parts)

    def find(
        self, segment_id: int, keys: BatchKeys, rows: Int64, groups: Int64, *, copies_count: bool
    ) -> tuple[Bools, Bools]:
        """For each of ``rows``, all with an insert_id, whether the page of the row group beside it is kept, and if so,
        whether an equal event is in it; see ``BatchKeys.in_buckets``."""
        answered, found = np.zeros(rows.size, np.bool_), np.zeros(rows.size, np.bool_)
        placed = self._placed.get(segment_id)
        if placed is None:
            return answered, found
        homes = placed.parts[groups]
        for part in tuple(self._parts):
            here = np.flatnonzero(homes == part.number)
            if not here.size:
                continue
            inside = groups[here]
            try:
                answer = _looked_up(part, segment_id, placed, keys, rows[here], inside, copies_count=copies_count)
            except OSError as error:
                answer = None
                self._refuse(f"could not be read: {error}")
            if answer is None:  # damaged, or gone: the segment has it all
                self._drop(part)
                continue
            answered[here], found[here] = True, answer
            self._refused = False
        return answered, found

    def keep(self, segment_id: int, group: int, groups: int, page: KeyPage) -> bool:
        """Keeps the page of one of a segment's so many row groups; False: it could not."""
        if page.bytes > self._part_bytes_max or not self._has_room(page.bytes):
            return False
        try:
            part = self._part_for(page.bytes)
            part.file.write([page.data.data])
        except OSError as error:
            self._refuse(f"could not be written: {error}")
            for each in tuple(self._parts):
                self._drop(each)
            return False
        if segment_id not in self._placed:
            self._placed[segment_id] = _Placed(
                np.full(groups, _NOWHERE), np.zeros(groups, np.int64), np.zeros(groups, np.int64)
            )
        placed = self._placed[segment_id]
        placed.parts[group], placed.offsets[group], placed.buckets[group] = part.number, part.bytes, page.buckets
        part.bytes += page.bytes
        return True

    def forget_all_but(self, segment_ids: Collection[int]) -> None:
        """Parts with pages of other segments go: nothing of those is left on the disk at return."""
        gone = [placed.parts for segment_id, placed in self._placed.items() if segment_id not in segment_ids]
        numbers = frozenset(number for parts in gone for number in parts.tolist())
        for part in tuple(self._parts):
            if part.number in numbers:
                self._drop(part)

    def leave_room(self) -> None:
        """Gives the oldest part back where the disk has little room left; to be called every second or so."""
        if self._parts and not self._has_room(0):
            self._drop(self._parts[0])

    def close(self) -> None:
        """Everything is gone. May be called twice."""
        for part in tuple(self._parts):
            self._drop(part)

    def _has_room(self, size: int) -> bool:
        try:
            return self._disk.free_bytes() >= FREE_BYTES_MIN + size
        except OSError as error:
            self._refuse(f"could not be kept: {error}")
            return False

    def _part_for(self, size: int) -> _Part:
        """The part to write so many bytes to."""
        if not self._parts or self._parts[-1].bytes + size > self._part_bytes_max:
            if len(self._parts) == PARTS:
                self._drop(self._parts[0])
            self._parts.append(_Part(self._next_part, self._nameless()))
            self._next_part += 1
        return self._parts[-1]

    def _nameless(self) -> File:
        try:
            file = self._disk.open(_NAME, create=True)
        except FileExistsError:  # left by a process that ended between the two steps
            self._disk.unlink(_NAME)
            file = self._disk.open(_NAME, create=True)
        try:
            self._disk.unlink(_NAME)
        except BaseException:
            file.close()
            raise
        return file

    def _drop(self, part: _Part) -> None:
        self._parts.remove(part)
        part.file.close()
        for segment_id, placed in list(self._placed.items()):
            placed.parts[placed.parts == part.number] = _NOWHERE
            if (placed.parts == _NOWHERE).all():
                del self._placed[segment_id]

    def _refuse(self, what: str) -> None:
        if not self._refused:
            self._report(f"{FOLDER}/: what finds old duplicates fast {what}")
        self._refused = True


def _looked_up(
    part: _Part, segment_id: int, placed: _Placed, keys: BatchKeys, rows: Int64, groups: Int64, *, copies_count: bool
) -> Bools | None:
    """Whether each row is in the page beside it, all in one part, read in one direction. None: something is damaged.
    Raises ``OSError``."""
    buckets, offsets = placed.buckets[groups].astype(np.uint64), placed.offsets[groups]
    at = np.empty(rows.size, np.int64)
    buckets_of(rows, keys.identity, buckets, at)
    order = np.argsort(offsets + START_BYTES * at)
    rows, groups, buckets, offsets, at = rows[order], groups[order], buckets[order], offsets[order], at[order]
    spans = part.file.read_pieces(offsets + START_BYTES * at, np.full(rows.size, 2 * START_BYTES))
    begins, ends = spans.view("<u4").reshape(-1, 2).T.astype(np.int64)
    if (begins > ends).any() or int((offsets + ends).max()) > part.bytes:
        return None
    nonces = groups.astype(np.uint64) | np.uint64(nonce_of(segment_id, 0))
    found = np.empty(rows.size, np.bool_)
    behind = np.cumsum(ends - begins)
    first = 0
    while first < rows.size:
        read = int(behind[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(behind, read + _CHUNK_BYTES, "right")))
        some = slice(first, end)
        lengths = ends[some] - begins[some]
        data = part.file.read_pieces(offsets[some] + begins[some], lengths)
        stops = behind[some] - read
        answer = keys.in_buckets(
            rows[some], buckets[some], nonces[some], data, stops - lengths, stops, copies_count=copies_count
        )
        if answer is None:
            return None
        found[some] = answer
        first = end
    result = np.empty(rows.size, np.bool_)
    result[order] = found
    return result
