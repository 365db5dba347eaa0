"""The identity set against a dict of lists, with real and with forced collisions."""

import numpy as np
import pytest
from evenshard.storage.identity import ALL_BITS, NO_CANDIDATE, IdentitySet
from hypothesis import given
from hypothesis import strategies as st


def hashes(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_the_first_of_equal_hashes_is_the_candidate_of_the_others() -> None:
    identities = IdentitySet()
    assert identities.insert_or_find(hashes(7, 8, 7, 0, 0, 8), 100).tolist() == [-1, -1, 100, -1, -1, 101]
    assert identities.insert_or_find(hashes(8, 9), 106).tolist() == [101, -1]
    assert identities.find(hashes(9, 10, 0)).tolist() == [107, -1, -1]
    assert len(identities) == 3


def test_colliding_events_stand_side_by_side() -> None:
    identities = IdentitySet()
    identities.insert_or_find(hashes(7), 0)
    identities.insert(7, 1)
    identities.insert(7, 2)
    assert identities.find_all(7) == [0, 1, 2]
    assert identities.find_all(8) == []


def test_what_was_not_stored_is_forgotten() -> None:
    identities = IdentitySet()
    identities.insert_or_find(hashes(1, 2, 3), 0)
    identities.insert_or_find(hashes(4, 1, 5), 3)
    identities.insert(2, 6)
    identities.forget(3)
    assert len(identities) == 3
    assert identities.find(hashes(1, 2, 3, 4, 5)).tolist() == [0, 1, 2, -1, -1]
    assert identities.find_all(2) == [1]


def test_growing_loses_nothing() -> None:
    random = np.random.default_rng(5)
    all_hashes = random.integers(1, 1 << 63, 50_000, dtype=np.uint64)
    identities = IdentitySet()
    for start in range(0, 50_000, 1_000):
        assert (identities.insert_or_find(all_hashes[start : start + 1_000], start) == NO_CANDIDATE).all()
    assert identities.find(all_hashes).tolist() == list(range(50_000))
    assert identities.bytes <= 50_000 * 16 * 4


def test_absorbing_keeps_both() -> None:
    one, two = IdentitySet(), IdentitySet()
    one.insert_or_find(hashes(1, 2), 0)
    two.insert_or_find(hashes(2, 3), 2)
    one.absorb(two)
    assert one.find_all(2) == [1, 2]
    assert one.find(hashes(1, 3)).tolist() == [0, 3]


@pytest.mark.parametrize("mask", [ALL_BITS, 0x3, 0x0])
@given(batches=st.lists(st.lists(st.integers(0, 40), max_size=40), max_size=12), seed=st.integers(0, 1 << 30))
def test_it_is_a_dict_of_first_references(mask: int, batches: list[list[int]], seed: int) -> None:
    def masked(value: int) -> int:
        return 0 if value == 0 else (value & mask) or 1

    identities = IdentitySet(hash_mask=mask)
    model: dict[int, list[int]] = {}
    reference = 0
    for number, batch in enumerate(batches):
        expected = []
        before = {key: list(found) for key, found in model.items()}
        for row, value in enumerate(batch):
            key = masked(value)
            expected.append(model[key][0] if key and key in model else NO_CANDIDATE)
            if key and key not in model:
                model[key] = [reference + row]
        assert identities.insert_or_find(hashes(*batch), reference).tolist() == expected
        if (seed >> number) & 1:
            identities.forget(reference)
            model = before
        else:
            reference += len(batch)
        for value in range(41):
            assert identities.find_all(value) == (model.get(masked(value), []) if value else [])
    assert len(identities) == sum(map(len, model.values()))
