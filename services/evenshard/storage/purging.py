"""Removes what is hidden from every file: rows from segments and their side files, bytes from the log, names from the
catalog.

A purge goes in steps, each short enough that compactions may run between: index the tail, write segments without their
hidden rows, give up log files, wait for the last readers, forget the names. What is done is found in the catalog, so a
purge goes on after a restart as if nothing had been; ``purged`` is said only once a look at all of it finds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage import quarantine
from evenshard.storage.compaction.rewrite import without_hidden
from evenshard.storage.deletions import Deletion, Hiding
from evenshard.storage.indexing import (
    Pace,
    catalog_committed,
    discarding,
    merge_limits,
    next_segment_id,
    release,
    remove_log_files,
)
from evenshard.storage.log.writer import file_name
from evenshard.storage.log_age import rotate
from evenshard.storage.segment.info import FOLDER as SEGMENT_FOLDER
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import TenantRows, Visible, counting_identities


@dataclass(frozen=True, slots=True)
class Purge:
    """How far a tenant's purge is."""

    purged: bool
    """Nothing of what was asked for is left in any file."""
    rows_left: int
    """Rows of segments that may have to be rewritten, and rows that keep log files."""
    rows_done: int
    """Rows rewritten for it since the start of the process; for all that is hidden, the most for any of it."""
    waits_for: str
    """For people; empty: nothing."""


PURGED = Purge(True, 0, 0, "")


def purge_status(state: State, tenant: TenantId, operation: str) -> Purge:
    """Of one operation's users; of all that is hidden for an empty ``operation``. One that never was here, or so long
    ago that it is forgotten, has nothing left."""
    asked = [record for record in state.catalog.deletions(tenant) if operation in ("", record.operation)]
    rows = state.tenants.get(tenant)
    if rows is None or not asked:
        return PURGED
    done = max(rows.rows_purged.get(record.seq, 0) for record in asked)
    waiting = [record for record in asked if not record.retired]
    if not waiting:
        return replace(PURGED, rows_done=done)
    with state.visible_lock:
        visible = rows.visible
    last = waiting[-1]
    left = visible.tail_rows if _tail_below(visible, last) else 0
    left += sum(segment.rows for segment in visible.segments if _hiding(visible, segment, last) is not None)
    with state.append_lock:
        keepers = log_keepers(state, tenant, last.position)
    left += sum(unindexed_rows(state, name) for name in keepers if name != tenant)
    return Purge(False, left, done, _waits_for(state, rows, visible, last, keepers))


def _waits_for(state: State, rows: TenantRows, visible: Visible, last: Deletion, keepers: Sequence[TenantId]) -> str:
    if _tail_below(visible, last):
        return "rows to be indexed"
    if any(segment.deletions_seen < last.seq for segment in visible.segments):
        return "segments to be rewritten"
    if keepers:
        return f"rows of {', '.join(keepers)} to be indexed, which keep log files"
    if _waits_for_follower(rows, last):
        return "the shard that follows this one to be told whom it hid"
    kept = state.pins.kept(rows.tenant)
    if kept:
        return f"a scan that still reads {kept[0]}, or that file to be removed"
    return "files to be removed"


def purge_step(state: State, tenant: TenantId, pace: Pace = lambda _: None) -> bool:
    """Does the next piece of what is left to do for all that is hidden now; False: nothing is, or only waiting.

    Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED`` (once all segments that can be read are done); to be
    tried again.
    """
    rows = state.tenants.get(tenant)
    if rows is None or not rows.visible.deletions:
        return False
    last = rows.visible.deletions.records[-1]
    if _tail_below(rows.visible, last):
        rows.note_purged(release(state, tenant, pace).rows)
        return True
    try:
        if _rewrite_next(state, rows, last.seq, pace):
            return True
        return give_up_log(state, tenant, last.position, pace) or _forget(state, rows, last)
    except OSError as error:
        raise refusal(error, f"{tenant} could not be purged") from error


def _tail_below(visible: Visible, last: Deletion) -> bool:
    """Whether rows that were stored before the deletion may not be indexed yet. Blocks do not say where they begin, so
    rows that came right after it may be indexed too; then the mark is above it."""
    return bool(visible.blocks) and visible.mark < last.position


def _waits_for_follower(rows: TenantRows, last: Deletion) -> bool:
    """Whether names, and the log, are still needed for a shard that follows this one."""
    told = rows.moves.deletions_kept_after
    return told is not None and told < last.seq


def _hiding(visible: Visible, segment: SegmentInfo, last: Deletion) -> Hiding | None:
    """What may hide rows of a segment; None: by what the catalog knows, nothing does."""
    hiding = visible.deletions.hiding(segment.deletions_seen) if segment.deletions_seen < last.seq else None
    if hiding is None or not hiding.may_hide(*segment.hash_bounds, segment.min_time_ms):
        return None
    return hiding


def _rewrite_next(state: State, rows: TenantRows, last_seq: int, pace: Pace) -> bool:
    """Writes the next segment with hidden rows anew, without them, and notes which were found to have none before it;
    False: all are done. Damaged ones go into quarantine; raises why once the others are done."""
    with rows.maintenance:
        visible = rows.visible
        seen = visible.deletions.last_seq
        clean: list[SegmentInfo] = []
        unreadable: EvenshardError | None = None
        for segment in visible.segments:
            if segment.deletions_seen >= last_seq:
                continue
            hiding = visible.deletions.hiding(segment.deletions_seen)
            if hiding is not None and segment.max_time_ms < hiding.horizon_ms:
                _commit(state, rows, (), [segment], clean)
                return True
            try:
                reader = _reader_of_hidden(state, segment, hiding)
                if reader is None or hiding is None:
                    clean.append(replace(segment, deletions_seen=seen))
                    continue
                with discarding(state, rows):
                    added = without_hidden(
                        state.disk,
                        lambda: next_segment_id(state, rows),
                        reader,
                        hiding,
                        deletions_seen=seen,
                        shard=state.shard,
                        limits=merge_limits(state.settings),
                    )
            except EvenshardError as error:
                if error.code != "DATA_DAMAGED":
                    raise
                state.quarantine_segment(segment, error)
                lost = quarantine.quarantined_segment(segment, error)
                unreadable = unreadable or quarantine.refusal(rows.tenant, lost)
                continue
            _commit(state, rows, added, [segment], clean)
            rows.note_purged(segment.rows)
            pace(sum(info.bytes for info in added))
            return True
        if clean:
            _commit(state, rows, (), (), clean)
        if unreadable is not None:
            raise unreadable
        return False


def _reader_of_hidden(state: State, segment: SegmentInfo, hiding: Hiding | None) -> SegmentReader | None:
    """A segment's reader, if any of its rows is hidden; where its bounds do not rule that out, it is read."""
    if hiding is None or not hiding.may_hide(*segment.hash_bounds, segment.min_time_ms):
        return None
    reader = SegmentReader(state.disk, segment)
    return reader if reader.hidden_rows(hiding) else None


def _commit(
    state: State,
    rows: TenantRows,
    added: Sequence[SegmentInfo],
    removed: Sequence[SegmentInfo],
    changed: Sequence[SegmentInfo],
) -> None:
    """In the catalog, then for scans and appends; the files of what was replaced go with their last reader."""
    segments = catalog_committed(
        state, rows.tenant, added, [segment.id for segment in removed], rows.visible.mark, changed
    )
    indexed = counting_identities(state.disk, segments, rows.visible.layers, state.cache)
    with state.append_lock:
        with state.visible_lock:
            rows.replace_segments(segments, indexed)
        state.cache.forget({segment.id for segment in removed})
    state.pins.remove(removed)


def log_keepers(state: State, tenant: TenantId, position: int) -> list[TenantId]:
    """Tenants whose unindexed rows keep log files with rows of ``tenant`` from before a position. Under
    ``append_lock``."""
    holding = state.log_files.holding(tenant, below=position)
    return state.log_files.keeping(holding[-1], state.catalog.mark) if holding else []


def unindexed_rows(state: State, tenant: TenantId) -> int:
    rows = state.tenants.get(tenant)
    return 0 if rows is None else rows.visible.tail_rows


def give_up_log(state: State, tenant: TenantId, position: int, pace: Pace) -> bool:
    """Log files with rows from before a position go; False: there are none any more, or they cannot be removed."""
    with state.append_lock:
        holding = state.log_files.holding(tenant, below=position)
        if not holding:
            return False
        if holding[-1] == state.writer.number:
            rotate(state)
        keepers = log_keepers(state, tenant, position)
    if keepers:
        release(state, keepers[0], pace)
        with state.append_lock:
            return keepers[0] not in log_keepers(state, tenant, position)
    remove_log_files(state)
    if state.needed_from(tenant) < position:  # a follower has not taken it yet
        return False
    with state.append_lock:
        left = state.log_files.holding(tenant, below=position)
    if left:
        state.report(f"{file_name(left[0])} is to be removed for a deletion of {tenant}, and still there")
    return not left


def _forget(state: State, rows: TenantRows, last: Deletion) -> bool:
    """Forgets the names, if nothing of them is left; the last step."""
    with rows.maintenance:
        with state.append_lock:
            visible = rows.visible
            in_log = bool(state.log_files.holding(rows.tenant, below=last.position))
        behind = any(segment.deletions_seen < last.seq for segment in visible.segments)
        if in_log or behind or _tail_below(visible, last) or state.pins.kept(rows.tenant):
            return False
        if _waits_for_follower(rows, last):
            return False
        if state.disk.list(SEGMENT_FOLDER):
            state.disk.sync_directory(SEGMENT_FOLDER)
        seqs = [record.seq for record in visible.deletions.records if record.seq <= last.seq]
        with state.append_lock:  # what was looked up in segments that had the rows
            state.cache.scratch.forget_all_but(frozenset(info.id for info in state.catalog.all_segments))
        with state.changing_catalog() as catalog:
            catalog.retire_deletions(rows.tenant, seqs)
        with state.append_lock, state.visible_lock:
            rows.forget_deletions(seqs)
    return True
