"""A number for some rows, whatever their order and wherever they are: the sum of a hash of each. Pure.

Two sets of rows with equal counts and digests are taken for equal. What is hashed is a row's line of an export, so all
that can be seen of an event takes part.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.events.hashing import hash_strings, string_buffers
from evenshard.events.ndjson_encode import ROWS_AT_ONCE, lines_of

_MODULUS = 1 << 64


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows, and their digest."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.rows + other.rows, (self.digest + other.digest) % _MODULUS)

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(self.rows - other.rows, (self.digest - other.digest) % _MODULUS)


def tally_of(record: pa.RecordBatch) -> Tally:
    """Of canonical or scanned rows."""
    digest = 0
    for first in range(0, record.num_rows, ROWS_AT_ONCE):
        lines = string_buffers(lines_of(record.slice(first, ROWS_AT_ONCE)))
        hashes = np.empty(lines.offsets.size - 1, np.uint64)
        hash_strings(lines.offsets, lines.data, hashes)
        digest += int(hashes.sum(dtype=np.uint64))
    return Tally(record.num_rows, digest % _MODULUS)
