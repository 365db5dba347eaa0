"""What a merge reads: sorted tail tables and segments, sliced by placement hash, with the identity hash of each row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from evenshard.events.scan import PLACEMENT_HASH, SPREAD, Bools
from evenshard.storage.compaction.merge import sort_table, sort_with_order
from evenshard.storage.compaction.windows import Weights
from evenshard.storage.deletions import Hiding
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.info import DAY_MS
from evenshard.storage.segment.order import Int64, UInt64, only_chunk
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import with_identities

_PIECE_ROWS = 8192


class Input(Protocol):
    """Rows sorted by placement hash."""

    @property
    def schema(self) -> pa.Schema: ...

    def weights(self) -> Weights: ...

    def slice(self, first: int, last: int) -> pa.Table | None:
        """Rows with a placement hash between ``first`` and ``last``, inclusive; None: there are none."""
        ...

    def times(self) -> Int64: ...


class SegmentInput:
    """A segment; read slice by slice, without what is hidden."""

    def __init__(self, reader: SegmentReader, hiding: Hiding | None = None) -> None:
        self._reader = reader
        self._hiding = hiding
        self.hidden = 0
        """Hidden rows of the slices so far."""

    @property
    def schema(self) -> pa.Schema:
        schema = self._reader.schema
        if self._has_old_rows:
            schema = schema.append(pa.field(SPREAD, pa.bool_()))
        return schema.append(pa.field(IDENTITY_HASH, pa.uint64()))

    @property
    def _has_old_rows(self) -> bool:
        """It is not known which of its rows are spread, and no column says so."""
        return self._reader.info.spread_rows is None and SPREAD not in self._reader.columns

    def weights(self) -> Weights:
        groups = self._reader.row_groups
        return Weights(groups.hash_min, groups.rows, groups.bytes)

    def slice(self, first: int, last: int) -> pa.Table | None:
        table = self._reader.read_hashes(first, last)
        if table is None or self._hiding is None:
            return self._identified(table)
        ids = table.column("distinct_id")
        hidden = self._hiding.rows(
            table.column(PLACEMENT_HASH).to_numpy(),
            lambda rows: only_chunk(ids.take(pa.array(rows)).unify_dictionaries()),
            table.column("time").to_numpy(),
            in_order=True,
        )
        if hidden is None:
            return self._identified(table)
        self.hidden += int(np.count_nonzero(hidden))
        return None if hidden.all() else self._identified(table.filter(pa.array(~hidden)))

    def _identified(self, table: pa.Table | None) -> pa.Table | None:
        if table is None:
            return None
        if self._has_old_rows:
            table = table.append_column(SPREAD, pa.nulls(table.num_rows, pa.bool_()))
        return with_identities(self._reader.info.tenant, table)

    def times(self) -> Int64:
        return self._reader.times()


@dataclass(frozen=True, slots=True)
class TailTable:
    """Rows that waited, and their identity hashes, which are at hand in the order in which they came."""

    table: pa.Table
    in_order: Callable[[], UInt64]
    """Puts the hashes into the order of the rows."""
    as_they_came: Sequence[UInt64] | None = None
    """Those of exactly these rows, in any order; None: they are not at hand."""
    among: Callable[[Bools], Sequence[UInt64]] | None = None
    """Those of some of these rows, in any order; where there is ``as_they_came``."""


class TailInput:
    """A table in memory in segment order; made by ``of_table`` or ``of_tail``."""

    def __init__(
        self,
        table: pa.Table,
        in_order: Callable[[], UInt64] | None = None,
        among: Callable[[Bools], Sequence[UInt64]] | None = None,
    ) -> None:
        self.table = table
        self._in_order = in_order
        """Puts the identity hashes, which the table has in any order, into that of its rows; None: they are."""
        self._among = among
        self._ordered: TailInput | None = None
        self._hashes: UInt64 = only_chunk(self.table.column(PLACEMENT_HASH)).to_numpy()

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    @staticmethod
    def of_table(table: pa.Table) -> "TailInput":
        """Of a table in any order, with at least one row."""
        return TailInput(sort_table(table))

    @staticmethod
    def of_tail(tail: TailTable) -> "TailInput":
        """The same, of one whose hashes are not put into order before somebody wants them so."""
        among = tail.among
        if tail.as_they_came is None or among is None:
            return TailInput.of_table(tail.table.append_column(IDENTITY_HASH, pa.array(tail.in_order())))
        table, order = sort_with_order(tail.table)
        table = _with_hashes(table, tail.as_they_came)
        if order is None:
            return TailInput(table, tail.in_order, among)

        def among_sorted(chosen: Bools) -> Sequence[UInt64]:
            before = np.empty(chosen.size, np.bool_)
            before[order] = chosen
            return among(before)

        return TailInput(table, lambda: tail.in_order()[order], among_sorted)

    @property
    def is_ordered(self) -> bool:
        """Whether each identity hash is beside its row."""
        return self._in_order is None

    def ordered(self) -> "TailInput":
        """The same rows, with each hash beside its row."""
        if self._in_order is None:
            return self
        if self._ordered is None:
            column = self.table.column_names.index(IDENTITY_HASH)
            self._ordered = TailInput(self.table.set_column(column, IDENTITY_HASH, pa.array(self._in_order())))
        return self._ordered

    def weights(self) -> Weights:
        starts = np.arange(0, self._hashes.size, _PIECE_ROWS)
        rows = np.minimum(_PIECE_ROWS, self._hashes.size - starts)
        return Weights(self._hashes[starts], rows, rows * self.table.nbytes // self._hashes.size)

    def slice(self, first: int, last: int) -> pa.Table | None:
        start = int(np.searchsorted(self._hashes, np.uint64(first), "left"))
        end = int(np.searchsorted(self._hashes, np.uint64(last), "right"))
        return self.table.slice(start, end - start) if end > start else None

    def times(self) -> Int64:
        result: Int64 = only_chunk(self.table.column("time")).to_numpy()
        return result

    def of_days(self, first_day: int, last_day: int) -> "TailInput | None":
        """Its rows of these days; None: there are none."""
        days = self.times() // DAY_MS
        wanted = (days >= first_day) & (days <= last_day)
        if wanted.all():
            return self
        if not wanted.any():
            return None
        if self._in_order is None or self._among is None:
            return TailInput(self.table.filter(pa.array(wanted)))
        in_order = self._in_order
        others = self.table.drop_columns([IDENTITY_HASH]).filter(pa.array(wanted))
        return TailInput(_with_hashes(others, self._among(wanted)), lambda: in_order()[wanted])


def _with_hashes(table: pa.Table, hashes: Sequence[UInt64]) -> pa.Table:
    return table.append_column(IDENTITY_HASH, pa.chunked_array(list(hashes), pa.uint64()))


def count_days(times: Int64, counts: dict[int, int]) -> None:
    """Adds the rows of each UTC day to ``counts``."""
    days = times // DAY_MS
    first = int(days.min())
    rows = np.bincount(days - first)
    for day in np.flatnonzero(rows).tolist():
        counts[first + day] = counts.get(first + day, 0) + int(rows[day])
