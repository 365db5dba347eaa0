"""Hot keys whose rows bear the hot bit and are shown as themselves: they were restored. Pure."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.hotkeys.aggregate import DAY_MS

UserDay = tuple[str, int]
"""A distinct_id and a UTC day (days since the epoch)."""


class Restored:
    """Those of one tenant. Immutable."""

    def __init__(self, keys: Iterable[UserDay] = (), version: int = 0) -> None:
        """``version`` rises whenever answers change by it."""
        self._keys = frozenset(keys)
        self._ids = pa.array(sorted({distinct_id for distinct_id, _ in self._keys}), pa.utf8())
        self.version = version

    def __bool__(self) -> bool:
        return bool(self._keys)

    def changed(self, key: UserDay, *, restored: bool) -> "Restored":
        """With or without a key; itself where that is so already."""
        if (key in self._keys) == restored:
            return self
        return Restored(self._keys | {key} if restored else self._keys - {key}, self.version + 1)

    def rows(self, ids: pa.Array, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """For each row whether it is of one of the keys."""
        names = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        found = np.zeros(times.size, np.bool_)
        near = pc.is_in(names.dictionary.cast(pa.utf8()), value_set=self._ids).to_numpy(zero_copy_only=False)
        codes = names.indices.to_numpy()
        rows = np.flatnonzero(near[codes]) if near.any() else np.zeros(0, np.int64)
        if rows.size:
            keys, of_row = np.unique(np.stack([codes[rows], times[rows] // DAY_MS]), axis=1, return_inverse=True)
            named = [(names.dictionary[int(code)].as_py(), int(day)) in self._keys for code, day in keys.T]
            found[rows] = np.array(named, np.bool_)[of_row.ravel()]
        return found


NOTHING_RESTORED: Final = Restored()
