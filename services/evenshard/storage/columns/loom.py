"""Decides which sources of a scan are woven into one, and keeps that for the scans that follow.

Weaving takes about as long as a question, and saves half of each that follows. So it is done by the second one in turn
that finds the same sources and enough of them not woven: the first one after a start or a change is not held up, nor is
any where sources change all the time. There is one woven source a tenant: the largest, as long as all it was made of is
there.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from evenshard.events.scan import Part
from evenshard.events.user_runs import UserRuns
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.users import Users, keep_runs
from evenshard.storage.columns.woven import ROW_BYTES, Source, Woven, weave

ROWS_MIN: Final = 1 << 16
"""Fewer are joined as they are asked for."""
CACHE_SHARE: Final = 4
"""This part of the room for columns is for what is woven, at most."""
LEFT_SHARE: Final = 8
"""So much of all rows is left as it is before they are woven anew."""
ROWS_MAX: Final = (1 << 31) - 1
_KEY_BYTES: Final = 256
_Source = TypeVar("_Source", bound=Source)


@dataclass(frozen=True, slots=True)
class _NoRoom:
    """Stands for what was woven and found none."""

    covers: frozenset[Hashable]


class Loom:
    """For one scan."""

    def __init__(self, cache: ColumnCache, scan: int, tenant: TenantId) -> None:
        self._cache = cache
        self._scan = scan
        self._tenant = tenant
        self._key = ("woven", tenant)
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
        fits = held is not None and held.covers <= whole.keys()
        if held is not None and (isinstance(held, _NoRoom) if fits else all(map(live, held.covers))):
            return [], sources  # as would be woven again; or it serves questions of more days
        if not fits:
            held = runs = None
        rows_woven = held.rows if isinstance(held, Woven) else 0
        if self._wanted(sources, whole.values(), rows_woven) and self._is_asked_again(frozenset(whole)):
            held, runs = weave((*self._key, self._scan), list(whole.values()), users.runs, len(users.people))
            self._keep(held, runs, users)
        if not isinstance(held, Woven) or runs is None:
            return [], sources
        return held.parts(runs, fields), [source for source in sources if source.key not in held.covers]

    def _wanted(self, sources: Sequence[Source], whole: Collection[Source], rows_woven: int) -> bool:
        """Whether to weave what is whole."""
        all_rows, rows = (sum(source.rows for source in some) for some in (sources, whole))
        most = (all_rows - rows) * LEFT_SHARE <= all_rows
        fits = rows <= ROWS_MAX and rows * ROW_BYTES * CACHE_SHARE <= self._cache.bytes_max
        return most and fits and len(whole) > 1 and rows >= ROWS_MIN and (rows - rows_woven) * LEFT_SHARE > all_rows

    def _is_asked_again(self, keys: frozenset[Hashable]) -> bool:
        key = ("to weave", self._tenant)
        before = self._cache.get(key, self._scan)
        self._cache.put(key, keys, _KEY_BYTES * len(keys), self._scan)
        return before == keys

    def _keep(self, woven: Woven, runs: UserRuns, users: Users) -> None:
        cache, scan, gone = self._cache, self._scan, self._held.key if isinstance(self._held, Woven) else None
        cache.put(self._key, woven, woven.bytes, scan)
        kept = cache.get(self._key, scan) is woven
        if not (kept and keep_runs(cache, scan, self._tenant, users.people, {woven.key: runs}, gone)):
            cache.put(self._key, _NoRoom(woven.covers), 1, scan)
