"""Moves a tenant's rows from the log into segments, while appends and scans go on.

Until the new segments are committed the old tail and its identities answer; then both change places at once. The rows
taken are always a prefix of the tenant's log, and its *mark* says where that ends.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.compaction.compact import Compaction, compact
from evenshard.storage.log.writer import FOLDER, file_name
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import SegmentInfo, day_of
from evenshard.storage.state import State, refusal
from evenshard.storage.tail.runs import next_run, sorted_run, tables
from evenshard.storage.tenant import TenantRows, Visible


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did. ``rows`` were indexed, ``backlog_rows`` came meanwhile and are still in the log."""

    segments_written: int
    rows: int
    duplicates_marked: int
    backlog_rows: int


NOTHING = Compacted(0, 0, 0, 0)


def compact_tenant(state: State, tenant: TenantId) -> Compacted:
    """Indexes all the tenant has in the log now. Raises with everything as before."""
    rows = state.tenants.get(tenant)
    if rows is None:
        return NOTHING
    with rows.maintenance:
        with state.append_lock:
            rows.seal()
            taken = rows.visible
        try:
            result, removed = _write(state, rows, taken)
        except BaseException as error:
            with state.append_lock:
                rows.unseal()
            if isinstance(error, OSError):
                raise refusal(error, f"{tenant} could not be compacted") from error
            raise
    state.pins.remove(removed)
    _remove_log_files(state)
    return result


def _write(state: State, rows: TenantRows, taken: Visible) -> tuple[Compacted, Sequence[SegmentInfo]]:
    """Writes, commits and swaps; also returns the segments that were replaced."""
    mark = taken.blocks[-1].end_position if taken.blocks else taken.mark
    written = compact(
        state.disk,
        lambda: _next_segment_id(state),
        rows.tenant,
        tables(taken.blocks),
        taken.segments,
        day_of(state.clock.now_ms()),
        shard=state.shard,
    )
    if not taken.blocks and not written.added and not written.removed:
        with state.append_lock:
            rows.unseal()
        return replace(NOTHING, backlog_rows=rows.visible.tail_rows), ()
    gone = frozenset(written.removed)
    removed = [segment for segment in taken.segments if segment.id in gone]
    kept = [segment for segment in taken.segments if segment.id not in gone]
    indexed = IndexedIdentities(state.disk, [*kept, *written.added], state.cache)
    try:
        segments = _commit(state, rows.tenant, written, mark)
    except EvenshardError as error:
        if error.code == "DISK_FULL":  # not committed for certain: each try would fill the disk further
            state.pins.remove(written.added)
        raise
    with state.append_lock, state.visible_lock:
        rows.indexed_up_to(len(taken.blocks), mark, segments, indexed)
    backlog = rows.visible.tail_rows
    return Compacted(len(written.added), written.rows, written.duplicates_marked, backlog), removed


def _next_segment_id(state: State) -> int:
    with state.changing_catalog() as catalog:
        return catalog.next_segment_id()


def _commit(state: State, tenant: TenantId, written: Compaction, mark: int) -> tuple[SegmentInfo, ...]:
    """The tenant's live segments after the commit."""
    with state.changing_catalog() as catalog:
        before = catalog.segments.get(tenant, ())
        try:
            catalog.commit(tenant, written.added, written.removed, mark)
        except sqlite3.Error as error:
            changed = catalog.mark(tenant) == mark and catalog.segments.get(tenant, ()) != before
            if not changed:
                raise
            # Committed; only emptying SQLite's own log failed, which the next change does again.
            state.report(f"the catalog's write-ahead log could not be emptied: {error}")
        return catalog.segments.get(tenant, ())


def _remove_log_files(state: State) -> None:
    """Log files without unindexed rows go, the oldest first, each durably before the next: no gap can come to be."""
    with state.append_lock:
        for number in state.log_files.removable(state.writer.number, state.catalog.mark):
            try:
                state.disk.unlink(file_name(number))
                state.disk.sync_directory(FOLDER)
            except OSError as error:
                state.report(f"{file_name(number)} could not be removed: {error}")
                return
            state.log_files.remove(number)


def sort_tail(state: State, tenant: TenantId) -> bool:
    """Makes one run of some of the tenant's blocks; False: it is not time to, or a compaction has them."""
    rows = state.tenants.get(tenant)
    if rows is None or not rows.maintenance.acquire(blocking=False):
        return False
    try:
        blocks = rows.visible.blocks
        chosen = next_run(blocks)
        if chosen is None:
            return False
        run = sorted_run(blocks[chosen.start : chosen.stop])
        with state.append_lock, state.visible_lock:
            rows.put_run(chosen, run)
        return True
    finally:
        rows.maintenance.release()
