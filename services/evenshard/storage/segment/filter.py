"""A segment's identity filter: says for certain which identity hashes are not in it, in about 2.25 bytes an event.

A static binary fuse filter with 16-bit fingerprints (``fuse.py``): false positives 2⁻¹⁶ ≈ 1.5·10⁻⁵. File: a header
(magic, version, seed, shape, keys), the fingerprints as little-endian uint16, and the XXH64 of all that.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.events.hashing import NO_IDENTITY
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.fuse import FuseShape, UInt16, UInt64, build, contains, mix_keys, shape_for

FORMAT_VERSION = 1
_MAGIC = b"EVSFILTR"
_HEADER = struct.Struct("<8sIQIIQ")
_CHECKSUM = struct.Struct("<Q")
_SEED_STEP = 0x9E3779B97F4A7C15
_ATTEMPTS_MAX = 100
"""A seed fails with a probability of a few per cent; so many in a row mean a defect."""


@dataclass(frozen=True, slots=True)
class IdentityFilter:
    """Answers ``may_contain``; made by ``build_filter`` or ``from_bytes``."""

    seed: int
    shape: FuseShape
    keys: int
    """Distinct identity hashes in it."""
    fingerprints: UInt16

    @property
    def bytes(self) -> int:
        return int(self.fingerprints.nbytes)

    def may_contain(self, identity: UInt64) -> npt.NDArray[np.bool_]:
        """For each identity hash whether it may be in the segment; ``NO_IDENTITY`` never is."""
        if self.keys == 0:
            return np.zeros(identity.size, np.bool_)
        out = np.empty(identity.size, np.bool_)
        shape = self.shape
        contains(identity, np.uint64(self.seed), shape.segment_length, shape.segment_count, self.fingerprints, out)
        out &= identity != NO_IDENTITY
        return out


def build_filter(identity: UInt64) -> IdentityFilter:
    """The filter of the hashes given, in any order; equal ones and ``NO_IDENTITY`` are left out."""
    wanted = identity[identity != NO_IDENTITY]
    if not wanted.size:
        return IdentityFilter(0, FuseShape(0, 0), 0, np.zeros(0, np.uint16))
    mixed = np.empty(wanted.size, np.uint64)
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        seed = attempt * _SEED_STEP % (1 << 64)
        mix_keys(wanted, np.uint64(seed), mixed)
        ordered = np.sort(mixed)  # mixing is a bijection: equal hashes, and only they, stay equal
        distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
        shape = shape_for(distinct.size)
        fingerprints = np.zeros(shape.places, np.uint16)
        if build(distinct, shape.segment_length, shape.segment_count, fingerprints):
            return IdentityFilter(seed, shape, int(distinct.size), fingerprints)
    raise AssertionError(f"no seed of {_ATTEMPTS_MAX} builds a filter of {wanted.size} hashes")


def to_bytes(filter_: IdentityFilter) -> bytes:
    """As written to the filter's file."""
    shape = filter_.shape
    header = _HEADER.pack(_MAGIC, FORMAT_VERSION, filter_.seed, shape.segment_length, shape.segment_count, filter_.keys)
    body = header + filter_.fingerprints.astype("<u2", copy=False).tobytes()
    return body + _CHECKSUM.pack(checksum_of(body))


def from_bytes(data: bytes, file: str) -> IdentityFilter:
    """What ``to_bytes`` wrote; ``DATA_DAMAGED`` or ``FORMAT_TOO_NEW`` naming ``file`` otherwise."""
    body = data[: -_CHECKSUM.size]
    if len(body) < _HEADER.size or _CHECKSUM.unpack(data[len(body) :])[0] != checksum_of(body):
        raise EvenshardError("DATA_DAMAGED", f"{file}: the checksum does not match", details={"file": file})
    magic, version, seed, segment_length, segment_count, keys = _HEADER.unpack_from(body)
    if magic != _MAGIC:
        raise EvenshardError("DATA_DAMAGED", f"{file}: not an identity filter", details={"file": file})
    if version > FORMAT_VERSION:
        raise EvenshardError("FORMAT_TOO_NEW", f"{file} has format {version}, newer than {FORMAT_VERSION}")
    fingerprints = np.frombuffer(body, "<u2", offset=_HEADER.size).astype(np.uint16, copy=False)
    return IdentityFilter(seed, FuseShape(segment_length, segment_count), keys, fingerprints)
