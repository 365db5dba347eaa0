"""Users as codes, batch by batch, then over all batches: equal ids get equal codes, never equal hashes.

Rows mostly come sorted by user, so a plain column is not hashed row by row: a kernel tells where the id changes, and
only the first of each run of equal ids is looked up.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import load64, string_buffers
from evenshard.kernels import kernel, view
from evenshard.queries.values import encoded

Codes = npt.NDArray[np.int32]

_1, _8 = np.uint64(1), np.uint64(8)
NOBODY = -2
"""The number of a code that stands for an empty id."""


@kernel(inline=True)
def _same(data, one, other, size):  # type: ignore[no-untyped-def]
    """Whether ``size`` bytes are equal (uint64)."""
    at = np.uint64(0)
    while at + _8 <= size:
        if load64(data, one + at) != load64(data, other + at):
            return False
        at += _8
    while at < size:
        if data[one + at] != data[other + at]:
            return False
        at += _1
    return True


@kernel(f"int64({view('int32')}, {view('uint8')}, int32[::1], int64[::1])")
def _number_runs(offsets, data, codes, firsts):  # type: ignore[no-untyped-def]
    """Numbers runs of equal neighbours: the run of each string, and the first string of each run; returns how many.

    offsets: one more than there are strings; codes and firsts (as long as codes) are written.
    """
    runs = 0
    size_before = -1
    for row in range(codes.size):
        start, size = offsets[row], offsets[row + 1] - offsets[row]
        if size != size_before or not _same(data, np.uint64(start), np.uint64(start - size), np.uint64(size)):
            firsts[runs] = row
            runs += 1
        codes[row] = runs - 1
        size_before = size
    return runs


def user_codes(values: pa.Array) -> tuple[Codes, pa.Array]:
    """Codes (int32) of rows without nulls, and the ids (utf8) they stand for; an id may occur more than once there."""
    if pa.types.is_dictionary(values.type):
        return encoded(values)
    strings = string_buffers(values)
    codes, firsts = np.empty(len(values), np.int32), np.empty(len(values), np.int64)
    runs = _number_runs(strings.offsets, strings.data, codes, firsts)
    return codes, values.take(pa.array(firsts[:runs]))


def number_users(ids: Sequence[pa.Array]) -> tuple[list[Codes], pa.Array]:
    """For each array of ids (utf8; at least one array) the numbers of its users, 0, 1, 2 … over all of them, null as
    -1; and the id of each number."""
    table = pa.chunked_array(ids, pa.utf8()).dictionary_encode()
    ends = np.cumsum([len(some) for some in ids])
    if not ends[-1]:
        return [np.zeros(0, np.int32) for _ in ids], pa.array([], pa.utf8())
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in table.chunks]  # none is empty
    return np.split(np.concatenate(codes), ends[:-1]), table.chunk(table.num_chunks - 1).dictionary
