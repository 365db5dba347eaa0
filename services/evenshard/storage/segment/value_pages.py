"""Pages of a value filter: which 32-bit keys are certainly not in it. A page is all that is read to look one up.

Keys are dealt into buckets in their order, 256 to a page, about as many as there are keys; of each key 8 more bits
stand in its bucket: a false positive in about 256. A page holds its number, how many keys it has, the sizes of its
buckets in unary (as ``buckets.py``), the 8 bits of each key, and a checksum of all that.
"""

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import xxh64
from evenshard.kernels import kernel, view

UInt32 = npt.NDArray[np.uint32]

PAGE_BUCKETS = 256
HEADER_BYTES = 6
CHECKSUM_BYTES = 8
PAGES_MAX = 1 << 16
"""So that 8 bits are left of a key."""
_0, _1, _3, _4, _7, _8 = (np.uint64(number) for number in (0, 1, 3, 4, 7, 8))
_24, _32 = np.uint64(24), np.uint64(32)
_BUCKETS, _HEADER, _BYTE = np.uint64(PAGE_BUCKETS), np.uint64(HEADER_BYTES), np.uint64(0xFF)


def pages_for(keys: int) -> int:
    """Pages of so many keys; one at least."""
    return min(PAGES_MAX, max(1, round(keys / PAGE_BUCKETS)))


def bytes_max(keys: int, pages: int) -> int:
    """What so many different keys take in so many pages, at most."""
    return pages * (HEADER_BYTES + PAGE_BUCKETS // 8 + 1 + CHECKSUM_BYTES) + keys + keys // 8


@kernel(inline=True)
def _write(value, size, out, at):  # type: ignore[no-untyped-def]
    """Little-endian."""
    for byte in range(size):
        out[at + byte] = np.uint8((value >> (byte * _8)) & _BYTE)


@kernel(f"int64({view('uint32')}, uint64, uint8[::1], uint32[::1])")
def write_pages(keys, pages, out, ends):  # type: ignore[no-untyped-def]
    """Writes the pages of ascending keys, equal ones once, into ``out`` (zeros), and where each begins, and the last
    ends, into ``ends``. Returns the bytes."""
    buckets = pages * _BUCKETS
    size = np.uint64(keys.size)
    key, at = _0, _0
    for page in range(pages):
        ends[page] = np.uint32(at)
        end_bucket = (page + _1) * _BUCKETS
        last, count, before = key, _0, ~_0
        while last < size and (np.uint64(keys[last]) * buckets) >> _32 < end_bucket:
            place = (np.uint64(keys[last]) * buckets) >> _24
            count += np.uint64(place != before)
            before = place
            last += _1
        _write(page, _4, out, at)
        _write(count, np.uint64(2), out, at + _4)
        first_bit = at + _HEADER
        rest = first_bit + ((count + _BUCKETS + _7) >> _3)
        bucket, bit, before = page * _BUCKETS, _0, ~_0
        while key < last:
            place = (np.uint64(keys[key]) * buckets) >> _24
            key += _1
            if place == before:
                continue
            before = place
            bit += (place >> _8) - bucket
            bucket = place >> _8
            out[first_bit + (bit >> _3)] |= np.uint8(_1 << (bit & _7))
            bit += _1
            out[rest] = np.uint8(place & _BYTE)
            rest += _1
        _write(xxh64(out, at, rest), _8, out, rest)
        at = rest + _8
    ends[pages] = np.uint32(at)
    return np.int64(at)


@kernel(f"boolean({view('uint8')}, uint64, uint64)")
def page_holds(page, bucket, remainder):  # type: ignore[no-untyped-def]
    """Whether the bucket, of a page's 256, has a key with these 8 bits. The page was verified."""
    count = np.uint64(page[4]) | np.uint64(page[5]) << _8
    key, bit, passed = _0, _0, _0
    while passed < bucket:
        is_key = np.uint64(page[_HEADER + (bit >> _3)]) >> (bit & _7) & _1
        key += is_key
        passed += _1 - is_key
        bit += _1
    first = _HEADER + ((count + _BUCKETS + _7) >> _3)
    while np.uint64(page[_HEADER + (bit >> _3)]) >> (bit & _7) & _1:
        if np.uint64(page[first + key]) == remainder:
            return True
        key += _1
        bit += _1
    return False
