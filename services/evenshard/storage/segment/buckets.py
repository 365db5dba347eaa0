"""Kernels of the identity filter: 16 bits of each key, in buckets chosen by the other bits.

A key goes, mixed, into one of nearly as many buckets as there are keys, and leaves its low 16 bits there; to look for a
key is to compare its 16 bits with those in its bucket, 1.1 on average. That is a quotient filter (M. Bender et al.,
"Don't Thrash: How to Cache Your Hash on Flash", VLDB 2012, §3) with its buckets laid out one after another and their
sizes in unary (P. Elias, "Efficient Storage and Retrieval by Content and Address of Static Files", JACM 1974). Building
it is a counting sort, four times as fast as peeling a binary fuse filter of the same size.
"""

import math

import numpy as np
import numpy.typing as npt

from evenshard.kernels import kernel, prefetch, view

UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

BLOCK_BUCKETS = 16
"""Buckets whose first key is known without counting; their sizes mostly fit into one word of 64 bits."""
KEYS_A_BUCKET = 1.1
SPARE_KEYS = 2
"""Remainders behind the last one, which are read but mean nothing."""
DEAL_AHEAD = 1024
"""Keys that are dealt between two looks at whether the parts have room: room for so many must be behind the last."""
_PART_BUCKETS_SHIFT = 13
_ZERO, _ONE, _THREE, _SIX, _SEVEN, _EIGHT = (np.uint64(number) for number in (0, 1, 3, 6, 7, 8))
_16, _32, _56, _63, _64 = (np.uint64(number) for number in (16, 32, 56, 63, 64))
_LOW_BITS, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_BYTE, _REMAINDER = np.uint64(0xFF), np.uint64(0xFFFF)
_BLOCK = np.uint64(BLOCK_BUCKETS)
_AHEAD, _SOON = np.uint64(DEAL_AHEAD), np.uint64(512)


def _places_in_byte() -> npt.NDArray[np.uint8]:
    """``[256 * rank + byte]``: where the set bit with ``rank`` set ones below it stands in a byte."""
    places = np.zeros(8 * 256, np.uint8)
    for byte in range(256):
        for rank, place in enumerate(bit for bit in range(8) if byte >> bit & 1):
            places[256 * rank + byte] = place
    return places


_PLACES = _places_in_byte()


def parts_of(buckets: int) -> int:
    """How many parts keys are dealt into."""
    return ((buckets - 1) >> _PART_BUCKETS_SHIFT) + 1


def part_keys_max(buckets: int, keys: int) -> int:
    """Keys that a part has at most, as good as surely, where hashes are of different events: eight times the deviation
    beyond the average."""
    average = keys * min(1.0, (1 << _PART_BUCKETS_SHIFT) / buckets)
    return int(average + 8 * math.sqrt(average)) + 1


@kernel(inline=True)
def mixed_hash(key):  # type: ignore[no-untyped-def]
    """A bijection of 64-bit integers: MurmurHash3's finaliser."""
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xC4CEB9FE1A85EC53)
    return key ^ (key >> np.uint64(33))


@kernel(inline=True)
def _bucket(mixed, buckets):  # type: ignore[no-untyped-def]
    return (mixed >> _32) * buckets >> _32


@kernel(f"void({view('uint64')}, uint64, uint32[::1])")
def count_parts(hashes, buckets, counts):  # type: ignore[no-untyped-def]
    """``counts[part]``: how many keys ``deal_keys`` puts there; zeros before."""
    shift = np.uint64(_PART_BUCKETS_SHIFT)
    before = _ZERO
    for i in range(hashes.size):
        key = hashes[i]
        if key != _ZERO and key != before:
            counts[_bucket(mixed_hash(key), buckets) >> shift] += np.uint32(1)
        before = key


@kernel(f"int64({view('uint64')}, uint64, uint32[::1], {view('uint32')}, uint32[::1])")
def deal_keys(hashes, buckets, dealt, limits, ends):  # type: ignore[no-untyped-def]
    """Deals keys into parts of ``2 ** 13`` buckets, each from where ``ends`` says on; afterwards ``ends`` says where
    each part ends. Of a key its bucket within the part is written, then its remainder. Hash 0 is no key, and one equal
    to that before it is the same key. Returns how many keys there are; -1: a part has gone beyond its limit, by up to
    ``DEAL_AHEAD`` keys, and what was dealt is void.

    A processor foresees the growth of fewer parts than there are, and of what is read no more than a page of memory: it
    is told what will be wanted, or half of the time is spent waiting."""
    shift = np.uint64(_PART_BUCKETS_SHIFT)
    within = (_ONE << shift) - _ONE
    before, keys, size = _ZERO, _ZERO, np.uint64(hashes.size)
    for start in range(_ZERO, size, _AHEAD):
        for i in range(start, min(start + _AHEAD, size)):
            prefetch(hashes, i + _SOON)
            key = hashes[i]
            if key != _ZERO and key != before:
                value = mixed_hash(key)
                bucket = _bucket(value, buckets)
                part = bucket >> shift
                at = np.uint64(ends[part])
                prefetch(dealt, at + _16)
                dealt[at] = np.uint32(((bucket & within) << _16) | (value & _REMAINDER))
                ends[part] = np.uint32(at + _ONE)
                keys += _ONE
            before = key
        for part in range(np.uint64(ends.size)):
            if ends[part] > limits[part]:
                return np.int64(-1)
    return np.int64(keys)


_FILL = f"{view('uint32')}, {view('uint32')}, {view('uint32')}, uint64"


@kernel(f"void({_FILL}, uint16[::1], uint16[::1], uint64[::1], uint32[::1])",
        f"void({_FILL}, uint32[::1], uint16[::1], uint64[::1], uint32[::1])")  # fmt: skip
def _fill(dealt, firsts, ends, buckets, places, remainders, sizes, starts):  # type: ignore[no-untyped-def]
    """See ``fill_buckets``. ``places``: where in its part each bucket begins.

    Of a block's sizes only the zeros are placed, without a branch: how many keys a bucket has nobody can foretell. That
    takes a block that fits into a word; another goes bucket by bucket."""
    width = np.uint64(places.size)
    before, word, gathered, shift = _ZERO, _ZERO, _ZERO, _ZERO
    for part in range(np.uint64(ends.size)):
        first, end = np.uint64(firsts[part]), np.uint64(ends[part])
        base = part * width
        places[:] = 0
        for key in range(first, end):
            prefetch(dealt, key + _SOON)
            home = np.uint64(dealt[key]) >> _16
            places[home] = np.uint64(places[home]) + _ONE
        at = _ZERO
        for block in range(_ZERO, min(width, buckets - base), _BLOCK):
            starts[(base + block) // _BLOCK] = before + at
            begin, zeros = at, _ZERO
            for bucket in range(block, block + _BLOCK):
                count = np.uint64(places[bucket])
                places[bucket] = at
                at += count
                zeros |= _ONE << ((at - begin + bucket - block) & _63)
            length = at - begin + _BLOCK
            if length <= _64:
                ones = ~zeros & (~_ZERO >> (_64 - length))
                gathered |= ones << shift
                if shift + length >= _64:
                    sizes[word] = gathered
                    word += _ONE
                    gathered = (ones >> _ONE) >> (_63 - shift)
                shift = (shift + length) & _63
                continue
            for bucket in range(block, block + _BLOCK):
                behind = np.uint64(places[bucket + _ONE]) if bucket + _ONE < block + _BLOCK else at
                left = behind - np.uint64(places[bucket]) + _ONE
                while left > _ZERO:
                    some = min(left, _64 - shift)
                    ones = ~_ZERO >> (_64 - some)
                    gathered |= (ones >> _ONE if some == left else ones) << shift
                    shift += some
                    left -= some
                    if shift == _64:
                        sizes[word] = gathered
                        word += _ONE
                        gathered = shift = _ZERO
        for key in range(first, end):
            value = np.uint64(dealt[key])
            home = value >> _16
            place = np.uint64(places[home])
            remainders[before + place] = np.uint16(value & _REMAINDER)
            places[home] = place + _ONE
        before += at
    sizes[word] = gathered


def fill_buckets(
    dealt: UInt32, firsts: UInt32, ends: UInt32, buckets: int, remainders: UInt16, sizes: UInt64, starts: UInt32
) -> None:
    """Fills the three arrays (zeros) of a filter from dealt keys: part by part, so that memory is walked in order. What
    is read and written at random is half as large, and stays in the nearest cache, where a part has as many keys as
    ever unless hashes are alike."""
    few = int((ends - firsts).max()) <= np.iinfo(np.uint16).max
    places = np.empty(1 << _PART_BUCKETS_SHIFT, np.uint16 if few else np.uint32)
    _fill(dealt, firsts, ends, np.uint64(buckets), places, remainders, sizes, starts)


@kernel(inline=True)
def _window(sizes, bit):  # type: ignore[no-untyped-def]
    """64 bits from ``bit`` on."""
    word, shift = bit >> _SIX, bit & _63
    return (sizes[word] >> shift) | ((sizes[word + _ONE] << _ONE) << (_63 - shift))


@kernel(inline=True)
def _sums(word):  # type: ignore[no-untyped-def]
    """In each byte the number of bits set in it and in those below."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return word * _LOW_BITS


@kernel(inline=True)
def _select(word, sums, rank):  # type: ignore[no-untyped-def]
    """Where the set bit with ``rank`` set ones below it stands; there must be one. ``sums``: of the word. Source: S.
    Vigna, "Broadword Implementation of Rank/Select Queries", WEA 2008, §5."""
    passed = ((rank * _LOW_BITS | _HIGH_BITS) - sums) & _HIGH_BITS  # bytes with no more ones up to them than rank
    place = (((passed >> _SEVEN) * _LOW_BITS) >> _56) * _EIGHT
    rank -= ((sums << _EIGHT) >> place) & _BYTE
    return place + np.uint64(_PLACES[(rank << _EIGHT) + ((word >> place) & _BYTE)])


@kernel(f"void({view('uint64')}, uint64, {view('uint16')}, {view('uint64')}, {view('uint32')}, boolean[::1])")
def find_keys(hashes, buckets, remainders, sizes, starts, out):  # type: ignore[no-untyped-def]
    """``out[i]``: hash i may be that of a key; never False for one that is."""
    for i in range(hashes.size):
        mixed = mixed_hash(hashes[i])
        bucket = _bucket(mixed, buckets)
        block, left = bucket // _BLOCK, bucket % _BLOCK
        bit = block * _BLOCK + np.uint64(starts[block])
        if left != _ZERO:  # the size of a bucket begins behind the zero that ends the one before it
            zeros = ~_window(sizes, bit)
            sums = _sums(zeros)
            while (sums >> _56) < left:
                left -= sums >> _56
                bit += _64
                zeros = ~_window(sizes, bit)
                sums = _sums(zeros)
            bit += _select(zeros, sums, left - _ONE) + _ONE
        key = bit - bucket  # as many bits before it are zeros as there are buckets, the others are keys
        wanted = np.uint16(mixed & _REMAINDER)
        # A bucket of up to two keys, as most are, is looked at without a branch.
        held = _window(sizes, bit)
        found = bool(held & _ONE) & (remainders[key] == wanted)
        found |= ((held & _THREE) == _THREE) & (remainders[key + _ONE] == wanted)
        if (held & _SEVEN) == _SEVEN:
            while (sizes[bit >> _SIX] >> (bit & _63)) & _ONE:
                found |= remainders[key] == wanted
                key += _ONE
                bit += _ONE
        out[i] = found
