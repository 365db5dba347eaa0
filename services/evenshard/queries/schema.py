"""A tenant's schema on a shard: one pass over rows, whose result is a table that adds up.

**Partial**: ``kind`` (int8), ``name`` and ``tag`` (utf8), ``count`` (int64); merged by adding the counts of equal rows.

| kind | a row |
|---|---|
| ``EVENT`` | an event's name, how many there are |
| ``TYPE`` | a property's name, the letter of a type (see ``events.batch``), how many values |
| ``VALUE`` | a property's name, a value's tag, how often it occurs |
| ``MANY`` | a property's name: its values were too many to be counted here |

Memory is bounded by names and by ``BYTES_MAX`` of values: beyond, those of the property that has most are given up.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.batch import PROPERTY_TYPES, REST, PropertyType, property_of
from evenshard.events.properties import typed_value
from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.browse_plan import SchemaScan
from evenshard.queries.plan import ScanStats
from evenshard.queries.values import encoded, tags_of

EVENT, TYPE, VALUE, MANY = range(4)
NAMES_MAX = 20_000
"""Of events, and of properties."""
VALUES_MAX = 100_000
"""Distinct values of a property; one with more is no property to pick values of."""
VALUE_BYTES_MAX = 256
"""Longer values are not listed."""
BYTES_MAX = 32 << 20
"""Of all values counted."""
_WAITING_MAX = 200_000
_SCHEMA = pa.schema([("kind", pa.int8()), ("name", pa.utf8()), ("tag", pa.utf8()), ("count", pa.int64())])


def columns_of(plan: SchemaScan) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The fields and the properties (None: all) a scan reads."""
    return ("event", "time"), None if plan.properties else ()


def scan_rows(plan: SchemaScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan.

    Raises ``QUERY_INVALID`` for more names than can be held.
    """
    running = _Scan(plan)
    for some in rows:
        running.add(some)
        if plan.rows_max and running.rows >= plan.rows_max:
            break
    return running.partial(), running.stats()


class _Scan:
    """The state of one pass."""

    def __init__(self, plan: SchemaScan) -> None:
        self.plan = plan
        self.events: Counter[str] = Counter()
        self.types: Counter[tuple[str, str]] = Counter()
        self.values = _Values()
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        left_out = self._left_out(some)
        if left_out is not None:
            record = record.filter(pa.array(~left_out))
        if not record.num_rows:
            return
        codes, names = encoded(record.column("event"))
        self._count_events(names, np.bincount(codes, minlength=len(names)))
        if not self.plan.properties:
            return
        for column in record.schema.names:
            held = property_of(column)
            if held is not None:
                self._add_property(*held, record.column(column))
            elif column == REST:
                self._add_rest(record.column(column))
        if len({name for name, _ in self.types}) > NAMES_MAX:
            raise _too_many("properties")

    def _left_out(self, some: ScannedRows) -> npt.NDArray[np.bool_] | None:
        """Rows between the intervals, and duplicates; None: there are none."""
        left_out: npt.NDArray[np.bool_] | None = None
        if len(self.plan.ranges_ms) > 2:
            times = some.record.column("time").to_numpy()
            inside = np.searchsorted(np.array(self.plan.ranges_ms), times, "right") % 2 == 1
            left_out = ~inside
        duplicate = duplicates_of(some.record) if self.plan.skip_duplicates else None
        if duplicate is None:
            return left_out
        skipped = duplicate if left_out is None else duplicate & ~left_out
        self.skipped[some.indexed] += int(np.count_nonzero(skipped))
        return duplicate if left_out is None else left_out | duplicate

    def _count_events(self, names: pa.Array, counts: npt.NDArray[np.int64]) -> None:
        found = np.flatnonzero(counts)
        for name, count in zip(names.take(pa.array(found)).to_pylist(), counts[found].tolist(), strict=True):
            self.events[name] += count
        if len(self.events) > NAMES_MAX:
            raise _too_many("events")

    def _add_property(self, name: str, kind: PropertyType, values: pa.Array) -> None:
        count = len(values) - values.null_count
        if not count:
            return
        self.types[name, kind] += count
        if self.plan.values and name not in self.values.given_up:
            codes, distinct = encoded(values)
            counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
            found = np.flatnonzero(counts)
            self.values.add(name, tags_of(kind, distinct.take(pa.array(found))), counts[found])

    def _add_rest(self, rest: pa.Array) -> None:
        """Objects of properties without columns: each distinct one is read, one by one."""
        codes, distinct = encoded(rest)
        columns: dict[tuple[str, PropertyType], Counter[bool | int | float | str]] = {}
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct)).tolist()
        for text, count in zip(distinct.to_pylist(), counts, strict=True):
            if not count:
                continue
            for name, value in orjson.loads(text).items():
                if value is not None:
                    kind, stored = typed_value(value)
                    columns.setdefault((name, kind), Counter())[stored] += count
        for (name, kind), values in columns.items():
            self.types[name, kind] += values.total()
            if self.plan.values and name not in self.values.given_up:
                tags = tags_of(kind, pa.array(list(values), PROPERTY_TYPES[kind]))
                self.values.add(name, tags, np.array(list(values.values()), np.int64))

    def partial(self) -> pa.Table:
        """What the pass found."""
        values = self.values.tables()
        events = [(EVENT, name, "", count) for name, count in self.events.items()]
        types = [(TYPE, name, kind, count) for (name, kind), count in self.types.items()]
        many = [(MANY, name, "", 1) for name in sorted(self.values.given_up)]
        rows = [*events, *types, *many]
        columns = [pa.array([row[at] for row in rows], field.type) for at, field in enumerate(_SCHEMA)]
        return pa.concat_tables([pa.table(columns, schema=_SCHEMA), *values])

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)


class _Values:
    """How often each value of each property occurs."""

    def __init__(self) -> None:
        self.given_up: set[str] = set()
        """Properties with too many values."""
        self._counted: dict[str, pa.Table] = {}
        self._waiting: dict[str, list[pa.Table]] = {}
        self._waiting_rows = 0

    def add(self, name: str, tags: pa.StringArray, counts: npt.NDArray[np.int64]) -> None:
        piece = pa.table({"tag": tags, "count": counts.astype(np.int64)})
        short = pc.less_equal(pc.binary_length(tags), VALUE_BYTES_MAX)
        self._waiting.setdefault(name, []).append(piece.filter(short))
        self._waiting_rows += piece.num_rows
        if self._waiting_rows > _WAITING_MAX:
            self._add_up()

    def _add_up(self) -> None:
        for name, pieces in self._waiting.items():
            before = [self._counted[name]] if name in self._counted else []
            added = pa.concat_tables([*before, *pieces]).group_by("tag").aggregate([("count", "sum")])
            self._counted[name] = added.rename_columns(["tag", "count"])
            if added.num_rows > VALUES_MAX:
                self._give_up(name)
        self._waiting, self._waiting_rows = {}, 0
        sizes = {name: int(table.nbytes) for name, table in self._counted.items()}
        while sum(sizes.values()) > BYTES_MAX:
            largest = max(sizes, key=lambda name: (sizes[name], name))
            del sizes[largest]
            self._give_up(largest)

    def _give_up(self, name: str) -> None:
        self.given_up.add(name)
        del self._counted[name]

    def tables(self) -> list[pa.Table]:
        """Rows of the partial."""
        self._add_up()
        found = []
        for name, table in self._counted.items():
            size = table.num_rows
            columns = [
                pa.array(np.full(size, VALUE, np.int8)),
                pa.array([name]).take(pa.array(np.zeros(size, np.int64))),
                table.column("tag"),
                table.column("count"),
            ]
            found.append(pa.table(columns, schema=_SCHEMA))
        return found


def _too_many(what: str) -> EvenshardError:
    return EvenshardError(
        "QUERY_INVALID", f"more than {NAMES_MAX} names of {what} on one shard", hint="ask for fewer days"
    )
