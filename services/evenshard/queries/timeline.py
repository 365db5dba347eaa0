"""One user's events in order, a page at a time: the shard's half, and tokens that tell where the next page begins.

Rows are ordered by (time, event, insert_id), bytewise, a missing insert_id first; rows that agree in all three keep the
order in which the shard gives them. A page holds at most so many rows and bytes, but one row at least.

**Partial**: whole rows of the page, as event batches have them, then ``duplicate``; the schema's metadata ``more`` says
whether there are others behind.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.batch import FIELD_NAMES, property_column
from evenshard.events.hashing import hash_of
from evenshard.events.properties import canonical, concat
from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.browse_model import TimelineQuery
from evenshard.queries.browse_plan import TimelineKey, TimelineScan
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import COHORT_PREFIX, Comparison, parse
from evenshard.queries.plan import ScanStats

MORE = b"more"
TOKEN_VERSION = 1
BYTES_MAX = 16 << 20
"""Of a page's rows."""
_HELD_PAGES = 4
"""So many pages of rows are held before all but the first is let go."""


def _without_cohorts(record: pa.RecordBatch) -> pa.RecordBatch:
    """Whether a user belongs to a cohort is asked of rows, and is no property of theirs."""
    marks = property_column(COHORT_PREFIX, "b")
    return record.select([name for name in record.schema.names if not name.startswith(marks)])


def columns_of(plan: TimelineScan) -> tuple[tuple[str, ...], None]:
    """The fields and the properties (all) a scan reads."""
    return FIELD_NAMES, None


def scan_rows(plan: TimelineScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan."""
    running = _Scan(plan)
    for some in rows:
        running.add(some)
    return running.partial(), running.stats()


class _Scan:
    """The state of one pass: bounded by pages, not by rows."""

    def __init__(self, plan: TimelineScan) -> None:
        self.plan = plan
        self.mine = Comparison("$distinct_id", "==", plan.user)
        self.where = parse(plan.where) if plan.where else None
        self.held: list[pa.RecordBatch] = []
        self.held_rows = 0
        self.held_bytes = 0
        self.more = False
        self.ceiling: tuple[int, bytes, bool, bytes] | None = None
        """The order of the first row that was let go: from it on, rows are of a later page."""
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        self.rows += some.record.num_rows
        self.bytes += some.bytes_read
        record = some.record.filter(pa.array(evaluate(self.mine, some.record)))
        if record.num_rows and len(self.plan.ranges_ms) > 2:
            times = record.column("time").to_numpy()
            record = record.filter(pa.array(np.searchsorted(np.array(self.plan.ranges_ms), times, "right") % 2 == 1))
        if record.num_rows and self.where is not None:
            record = record.filter(pa.array(evaluate(self.where, record)))
        duplicate = duplicates_of(record) if self.plan.skip_duplicates and record.num_rows else None
        if duplicate is not None:
            self.skipped[some.indexed] += int(np.count_nonzero(duplicate))
            record = record.filter(pa.array(~duplicate))
        if not record.num_rows:
            return
        record = canonical(_without_cohorts(record))
        if self.ceiling is not None:
            record = _ordered(record)
            below = bisect_left(range(record.num_rows), self.ceiling, key=lambda at: _order(key_at(record, at)))
            record = record.slice(0, below)
            if not below:
                return
        self.held.append(record)
        self.held_rows += record.num_rows
        self.held_bytes += record.nbytes
        if self.held_rows > _HELD_PAGES * (self.plan.limit + self.plan.skip) or self.held_bytes > 4 * BYTES_MAX:
            self._keep(self._first()[0])

    def _first(self) -> tuple[pa.RecordBatch, int]:
        """The first rows of those held, in order: those of ``after`` that were shown, and how many, then the page. Of
        several shards one has all rows of one key."""
        rows = _ordered(concat(self.held))
        before, skip = 0, 0
        if self.plan.after is not None:
            places, key = range(rows.num_rows), _order(self.plan.after)
            before = bisect_left(places, key, key=lambda at: _order(key_at(rows, at)))
            skip = min(self.plan.skip, bisect_right(places, key, key=lambda at: _order(key_at(rows, at))) - before)
        rows = rows.slice(before)
        page = _fitting(rows.slice(0, skip + self.plan.limit), skip)
        if page.num_rows < rows.num_rows:
            self.more = True
            self.ceiling = _order(key_at(rows, page.num_rows))
        return page, skip

    def _keep(self, rows: pa.RecordBatch) -> None:
        rows = rows.take(pa.array(np.arange(rows.num_rows)))  # copied: a slice would keep all
        self.held, self.held_rows, self.held_bytes = [rows], rows.num_rows, rows.nbytes

    def partial(self) -> pa.Table:
        """What the pass found."""
        rows, skip = self._first() if self.held else (concat([]), 0)
        table = pa.Table.from_batches([rows.slice(skip)])
        return table.replace_schema_metadata({MORE: b"1" if self.more else b"0"})

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)


def merge(plan: TimelineScan, partials: Sequence[pa.Table]) -> pa.Table:
    """The page of ``plan`` out of those that several shards gave."""
    running = _Scan(replace(plan, where="", skip_duplicates=False, after=None, skip=0))  # that was done
    bounds = []
    for partial in partials:
        for record in partial.combine_chunks().to_batches():
            running.add(ScannedRows(record, False, 0))
            if partial.schema.metadata[MORE] == b"1":
                bounds.append(_order(key_at(record, record.num_rows - 1)))
    merged = running.partial()
    rows = concat(merged.to_batches())
    known = rows.num_rows
    if bounds:  # what a shard left out comes behind its last row
        known = bisect_right(range(rows.num_rows), min(bounds), key=lambda at: _order(key_at(rows, at)))
    more = bool(bounds) or merged.schema.metadata[MORE] == b"1"
    return pa.Table.from_batches([rows.slice(0, known)]).replace_schema_metadata({MORE: b"1" if more else b"0"})


def _ordered(rows: pa.RecordBatch) -> pa.RecordBatch:
    keys = [rows.column("time"), rows.column("event").cast(pa.utf8()), rows.column("insert_id")]
    order = pc.sort_indices(
        pa.table(keys, names=["0", "1", "2"]), sort_keys=[(name, "ascending", "at_start") for name in "012"]
    )
    return rows.take(order)


def _fitting(rows: pa.RecordBatch, at_least: int) -> pa.RecordBatch:
    """The first of ``rows`` that have ``BYTES_MAX``; one more than ``at_least``, if there are."""
    while rows.num_rows > at_least + 1 and (size := rows.take(pa.array(np.arange(rows.num_rows))).nbytes) > BYTES_MAX:
        rows = rows.slice(0, max(at_least + 1, min(rows.num_rows - 1, rows.num_rows * BYTES_MAX // size)))
    return rows


def key_at(rows: pa.RecordBatch, at: int) -> TimelineKey:
    """The key of one row."""
    time, event, insert = (rows.column(name)[at].as_py() for name in ("time", "event", "insert_id"))
    return time, event, insert


def _order(key: TimelineKey) -> tuple[int, bytes, bool, bytes]:
    time, event, insert = key
    return time, event.encode(), insert is not None, (insert or "").encode()


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a page ended: behind ``ties`` rows of ``key``."""

    key: TimelineKey
    ties: int

    def to_text(self, tenant: str, query: TimelineQuery) -> str:
        body = orjson.dumps([TOKEN_VERSION, _fingerprint(tenant, query), *self.key, self.ties])
        return base64.urlsafe_b64encode(body + hash_of(body.decode()).to_bytes(8, "big")).decode()

    @staticmethod
    def from_text(tenant: str, query: TimelineQuery) -> "PageToken | None":
        """That of the query; None: the first page is asked for. Raises ``QUERY_INVALID`` for anything but a token of
        the same timeline."""
        if not query.page_token:
            return None
        try:
            raw = base64.b64decode(query.page_token.encode("ascii"), altchars=b"-_", validate=True)
            body, checksum = raw[:-8], int.from_bytes(raw[-8:], "big")
            if hash_of(body.decode()) != checksum:
                raise ValueError("altered")
            version, fingerprint, time, event, insert, ties = orjson.loads(body)
            if version != TOKEN_VERSION:
                raise ValueError("of another version")
        except (ValueError, TypeError, binascii.Error) as error:
            raise _bad_token("it is no token, or not whole") from error
        if fingerprint != _fingerprint(tenant, query):
            raise _bad_token("it belongs to another timeline (tenant, user, dates, filter and duplicates must agree)")
        return PageToken((time, event, insert), ties)

    @staticmethod
    def behind(before: "PageToken | None", rows: pa.RecordBatch) -> "PageToken":
        """The token behind a page that came after ``before``; at least one row."""
        key = key_at(rows, rows.num_rows - 1)
        first = bisect_left(range(rows.num_rows), _order(key), key=lambda at: _order(key_at(rows, at)))
        ties = rows.num_rows - first
        return PageToken(key, ties + before.ties if before is not None and before.key == key else ties)


def _fingerprint(tenant: str, query: TimelineQuery) -> int:
    """What a token is bound to: everything but the size of the page."""
    dates = [query.from_date.isoformat(), query.to_date.isoformat()]
    return hash_of(orjson.dumps([tenant, *dates, query.user, query.where, query.include_duplicates]).decode())


def _bad_token(problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"page_token: {problem}", fields=(FieldFault("page_token", problem),))
