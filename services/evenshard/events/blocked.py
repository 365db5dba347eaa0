"""Finds the rows of blocked ids in a batch: a table of hashes rules most rows out, and equality decides. Pure."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import UInt64, hash_strings, string_buffers

Bools = npt.NDArray[np.bool_]

_BITS_MIN, _BITS_MAX = 12, 22
_ENTRIES_PER_ID = 16


class BlockedIds:
    """The blocked ids of one tenant; immutable, for any thread."""

    def __init__(self, distinct_ids: Iterable[str]) -> None:
        ids = pa.array(list(distinct_ids), pa.utf8())
        hashes = np.empty(len(ids), np.uint64)
        buffers = string_buffers(ids)
        hash_strings(buffers.offsets, buffers.data, hashes)
        order = np.argsort(hashes)
        self._ids = ids.take(pa.array(order))
        self._hashes = hashes[order]
        bits = min(_BITS_MAX, max(_BITS_MIN, (_ENTRIES_PER_ID * len(self._ids)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._may_be = np.zeros(1 << bits, np.bool_)
        """By the top bits of a hash."""
        self._may_be[self._hashes >> self._shift] = True

    def rows(self, distinct_ids: pa.StringArray, hashes: UInt64) -> Bools | None:
        """Which rows are of blocked ids; None: none is. ``hashes`` are the placement hashes, so those of the ids
        wherever these are not empty."""
        candidates = np.flatnonzero(self._may_be[hashes >> self._shift])
        if candidates.size:
            at = np.searchsorted(self._hashes, hashes[candidates])
            at[at == self._hashes.size] = 0
            candidates = candidates[self._hashes[at] == hashes[candidates]]
        if not candidates.size:
            return None
        alike = pa.array(np.flatnonzero(np.isin(self._hashes, hashes[candidates])))
        found = pc.is_in(distinct_ids.take(pa.array(candidates)), value_set=self._ids.take(alike))
        rows = np.zeros(hashes.size, np.bool_)
        rows[candidates] = found.to_numpy(zero_copy_only=False)
        return rows if rows.any() else None
