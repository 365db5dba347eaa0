"""Rows of split users, taken out of what a shard counts: they are given back, to be counted where they meet. Pure.

A user is *split* where rows of theirs lie on several shards. A shard sees it of a user whose slot is not at home there,
and is told of those at home there of whom other shards have rows. Nobody (``""``) is never split.

Only rows that match are given back, and only they make a user split: rows that a question passes over anyway do not
matter to it, wherever they are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_SHIFT, hash_strings, slots_of, string_buffers
from evenshard.events.scan import Bools, Part, Parts, ScannedRows
from evenshard.events.user_runs import UserRuns
from evenshard.events.users import UNKNOWN, Int32, People
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression_model import Expression
from evenshard.queries.groups import Integers
from evenshard.queries.scans import Rows
from evenshard.queries.user_codes import user_codes

INDEXED: Final = "indexed"
"""bool, never null: of a row given back, whether it is from a segment."""
_SHIFT: Final = np.uint64(SLOT_SHIFT)
NAMED_MAX: Final = 3
"""Users whom a refusal names."""

Taken = Callable[[], tuple[pa.RecordBatch, int]]
"""Rows of split users, and how many bytes more are read for them."""
Without = Callable[[ScannedRows], tuple[ScannedRows, Taken | None]]
"""What is left of some rows, and what is taken out of them; None: nothing."""


@dataclass(frozen=True, slots=True)
class Split:
    """What a shard knows of split users before it reads."""

    home: Bools | None
    """For each slot whether its users are at home here (bool[4096]); None: every user may have rows anywhere."""
    told: tuple[str, ...]
    """Users at home here of whom others have rows."""
    bytes_max: int
    """Memory of rows given back."""


class Room:
    """Bytes that rows given back may take, over all scans of a question."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.bytes = 0

    def take(self, record: pa.RecordBatch) -> None:
        """Raises ``QUERY_INVALID``, with users whose rows they are, where that is too much."""
        self.bytes += record.nbytes
        if self.bytes > self._bytes_max:
            users = pc.unique(record.column("distinct_id")).to_pylist()
            raise too_many_rows(users, self._bytes_max)


def too_many_rows(users: Sequence[str], bytes_max: int) -> EvenshardError:
    """The refusal of a question about too many rows of split users, some of whom are ``users``."""
    named = f" (of {', '.join(map(repr, users[:NAMED_MAX]))}{' …' if len(users) > NAMED_MAX else ''})" if users else ""
    return EvenshardError(
        "QUERY_INVALID",
        f"matching rows of users who are split over shards{named} exceed {bytes_max} bytes",
        hint="ask for fewer days or events, filter with where, or raise split_rows_bytes",
    )


class Apart:
    """Takes split users' rows out of what one scan reads."""

    def __init__(self, split: Split, deciding: Expression | None, fields: Sequence[str], room: Room) -> None:
        """``deciding``: which rows match; None: all. ``fields``: those that a scan needs of rows of which it is not
        known whose they are."""
        self._split = split
        self._told = pa.array(split.told, pa.utf8())
        self._deciding = deciding
        self._fields = fields
        self._room = room
        self._parts: dict[int, pa.RecordBatch] = {}
        """What was taken, by the place of the part it was taken from."""
        self._unread: dict[int, Callable[[], ScannedRows]] = {}
        self.rows = 0
        """Taken, whether they match or not."""

    def over(self, rows: Rows) -> Rows:
        """The rows without those of split users, which are taken as they are read."""
        if not isinstance(rows, Parts):
            return self._each(rows)
        split = self._split_people(rows.people)
        parts = []
        for place, part in enumerate(rows.parts):
            if part.users is None:
                parts.append(self._wrapped(place, part, self._without))
            elif split is not None and (chosen := split[part.users.numbers]).any():
                parts.append(self._wrapped(place, part, _OfRuns(rows.people, part.users, chosen, self._fields).without))
            else:
                parts.append(part)
        return replace(rows, parts=parts)

    def taken(self) -> pa.Table | None:
        """Rows that match, in the order in which they are stored, with ``INDEXED``; None: there are none."""
        for read in list(self._unread.values()):  # a scan need not read what it does not count
            read()
        records = [self._parts[place] for place in sorted(self._parts)]
        return pa.concat_tables(map(_as_table, records), promote_options="default") if records else None

    def _take(self, place: int, some: ScannedRows, taken: Taken) -> int:
        """Split users' rows of what was read there; how many bytes more were read for it."""
        record, size = taken()
        self.rows += record.num_rows
        if self._deciding is not None and record.num_rows:
            record = picked(record, evaluate(self._deciding, record))
        if record.num_rows:
            record = _plain(record).append_column(INDEXED, pa.array(np.full(record.num_rows, some.indexed)))
            self._room.take(record)
            self._parts[place] = record
        return size

    def _each(self, rows: Iterable[ScannedRows]) -> Iterator[ScannedRows]:
        for place, some in enumerate(rows):
            rest, taken = self._without(some)
            if taken is not None:
                self._take(place, some, taken)
            yield rest

    def _wrapped(self, place: int, part: Part, without: Without) -> Part:
        def read() -> ScannedRows:
            some = part.read()
            rest, taken = without(some)
            if self._unread.pop(place, None) is not None and taken is not None:
                rest = replace(rest, bytes_read=rest.bytes_read + self._take(place, some, taken))
            return rest

        self._unread[place] = read
        return replace(part, read=read)

    def _without(self, some: ScannedRows) -> tuple[ScannedRows, Taken | None]:
        """Of rows with ``distinct_id``: the others, and those of split users."""
        some = some.kept()
        codes, ids = user_codes(some.record.column("distinct_id"))
        split = self._split_ids(ids)[codes]
        if not split.any():
            return some, None
        return replace(some, record=picked(some.record, ~split)), lambda: (picked(some.record, split), 0)

    def _split_people(self, people: People) -> Bools | None:
        """For each user whether they are split; None: nobody is, which is seen without a look at everybody, for they
        come in the order of their slots."""
        if self._split.home is None:
            return np.ones(len(people), np.bool_)
        told = people.find(self._told)
        told = told[told != UNKNOWN]
        slots = np.append(0, np.flatnonzero(self._split.home[1:] != self._split.home[:-1]) + 1)
        starts = np.append(np.searchsorted(people.hashes, slots.astype(np.uint64) << _SHIFT), len(people))
        foreign = [
            slice(starts[place], starts[place + 1])
            for place, slot in enumerate(slots.tolist())
            if not self._split.home[slot] and starts[place] < starts[place + 1]
        ]
        if not len(told) and not foreign:
            return None
        split = np.zeros(len(people), np.bool_)
        split[told] = True
        for some in foreign:
            split[some] = True
        return split

    def _split_ids(self, ids: pa.Array) -> Bools:
        somebody: Bools = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        if self._split.home is None:
            return somebody
        ids = ids.cast(pa.utf8())
        told: Bools = pc.is_in(ids, value_set=self._told).to_numpy(zero_copy_only=False)
        return somebody & (from_elsewhere(ids, self._split.home) | told)


@dataclass(frozen=True, slots=True)
class _OfRuns:
    """Split users' runs of a part of which it is known whose its rows are; ``chosen``: which runs."""

    people: People
    users: UserRuns
    chosen: Bools
    fields: Sequence[str]

    def without(self, some: ScannedRows) -> tuple[ScannedRows, Taken | None]:
        """The part with their rows passed over, and these rows."""
        users = self.users
        starts, numbers = users.starts[self.chosen], users.numbers[self.chosen]
        lengths = users.ends[self.chosen] - starts
        places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
        rows, numbers = places if users.order is None else users.order[places], np.repeat(numbers, lengths)
        keep = np.ones(some.record.num_rows, np.bool_) if some.keep is None else some.keep.copy()
        meant = keep[rows]
        keep[rows] = False
        rows, numbers = rows[meant], numbers[meant]
        if not len(rows):
            return some, None
        return replace(some, keep=keep), lambda: self._taken(some, rows, numbers)

    def _taken(self, some: ScannedRows, rows: Integers, numbers: Int32) -> tuple[pa.RecordBatch, int]:
        order = np.argsort(rows, kind="stable")  # as they are stored
        places, size = pa.array(rows[order]), 0
        record = some.record.take(places)
        for field in self.fields:
            if field in record.schema.names:
                continue
            if field == "distinct_id":
                column = self.people.ids(numbers[order])
            else:
                stored, more = some.column(field)
                column, size = stored.take(places), size + more
            record = record.append_column(field, column)
        return record, size


def from_elsewhere(ids: pa.StringArray, home: Bools) -> Bools:
    """For each user whether they are not at ``home``."""
    hashes = np.empty(len(ids), np.uint64)
    if len(ids):
        strings = string_buffers(ids)
        hash_strings(strings.offsets, strings.data, hashes)
    foreign: Bools = ~home[slots_of(hashes)]
    return foreign


def scanned_rows(table: pa.Table) -> list[ScannedRows]:
    """Rows given back, as a scan reads rows: of segments, then of the log."""
    found = []
    for indexed in (True, False):
        mine = table.filter(pc.equal(table.column(INDEXED), indexed)).drop_columns([INDEXED])
        found += [ScannedRows(record, indexed, 0) for record in mine.combine_chunks().to_batches()]
    return found


def picked(record: pa.RecordBatch, rows: Bools) -> pa.RecordBatch:
    """Some rows, copied; all of them are the record itself."""
    return record if rows.all() else record.take(pa.array(np.flatnonzero(rows)))


def _plain(record: pa.RecordBatch) -> pa.RecordBatch:
    """Without dictionaries, which would travel whole."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in record.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=record.schema.names)


def _as_table(record: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([record])
