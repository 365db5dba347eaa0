"""The identity filter: no false negatives, few false positives, few bytes."""

import struct
from base64 import b85decode

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
    neighbours = build_filter(np.repeat(keys, 3))
    assert neighbours.keys == 2_000
    assert neighbours.may_contain(keys).all()
    odd = np.concatenate([keys, keys, np.full(70_000, keys[0]), np.full(9, NO_IDENTITY, np.uint64), keys[:1]])
    built = build_filter(odd)
    assert built.keys == 4_002
    assert built.may_contain(keys).all()
    assert not built.may_contain(np.full(3, NO_IDENTITY, np.uint64)).any()


def test_more_keys_in_one_part_than_16_bits_count_are_all_found() -> None:
    keys = hashes(300_000)
    crowd = np.tile(keys[:2], 70_000)
    built = build_filter(keys, crowd)
    assert built.keys == keys.size + crowd.size
    assert built.may_contain(keys).all()
    assert built.may_contain(hashes(100_000, 3)).mean() < 1e-3


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
    data = bytes(to_bytes(build_filter(hashes(100))))
    variants = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for bad in [*variants, data[:-1], data[:20], b""]:
        with pytest.raises(EvenshardError, match=r"^DATA_DAMAGED: segments/7\.filter"):
            from_bytes(bad, "segments/7.filter")


def test_a_filter_of_another_length_than_its_header_says_is_damaged() -> None:
    data = bytearray(to_bytes(build_filter(hashes(100))))
    for at, size in ((12, 4), (16, 8)):  # buckets, keys
        for change in (-16, 16, 1 << 20):
            bad = data.copy()
            bad[at : at + size] = max(0, int.from_bytes(data[at : at + size], "little") + change).to_bytes(
                size, "little"
            )
            bad[-8:] = struct.pack("<Q", checksum_of(bytes(bad[:-8])))
            with pytest.raises(EvenshardError, match=r"^DATA_DAMAGED: segments/7\.filter"):
                from_bytes(bytes(bad), "segments/7.filter")


def test_a_newer_format_is_refused() -> None:
    data = bytearray(to_bytes(build_filter(hashes(100))))
    data[8:12] = struct.pack("<I", 4)
    data[-8:] = struct.pack("<Q", checksum_of(bytes(data[:-8])))
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
        from_bytes(bytes(data), "segments/7.filter")


@pytest.mark.parametrize("crowd", [1, 2, 3, 40, 63, 64, 65, 200, 1_000])
def test_keys_that_crowd_into_one_bucket_are_all_found(crowd: int) -> None:
    """Equal keys that do not follow one another each take a place: the sizes of buckets reach over several words."""
    others = hashes(crowd, 5)
    crowded = np.empty(2 * crowd, np.uint64)
    crowded[::2], crowded[1::2] = hashes(1)[0], others
    built = build_filter(np.concatenate([crowded, hashes(3_000, 6)]))
    for keys in (crowded, hashes(3_000, 6)):
        assert built.may_contain(keys).all()


def mixed(keys: np.ndarray) -> np.ndarray:
    """MurmurHash3's finaliser."""
    keys = keys ^ (keys >> np.uint64(33))
    keys = keys * np.uint64(0xFF51AFD7ED558CCD)
    keys = keys ^ (keys >> np.uint64(33))
    keys = keys * np.uint64(0xC4CEB9FE1A85EC53)
    return keys ^ (keys >> np.uint64(33))


@pytest.mark.parametrize("keys", [
    hashes(1), hashes(40), hashes(30_000), np.tile(hashes(1)[:1], 3), np.tile(hashes(2), 32), np.tile(hashes(2), 33),
    np.tile(hashes(2), 20_000), np.concatenate([np.tile(hashes(2), 63), hashes(40_000, 7)]),
], ids=lambda keys: f"{np.unique(keys).size} of {keys.size}")  # fmt: skip
def test_its_bytes_are_those_of_a_builder_that_sorts(keys: np.ndarray) -> None:
    """Keys in a few buckets only too, for which parts have no room."""
    built = build_filter(keys)
    kept = mixed(keys[np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))])
    buckets = max(1, round(keys.size / 17.6)) * 16
    bucket = ((kept >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
    order = np.argsort(bucket, kind="stable")
    counts = np.bincount(bucket.astype(np.int64), minlength=buckets)
    bits = "".join("1" * count + "0" for count in counts.tolist())
    sizes = np.packbits(np.array([*bits, *"0" * (64 * built.sizes.size - len(bits))], np.uint8), bitorder="little")
    assert built.buckets == buckets
    assert built.sizes.tobytes() == sizes.tobytes()
    assert built.starts.tolist() == (np.cumsum(counts) - counts)[::16].tolist()
    assert built.remainders.tolist() == [*(kept[order] & np.uint64(0xFFFF)).tolist(), 0, 0]


def test_a_filter_of_the_first_format_is_read() -> None:
    read = from_bytes(b85decode("".join(FIRST_FORMAT)), "f")
    assert read.may_contain(hashes(40)).all()
    assert read.may_contain(hashes(100_000, SEED + 1)).mean() < 1e-3
    assert not read.may_contain(np.full(3, NO_IDENTITY, np.uint64)).any()


FIRST_FORMAT = (
    "MOITrNla8y0RR916?{s6xp_C9AOHXW0RR91C;$Ke0000000000007PW000000000000000001SL005B6000005sd%<00000006?F",
    "000)K*~kC@O``w+00000s=+Ep007Ug0000000000000000006RCT9Qu(W(Fd00000000oQ0093@00000008|e00000005OL{E^=v",
    "crX9}003P4JWhlT>k(n~004?Sd{qDdaMS<*4YL3M00000006yWA}Rm?<8m}g007&uDmnlF000$PWfR*N0073$XVt?W$g~x@",
)
"""Of ``hashes(40)``, in base 85."""
