"""Reads many pieces of a file at once, without the interpreter: a step for each would cost more than the reading."""

import numpy as np

from evenshard.kernels import c_function, kernel, view

_pread = c_function("pread", "intp", "int32", "voidptr", "intp", "int64")


@kernel(f"int64(int32, {view('int64')}, {view('int64')}, uint8[::1])")
def read_pieces(descriptor, offsets, lengths, out):  # type: ignore[no-untyped-def]
    """Writes the bytes of each piece behind those of the one before. Returns -1, or the first piece that could not be
    read or ends behind the file."""
    at = np.int64(0)
    for piece in range(offsets.size):
        have = np.int64(0)
        while have < lengths[piece]:
            count = _pread(descriptor, out[at:].ctypes, lengths[piece] - have, offsets[piece] + have)
            if count <= 0:
                return np.int64(piece)
            at += count
            have += count
    return np.int64(-1)
