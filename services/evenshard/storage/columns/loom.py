"""Decides which sources of a scan are woven into one, and keeps that for the scans that follow.

Weaving takes about as long as a question, and saves half of each that follows. So it is done by the second one that
finds the same sources and enough of them not woven: the first one after a start or a change is not held up, nor is any
where sources change all the time. There is one woven source a tenant: the largest, as long as all it was made of is
there. Of a week that begins or ends within a source only its own rows are woven; they serve whoever asks for a part of
them too, unless that reads less.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from evenshard.events.scan import Part
from evenshard.events.user_runs import UserRuns
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.covers import Covers, Range, Source, rows_within
from evenshard.storage.columns.users import Users, keep_runs
from evenshard.storage.columns.woven import ROW_BYTES, Woven, weave

ROWS_MIN: Final = 1 << 16
"""Fewer are joined as they are asked for."""
CACHE_SHARE: Final = 4
"""This part of the room for columns is for what is woven, at most."""
LEFT_SHARE: Final = 8
"""So much of all rows is left as it is before they are woven anew."""
ROWS_MAX: Final = (1 << 31) - 1
SERVES_ROWS: Final = 2
"""At most so many times the rows are gone through that a question would go through otherwise."""
UNSERVED_MAX: Final = 8
"""What served nobody of so many questions in turn makes room for what does."""
RECENT_MAX: Final = 4
"""So many different questions may come in turn, and be known as asked again."""
_KEY_BYTES: Final = 256
_Source = TypeVar("_Source", bound=Source)
_Asked = tuple[frozenset[Hashable], Range]


@dataclass(frozen=True, slots=True)
class _NoRoom:
    """Stands for what was woven and found none."""

    covers: Covers


class Loom:
    """For one scan."""

    def __init__(self, cache: ColumnCache, scan: int, tenant: TenantId, range_ms: Range) -> None:
        self._range_ms = range_ms
        self._cache = cache
        self._scan = scan
        self._tenant = tenant
        self._key = ("woven", tenant)
        self._key_unserved = ("not served", tenant)
        self._held: Woven | _NoRoom | None = cache.get(self._key, scan)

    @property
    def keys(self) -> Sequence[Hashable]:
        """Whose users have to be known for ``over``."""
        return (self._held.key,) if isinstance(self._held, Woven) else ()

    def over(
        self, sources: Sequence[_Source], users: Users, fields: Sequence[str], live: Callable[[Hashable], bool]
    ) -> tuple[list[Part], Sequence[_Source]]:
        """Parts with ``fields``, and the sources whose rows are not in them. ``live``: whether a source is still
        there."""
        whole = {source.key: source for source in sources if source.is_whole}
        held = self._held
        runs = users.runs.get(held.key) if isinstance(held, Woven) else None
        if isinstance(held, Woven) and runs is None:  # users were numbered anew: some may have been deleted
            self._cache.drop(self._key)
            held = None
        covers = Covers.of(whole.values(), self._range_ms)
        if held is not None and held.covers.serves(whole, self._range_ms):
            self._cache.drop(self._key_unserved)
            if isinstance(held, _NoRoom) or _is_longer(held, whole):
                return [], sources
            more = covers.has(held.covers)
        else:
            more = held is None or covers.has(held.covers) or not all(map(live, held.covers.keys))
            if not (more or self._is_unserved_for_long()):
                return [], sources  # it serves others
            held, runs, more = None, None, True
        if more and self._wanted(sources, whole, held) and self._is_asked_again(covers):
            held, runs = self._woven(list(whole.values()), covers, users)
        if not isinstance(held, Woven) or runs is None:
            return [], sources
        return held.parts(runs, fields, whole.keys(), self._range_ms), _others(held, sources)

    def at_hand(self, sources: Sequence[_Source], fields: Sequence[str]) -> tuple[list[Part], Sequence[_Source]]:
        """The same without users. Nothing is woven for it: who only counts gains less."""
        whole, held = {source.key: source for source in sources if source.is_whole}, self._held
        serves = isinstance(held, Woven) and held.covers.serves(whole, self._range_ms)
        if not isinstance(held, Woven) or not serves or _is_longer(held, whole):
            return [], sources
        return held.parts(None, fields, whole.keys(), self._range_ms), _others(held, sources)

    def _is_unserved_for_long(self) -> bool:
        """Whether questions came in turn that what is woven did not serve."""
        count = 1 + (self._cache.get(self._key_unserved, self._scan) or 0)
        self._cache.put(self._key_unserved, count, 1, self._scan)
        return count > UNSERVED_MAX

    def _wanted(
        self, sources: Sequence[Source], whole: Mapping[Hashable, Source], held: Woven | _NoRoom | None
    ) -> bool:
        """Whether to weave what is whole."""
        all_rows = sum(rows_within(source, self._range_ms) for source in sources)
        found = {key: rows_within(source, self._range_ms) for key, source in whole.items()}
        rows, covered = sum(found.values()), () if held is None else held.covers.keys
        new_rows = sum(rows for key, rows in found.items() if key not in covered)
        most = (all_rows - rows) * LEFT_SHARE <= all_rows
        return (
            most and rows <= self._rows_max and len(whole) > 1 and rows >= ROWS_MIN and new_rows * LEFT_SHARE > all_rows
        )

    @property
    def _rows_max(self) -> int:
        return min(ROWS_MAX, self._cache.bytes_max // (ROW_BYTES * CACHE_SHARE))

    def _is_asked_again(self, covers: Covers) -> bool:
        key, asked = ("to weave", self._tenant), (frozenset(covers.keys), covers.range_ms)
        recent: tuple[_Asked, ...] = self._cache.get(key, self._scan) or ()
        kept = (asked, *(each for each in recent if each != asked))[:RECENT_MAX]
        self._cache.put(key, kept, _KEY_BYTES * sum(len(keys) for keys, _ in kept), self._scan)
        return asked in recent

    def _woven(self, sources: Sequence[Source], covers: Covers, users: Users) -> tuple[Woven | None, UserRuns | None]:
        key = (*self._key, self._scan)
        made = weave(key, sources, covers, users.runs, len(users.people), self._rows_max)
        if made is None:
            self._cache.put(self._key, _NoRoom(covers), 1, self._scan)
            return None, None
        self._keep(*made, users)
        return made

    def _keep(self, woven: Woven, runs: UserRuns, users: Users) -> None:
        cache, scan, gone = self._cache, self._scan, self._held.key if isinstance(self._held, Woven) else None
        cache.put(self._key, woven, woven.bytes, scan)
        kept = cache.get(self._key, scan) is woven
        if not (kept and keep_runs(cache, scan, self._tenant, users.people, {woven.key: runs}, gone)):
            cache.put(self._key, _NoRoom(woven.covers), 1, scan)


def _is_longer(held: Woven, whole: Mapping[Hashable, Source]) -> bool:
    """Whether to go through what is woven takes longer than through the sources."""
    return held.rows > SERVES_ROWS * sum(source.rows for source in whole.values())


def _others(held: Woven, sources: Sequence[_Source]) -> list[_Source]:
    return [source for source in sources if source.key not in held.covers.keys]
