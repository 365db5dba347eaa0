"""Scans the rows of a snapshot part by part: whole columns out of the cache, and masks of the rows that are meant.

Rows that are hot come by themselves, as parts without users, for they may be shown as others than they are.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES, property_of
from evenshard.events.hashing import SLOT_SHIFT, UInt64
from evenshard.events.held import Held
from evenshard.events.scan import (
    DUPLICATE,
    HOT,
    PLACEMENT_HASH,
    SHOWN_NEEDS,
    Bools,
    Part,
    Parts,
    PassedOver,
    ScannedRows,
)
from evenshard.events.user_runs import UserRuns
from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.columns.block import BlockFacts, block_key, coded_column, facts_of, foreign_rows
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.lookups import Lookups, Reading, SegmentHeld
from evenshard.storage.columns.runs import OwnRuns, own_runs
from evenshard.storage.columns.segment import Groups, SegmentColumns
from evenshard.storage.columns.users import Source, Users, users_of
from evenshard.storage.deletions import Hiding, Int64
from evenshard.storage.ownership import Identities, Shown
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tail.block import Block
from evenshard.storage.tail.scan import scanned_columns
from evenshard.storage.tenant import Visible

_EVER_MS: Final = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scan asks for: rows with ``start_ms <= time < end_ms``, of ``properties`` (None: all) every typed column,
    and whose the rows are if ``users``."""

    fields: Sequence[str]
    properties: Sequence[str] | None
    start_ms: int
    end_ms: int
    users: bool
    may_matter: Callable[[Held], bool] | None = None
    """False of rows that need not be read; None: all have to be."""
    late: Sequence[str] = ()
    """Fields that are read if it comes to that, of hot rows at once."""

    @property
    def fields_if_hot(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*self.fields, *self.late, *SHOWN_NEEDS)))


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
        sources: list[_SegmentSource | _BlockSource] = [*self._of_segments(wanted), *self._of_tail(wanted)]
        if not wanted.users:
            return Parts([part for source in sources for part in source.parts(None)], passed_over=self._passed_over)
        users = self._users(sources)
        parts = [part for source in sources for part in source.parts(users.runs[source.key])]
        return Parts(parts, users.people, self._passed_over)

    def number_users(self) -> None:
        """Finds out whose all rows are, and keeps that for the scans that follow. Raises as ``parts``."""
        everything = Wanted((), (), *_EVER_MS, users=True)
        self._users([*self._of_segments(everything), *self._of_tail(everything)])

    def _users(self, sources: Sequence["_SegmentSource | _BlockSource"]) -> Users:
        seq = self._visible.deletions.last_seq
        asked = [Source(source.key, source.own_runs) for source in sources]
        return users_of(self._cache, self._scan, self._tenant, asked, self._live(), seq)

    def _live(self) -> Callable[[Hashable], bool]:
        segments = {info.id for info in self._visible.segments}
        blocks = {block_key(self._tenant, block) for block in self._visible.blocks}
        return lambda key: key in blocks or (isinstance(key, tuple) and key[0] == "segment" and key[1] in segments)

    def _of_segments(self, wanted: Wanted) -> Iterator["_SegmentSource"]:
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

    def _of_segment(self, info: SegmentInfo, wanted: Wanted, hiding: Hiding | None) -> Iterator["_SegmentSource"]:
        with self._reading(info):
            segment = SegmentColumns(self._disk, self._cache, self._scan, info)
        for part in segment.parts:
            if part.time_max < wanted.start_ms or part.time_min >= wanted.end_ms:
                continue
            first, last = part.hash_min >> SLOT_SHIFT, part.hash_max >> SLOT_SHIFT
            if self._shown is None or self._shown.all_of(info, first, last):
                yield _SegmentSource(segment, part, wanted, hiding, None, self._reading)
            elif not self._shown.none_of(info, first, last):
                yield _SegmentSource(segment, part, wanted, hiding, self._shown, self._reading)

    def _of_tail(self, wanted: Wanted) -> Iterator["_BlockSource"]:
        for block in self._visible.blocks:
            facts = facts_of(self._cache, self._scan, self._tenant, block)
            spread = self._shown is None or block.spread is not None or block.of_old
            seen = spread or self._shown is None or self._shown.home[facts.slots].any()
            if seen and facts.time_max >= wanted.start_ms and facts.time_min < wanted.end_ms:
                yield _BlockSource(self._cache, self._scan, self._tenant, block, facts, wanted, self._shown)


class _SegmentSource:
    """A part of a segment."""

    def __init__(
        self,
        segment: SegmentColumns,
        part: Groups,
        wanted: Wanted,
        hiding: Hiding | None,
        shown: Shown | None,
        reading: Reading,
    ) -> None:
        self.key: Hashable = ("segment", segment.info.id, part.first)
        self._segment = segment
        self._part = part
        self._wanted = wanted
        self._hiding = hiding
        self._shown = shown
        self._reading = reading

    def held(self, of_segment: SegmentHeld) -> SegmentHeld:
        """What is known of the part."""
        part = self._part
        return of_segment.within((part.time_min, part.time_max), (part.hash_min, part.hash_max))

    def own_runs(self) -> OwnRuns:
        with self._reading(self._segment.info):
            return own_runs(self._segment.ids_by_group(self._part), self._segment.times(self._part))

    def parts(self, users: UserRuns | None) -> Iterator[Part]:
        info, rows = self._segment.info, self._part.rows
        yield Part(rows, self._read, users)
        if info.has_hot_rows:
            yield Part(min(rows, info.hot_rows), self._read_hot)

    def _read(self) -> ScannedRows:
        with self._reading(self._segment.info):
            return self._rows(self._segment.hot(self._part), self._wanted.fields)

    def _read_hot(self) -> ScannedRows:
        with self._reading(self._segment.info):
            hot = self._segment.hot(self._part)
            others = np.ones(self._part.rows, np.bool_) if hot is None else ~hot
            return self._rows(others, self._wanted.fields_if_hot).kept()

    def _late(self, field: str) -> tuple[pa.Array, int]:
        with self._reading(self._segment.info):
            found = self._segment.columns(self._part, [field])[field]
            return found, self._segment.bytes_of(self._part, [field])

    def _rows(self, left_out: Bools | None, fields: Sequence[str]) -> ScannedRows:
        names = self._segment.reader.names_for(fields, self._wanted.properties)
        columns = self._segment.columns(self._part, names)
        record = pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)
        size = self._segment.bytes_of(self._part, names)
        return ScannedRows(record, True, size, self._keep(left_out), late=self._late)

    def _keep(self, left_out: Bools | None) -> Bools | None:
        segment, part = self._segment, self._part
        if self._hiding is not None:
            left_out = _either(left_out, segment.hidden(part, self._hiding))
        if self._shown is not None:
            left_out = _either(left_out, ~self._shown_rows(self._shown))
        if part.time_min < self._wanted.start_ms or part.time_max >= self._wanted.end_ms:
            times = segment.times(part)
            left_out = _either(left_out, (times < self._wanted.start_ms) | (times >= self._wanted.end_ms))
        return None if left_out is None else ~left_out

    def _shown_rows(self, shown: Shown) -> Bools:
        segment, part = self._segment, self._part
        placement = segment.placement(part)

        def identities(rows: Int64) -> UInt64:
            columns = segment.columns(part, FIELD_NAMES)
            record = pa.RecordBatch.from_arrays([columns[name] for name in FIELD_NAMES], names=FIELD_NAMES)
            return Identities(shown.tenant, record, placement)(rows)

        return shown.rows(placement, segment.spread(part), identities)


class _BlockSource:
    """A block of the tail."""

    def __init__(
        self,
        cache: ColumnCache,
        scan: int,
        tenant: TenantId,
        block: Block,
        facts: BlockFacts,
        wanted: Wanted,
        shown: Shown | None,
    ) -> None:
        self.key = block_key(tenant, block)
        self._cache = cache
        self._scan = scan
        self._block = block
        self._facts = facts
        self._wanted = wanted
        self._shown = shown

    def own_runs(self) -> OwnRuns:
        record = self._block.batch.record
        return own_runs([record.column("distinct_id")], record.column("time").to_numpy())

    def parts(self, users: UserRuns | None) -> Iterator[Part]:
        yield Part(self._block.rows, self._read, users)
        if self._block.hot is not None:
            yield Part(int(np.count_nonzero(self._block.hot)), self._read_hot)

    def _read(self) -> ScannedRows:
        return self._rows(self._block.hot, self._wanted.fields)

    def _read_hot(self) -> ScannedRows:
        assert self._block.hot is not None
        return self._rows(~self._block.hot, self._wanted.fields_if_hot).kept()

    def _late(self, field: str) -> tuple[pa.Array, int]:
        found = self._block.batch.record.column(field)
        return found, int(found.nbytes)

    def _rows(self, left_out: Bools | None, fields: Sequence[str]) -> ScannedRows:
        block = self._block
        names = scanned_columns(block.batch.record.schema.names, fields, self._wanted.properties)
        arrays = [self._column(name) for name in names]
        if PLACEMENT_HASH in fields:
            names.append(PLACEMENT_HASH)
            arrays.append(pa.array(block.placement))
        if HOT in fields:
            names.append(HOT)
            arrays.append(pa.array(np.zeros(block.rows, np.bool_) if block.hot is None else block.hot))
        record = pa.RecordBatch.from_arrays([*arrays, self._facts.duplicates], names=[*names, DUPLICATE])
        return ScannedRows(record, False, int(record.nbytes), self._keep(left_out), late=self._late)

    def _column(self, name: str) -> pa.Array:
        column = self._block.batch.record.column(name)
        if property_of(name) is None:
            return column
        return coded_column(self._cache, self._scan, self.key, name, column)

    def _keep(self, left_out: Bools | None) -> Bools | None:
        left_out = _either(left_out, self._block.hidden)
        left_out = _either(left_out, foreign_rows(self._shown, self._block, self._facts))
        if self._facts.time_min < self._wanted.start_ms or self._facts.time_max >= self._wanted.end_ms:
            times = self._block.batch.record.column("time").to_numpy()
            left_out = _either(left_out, (times < self._wanted.start_ms) | (times >= self._wanted.end_ms))
        return None if left_out is None else ~left_out


def _all_parts(source: _SegmentSource) -> Sequence[Part]:
    return list(source.parts(None))


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other
