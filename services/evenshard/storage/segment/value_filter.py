"""A segment's value filter: says for certain which values its columns do not have, by reading one page of it.

It stands behind the identity filter, in the same file: pages (``value_pages.py``), where each begins and the last
ends, and a trailer, which is read first. Each page has a checksum of its own and its number, so that nothing else has
to be read to trust it.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.ports.disk import File
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.format import damaged
from evenshard.storage.segment.value_keys import ValueKeys, key_of
from evenshard.storage.segment.value_pages import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    PAGE_BUCKETS,
    UInt32,
    bytes_max,
    page_holds,
    pages_for,
    write_pages,
)

FORMAT_VERSION: Final = 1
_MAGIC: Final = b"EVSVALUE"
_TRAILER: Final = struct.Struct("<8sHHIQQQ")
_BODY: Final = struct.Struct("<8sHHIQQ")
"""The trailer without its checksum."""
_END: Final = struct.Struct("<I")
_HAS_REST, _HAS_OPEN = 1, 2


def values_bytes(keys: ValueKeys, start: int) -> bytes:
    """The value filter of all that ``keys`` gathered, to be written at ``start`` in its file."""
    found, distinct, has_open = keys.finish()
    flags = _HAS_REST * keys.has_rest + _HAS_OPEN * has_open
    pages = pages_for(distinct)
    out, ends = np.zeros(bytes_max(distinct, pages), np.uint8), np.zeros(pages + 1, np.uint32)
    size = write_pages(found, np.uint64(pages), out, ends)
    body = _BODY.pack(_MAGIC, FORMAT_VERSION, flags, pages, keys.salt, start)
    trailer = body + checksum_of(body).to_bytes(8, "little")
    return b"".join((out[:size].tobytes(), ends.astype("<u4", copy=False).tobytes(), trailer))


@dataclass(frozen=True, slots=True)
class Trailer:
    """What says where the pages are, and what keys are made of."""

    salt: int
    start: int
    pages: int
    ends_at: int
    """Where in the file the places of pages stand."""
    has_rest: bool
    has_open: bool

    def key_of(self, question: int) -> int:
        """The key of what is sought: the hash of a column ^ that of a value."""
        return int(key_of(np.uint64(question), np.uint64(self.salt)))

    def page_of(self, key: int) -> int:
        """The page that would hold the key."""
        return key * self.pages >> 32

    def holds(self, page: npt.NDArray[np.uint8], key: int) -> bool:
        """Whether its page holds the key."""
        place = key * self.pages * PAGE_BUCKETS >> 24
        return bool(page_holds(page, np.uint64((place >> 8) % PAGE_BUCKETS), np.uint64(place & 0xFF)))


TRAILER_BYTES: Final = _TRAILER.size
PLACE_BYTES: Final = 2 * _END.size
"""What tells the place of a page."""


def read_trailer(file: File, name: str) -> Trailer | None:
    """None: the file has no value filter, as those of before there were any. Raises ``DATA_DAMAGED`` or
    ``FORMAT_TOO_NEW`` naming it."""
    size = file.size()
    data = file.read(max(0, size - TRAILER_BYTES), TRAILER_BYTES)
    if len(data) < TRAILER_BYTES or not data.startswith(_MAGIC):
        return None
    _, version, flags, pages, salt, start, checksum = _TRAILER.unpack(data)
    if checksum != checksum_of(data[: _BODY.size]):
        raise damaged(name, "where its values are cannot be told")
    if version > FORMAT_VERSION:
        raise EvenshardError("FORMAT_TOO_NEW", f"{name} has values of format {version}, newer than {FORMAT_VERSION}")
    ends_at = size - TRAILER_BYTES - _END.size * (pages + 1)
    return Trailer(salt, start, pages, ends_at, bool(flags & _HAS_REST), bool(flags & _HAS_OPEN))


def read_page(file: File, trailer: Trailer, number: int, name: str) -> npt.NDArray[np.uint8]:
    """A page, without its checksum. Raises ``DATA_DAMAGED`` naming the file."""
    places = file.read(trailer.ends_at + number * _END.size, PLACE_BYTES)
    first, end = (int.from_bytes(places[at : at + _END.size], "little") for at in (0, _END.size))
    size = min(max(0, end - first), trailer.ends_at - trailer.start)
    data = file.read(trailer.start + first, size)
    content = data[:-CHECKSUM_BYTES]
    checksum = int.from_bytes(data[-CHECKSUM_BYTES:], "little")
    if len(content) < HEADER_BYTES or int.from_bytes(content[:4], "little") != number:
        raise damaged(name, f"page {number} of its values is not where it should be")
    if checksum != checksum_of(content):
        raise damaged(name, f"page {number} of its values is damaged")
    return np.frombuffer(content, np.uint8)


def lacks_any(file: File, trailer: Trailer, keys: UInt32, name: str) -> bool:
    """Whether a key of a segment, ascending, is not in its filter. Raises as ``read_page``, of every page."""
    numbers = keys.astype(np.uint64) * np.uint64(trailer.pages) >> np.uint64(32)
    for number in range(trailer.pages):
        page = read_page(file, trailer, number, name)
        if not all(trailer.holds(page, int(key)) for key in keys[numbers == number].tolist()):
            return True
    return False
