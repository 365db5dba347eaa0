"""Duplicate bits as a mask, from any slice of a batch."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.scan import DUPLICATE, duplicate_rows, duplicates_of


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 64, 1_000])
def test_a_mask_of_a_slice_is_what_arrow_says(rows: int) -> None:
    random = Random(rows)
    bits = [random.random() < 0.2 for _ in range(rows + 40)]
    whole = pa.record_batch({DUPLICATE: pa.array(bits, pa.bool_())})
    for start in range(18):
        mask = duplicates_of(whole.slice(start, rows))
        expected = bits[start : start + rows]
        assert duplicate_rows(whole.slice(start, rows)).tolist() == np.flatnonzero(expected).tolist()
        assert (mask is None) == (not any(expected))
        if mask is not None:
            assert mask.dtype == np.bool_
            assert mask.tolist() == expected


def test_bits_are_found_up_to_the_last_byte_of_a_buffer_that_ends_there() -> None:
    """Buffers that come from outside have no bytes to spare."""
    for rows in range(1, 200):
        bits = np.random.default_rng(rows).random(rows) < 0.3
        buffer = pa.py_buffer(np.packbits(bits, bitorder="little").tobytes())
        record = pa.record_batch({DUPLICATE: pa.BooleanArray.from_buffers(pa.bool_(), rows, [None, buffer])})
        for start in {0, rows // 2, rows - 1}:
            assert duplicate_rows(record.slice(start)).tolist() == np.flatnonzero(bits[start:]).tolist()
