"""Blocked ids among a batch's rows: exactly those, also where hashes collide."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.blocked import BlockedIds
from evenshard.events.hashing import hash_of


@pytest.mark.parametrize("blocked", [0, 1, 40, 5000])
@pytest.mark.parametrize("hash_bits", [64, 3])
def test_the_rows_found_are_those_of_blocked_ids(blocked: int, hash_bits: int) -> None:
    random = Random(blocked)
    names = [f"b-{number}" for number in range(blocked)]
    made = BlockedIds(names)
    cut = np.uint64(64 - hash_bits)
    made._hashes = made._hashes >> cut << cut  # so that others have the hashes of blocked ids
    made._may_be[:] = False
    made._may_be[made._hashes >> made._shift] = True
    for _ in range(30):
        ids = [random.choice(["", f"b-{random.randrange(10_000)}", f"c-{random.randrange(9)}"]) for _ in range(200)]
        hashes = np.array([hash_of(each) if each else 7 for each in ids], np.uint64) >> cut << cut
        found = made.rows(pa.array(ids, pa.utf8()), hashes)
        wanted = [each in set(names) for each in ids]
        assert (found is None) == (not any(wanted))
        assert found is None or found.tolist() == wanted


def test_a_batch_without_rows_has_none() -> None:
    assert BlockedIds(["a"]).rows(pa.array([], pa.utf8()), np.zeros(0, np.uint64)) is None
