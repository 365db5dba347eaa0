"""Moves a tenant's rows from the log into segments, while appends and scans go on.

Until the new segments are committed the old tail and its identities answer; then both change places at once. The rows
taken are always a prefix of the tenant's log, and its *mark* says where that ends.
"""

import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.compaction.compact import Compaction, Limits, compact
from evenshard.storage.compaction.plan import plan, ranges_of, storage_day
from evenshard.storage.compaction.settle import as_it_is, checked
from evenshard.storage.identity import IdentitySet
from evenshard.storage.layers import COPIED, Layer, plain
from evenshard.storage.log.writer import FOLDER, file_name
from evenshard.storage.moving.joining import joined, ready_to_join
from evenshard.storage.ownership import Foreign
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.value_keys import KEY_BYTES
from evenshard.storage.segment.written_keys import WrittenKeys
from evenshard.storage.settings import StorageSettings
from evenshard.storage.state import State, refusal
from evenshard.storage.tail.runs import next_run, sorted_run, tables
from evenshard.storage.tenant import TenantRows, Visible, counting_identities


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did. ``rows`` were indexed, ``backlog_rows`` came meanwhile and are still in the log."""

    segments_written: int
    rows: int
    duplicates_marked: int
    backlog_rows: int


NOTHING = Compacted(0, 0, 0, 0)


Pace = Callable[[int], None]
"""Told of bytes written; may wait."""
_UNREADABLE_MAX = 8
"""So many segments may turn out to be unreadable within one compaction; the next one knows of them."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a compaction begins with."""

    taken: Visible
    """The rows it indexes are those of its blocks."""
    identities: IdentitySet
    """Of these."""
    kept: WrittenKeys
    """Gets the identity fields of what is written."""


def compact_tenant(state: State, tenant: TenantId, pace: Pace = lambda _: None, *, apart: bool = False) -> Compacted:
    """Indexes all the tenant has in the log now. Raises with everything as before.

    Segments that turn out to be damaged go into quarantine and are left as they are: the rows in the log do not wait
    for them. ``apart``: the rows become runs of their own, and no segment is read or merged.
    """
    rows = state.tenants.get(tenant)
    if rows is None:
        return NOTHING
    with rows.maintenance:
        _join_copied(state, rows)
        with state.append_lock:
            begun = _Begun(rows.visible, rows.seal(), state.cache.begin_writing())
        try:
            result, removed = _write(state, rows, begun, pace, apart=apart)
        except BaseException as error:
            with state.append_lock:
                rows.unseal()
                begun.kept.begin()
                state.cache.end_writing(begun.kept)
            if isinstance(error, OSError):
                raise refusal(error, f"{tenant} could not be compacted") from error
            raise
    state.pins.remove(removed)
    remove_log_files(state)
    return result


def release(state: State, tenant: TenantId, pace: Pace = lambda _: None) -> Compacted:
    """Gets all the tenant's rows out of the log, by a compaction, or apart where something is wrong with its segments.
    Raises what the disk, or ``pace``, keeps from being done."""
    try:
        return compact_tenant(state, tenant, pace)
    except Exception as error:
        if isinstance(error, EvenshardError) and error.code != "DATA_DAMAGED":
            raise
        state.report(f"{tenant}: its rows are indexed apart, since its compaction failed: {error!r}")
    return compact_tenant(state, tenant, pace, apart=True)


def _join_copied(state: State, rows: TenantRows) -> None:
    """Rows that came in moves become like any others, as soon as they may be. Under ``maintenance``."""
    with state.append_lock:
        visible = rows.visible
        ready = ready_to_join(visible.layers, visible.mark, has_tail=bool(visible.blocks))
        if not ready:
            return
        changed = joined(visible.segments, ready)
        segments = catalog_committed(state, rows.tenant, (), (), visible.mark, changed, layers_gone=ready)
        layers = state.catalog.layers(rows.tenant)
        indexed = counting_identities(state.disk, segments, layers, state.cache)
        with state.visible_lock:
            rows.replace_segments(segments, indexed, layers)


def is_unsettled(
    rows: TenantRows, segments: tuple[SegmentInfo, ...], day: int, unreadable: Container[int] = ()
) -> bool:
    """Whether segments have to be merged although no rows came: a day is over, late rows have become due, or rows came
    in a move. Looked at once a day and after each change."""
    if rows.settled is not None and rows.settled[0] == day and rows.settled[1] is segments:
        return False
    if not rows.visible.blocks and any(segment.layer.startswith(COPIED) for segment in segments):
        return True
    if plan(ranges_of(plain(segments)), {}, day, spared=unreadable):
        return True
    rows.settled = day, segments
    return False


def _write(
    state: State, rows: TenantRows, begun: _Begun, pace: Pace, *, apart: bool
) -> tuple[Compacted, Sequence[SegmentInfo]]:
    """Writes, commits and swaps; also returns the segments that were replaced."""
    taken = begun.taken
    mark = taken.blocks[-1].end_position if taken.blocks else taken.mark
    with discarding(state, rows):
        written = _compact(state, rows, begun, pace, apart=apart)
    if not taken.blocks and not written.added and not written.removed:
        with state.append_lock:
            rows.unseal()
            state.cache.end_writing(begun.kept)
        return replace(NOTHING, backlog_rows=rows.visible.tail_rows), ()
    gone = frozenset(written.removed)
    removed = [segment for segment in taken.segments if segment.id in gone]
    stay = [segment for segment in taken.segments if segment.id not in gone]
    indexed = counting_identities(state.disk, [*stay, *written.added], taken.layers, state.cache)
    segments = catalog_committed(state, rows.tenant, written.added, written.removed, mark)
    with state.append_lock:
        with state.visible_lock:
            rows.indexed_up_to(len(taken.blocks), mark, segments, indexed)
        state.cache.forget(gone)
        state.cache.end_writing(begun.kept)
    backlog = rows.visible.tail_rows
    return Compacted(len(written.added), written.rows, written.duplicates_marked, backlog), removed


def _compact(state: State, rows: TenantRows, begun: _Begun, pace: Pace, *, apart: bool) -> Compaction:
    """Sparing what cannot be read, once that is on record."""
    taken = begun.taken
    everything = {segment.id for segment in taken.plain}
    for tries_left in reversed(range(_UNREADABLE_MAX)):
        unreadable = state.cache.unreadable & everything
        begun.kept.begin()
        try:
            return compact(
                state.disk,
                lambda: next_segment_id(state, rows),
                rows.tenant,
                tables(taken.blocks, begun.identities),
                taken.plain,
                storage_day(state.clock.now_ms()),
                shard=state.shard,
                deletions=taken.deletions,
                limits=merge_limits(state.settings),
                spared=everything if apart else unreadable,
                settle=as_it_is if apart else checked,
                pace=pace,
                kept=begun.kept,
            )
        except EvenshardError as error:
            file = error.details.get("file")
            damaged = [each for each in taken.segments if file in each.files and each.id not in unreadable]
            if error.code != "DATA_DAMAGED" or not damaged or not tries_left:
                raise
            for segment in damaged:
                state.quarantine_segment(segment, error)
    raise AssertionError("the last try returns or raises")


def merge_limits(settings: StorageSettings) -> Limits:
    """What a merge may hold in memory."""
    return Limits(window_bytes=settings.window_bytes, value_keys=settings.value_keys_bytes // KEY_BYTES)


def next_segment_id(state: State, rows: TenantRows) -> int:
    """For a segment of the tenant that is written now, within ``discarding``."""
    with state.changing_catalog() as catalog:
        rows.writing.append(catalog.next_segment_id())
    return rows.writing[-1]


@contextmanager
def discarding(state: State, rows: TenantRows) -> Iterator[None]:
    """Under ``maintenance``, around the writing of segments: where it fails, their files go, if not at once then when
    it can be; a purge waits for them."""
    rows.writing.clear()
    try:
        yield
    except BaseException:
        state.pins.discard(rows.tenant, rows.writing)
        raise


def catalog_committed(
    state: State,
    tenant: TenantId,
    added: Sequence[SegmentInfo],
    removed: Sequence[int],
    mark: int,
    changed: Sequence[SegmentInfo] = (),
    layers: Sequence[Layer] = (),
    layers_gone: Sequence[str] = (),
    foreign: Foreign | None = None,
) -> tuple[SegmentInfo, ...]:
    """The tenant's live segments after the commit; arguments as of ``Catalog.commit``."""
    try:
        with state.changing_catalog() as catalog:
            before = catalog.segments.get(tenant, ())
            try:
                moves = state.tenants[tenant].moves.records()  # what they have of the log is not read again
                catalog.commit(
                    tenant,
                    added,
                    removed,
                    mark,
                    changed,
                    layers=layers,
                    layers_gone=layers_gone,
                    moves=moves,
                    foreign=foreign,
                )
            except sqlite3.Error as error:
                committed = catalog.mark(tenant) == mark and catalog.segments.get(tenant, ()) != before
                if not committed:
                    raise
                # Committed; only emptying SQLite's own log failed, which the next change does again.
                state.report(f"the catalog's write-ahead log could not be emptied: {error}")
            return catalog.segments.get(tenant, ())
    except EvenshardError as error:
        if error.code == "DISK_FULL":  # certainly not committed; elsewhere only the next start knows
            state.pins.discard(tenant, [info.id for info in added])
        raise


def remove_log_files(state: State) -> None:
    """Log files without unindexed rows go, the oldest first, each durably before the next: no gap can come to be.
    Appends do not wait for it."""
    with state.log_removal_lock:
        with state.append_lock:
            numbers = state.log_files.removable(state.writer.number, state.needed_from)
        for number in numbers:
            try:
                state.disk.unlink(file_name(number))
                state.disk.sync_directory(FOLDER)
            except OSError as error:
                state.report(f"{file_name(number)} could not be removed: {error}")
                return
            with state.append_lock:
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
