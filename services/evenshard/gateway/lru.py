"""Keeps what was used last, within a number of bytes. Pure."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")

_PART_MAX: Final = 4
"""What is larger than this part of the room is not kept: it would drive out too much."""


class Lru(Generic[Key, Kept]):
    """Belongs to one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """Held now; never more than ``bytes_max``."""
        self._kept: OrderedDict[Key, tuple[Kept, int]] = OrderedDict()

    def get(self, key: Key) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Kept, size: int) -> None:
        """Keeps ``value``, of ``size`` bytes, in place of what was under ``key``; others go for it, oldest first."""
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self.bytes -= replaced[1]
        if size * _PART_MAX > self.bytes_max:
            return
        self._kept[key] = (value, size)
        self.bytes += size
        while self.bytes > self.bytes_max:
            _, (_, gone) = self._kept.popitem(last=False)
            self.bytes -= gone

    def __len__(self) -> int:
        return len(self._kept)
