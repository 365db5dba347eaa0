"""Reads filters of format 1, binary fuse filters: three places of an array of 16-bit fingerprints xor to a key's own.

Source: Thomas Mueller Graf and Daniel Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", Journal of
Experimental Algorithmics 27 (2022), https://arxiv.org/abs/2201.01174. The three places of a key lie in three
neighbouring segments of the array. They are not built any more: ``buckets.py`` is built several times as fast.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import NO_IDENTITY
from evenshard.kernels import kernel, view
from evenshard.storage.segment.buckets import UInt16, UInt64, mixed_hash

_HEADER = struct.Struct("<8sIQIIQ")


@kernel(inline=True)
def _fingerprint(mixed):  # type: ignore[no-untyped-def]
    return np.uint16((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0xFFFF))


@kernel(inline=True)
def _place(mixed, which, length, count):  # type: ignore[no-untyped-def]
    """Place ``which`` (0, 1 or 2) of a key; ``count * length`` is below 2^32."""
    span = np.uint64(count) * np.uint64(length)
    high = mixed >> np.uint64(32)
    low = mixed & np.uint64(0xFFFFFFFF)
    first = (high * span + ((low * span) >> np.uint64(32))) >> np.uint64(32)
    mask = np.uint64(length - 1)
    if which == 0:
        return np.int64(first)
    if which == 1:
        return np.int64((first + np.uint64(length)) ^ ((mixed >> np.uint64(18)) & mask))
    return np.int64((first + np.uint64(2 * length)) ^ (mixed & mask))


@kernel(f"void({view('uint64')}, uint64, int64, int64, {view('uint16')}, boolean[::1])")
def _contains(keys, seed, length, count, fingerprints, out):  # type: ignore[no-untyped-def]
    """``out[i]``: key i may have been among those built from; never False for one that was."""
    for i in range(keys.size):
        mixed = mixed_hash(keys[i] + seed)
        value = _fingerprint(mixed)
        for which in range(3):
            value ^= fingerprints[_place(mixed, which, length, count)]
        out[i] = value == 0


@dataclass(frozen=True, slots=True)
class FuseFilter:
    """A filter of format 1; made by ``from_bytes``."""

    seed: int
    segment_length: int
    segment_count: int
    keys: int
    fingerprints: UInt16

    @staticmethod
    def from_bytes(body: bytes) -> "FuseFilter":
        """Of a file whose checksum was found right."""
        _, _, seed, segment_length, segment_count, keys = _HEADER.unpack_from(body)
        fingerprints = np.frombuffer(body, "<u2", offset=_HEADER.size).astype(np.uint16, copy=False)
        return FuseFilter(seed, segment_length, segment_count, keys, fingerprints)

    @property
    def bytes(self) -> int:
        return int(self.fingerprints.nbytes)

    def may_contain(self, identity: UInt64) -> npt.NDArray[np.bool_]:
        if self.keys == 0:
            return np.zeros(identity.size, np.bool_)
        out = np.empty(identity.size, np.bool_)
        _contains(identity, np.uint64(self.seed), self.segment_length, self.segment_count, self.fingerprints, out)
        out &= identity != NO_IDENTITY
        return out
