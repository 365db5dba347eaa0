"""The identity filter: no false negatives, few false positives, few bytes."""

import struct

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import NO_IDENTITY
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.filter import build_filter, from_bytes, to_bytes

SEED = 11


def hashes(count: int, seed: int = SEED) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1 << 64, count, dtype=np.uint64)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 31, 1000, 70_000])
def test_every_hash_it_was_built_from_may_be_in_it(count: int) -> None:
    keys = hashes(count)
    built = build_filter(keys)
    assert built.may_contain(keys).all()
    assert from_bytes(to_bytes(built), "f").may_contain(keys).all()


def test_equal_hashes_and_events_without_identity_do_not_break_it() -> None:
    keys = hashes(2_000)
    odd = np.concatenate([keys, keys, np.full(50, keys[0]), np.full(9, NO_IDENTITY, np.uint64)])
    built = build_filter(odd)
    assert built.keys == 2_000
    assert built.may_contain(keys).all()
    assert not built.may_contain(np.full(3, NO_IDENTITY, np.uint64)).any()


def test_a_filter_of_nothing_contains_nothing() -> None:
    built = from_bytes(to_bytes(build_filter(np.full(5, NO_IDENTITY, np.uint64))), "f")
    assert not built.may_contain(hashes(1000)).any()


def test_bytes_and_false_positives_are_within_their_bounds() -> None:
    print("seed", SEED)
    keys = hashes(200_000)
    data = to_bytes(build_filter(keys))
    assert len(data) / keys.size <= 2.5
    others = hashes(8_000_000, SEED + 1)
    assert from_bytes(data, "f").may_contain(others).mean() <= 2e-5


def test_hashes_that_share_their_low_bits_are_told_apart() -> None:
    keys = np.arange(1, 50_001, dtype=np.uint64) << np.uint64(40)
    built = build_filter(keys)
    assert built.may_contain(keys).all()
    assert built.may_contain(keys + np.uint64(7)).mean() < 1e-3


def test_any_flipped_bit_or_cut_is_damage() -> None:
    data = to_bytes(build_filter(hashes(100)))
    variants = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for bad in [*variants, data[:-1], data[:20], b""]:
        with pytest.raises(EvenshardError, match=r"^DATA_DAMAGED: segments/7\.filter"):
            from_bytes(bad, "segments/7.filter")


def test_a_newer_format_is_refused() -> None:
    data = bytearray(to_bytes(build_filter(hashes(100))))
    data[8:12] = struct.pack("<I", 2)
    data[-8:] = struct.pack("<Q", checksum_of(bytes(data[:-8])))
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
        from_bytes(bytes(data), "segments/7.filter")
