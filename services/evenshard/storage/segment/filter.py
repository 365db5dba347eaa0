"""A segment's identity filter: says for certain which identity hashes are not in it, in 2.47 bytes an event.

Buckets of 16-bit remainders (``buckets.py``), 1.1 in each: false positives 1.1 · 2⁻¹⁶ ≈ 1.7·10⁻⁵. File: a header
(magic, version, buckets, keys), the buckets' sizes in unary, the number of the first key of each 16th bucket, the
remainders and two zeros, all little-endian, and the XXH64 of all that. In format 3 the filter of its values
(``value_filter.py``) stands behind, in format 2 nothing; format 1 was a binary fuse filter (``fuse.py``). All are read.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.events.hashing import NO_IDENTITY
from evenshard.storage.segment.buckets import (
    BLOCK_BUCKETS,
    DEAL_AHEAD,
    KEYS_A_BUCKET,
    SPARE_KEYS,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    count_parts,
    deal_keys,
    fill_buckets,
    find_keys,
    part_keys_max,
    parts_of,
)
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.fuse import FuseFilter
from evenshard.storage.segment.loose_hashes import LooseHashes, arrays_of

FORMAT_VERSION = 3
_MAGIC = b"EVSFILTR"
_PREFIX = struct.Struct("<8sI")
_HEADER = struct.Struct("<8sIIQ")
_CHECKSUM = struct.Struct("<Q")
_KEYS_MAX = (1 << 32) - 1


class IdentityFilter(Protocol):
    """What is asked of a filter, whatever its format."""

    @property
    def bytes(self) -> int:
        """Memory."""
        ...

    def may_contain(self, identity: UInt64) -> npt.NDArray[np.bool_]:
        """For each identity hash whether it may be in the segment; ``NO_IDENTITY`` never is."""
        ...


@dataclass(frozen=True, slots=True)
class BucketFilter:
    """Made by ``build_filter`` or ``from_bytes``."""

    buckets: int
    """0: there is no key."""
    remainders: UInt16
    """Of all keys, bucket by bucket, and ``SPARE_KEYS`` more."""
    sizes: UInt64
    """Bits: as many ones as a bucket has keys, then a zero; bucket by bucket, least significant bit first."""
    starts: UInt32
    """The first key of each ``BLOCK_BUCKETS``-th bucket."""
    data: UInt8
    """Its file, in which the others stand, little-endian as the processor has them."""

    @staticmethod
    def of(buckets: int, keys: int, data: UInt8) -> "BucketFilter":
        """The filter in a file; without what follows."""
        sizes, starts, remainders, end = _places(buckets, keys)
        return BucketFilter(
            buckets,
            data[remainders:end].view(np.uint16),
            data[sizes:starts].view(np.uint64),
            data[starts:remainders].view(np.uint32),
            data,
        )

    @staticmethod
    def empty(buckets: int, keys: int) -> "BucketFilter":
        """One that is to be filled."""
        made = BucketFilter.of(buckets, keys, np.empty(_places(buckets, keys)[-1] + _CHECKSUM.size, np.uint8))
        made.sizes[-1:] = 0
        made.remainders[keys:] = 0
        return made

    @property
    def keys(self) -> int:
        """Identity hashes in it."""
        return int(self.remainders.size) - SPARE_KEYS

    @property
    def bytes(self) -> int:
        return int(self.remainders.nbytes + self.sizes.nbytes + self.starts.nbytes)

    def may_contain(self, identity: UInt64) -> npt.NDArray[np.bool_]:
        if not self.buckets:
            return np.zeros(identity.size, np.bool_)
        out = np.empty(identity.size, np.bool_)
        find_keys(identity, np.uint64(self.buckets), self.remainders, self.sizes, self.starts, out)
        out &= identity != NO_IDENTITY
        return out


def build_filter(*pieces: LooseHashes) -> BucketFilter:
    """The filter of the hashes in all pieces, in any order; ``NO_IDENTITY`` is left out, and within an array a hash
    that follows its equal."""
    hashes = sum(piece.size for piece in pieces)
    if hashes > _KEYS_MAX:
        raise ValueError(f"a filter has at most {_KEYS_MAX} keys")
    blocks = max(1, round(hashes / (KEYS_A_BUCKET * BLOCK_BUCKETS)))
    buckets = blocks * BLOCK_BUCKETS
    dealt, firsts, ends, keys = _dealt(pieces, hashes, buckets)
    if not keys:
        return BucketFilter.empty(0, 0)
    built = BucketFilter.empty(buckets, keys)
    fill_buckets(dealt, firsts, ends, buckets, built.remainders, built.sizes, built.starts)
    return built


def _dealt(pieces: Sequence[LooseHashes], hashes: int, buckets: int) -> tuple[UInt32, UInt32, UInt32, int]:
    """The dealt keys, where each part of them begins and ends, how many there are. In one pass, into parts with room to
    spare; where a part has more, as with hashes that are alike, they are counted first."""
    parts, room = parts_of(buckets), part_keys_max(buckets, hashes)
    if parts * room < _KEYS_MAX:
        firsts = np.arange(parts, dtype=np.uint32) * np.uint32(room)
        found = _dealt_into(pieces, buckets, firsts, firsts + np.uint32(room), parts * room)
        if found is not None:
            return found
    counts = np.zeros(parts, np.uint32)
    for some in _arrays(pieces):
        count_parts(some, np.uint64(buckets), counts)
    limits = np.cumsum(counts, dtype=np.uint32)
    found = _dealt_into(pieces, buckets, limits - counts, limits, int(limits[-1]))
    assert found is not None
    return found


def _dealt_into(
    pieces: Sequence[LooseHashes], buckets: int, firsts: UInt32, limits: UInt32, size: int
) -> tuple[UInt32, UInt32, UInt32, int] | None:
    """None: a part has more than its limit allows."""
    dealt, ends = np.empty(size + DEAL_AHEAD, np.uint32), firsts.copy()
    keys = 0
    for some in _arrays(pieces):
        count = int(deal_keys(some, np.uint64(buckets), dealt, limits, ends))
        if count < 0:
            return None
        keys += count
    return dealt, firsts, ends, keys


def _arrays(pieces: Sequence[LooseHashes]) -> Iterator[UInt64]:
    return chain.from_iterable(map(arrays_of, pieces))


def _places(buckets: int, keys: int) -> tuple[int, int, int, int]:
    """Where in its file a filter's sizes, starts and remainders begin, and where these end. There is one word more of
    sizes, to read across."""
    starts = _HEADER.size + 8 * ((buckets + keys) // 64 + 2 if buckets else 0)
    remainders = starts + 4 * (buckets // BLOCK_BUCKETS)
    return _HEADER.size, starts, remainders, remainders + 2 * (keys + SPARE_KEYS)


def to_bytes(filter_: BucketFilter) -> memoryview:
    """A filter that was built as written to its file, not copied; the filter of values follows."""
    data = filter_.data.data
    body = len(data) - _CHECKSUM.size
    _HEADER.pack_into(data, 0, _MAGIC, FORMAT_VERSION, filter_.buckets, filter_.keys)
    _CHECKSUM.pack_into(data, body, checksum_of(data[:body]))
    return data


PREFIX_BYTES = _HEADER.size
"""Enough of a file to tell where its identity filter ends."""


def has_values(prefix: bytes) -> bool:
    """Whether a filter of values stands behind that of identities, by a file's first ``PREFIX_BYTES``."""
    return len(prefix) == PREFIX_BYTES and _PREFIX.unpack_from(prefix) == (_MAGIC, FORMAT_VERSION)


def identity_bytes(prefix: bytes, size: int) -> int:
    """How many bytes of a file of ``size`` are its identity filter, by its first ``PREFIX_BYTES``; what follows is the
    filter of values. Nothing is verified yet."""
    if not has_values(prefix):
        return size
    buckets, keys = map(int, _HEADER.unpack_from(prefix)[2:])
    return min(size, _places(buckets, keys)[-1] + _CHECKSUM.size)


def from_bytes(data: bytes | memoryview, file: str) -> IdentityFilter:
    """What ``to_bytes`` wrote, whatever follows; ``DATA_DAMAGED`` or ``FORMAT_TOO_NEW`` naming ``file`` otherwise."""
    data = data[: identity_bytes(bytes(data[:PREFIX_BYTES]), len(data))]
    body = data[: -_CHECKSUM.size]
    if len(body) < _PREFIX.size or _CHECKSUM.unpack(data[len(body) :])[0] != checksum_of(body):
        raise _damaged(file, "the checksum does not match")
    magic, version = _PREFIX.unpack_from(body)
    if magic != _MAGIC:
        raise _damaged(file, "not an identity filter")
    if version > FORMAT_VERSION:
        raise EvenshardError("FORMAT_TOO_NEW", f"{file} has format {version}, newer than {FORMAT_VERSION}")
    if version == 1:
        return FuseFilter.from_bytes(bytes(body))
    _, _, buckets, keys = _HEADER.unpack_from(body)
    if _places(buckets, keys)[-1] != len(body):
        raise _damaged(file, "it is not as long as its header says")
    return BucketFilter.of(buckets, keys, np.frombuffer(data, np.uint8))


def _damaged(file: str, what: str) -> EvenshardError:
    return EvenshardError("DATA_DAMAGED", f"{file}: {what}", details={"file": file})
