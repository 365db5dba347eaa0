"""Cuts the space of placement hashes into windows, so that a merge holds only so many rows at a time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW_ROWS = 1_000_000
WINDOW_BYTES = 256 << 20
HASH_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Weights:
    """Pieces of a sorted input: where each begins (uint64), its rows and bytes (int64)."""

    starts: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]


def cut_windows(inputs: Sequence[Weights], rows_max: int, bytes_max: int) -> list[tuple[int, int]]:
    """Windows (first, last hash, inclusive) that cover all hashes, in order.

    A window closes before the piece that would overfill it; pieces that begin at one hash stay together, so a user with
    very many rows makes a large window.
    """
    starts = np.concatenate([item.starts for item in inputs])
    order = np.argsort(starts, kind="stable")
    rows = np.concatenate([item.rows for item in inputs])[order].tolist()
    sizes = np.concatenate([item.bytes for item in inputs])[order].tolist()
    bounds = [0]
    held_rows = held_bytes = 0
    for start, piece_rows, piece_bytes in zip(starts[order].tolist(), rows, sizes, strict=True):
        full = held_rows + piece_rows > rows_max or held_bytes + piece_bytes > bytes_max
        if full and held_rows and start > bounds[-1]:
            bounds.append(start)
            held_rows = held_bytes = 0
        held_rows += piece_rows
        held_bytes += piece_bytes
    return [(first, after - 1) for first, after in zip(bounds, [*bounds[1:], HASH_MAX + 1], strict=True)]
