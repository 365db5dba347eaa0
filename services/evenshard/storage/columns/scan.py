"""Scans the rows of a snapshot part by part: whole columns out of the cache, and masks of the rows that are meant."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Final

from evenshard.events.hashing import SLOT_SHIFT
from evenshard.events.scan import Part, Parts, PassedOver
from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.columns.block import block_key, facts_of
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.lookups import Lookups, Reading
from evenshard.storage.columns.loom import Loom
from evenshard.storage.columns.segment import SegmentColumns
from evenshard.storage.columns.sources import BlockSource, SegmentSource, Wanted
from evenshard.storage.columns.users import Source, Users, users_of
from evenshard.storage.deletions import Hiding
from evenshard.storage.ownership import Shown
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tenant import Visible

_EVER_MS: Final = -(1 << 63), (1 << 63) - 1


class ColumnScan:
    """One scan of a tenant's visible rows that are ``shown`` (None: all)."""

    def __init__(
        self,
        disk: Disk,
        cache: ColumnCache,
        tenant: TenantId,
        visible: Visible,
        shown: Shown | None,
        reading: Reading,
        lookups: Lookups,
    ) -> None:
        self._disk = disk
        self._cache = cache
        self._tenant = tenant
        self._visible = visible
        self._shown = shown
        self._reading = reading
        self._lookups = lookups
        self._scan = cache.begin()
        self._passed_over: list[PassedOver] = []

    def parts(self, wanted: Wanted) -> Parts:
        """Each row once; segments first. Ids are decoded here, all else as the parts are read.

        Raises ``QUERY_INVALID`` for more users than can be held."""
        sources: list[SegmentSource | BlockSource] = [*self._of_segments(wanted), *self._of_tail(wanted)]
        loom = Loom(self._cache, self._scan, self._tenant, (wanted.start_ms, wanted.end_ms))
        if not wanted.users:
            woven, rest = loom.at_hand(sources, wanted.fields) if wanted.may_be_woven else ([], sources)
            parts = [*woven, *(part for source in rest for part in source.parts(None))]
            return Parts(parts, passed_over=self._passed_over)
        if not wanted.may_be_woven:
            users = self._users(sources)
            parts = [part for source in sources for part in source.parts(users.runs[source.key])]
            return Parts(parts, users.people, self._passed_over)
        users = self._users(sources, loom.keys)
        woven, rest = loom.over(sources, users, wanted.fields, self._live(()))
        parts = [*woven, *(part for source in rest for part in source.parts(users.runs[source.key]))]
        return Parts(parts, users.people, self._passed_over)

    def number_users(self) -> None:
        """Finds out whose all rows are, and keeps that for the scans that follow. Raises as ``parts``."""
        everything = Wanted((), (), *_EVER_MS, users=True)
        self._users([*self._of_segments(everything), *self._of_tail(everything)])

    def _users(self, sources: Sequence["SegmentSource | BlockSource"], woven: Sequence[Hashable] = ()) -> Users:
        seq = self._visible.deletions.last_seq
        asked = [Source(source.key, source.own_runs) for source in sources]
        return users_of(self._cache, self._scan, self._tenant, asked, self._live(woven), seq, woven)

    def _live(self, woven: Sequence[Hashable]) -> Callable[[Hashable], bool]:
        segments = {info.id for info in self._visible.segments}
        there = {*woven, *(block_key(self._tenant, block) for block in self._visible.blocks)}
        return lambda key: key in there or (isinstance(key, tuple) and key[0] == "segment" and key[1] in segments)

    def _of_segments(self, wanted: Wanted) -> Iterator["SegmentSource"]:
        for info in self._visible.shown:
            if info.max_time_ms < wanted.start_ms or info.min_time_ms >= wanted.end_ms:
                continue
            hiding = self._visible.deletions.hiding(info.deletions_seen)
            if hiding is not None and info.max_time_ms < hiding.horizon_ms:
                continue
            if wanted.may_matter is None:
                yield from self._of_segment(info, wanted, hiding)
                continue
            held = self._lookups.held(info)
            if not wanted.may_matter(held):
                self._passed_over.append(PassedOver(held, partial(self._unread, info, wanted, hiding)))
                continue
            for source in self._of_segment(info, wanted, hiding):
                of_part = source.held(held)
                if wanted.may_matter(of_part):
                    yield source
                else:
                    self._passed_over.append(PassedOver(of_part, partial(_all_parts, source)))

    def _unread(self, info: SegmentInfo, wanted: Wanted, hiding: Hiding | None) -> Sequence[Part]:
        return [part for source in self._of_segment(info, wanted, hiding) for part in source.parts(None)]

    def _of_segment(self, info: SegmentInfo, wanted: Wanted, hiding: Hiding | None) -> Iterator["SegmentSource"]:
        with self._reading(info):
            segment = SegmentColumns(self._disk, self._cache, self._scan, info)
        for part in segment.parts:
            if part.time_max < wanted.start_ms or part.time_min >= wanted.end_ms:
                continue
            first, last = part.hash_min >> SLOT_SHIFT, part.hash_max >> SLOT_SHIFT
            if self._shown is None or self._shown.all_of(info, first, last):
                yield SegmentSource(segment, part, wanted, hiding, None, self._reading)
            elif not self._shown.none_of(info, first, last):
                yield SegmentSource(segment, part, wanted, hiding, self._shown, self._reading)

    def _of_tail(self, wanted: Wanted) -> Iterator["BlockSource"]:
        for block in self._visible.blocks:
            facts = facts_of(self._cache, self._scan, self._tenant, block)
            spread = self._shown is None or block.spread is not None or block.of_old
            seen = spread or self._shown is None or self._shown.home[facts.slots].any()
            if seen and facts.time_max >= wanted.start_ms and facts.time_min < wanted.end_ms:
                yield BlockSource(self._cache, self._scan, self._tenant, block, facts, wanted, self._shown)


def _all_parts(source: SegmentSource) -> Sequence[Part]:
    return list(source.parts(None))
