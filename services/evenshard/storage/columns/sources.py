"""Sources of a scan: a part of a segment, a block of the tail. What is read of them, and which rows are meant.

Rows that are hot come by themselves, as parts without users, for they may be shown as others than they are.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.events.batch import FIELD_NAMES, property_of
from evenshard.events.hashing import UInt64
from evenshard.events.held import Held
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SHOWN_NEEDS, Bools, Part, ScannedRows
from evenshard.events.user_runs import UserRuns
from evenshard.ids import TenantId
from evenshard.storage.columns.block import BlockFacts, block_key, coded_column, foreign_rows
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.covers import kept_within
from evenshard.storage.columns.lookups import Reading, SegmentHeld
from evenshard.storage.columns.runs import OwnRuns, own_runs
from evenshard.storage.columns.segment import Groups, SegmentColumns
from evenshard.storage.columns.woven import FIELDS
from evenshard.storage.deletions import Hiding, Int64
from evenshard.storage.ownership import Identities, Shown
from evenshard.storage.tail.block import Block
from evenshard.storage.tail.scan import scanned_columns


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
    copies_apart: bool = False
    """Duplicates may come as rows of nobody: they are only counted."""

    @property
    def may_be_woven(self) -> bool:
        """Whether the rows may come otherwise than they are stored."""
        few = self.properties is not None and not self.properties and not self.late
        return few and self.copies_apart and set(self.fields) <= set(FIELDS)

    @property
    def fields_if_hot(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*self.fields, *self.late, *SHOWN_NEEDS)))


class SegmentSource:
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

    @property
    def rows(self) -> int:
        return self._part.rows

    @property
    def times_ms(self) -> tuple[int, int]:
        return self._part.time_min, self._part.time_max

    @property
    def is_whole(self) -> bool:
        """Whether all rows within the range are meant, and none is hot; one that may be hidden is taken to be."""
        part, hiding = self._part, self._hiding
        hidden = hiding is not None and hiding.may_hide(part.hash_min, part.hash_max, part.time_min)
        return not hidden and self._shown is None and not self._segment.info.has_hot_rows

    def own_runs(self) -> OwnRuns:
        with self._reading(self._segment.info):
            return own_runs(self._segment.ids_by_group(self._part), self._segment.times(self._part))

    def parts(self, users: UserRuns | None) -> Iterator[Part]:
        info, rows = self._segment.info, self._part.rows
        yield Part(rows, self._read, users)
        if info.has_hot_rows:
            yield Part(min(rows, info.hot_rows), self._read_hot)

    def _read(self) -> ScannedRows:
        return self.read(self._wanted.fields)

    def read(self, fields: Sequence[str]) -> ScannedRows:
        """All but hot rows."""
        with self._reading(self._segment.info):
            return self._rows(self._segment.hot(self._part), fields)

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
        return _kept(left_out, self.times_ms, self._wanted, lambda: segment.times(part))

    def _shown_rows(self, shown: Shown) -> Bools:
        segment, part = self._segment, self._part
        placement = segment.placement(part)

        def identities(rows: Int64) -> UInt64:
            columns = segment.columns(part, FIELD_NAMES)
            record = pa.RecordBatch.from_arrays([columns[name] for name in FIELD_NAMES], names=FIELD_NAMES)
            return Identities(shown.tenant, record, placement)(rows)

        return shown.rows(placement, segment.spread(part), identities)


class BlockSource:
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

    @property
    def rows(self) -> int:
        return self._block.rows

    @property
    def times_ms(self) -> tuple[int, int]:
        return self._facts.time_min, self._facts.time_max

    @property
    def is_whole(self) -> bool:
        """Whether all rows within the range are meant, and none is hot."""
        block = self._block
        hidden = block.hidden is not None or foreign_rows(self._shown, block, self._facts) is not None
        return block.hot is None and not hidden

    def own_runs(self) -> OwnRuns:
        record = self._block.batch.record
        return own_runs([record.column("distinct_id")], record.column("time").to_numpy())

    def parts(self, users: UserRuns | None) -> Iterator[Part]:
        yield Part(self._block.rows, self._read, users)
        if self._block.hot is not None:
            yield Part(int(np.count_nonzero(self._block.hot)), self._read_hot)

    def _read(self) -> ScannedRows:
        return self.read(self._wanted.fields)

    def read(self, fields: Sequence[str]) -> ScannedRows:
        """All but hot rows."""
        return self._rows(self._block.hot, fields)

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
        record = self._block.batch.record
        return _kept(left_out, self.times_ms, self._wanted, lambda: record.column("time").to_numpy())


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _kept(
    left_out: Bools | None, times_ms: tuple[int, int], wanted: Wanted, times: Callable[[], Int64]
) -> Bools | None:
    """Rows that are not left out, and within the range; None: all."""
    keep = None if left_out is None else ~left_out
    return kept_within(keep, times_ms, (wanted.start_ms, wanted.end_ms), times)
