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
from evenshard.storage.segment.loose_hashes import LooseHashes
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
    loose: Callable[[Bools | None], Sequence[LooseHashes]]
    """Those of some of these rows, or of all, in any order."""


class TailInput:
    """A table in memory in segment order; made by ``of_table`` or ``of_tail``."""

    def __init__(self, table: pa.Table, tail: TailTable | None = None) -> None:
        """``tail``: gives the identity hashes; None: the table has them."""
        self.table = table
        self._tail = tail
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
        table, order = sort_with_order(tail.table)
        if order is None:
            return TailInput(table, tail)

        def loose(chosen: Bools | None) -> Sequence[LooseHashes]:
            if chosen is None:
                return tail.loose(None)
            before = np.empty(chosen.size, np.bool_)
            before[order] = chosen
            return tail.loose(before)

        return TailInput(table, TailTable(table, lambda: tail.in_order()[order], loose))

    @property
    def is_ordered(self) -> bool:
        """Whether each identity hash is beside its row."""
        return self._tail is None

    def ordered(self) -> "TailInput":
        """The same rows, with each hash beside its row."""
        if self._tail is None:
            return self
        if self._ordered is None:
            self._ordered = TailInput(self.table.append_column(IDENTITY_HASH, pa.array(self._tail.in_order())))
        return self._ordered

    @property
    def loose(self) -> Sequence[LooseHashes]:
        """Its hashes where they are not beside their rows."""
        return () if self._tail is None else self._tail.loose(None)

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
        table = self.table.filter(pa.array(wanted))
        tail = self._tail
        if tail is None:
            return TailInput(table)

        def loose(chosen: Bools | None) -> Sequence[LooseHashes]:
            if chosen is None:
                return tail.loose(wanted)
            of_all = wanted.copy()
            of_all[wanted] = chosen
            return tail.loose(of_all)

        return TailInput(table, TailTable(table, lambda: tail.in_order()[wanted], loose))


def count_days(times: Int64, counts: dict[int, int]) -> None:
    """Adds the rows of each UTC day to ``counts``."""
    days = times // DAY_MS
    first = int(days.min())
    rows = np.bincount(days - first)
    for day in np.flatnonzero(rows).tolist():
        counts[first + day] = counts.get(first + day, 0) + int(rows[day])
