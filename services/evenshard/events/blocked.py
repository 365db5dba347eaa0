"""Finds the rows of blocked ids in a batch: by hash, most batches have none, and equality decides. Pure."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import UInt64, hash_strings, string_buffers

Bools = npt.NDArray[np.bool_]


class BlockedIds:
    """The blocked ids of one tenant; immutable, for any thread."""

    def __init__(self, distinct_ids: Iterable[str]) -> None:
        self._ids = pa.array(sorted(distinct_ids), pa.utf8())
        hashes = np.empty(len(self._ids), np.uint64)
        buffers = string_buffers(self._ids)
        hash_strings(buffers.offsets, buffers.data, hashes)
        self._hashes = np.sort(hashes)

    def rows(self, distinct_ids: pa.StringArray, hashes: UInt64) -> Bools | None:
        """Which rows are of blocked ids; None: none is. ``hashes`` are the placement hashes, so those of the ids
        wherever these are not empty."""
        if not self._hashes.size:
            return None
        at = np.searchsorted(self._hashes, hashes)
        at[at == self._hashes.size] = 0
        candidates = np.flatnonzero(self._hashes[at] == hashes)
        if not candidates.size:
            return None
        found = pc.is_in(distinct_ids.take(pa.array(candidates)), value_set=self._ids)
        rows = np.zeros(hashes.size, np.bool_)
        rows[candidates] = found.to_numpy(zero_copy_only=False)
        return rows if rows.any() else None
