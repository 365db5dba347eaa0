"""Looks values up in the filters of segments, for one question: what is known of a segment before it is opened.

Trailers and pages are kept in the cache of columns; the account says what was looked at, whether it was kept or not.
What is damaged, or was written before there were such filters, rules nothing out.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.ports.disk import Disk, File
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.value_filter import (
    PLACE_BYTES,
    TRAILER_BYTES,
    Trailer,
    read_page,
    read_trailer,
)
from evenshard.storage.segment.value_keys import (
    bits_of,
    bool_column,
    number_column,
    number_hash,
    open_column,
    presence_column,
    text_column,
)
from evenshard.storage.segment.value_pages import CHECKSUM_BYTES

Reading = Callable[[SegmentInfo], AbstractContextManager[None]]
"""Around all that reads a segment: its errors become those of the scan."""

T = TypeVar("T")

Page = npt.NDArray[np.uint8]

_TRAILER: Final = -1
_NOTHING: Final = object()
"""Stands for what a file does not have."""
_ENTRY_BYTES: Final = 256
"""What an entry of the cache takes beside its bytes."""
_DISTINCT_ID: Final = "distinct_id"


class Lookups:
    """Those of one question."""

    def __init__(self, disk: Disk, cache: ColumnCache, reading: Reading) -> None:
        self._disk = disk
        self._cache = cache
        self._scan = cache.begin()
        self._reading = reading
        self._filters: dict[int, _ValueFilter] = {}
        self._hashes: dict[str, int] = {}
        self.bytes = 0
        """Of filters, looked at so far."""

    def held(self, info: SegmentInfo) -> "SegmentHeld":
        """What is known of a segment."""
        return SegmentHeld(info, self._of(info), (info.min_time_ms, info.max_time_ms), info.hash_bounds)

    def _of(self, info: SegmentInfo) -> "_ValueFilter":
        if info.id not in self._filters:
            self._filters[info.id] = _ValueFilter(self, info)
        return self._filters[info.id]

    def hash_of(self, text: str) -> int:
        """XXH64; the same few texts are asked of many segments."""
        if text not in self._hashes:
            self._hashes[text] = hash_of(text)
        return self._hashes[text]

    def kept(self, key: Hashable, load: Callable[[], tuple[Any, int]]) -> Any:
        """What the cache holds under a key, loaded where it does not: the value and its bytes."""
        found = self._cache.get(key, self._scan)
        if found is None:
            loaded, size = load()
            found = _NOTHING if loaded is None else loaded
            self._cache.put(key, found, size + _ENTRY_BYTES, self._scan)
        return None if found is _NOTHING else found

    def read(self, info: SegmentInfo, what: Callable[[File, str], T | None]) -> T | None:
        """What is in the file with the filter; None: it is missing or damaged. Nothing is lost by that: it is made
        again from its segment when that is rewritten, or by ``fsck``, which names it."""
        with self._reading(info):
            try:
                file = self._disk.open(info.filter)
            except FileNotFoundError:
                return None
            try:
                return what(file, info.filter)
            except EvenshardError as error:
                if error.code != "DATA_DAMAGED":
                    raise
                return None
            finally:
                file.close()


@dataclass(slots=True)
class _ValueFilter:
    """One segment's, as far as it was looked at."""

    lookups: Lookups
    _info: SegmentInfo
    _answers: dict[tuple[str, int], bool] = field(default_factory=dict)
    _counted: set[int] = field(default_factory=set)
    """Pages whose bytes are in the account, and the trailer."""
    _known: Trailer | None = None

    def may_hold(self, column: str, value: int) -> bool:
        """By the hash of the value."""
        question = column, value
        if question not in self._answers:
            self._answers[question] = self._may_hold(column, value)
        return self._answers[question]

    @property
    def is_silent(self) -> bool:
        """Nothing is known of properties."""
        trailer = self._trailer()
        return trailer is None or trailer.has_rest

    def is_open(self, column: str) -> bool:
        """Whether the values of a property's column were given up."""
        trailer = self._trailer()
        return trailer is not None and trailer.has_open and self.may_hold(open_column(column), 0)

    def _may_hold(self, column: str, value: int) -> bool:
        trailer = self._trailer()
        if trailer is None:
            return True
        key = trailer.key_of(self.lookups.hash_of(column) ^ value)
        page = self._page(trailer, trailer.page_of(key))
        return page is None or trailer.holds(page, key)

    def _trailer(self) -> Trailer | None:
        if _TRAILER not in self._counted:
            self._known = self.lookups.kept((self._info.id, "values"), self._read_trailer)
            self._count(_TRAILER, TRAILER_BYTES)
        return self._known

    def _read_trailer(self) -> tuple[Trailer | None, int]:
        return self.lookups.read(self._info, read_trailer), TRAILER_BYTES

    def _page(self, trailer: Trailer, number: int) -> Page | None:
        found: Page | None = self.lookups.kept(
            (self._info.id, "values", number), lambda: self._read_page(trailer, number)
        )
        self._count(number, PLACE_BYTES + (0 if found is None else found.nbytes + CHECKSUM_BYTES))
        return found

    def _read_page(self, trailer: Trailer, number: int) -> tuple[Page | None, int]:
        page = self.lookups.read(self._info, lambda file, name: read_page(file, trailer, number, name))
        return page, 0 if page is None else page.nbytes

    def _count(self, page: int, size: int) -> None:
        if page not in self._counted:
            self._counted.add(page)
            self.lookups.bytes += size


@dataclass(frozen=True, slots=True)
class SegmentHeld:
    """A ``Held`` of a segment, or of a part of it."""

    _info: SegmentInfo
    _values: _ValueFilter
    times_ms: tuple[int, int]
    _hashes: tuple[int, int]
    """Bounds of placement hashes, inclusive."""

    def within(self, times_ms: tuple[int, int], hashes: tuple[int, int]) -> "SegmentHeld":
        """The same of some of the rows."""
        return replace(self, times_ms=times_ms, _hashes=hashes)

    @property
    def has_hot_rows(self) -> bool:
        return self._info.has_hot_rows

    def may_hold_field(self, field: str, text: str) -> bool:
        value = self._values.lookups.hash_of(text)
        if field == _DISTINCT_ID and text and not self._hashes[0] <= value <= self._hashes[1]:
            return False
        return self._values.may_hold(field, value)

    def may_hold_property(self, name: str, value: str | bool | float) -> bool:
        match value:
            case str():
                column, hashed = text_column(name), self._values.lookups.hash_of(value)
            case bool():
                column, hashed = bool_column(name), int(value)
            case _:
                bits = bits_of(value)
                if bits is None:
                    return False
                column, hashed = number_column(name), int(number_hash(np.uint64(bits)))
        values = self._values
        return values.is_silent or values.is_open(column) or values.may_hold(column, hashed)

    def may_have_property(self, name: str) -> bool:
        return self._values.is_silent or self._values.may_hold(presence_column(name), 0)
