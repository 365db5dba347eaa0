"""What a router knows of keys near their threshold, and of keys with a mark; a sketch watches all of them. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.hotkeys.sketch import Sketch
from evenshard.hotkeys.watched import WatchedKeys
from evenshard.ids import TenantId

KNOWN_KEYS_MAX: Final = 200_000
"""Keys near their threshold whose count a router keeps; beyond, the older half is forgotten and asked for again."""
DROPPED_KEYS_MAX: Final = 1_000_000
"""Keys of which a router knows that their count is forgotten, 16 to 32 bytes each; beyond, it learns of them only when
they are counted again."""
NEEDLESS_MIN: Final = 64
NEEDLESS_PART: Final = 4
"""So many watched keys that need no watch, and a share of all: then the watched ones are gathered anew."""
HOT: Final = 1
"""Rows of a key that has a mark are stored as hot."""
SPREAD: Final = 2
"""They go by their identity."""
_NOBODY: Final[frozenset[int]] = frozenset()


class NearKeys:
    """Counts of some keys as counters have them, and the marks of others; no key has both."""

    def __init__(self, sketch: Sketch, keys_max: int = KNOWN_KEYS_MAX) -> None:
        self._sketch = sketch
        self._keys_max = keys_max
        self._counts: dict[HotKey, int] = {}
        self._marks: dict[HotKey, int] = {}
        """What becomes of their rows."""
        self._dropped = WatchedKeys()
        """Near keys whose count is forgotten: it must be asked for before anything is decided about them."""
        self._needless = 0
        """Keys that are still watched and need not be."""

    @property
    def has_counts(self) -> bool:
        return bool(self._counts)

    def count(self, key: HotKey) -> int:
        """At least so many; 0: nothing is known."""
        return self._counts.get(key, 0)

    def marked(self, key: HotKey) -> int | None:
        """``HOT`` and ``SPREAD``, as its mark says; None: it has none."""
        return self._marks.get(key)

    def is_known(self, key: HotKey) -> bool:
        """There is its count, or its mark."""
        return key in self._counts or key in self._marks

    def forgotten_of(self, keys: Sequence[HotKey]) -> Collection[int]:
        """Numbers of the keys whose count may have been known, and is forgotten."""
        return self._dropped.holds_of(keys) if self._dropped.used else _NOBODY

    def learn(self, counts: Mapping[HotKey, int], count_min: int) -> None:
        """Counters have so many of some keys, or had: counts only grow. Those below ``count_min`` are not kept."""
        near = {key: count for key, count in counts.items() if count >= count_min and key not in self._marks}
        for key, count in near.items():
            self._counts[key] = max(count, self._counts.get(key, 0))
        self._sketch.watch(near)
        if len(self._counts) > self._keys_max:
            self._drop(list(self._counts)[: len(self._counts) - self._keys_max // 2])

    def add(self, counts: Mapping[HotKey, int]) -> None:
        """Counters have heard of so many more, which matters of keys whose count is known."""
        for key, count in counts.items():
            if key in self._counts:
                self._counts[key] += count

    def mark(self, key: HotKey, mark: Mark) -> None:
        """The key is hot, and this is its mark now."""
        self._marks[key] = (HOT if mark.has_hot_rows else 0) | (SPREAD if mark.is_spread else 0)
        self._counts.pop(key, None)
        self._sketch.watch([key])

    def unmark(self, key: HotKey) -> None:
        """The key has no mark any more."""
        if self._marks.pop(key, None) is not None:
            self._unwatched()

    def forget(self, tenant: TenantId, distinct_ids: Collection[str]) -> None:
        """The keys of some users, of all days, have neither count nor mark."""
        for keys in (self._counts, self._marks):
            for key in [key for key in keys if key[0] == tenant and key[1] in distinct_ids]:
                del keys[key]
                self._unwatched()

    def _drop(self, keys: Sequence[HotKey]) -> None:
        for key in keys:
            del self._counts[key]
        if self._dropped.used + len(keys) > DROPPED_KEYS_MAX:
            self._dropped = WatchedKeys()
            self._watch_anew()
        self._dropped.add(keys)
        self._sketch.watch(keys)

    def _unwatched(self) -> None:
        """A key needs no watch any more. That costs its rows an exact look, so not all is done anew for each."""
        self._needless += 1
        if self._needless >= max(NEEDLESS_MIN, self._sketch.watched_keys // NEEDLESS_PART):
            self._watch_anew()

    def _watch_anew(self) -> None:
        self._sketch.watch_nothing()
        self._sketch.watch(self._counts)
        self._sketch.watch(self._marks)
        self._sketch.watch_all_of(self._dropped)
        self._needless = 0
