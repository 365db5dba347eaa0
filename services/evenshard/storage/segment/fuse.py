"""Kernels of the binary fuse filter: three places of an array of 16-bit fingerprints xor to a key's own fingerprint.

Source: Thomas Mueller Graf and Daniel Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", Journal of
Experimental Algorithmics 27 (2022), https://arxiv.org/abs/2201.01174. The three places of a key lie in three
neighbouring segments of the array, so that building from sorted keys walks memory nearly in order.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.kernels import kernel, view

UInt16 = npt.NDArray[np.uint16]
UInt64 = npt.NDArray[np.uint64]

_ARITY = 3
_SEGMENT_LENGTH_MAX = 1 << 18


@dataclass(frozen=True, slots=True)
class FuseShape:
    """Where keys may lie: ``segment_length`` (a power of two) places in each of ``segment_count + 2`` segments."""

    segment_length: int
    segment_count: int

    @property
    def places(self) -> int:
        return (self.segment_count + _ARITY - 1) * self.segment_length


def shape_for(keys: int) -> FuseShape:
    """The shape of §4 of the paper for a number of distinct keys ≥ 1: about 1.125 places a key for many."""
    many = max(2, keys)
    length = min(_SEGMENT_LENGTH_MAX, 1 << math.floor(math.log(many) / math.log(3.33) + 2.25))
    factor = max(1.125, 0.875 + 0.25 * math.log(1_000_000) / math.log(many))
    capacity = round(many * factor)
    return FuseShape(length, max(1, -(-capacity // length) - (_ARITY - 1)))


@kernel(inline=True)
def _mixed(key):  # type: ignore[no-untyped-def]
    """A bijection of 64-bit integers: MurmurHash3's finaliser."""
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xC4CEB9FE1A85EC53)
    return key ^ (key >> np.uint64(33))


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


@kernel(f"void({view('uint64')}, uint64, uint64[::1])")
def mix_keys(keys, seed, out):  # type: ignore[no-untyped-def]
    """``out[i]`` = key i mixed with the seed: what the other kernels take."""
    for i in range(keys.size):
        out[i] = _mixed(keys[i] + seed)


@kernel(inline=True)
def _peel(mixed, length, count, places, order, owner):  # type: ignore[no-untyped-def]
    """A place that only one key uses belongs to that key; the key leaves, which may free other places.

    Writes the keys in the order they left, and which of its places each owns; returns how many left.
    """
    users = np.zeros(places, np.int32)
    xors = np.zeros(places, np.uint64)
    for i in range(mixed.size):
        for which in range(3):
            place = _place(mixed[i], which, length, count)
            users[place] += 1
            xors[place] ^= mixed[i]
    queue = np.empty(places, np.int64)
    waiting = 0
    for place in range(places):
        if users[place] == 1:
            queue[waiting] = place
            waiting += 1
    peeled = 0
    while waiting:
        waiting -= 1
        own = queue[waiting]
        if users[own] != 1:
            continue
        key = xors[own]
        order[peeled] = key
        for which in range(3):
            place = _place(key, which, length, count)
            if place == own:
                owner[peeled] = which
            users[place] -= 1
            xors[place] ^= key
            if users[place] == 1:
                queue[waiting] = place
                waiting += 1
        peeled += 1
    return peeled


@kernel("boolean(uint64[::1], int64, int64, uint16[::1])")
def build(mixed, length, count, fingerprints):  # type: ignore[no-untyped-def]
    """Fills ``fingerprints`` (zeros, one a place) for sorted, distinct ``mixed`` keys; False: choose another seed.

    Fingerprints are set in the reverse of the order in which keys were peeled, so that none changes an earlier one's.
    """
    order = np.empty(mixed.size, np.uint64)
    owner = np.empty(mixed.size, np.uint8)
    if _peel(mixed, length, count, fingerprints.size, order, owner) != mixed.size:
        return False
    for i in range(mixed.size - 1, -1, -1):
        value = _fingerprint(order[i])
        own = np.int64(0)
        for which in range(3):
            place = _place(order[i], which, length, count)
            if which == owner[i]:
                own = place
            else:
                value ^= fingerprints[place]
        fingerprints[own] = value
    return True


@kernel(f"void({view('uint64')}, uint64, int64, int64, {view('uint16')}, boolean[::1])")
def contains(keys, seed, length, count, fingerprints, out):  # type: ignore[no-untyped-def]
    """``out[i]``: key i may have been among those built from; never False for one that was."""
    for i in range(keys.size):
        mixed = _mixed(keys[i] + seed)
        value = _fingerprint(mixed)
        for which in range(3):
            value ^= fingerprints[_place(mixed, which, length, count)]
        out[i] = value == 0
