"""Rows of many sources woven into one: each user's in one piece, by time. A question about users then reads what it
would join each time anew.

What is woven is the event and the time of each row within a range, of sources all of whose rows within it are meant;
any question finds its own in them. Duplicates and nobody's rows stand apart, as rows of nobody: they are counted, and
followed by nobody.
"""

from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.by_time import sort_by_time
from evenshard.events.hashing import UInt8
from evenshard.events.scan import DUPLICATE, Bools, Part, ScannedRows, duplicates_of
from evenshard.events.user_runs import Int32, Int64, UserRuns
from evenshard.kernels import kernel, view
from evenshard.storage.columns.covers import Covers, Range, Source, kept_within
from evenshard.storage.segment.reader import none_set

FIELDS: Final = ("event", "time")
_TIMES: Final = ("time",)
ROW_BYTES: Final = 13
"""Of a row that is woven: a time, a name, a bit."""
_NONE8: Final = np.zeros(0, np.uint8)
_NONE32: Final = np.zeros(0, np.int32)
_OF_NOBODY: Final = UserRuns(_NONE32, _NONE32, _NONE32)


@dataclass(frozen=True, slots=True, eq=False)
class Woven:
    """Rows of some sources."""

    key: Hashable
    covers: Covers
    some: ScannedRows
    """Somebody's, without duplicates, in the order of users."""
    apart: Sequence[ScannedRows]
    """All others, of the log and of segments."""
    bytes_of: Mapping[Hashable, tuple[int, int]]
    """What is read of each source, and where only times are asked for."""

    def parts(
        self, users: UserRuns | None, fields: Sequence[str], keys: Container[Hashable], range_ms: Range
    ) -> list[Part]:
        """With ``fields`` of ``FIELDS``, those within a range, all of which are of the sources ``keys``. ``users``: of
        ``some``; None: nobody asks whose rows are."""
        found = [self._within(one, range_ms) for one in (self.some, *self.apart)]
        alone = "event" not in fields
        read_bytes = sum(both[alone] for key, both in self.bytes_of.items() if key in keys)
        found[0] = replace(found[0], bytes_read=read_bytes)
        if alone:
            found = [replace(one, record=one.record.select([*fields, DUPLICATE])) for one in found]
        first, *others = map(Part.of, found)
        if users is None:
            return [first, *others]
        return [replace(first, users=users), *(replace(part, users=_OF_NOBODY) for part in others)]

    def _within(self, some: ScannedRows, range_ms: Range) -> ScannedRows:
        keep = kept_within(None, self.covers.bounds_ms, range_ms, lambda: some.record.column("time").to_numpy())
        return some if keep is None else replace(some, keep=keep)

    @property
    def rows(self) -> int:
        """Of the sources, within the range."""
        return sum(one.record.num_rows for one in (self.some, *self.apart))

    @property
    def bytes(self) -> int:
        """Memory."""
        return sum(int(one.record.get_total_buffer_size()) for one in (self.some, *self.apart))


def weave(
    key: Hashable,
    sources: Sequence[Source],
    covers: Covers,
    users: Mapping[Hashable, UserRuns],
    people: int,
    rows_max: int,
) -> tuple[Woven, UserRuns] | None:
    """Of sources that are whole what ``covers`` says; ``users``: whose their rows are, by numbers below ``people``. The
    second result says whose the woven rows are. Rows of one user and time stay in the order of sources. None: there
    are more than ``rows_max``."""
    starts = np.zeros(people + 1, np.int32)
    for source in sources:
        runs, keep = users[source.key], _kept(source.read(_TIMES))
        _count(runs.starts, runs.ends, runs.numbers, _order(runs), keep, starts)
    if int(starts.sum(dtype=np.int64)) > rows_max:
        return None
    np.cumsum(starts, out=starts)
    filled = starts[:-1].copy()
    times, codes = np.empty(int(starts[-1]), np.int64), np.empty(int(starts[-1]), np.int32)
    names = _Names()
    apart = {False: _Apart(names), True: _Apart(names)}
    bytes_of: dict[Hashable, tuple[int, int]] = {}
    for source in sources:
        some, runs = source.read(FIELDS), users[source.key]
        bytes_of[source.key] = some.bytes_read, source.read(_TIMES).bytes_read
        codes_here, places = names.of(some.record.column("event"))
        own_times, copies = some.record.column("time").to_numpy(), duplicates_of(some.record)
        order, keep = _order(runs), _kept(some)
        states = _NONE8 if copies is None else copies.view(np.uint8)
        _lay(
            runs.starts, runs.ends, runs.numbers, order, own_times, codes_here, places, states, keep,
            filled, times, codes,
        )  # fmt: skip
        apart[some.indexed].add(own_times, codes_here, places, copies, some.keep, runs, order)
    count = _close_ranks(starts, filled, times, codes, _NONE32)
    somebody = np.flatnonzero(starts[1:] > starts[:-1]).astype(np.int32)
    found = UserRuns(starts[somebody], starts[somebody + 1], somebody)
    record = _record(names.array, codes[:count], times[:count], none_set(count))
    others = [one.rows(indexed) for indexed, one in apart.items() if one.any]
    return Woven(key, covers, ScannedRows(record, True, 0), others, bytes_of), found


def _record(names: pa.Array, codes: Int32, times: Int64, duplicates: pa.BooleanArray) -> pa.RecordBatch:
    events = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    return pa.RecordBatch.from_arrays([events, pa.array(times), duplicates], names=["event", "time", DUPLICATE])


class _Names:
    """Numbers the names of events over all sources."""

    def __init__(self) -> None:
        self.array: pa.StringArray = pa.array([], pa.utf8())

    def of(self, events: pa.Array) -> tuple[Int32, Int32]:
        """The code of each row, and the number of each code."""
        coded = events if pa.types.is_dictionary(events.type) else events.dictionary_encode()
        own = coded.dictionary
        fresh = own.filter(pc.invert(pc.is_in(own, value_set=self.array)))
        self.array = pa.concat_arrays([self.array, fresh.cast(pa.utf8())])
        return coded.indices.to_numpy(), pc.index_in(own, value_set=self.array).to_numpy()


class _Apart:
    """Rows that are not woven."""

    def __init__(self, names: _Names) -> None:
        self._names = names
        self._times: list[Int64] = []
        self._codes: list[Int32] = []
        self._copies: list[Bools] = []

    @property
    def any(self) -> bool:
        return bool(self._times)

    def add(
        self,
        times: Int64,
        codes: Int32,
        places: Int32,
        copies: Bools | None,
        keep: Bools | None,
        runs: UserRuns,
        order: Int32,
    ) -> None:
        """Of a source those that are copies or nobody's, and meant."""
        others = np.zeros(len(times), np.bool_) if copies is None else copies
        if int((runs.ends - runs.starts).sum()) < len(times):
            somebodys = np.zeros(len(times), np.uint8)
            _mark(runs.starts, runs.ends, order, somebodys)
            others = others | (somebodys == 0)
        rows = np.flatnonzero(others if keep is None else others & keep)
        if len(rows):
            self._times.append(times[rows])
            self._codes.append(places[codes[rows]])
            self._copies.append(np.zeros(len(rows), np.bool_) if copies is None else copies[rows])

    def rows(self, indexed: bool) -> ScannedRows:
        codes, times = np.concatenate(self._codes), np.concatenate(self._times)
        copies = pa.array(np.concatenate(self._copies))
        return ScannedRows(_record(self._names.array, codes, times, copies), indexed, 0)


def _order(runs: UserRuns) -> Int32:
    return _NONE32 if runs.order is None else runs.order


def _kept(some: ScannedRows) -> UInt8:
    """As kernels take it; empty: all rows are meant."""
    return _NONE8 if some.keep is None else some.keep.view(np.uint8)


_RUNS = ", ".join([view("int32")] * 4)


@kernel(f"void({_RUNS}, {view('uint8')}, int32[::1])", counted=False)
def _count(starts, ends, numbers, order, keep, counts):  # type: ignore[no-untyped-def]
    """Adds how many rows each user has to ``counts``, one place behind. order, keep: may be empty."""
    ordered, cut = order.size > 0, keep.size > 0
    for run in range(np.uint64(starts.size)):
        user, rows = np.uint64(numbers[run]) + np.uint64(1), np.int32(0)
        if not cut:
            rows = ends[run] - starts[run]
        else:
            for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
                rows += np.int32(keep[np.uint64(order[place]) if ordered else place])
        counts[user] += rows


@kernel(
    f"void({_RUNS}, {view('int64')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('uint8')}, int32[::1], "
    "int64[::1], int32[::1])",
    counted=False,
)
def _lay(starts, ends, numbers, order, times, codes, places, copies, keep, filled, out_times, out_codes):  # type: ignore[no-untyped-def]
    """Writes the rows of each run that are meant, but for copies, behind what there is of its user, with the places of
    their codes. order, copies, keep: may be empty."""
    ordered, has_copies, cut = order.size > 0, copies.size > 0, keep.size > 0
    for run in range(np.uint64(starts.size)):
        user = np.uint64(numbers[run])
        to = np.uint64(filled[user])
        for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
            row = np.uint64(order[place]) if ordered else place
            if cut and not keep[row]:
                continue
            # A copy is written over by what comes next: there is room for all.
            out_times[to] = times[row]
            out_codes[to] = places[np.uint64(codes[row])]
            to += np.uint64(copies[row] == np.uint8(0)) if has_copies else np.uint64(1)
        filled[user] = np.int32(to)


@kernel("int64(int32[::1], int32[::1], int64[::1], int32[::1], int32[::1])")
def _close_ranks(starts, filled, times, codes, no_places):  # type: ignore[no-untyped-def]
    """Sorts the rows of each user, ``starts`` to ``filled``, by time, and moves them next to those of the user before;
    ``starts`` follow. Returns how many there are."""
    count = np.int64(0)
    for user in range(filled.size):
        first, end = np.int64(starts[user]), np.int64(filled[user])
        rising = True
        for row in range(first + 1, end):
            if times[row] < times[row - 1]:
                rising = False
                break
        if not rising:
            sort_by_time(first, end, times, codes, no_places)
        starts[user] = np.int32(count)
        for row in range(first, end):
            times[count] = times[row]
            codes[count] = codes[row]
            count += 1
    starts[filled.size] = np.int32(count)
    return count


@kernel(f"void({view('int32')}, {view('int32')}, {view('int32')}, uint8[::1])", counted=False)
def _mark(starts, ends, order, marks):  # type: ignore[no-untyped-def]
    """Sets the marks of all rows that are in a run."""
    ordered = order.size > 0
    for run in range(np.uint64(starts.size)):
        for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
            marks[np.uint64(order[place]) if ordered else place] = 1
