"""Rows of slots that the shard does not own go: into a trash, which is emptied later, or for good.

A segment none of whose rows stays becomes trash as it is; others are written anew as two. Trash is a layer that nobody
sees, and whose rows are nobody's originals.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import PLACEMENT_HASH, SPREAD, Bools
from evenshard.storage.compaction.plan import storage_day
from evenshard.storage.indexing import Pace, catalog_committed, release
from evenshard.storage.layers import TRASH, Layer, of_layer
from evenshard.storage.moving.hot_keys import Opens, keep_as_originals
from evenshard.storage.moving.known import without_moved
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.telling import told_segments
from evenshard.storage.ownership import block_spread
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.order import only_chunk
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.splitting import split_segment
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import TenantRows, counting_identities

TRASH_DAYS: Final = 7
"""Dropped rows are kept so long."""


def drop(
    state: State, moved: MovedSlots, name: str, open_snapshot: Opens, pace: Pace, *, spread: bool, for_good: bool
) -> int:
    """All rows of the slots that are here go; how many that were. The shard owns none of the slots. ``spread``: rows
    that are spread still come here. May be called again. Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``.
    """
    with state.append_lock:
        rows = state.rows(moved.tenant)
    release(state, moved.tenant, pace)  # what becomes an original elsewhere must not be derived anew by a replay
    if not moved.overflow:
        keep_as_originals(state, rows, moved, open_snapshot, spread=spread)
    layer = f"{TRASH}{name}/{storage_day(state.clock.now_ms())}"
    dropped = 0
    try:
        with rows.maintenance:
            told = told_segments(rows.visible, moved)
            whole = [segment for segment in told if moved.has_all_of(segment)]
            if whole:  # at once: appends, and the fences of others' moves, wait for each commit
                changed = [replace(segment, layer=layer) for segment in whole]
                _commit(state, rows, changed, (), trash=layer, changed=True)
                dropped += sum(segment.rows for segment in whole)
            for segment in told:
                if not moved.has_all_of(segment):
                    dropped += _drop_of(state, rows, segment, partial(_rows, moved), moved.fields, layer, pace)
            if for_good and layer in rows.visible.layers:
                _commit(state, rows, (), of_layer(rows.visible.segments, layer), gone=layer)
            foreign = without_moved(rows.visible.foreign, moved)
            with state.append_lock:
                rows.moves.changed()
                if not _may_have_tail(rows, moved) and foreign is not rows.visible.foreign:
                    catalog_committed(state, moved.tenant, (), (), rows.visible.mark, foreign=foreign)
                    with state.visible_lock:
                        rows.visible = replace(rows.visible, foreign=foreign)
    except OSError as error:
        raise refusal(error, f"rows of {moved.tenant} could not be dropped") from error
    return dropped


def expunge(state: State, moved: MovedSlots, users: Collection[str], before_ms: int | None, pace: Pace) -> None:
    """Rows of the slots that are of some users, or of times before one, are gone for good: of a follower, whom a
    deletion at its source hid. No other rows are touched. Raises as ``drop``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
    release(state, moved.tenant, pace)
    wanted = pa.array(sorted(users), pa.utf8())

    def meant(record: pa.RecordBatch) -> Bools:
        chosen = _rows(moved, record)
        if before_ms is not None:
            chosen &= record.column("time").to_numpy() < before_ms
            return chosen
        ids = record.column("distinct_id")
        if pa.types.is_dictionary(ids.type):
            ids = ids.dictionary_decode()
        chosen &= pc.is_in(ids, value_set=wanted).to_numpy(zero_copy_only=False)
        return chosen

    try:
        with rows.maintenance:
            for segment in told_segments(rows.visible, moved):
                if before_ms is None or segment.min_time_ms < before_ms:
                    _drop_of(state, rows, segment, meant, (*moved.fields, "distinct_id", "time"), "", pace)
    except OSError as error:
        raise refusal(error, f"rows of {moved.tenant} could not be removed") from error


def remove_layer(state: State, rows: TenantRows, layer: str) -> None:
    """All rows of a layer go for good."""
    with rows.maintenance:
        if layer in rows.visible.layers:
            _commit(state, rows, (), of_layer(rows.visible.segments, layer), gone=layer)


def empty_trash(state: State, rows: TenantRows, day: int) -> None:
    """What was dropped ``TRASH_DAYS`` before a day goes for good."""
    for layer in list(rows.visible.layers):
        if layer.startswith(TRASH) and int(layer.rpartition("/")[2]) + TRASH_DAYS <= day:
            remove_layer(state, rows, layer)


def _may_have_tail(rows: TenantRows, moved: MovedSlots) -> bool:
    """Whether rows of the slots may have come since the tail was indexed: of a follower."""
    return any(
        bool(moved.rows(block.batch.record, block.placement, block_spread(block)).any())
        for block in rows.visible.blocks
    )


def _drop_of(
    state: State,
    rows: TenantRows,
    segment: SegmentInfo,
    meant: Callable[[pa.RecordBatch], Bools],
    fields: Sequence[str],
    layer: str,
    pace: Pace,
) -> int:
    """Some rows of a segment become trash, or, without a ``layer``, are gone for good."""
    reader = SegmentReader(state.disk, segment)
    stored = [name for name in dict.fromkeys(fields) if reader.stores(name)]
    if not any(meant(reader.read_group(group, stored)).any() for group in range(len(reader.row_groups))):
        return 0
    halves = split_segment(state, rows, reader, meant, pace, keeps_apart=bool(layer))
    if halves is None:
        return 0
    dropped = [replace(each, layer=layer) for each in halves.apart]
    _commit(state, rows, [*halves.others, *dropped], [segment], trash=layer)
    return halves.apart_rows


def _rows(moved: MovedSlots, record: pa.RecordBatch) -> Bools:
    spread = only_chunk(record.column(SPREAD)) if SPREAD in record.schema.names else None
    return moved.rows(record, record.column(PLACEMENT_HASH).to_numpy(), spread)


def _commit(
    state: State,
    rows: TenantRows,
    added: list[SegmentInfo] | tuple[SegmentInfo, ...],
    removed: list[SegmentInfo] | tuple[SegmentInfo, ...],
    *,
    trash: str = "",
    gone: str = "",
    changed: bool = False,
) -> None:
    """Between two groups of the log: rows that become trash were originals for what was stored before. Under
    ``maintenance``."""
    with state.append_lock:
        layers = []
        if trash and trash not in rows.visible.layers:
            layers = [Layer(trash, shown=False, counts=((0, True), (state.writer.next_row, False)))]
        segments = catalog_committed(
            state,
            rows.tenant,
            () if changed else added,
            [segment.id for segment in removed],
            rows.visible.mark,
            added if changed else (),
            layers=layers,
            layers_gone=[gone] if gone else (),
        )
        known = state.catalog.layers(rows.tenant)
        indexed = counting_identities(state.disk, segments, known, state.cache)
        with state.visible_lock:
            rows.replace_segments(segments, indexed, known)
        state.cache.forget({segment.id for segment in removed})
        rows.moves.changed()
    state.pins.remove(removed)
