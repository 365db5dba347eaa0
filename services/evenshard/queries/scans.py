"""A scan is what a gateway asks of one shard: JSON in, a partial answer (an Arrow IPC stream) out.

The gateway's planner writes it with everything decided: bucket boundaries are instants, so a shard knows no time
zones. A shard asks ``columns_needed`` what to read, reads it, and gives the rows to ``run``.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import orjson
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.hotkeys.view import View
from evenshard.queries import funnel, funnel_plain, segmentation, segmentation_parts
from evenshard.queries.expression import names_in, parse
from evenshard.queries.plan import FunnelScan, ScanStats, SegmentationScan, scan_of
from evenshard.queries.segmentation_parts import clock_for

PARTIAL_BYTES_MAX = 60 << 20
"""Less than services send each other in one message."""


class ColumnsNeeded(NamedTuple):
    """What a scan reads."""

    fields: tuple[str, ...]
    """Of ``event``, ``distinct_id``, ``time``, ``insert_id``."""
    properties: tuple[str, ...]
    """Names of properties, all their types."""
    start_ms: int
    end_ms: int
    """Half-open."""
    users: bool
    """Whose the rows are: of rows that come without users, ``distinct_id`` besides ``fields``."""

    @property
    def fields_without_users(self) -> tuple[str, ...]:
        """Of rows of which it is not known whose they are."""
        return tuple(sorted({*self.fields, "distinct_id"})) if self.users else self.fields


def columns_needed(scan: bytes) -> ColumnsNeeded:
    """What to read for ``scan``. Raises ``QUERY_INVALID`` for one that cannot be read."""
    plan, users = _read(scan), False
    match plan:
        case SegmentationScan():
            fields, properties = segmentation.columns_of(plan)
            users = plan.measure == "unique" and clock_for(plan) is not None
            if users and "$distinct_id" not in {*plan.by, *(names_in(parse(plan.where)) if plan.where else ())}:
                fields = tuple(field for field in fields if field != "distinct_id")
        case FunnelScan():
            fields, properties = funnel.columns_of(plan)
            users = plan.is_plain
            wheres = [plan.where, *(step.where for step in plan.steps)]
            if users and not any("$distinct_id" in names_in(parse(where)) for where in wheres if where):
                fields = tuple(field for field in fields if field != "distinct_id")
    return ColumnsNeeded(fields, properties, plan.start_ms, plan.end_ms, users)


def view_for(scan: bytes) -> View:
    """Shows the rows read for ``scan`` as it must see them, and counts those rewritten whose original names it selects
    within its range of dates. Raises ``QUERY_INVALID``."""
    plan, needed = _read(scan), columns_needed(scan)
    match plan:
        case SegmentationScan():
            events = plan.events
            inside = [
                pair for pair, bucket in zip(pairwise(plan.bounds_ms), plan.bucket_of, strict=True) if bucket >= 0
            ]
            ranges_ms = _joined(inside)
        case FunnelScan():
            named = [step.events for step in (*plan.steps, *(each.step for each in plan.exclusions))]
            if plan.order == "strict":
                named.append(())  # any event breaks it
            events = tuple(dict.fromkeys(name for names in named for name in names)) if all(named) else ()
            ranges_ms = list(zip(plan.entries_ms[::2], plan.entries_ms[1::2], strict=True))
    return View(
        needed.fields_without_users,
        needed.properties,
        events=events,
        ranges_ms=ranges_ms,
        skip_duplicates=plan.skip_duplicates,
    )


def run(
    scan: bytes, rows: Parts | Iterable[ScannedRows], check: Callable[[], None] = lambda: None
) -> tuple[bytes, ScanStats]:
    """Goes once through ``rows``, which hold ``columns_needed``, and returns the partial and the account of the scan.

    Long computation: call it in a thread; ``check`` is called every now and then and may raise to end it. Raises
    ``QUERY_INVALID`` where the answer would exceed a bound.
    """
    plan = _read(scan)
    match plan:
        case SegmentationScan():
            clock = clock_for(plan)
            if clock is None:
                table, stats = segmentation.scan_rows(plan, _rows(rows, check))
            else:
                table, stats = segmentation_parts.scan_parts(plan, clock, _parts(rows), check)
        case FunnelScan() if plan.is_plain:
            table, stats = funnel_plain.scan_parts(plan, _parts(rows), check)
        case FunnelScan():
            table, stats = funnel.scan_rows(plan, _rows(rows, check))
    partial = write_partial(table)
    if len(partial) > PARTIAL_BYTES_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"a shard's part of the answer has {len(partial)} bytes, more than {PARTIAL_BYTES_MAX}",
            hint="ask for fewer days, a shorter window, or filter with where",
        )
    return partial, stats


def _parts(rows: Parts | Iterable[ScannedRows]) -> Parts:
    return rows if isinstance(rows, Parts) else Parts([Part.of(some) for some in rows])


def _rows(rows: Parts | Iterable[ScannedRows], check: Callable[[], None]) -> Iterable[ScannedRows]:
    """Only rows that are meant."""
    for some in (part.read() for part in rows.parts) if isinstance(rows, Parts) else rows:
        check()
        kept = some.kept()
        if kept.record.num_rows:
            yield kept


def write_partial(table: pa.Table) -> bytes:
    """A partial as it travels."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def read_partial(data: bytes) -> pa.Table:
    """What ``write_partial`` wrote."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def _read(scan: bytes) -> SegmentationScan | FunnelScan:
    try:
        return scan_of(scan)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvenshardError("QUERY_INVALID", f"the scan cannot be read: {error!r}") from error
