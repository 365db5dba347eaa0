"""Exports: the question, the cursor to go on from, and the merge of sorted streams, window by window.

Rows are ordered by (time, distinct_id, event, insert_id), bytewise, a missing insert_id first. Of rows that agree in
all four the original comes first; copies of a hot event may be of several shards, and keep the order in which each
gives them.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.hashing import hash_of
from evenshard.events.properties import concat
from evenshard.events.scan import DUPLICATE
from evenshard.queries.plan import SegmentationScan

Format = Literal["ndjson", "arrow"]
EVENTS_MAX = 1_000
CURSOR_VERSION = 1

Key = tuple[int, bytes, bytes, bool, bytes]
"""time, distinct_id, event, whether there is an insert_id, insert_id; compares as rows are ordered."""


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """An export; made by ``export_query``."""

    tenant: str
    start_ms: int
    end_ms: int
    """Half-open."""
    events: tuple[str, ...]
    format: Format
    include_duplicates: bool
    restore_hot: bool = False
    """Hot events as they came."""

    def fingerprint(self) -> int:
        """What a cursor is bound to: everything but the format."""
        bound: list[object] = [self.tenant, self.start_ms, self.end_ms, self.events, self.include_duplicates]
        if self.restore_hot:
            bound.append("restore_hot")
        return hash_of(orjson.dumps(bound).decode())


def export_query(
    *,
    tenant: str,
    start_ms: int,
    end_ms: int,
    events: Sequence[str],
    output: str,
    include_duplicates: bool,
    restore_hot: bool = False,
) -> ExportQuery:
    """Checks an export; an empty output is ndjson. Raises ``RANGE_INVALID`` or ``QUERY_INVALID``, naming the field."""
    if start_ms > end_ms:
        problem = f"{start_ms} is after end_ms {end_ms}"
        raise EvenshardError("RANGE_INVALID", f"start_ms: {problem}", fields=(FieldFault("start_ms", problem),))
    if len(events) > EVENTS_MAX:
        problem = f"at most {EVENTS_MAX} names, not {len(events)}"
        raise EvenshardError("QUERY_INVALID", f"events: {problem}", fields=(FieldFault("events", problem),))
    match output or "ndjson":
        case "ndjson" | "arrow" as known:
            names = tuple(dict.fromkeys(events))
            return ExportQuery(tenant, start_ms, end_ms, names, known, include_duplicates, restore_hot)
    problem = f"{output!r} is none of ndjson, arrow"
    raise EvenshardError("QUERY_INVALID", f"format: {problem}", fields=(FieldFault("format", problem),))


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where an export stands: behind ``ties`` rows of ``key``, ``emitted`` rows in all."""

    key: Key
    ties: int
    emitted: int
    data_version: str
    """Of the shards, when the export began."""

    def to_text(self, query: ExportQuery) -> str:
        time, user, event, has_insert, insert = self.key
        body = orjson.dumps(
            {
                "version": CURSOR_VERSION,
                "query": query.fingerprint(),
                "key": [time, user.decode(), event.decode(), insert.decode() if has_insert else None],
                "ties": self.ties,
                "emitted": self.emitted,
                "data_version": self.data_version,
            }
        )
        return base64.urlsafe_b64encode(body + hash_of(body.decode()).to_bytes(8, "big")).decode()

    @staticmethod
    def from_text(text: str, query: ExportQuery) -> "Cursor":
        """Raises ``QUERY_INVALID`` for anything but a cursor of the same export."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            body, checksum = raw[:-8], int.from_bytes(raw[-8:], "big")
            if hash_of(body.decode()) != checksum:
                raise ValueError("altered")
            fields = orjson.loads(body)
            if fields["version"] != CURSOR_VERSION:
                raise ValueError("of another version")
            time, user, event, insert = fields["key"]
            key = (time, user.encode(), event.encode(), insert is not None, (insert or "").encode())
            cursor = Cursor(key, fields["ties"], fields["emitted"], fields["data_version"])
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise _bad_cursor("it is not a cursor, or not whole") from error
        if fields["query"] != query.fingerprint():
            raise _bad_cursor("it belongs to another export (tenant, times, events and duplicates must be the same)")
        return cursor


def _bad_cursor(problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"cursor: {problem}", fields=(FieldFault("cursor", problem),))


def count_scan(query: ExportQuery, until_ms: int, *, skip_duplicates: bool) -> SegmentationScan:
    """Counts an export's rows before ``until_ms``; with ``until_ms = start_ms`` it only tells the data version."""
    return SegmentationScan(
        bounds_ms=(query.start_ms, until_ms),
        bucket_of=(0,),
        buckets=1,
        events=query.events,
        where="",
        by=(),
        measure="total",
        limit=1,
        skip_duplicates=skip_duplicates,
        keep=None,
    )


def key_at(rows: pa.RecordBatch, at: int) -> Key:
    """The key of one row."""
    insert: str | None = rows.column("insert_id")[at].as_py()
    return (
        rows.column("time")[at].as_py(),
        rows.column("distinct_id")[at].as_py().encode(),
        rows.column("event")[at].as_py().encode(),
        insert is not None,
        (insert or "").encode(),
    )


def rows_before(rows: pa.RecordBatch, key: Key) -> int:
    """How many of the sorted ``rows`` come before ``key``."""
    return bisect_left(range(rows.num_rows), key, key=lambda at: key_at(rows, at))


def rows_through(rows: pa.RecordBatch, key: Key) -> int:
    """How many of the sorted ``rows`` come before ``key`` or bear it."""
    return bisect_right(range(rows.num_rows), key, key=lambda at: key_at(rows, at))


def next_window(heads: Sequence[pa.RecordBatch]) -> tuple[pa.RecordBatch, list[pa.RecordBatch]]:
    """From the next rows of each stream (none empty) everything up to the smallest of their last keys, in order, and
    what is left of each; at least one is used up. What has not been read yet comes later than all of it."""
    last = min(key_at(head, head.num_rows - 1) for head in heads)
    counts = [rows_through(head, last) for head in heads]
    parts = [head.slice(0, count) for head, count in zip(heads, counts, strict=True) if count]
    rest = [head.slice(count) for head, count in zip(heads, counts, strict=True)]
    return (parts[0] if len(parts) == 1 else _merged(parts)), rest


def _merged(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of different columns as one, sorted; copies behind their original, whichever shards have them."""
    rows = concat(parts)
    keys = [rows.column("time"), rows.column("distinct_id"), rows.column("event").cast(pa.utf8())]
    order = pc.sort_indices(
        pa.table([*keys, rows.column("insert_id"), rows.column(DUPLICATE)], names=["0", "1", "2", "3", "4"]),
        sort_keys=[(name, "ascending", "at_start") for name in "01234"],
    )
    return rows.take(order)


def behind(cursor: Cursor | None, emitted_now: pa.RecordBatch, data_version: str) -> Cursor:
    """The cursor behind rows that were emitted after ``cursor``; at least one."""
    rows = emitted_now.num_rows
    key = key_at(emitted_now, rows - 1)
    ties = rows - rows_before(emitted_now, key)
    if cursor is None:
        return Cursor(key, ties, rows, data_version)
    if ties == rows and cursor.key == key:
        ties += cursor.ties
    return Cursor(key, ties, cursor.emitted + rows, cursor.data_version)
