"""Identity hashes that go into a filter from where they lie: exactly those of the rows that are meant."""

import numpy as np
import pytest
from evenshard.storage.segment.filter import build_filter, to_bytes
from evenshard.storage.segment.loose_hashes import PickedHashes, arrays_of

SEED = 5


def picked(lengths: list[int], share: float) -> tuple[PickedHashes, np.ndarray]:
    """Of hashes in arrays of these lengths, whose rows stand in another order; and those that are meant."""
    random = np.random.default_rng([SEED, *lengths])
    rows = sum(lengths)
    hashes = random.integers(0, 1 << 64, rows, dtype=np.uint64)
    row_of, chosen = random.permutation(rows).astype(np.int32), random.random(rows) < share
    arrays = np.split(hashes, np.cumsum(lengths)[:-1])
    bits = np.packbits(chosen, bitorder="little")
    return PickedHashes(arrays, row_of, bits, int(chosen.sum())), hashes[chosen[row_of]]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("lengths", [[1], [7, 0, 1], [32_768], [32_767, 2, 32_769], [50_000, 70_000]])
def test_hashes_of_the_rows_that_are_meant_are_picked_as_they_lie(lengths: list[int], share: float) -> None:
    print("seed", SEED)
    hashes, expected = picked(lengths, share)
    assert [hash_ for array in arrays_of(hashes) for hash_ in array.tolist()] == expected.tolist()
    assert hashes.size == expected.size


def test_a_filter_of_picked_hashes_is_that_of_an_array_of_them() -> None:
    """Twice over, as where so many are alike that they have to be counted first."""
    hashes, expected = picked([50_000, 30_000], 0.7)
    alike = np.tile(expected[:2], 50_000)
    for more in ((), (alike,)):
        assert to_bytes(build_filter(hashes, *more)) == to_bytes(build_filter(expected, *more))
