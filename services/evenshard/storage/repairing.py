"""Takes rows of a key into a layer, brings rows as another, and lets what a repair prepared come true all at once.

Each act may be done again: what it finds done it leaves as it is. Taking and bringing change no answer; only ``settle``
does, for this shard in one transaction, between two groups of the log.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.hashing import NO_IDENTITY, UInt64, hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.row_digest import Tally, tally_of
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, Bools
from evenshard.ids import TenantId
from evenshard.storage.choosing import KeyRows
from evenshard.storage.compaction.compact import Limits, compact
from evenshard.storage.compaction.inputs import SegmentInput
from evenshard.storage.compaction.merge import merge_sorted, merged_schema, row_bytes
from evenshard.storage.compaction.output import RunWriter
from evenshard.storage.compaction.plan import Task, storage_day
from evenshard.storage.compaction.settle import as_it_is, copies_with_originals
from evenshard.storage.compaction.windows import WINDOW_BYTES, WINDOW_ROWS, cut_windows
from evenshard.storage.identity import NO_CANDIDATE
from evenshard.storage.indexing import Pace, catalog_committed, discarding, next_segment_id, release
from evenshard.storage.layers import (
    Change,
    Layer,
    Prepared,
    copies_count,
    counting,
    of_layer,
    taken_layer,
    waiting_layer,
)
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.format import IDENTITY_HASH, SEGMENT_ROWS_MAX
from evenshard.storage.segment.identities import IndexedIdentities, stored_identities
from evenshard.storage.segment.info import FOLDER, MAIN_RUN, SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.order import only_chunk, plain_strings
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import SegmentPlace, without_identities
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import SealedLayer, TenantRows, counting_identities

TRIES_MAX: Final = 8
"""Of letting rows come while others like them are being stored."""
_SEAL_CACHE_BYTES: Final = 16 << 20
_NO_BITS: Final[Bools] = np.zeros(0, np.bool_)
_NO_IDENTITIES: Final[UInt64] = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class LayerTally:
    """What a layer holds that no deletion hides."""

    all: Tally
    originals: Tally
    bytes: int
    """Of its files."""


def take(state: State, tenant: TenantId, layer: str, wanted: KeyRows, pace: Pace, foreign_layer: str = "") -> None:
    """All rows there are of a key, of those that are shown, become a layer; at return it is durable, and nothing else
    has changed. Rows that come later are not of it. ``foreign_layer``: what the originals become that are kept here of
    the key's rows at its home.

    Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``DATA_DAMAGED``; to be tried again.
    """
    with state.append_lock:
        rows = state.rows(tenant)
    release(state, tenant, pace)
    try:
        with rows.maintenance:
            if layer not in rows.visible.layers:
                _commit(state, rows, layers=[taken_layer(layer)])
            for segment in rows.visible.shown:
                if segment.layer != layer and wanted.may_be_in(segment):
                    _split(state, rows, segment, layer, wanted, pace)
    except OSError as error:
        raise refusal(error, f"rows of {tenant} could not be set apart") from error
    if foreign_layer:
        with state.append_lock:
            held = [rows.held.get((wanted.distinct_id, day)) for day in sorted(wanted.days)]
            files = [number for each in held if each is not None for number in each.segments]
            with state.changing_catalog() as catalog:
                known = catalog.layers(tenant).get(foreign_layer) or taken_layer(foreign_layer)
                catalog.name_originals(tenant, files, known)
                layers = catalog.layers(tenant)
            with state.visible_lock:
                rows.replace_segments(rows.visible.segments, rows.indexed, layers)


def bring(state: State, tenant: TenantId, layer: str, origin: str, brought: MarkedRows, *, whole: bool = False) -> None:
    """Rows join a layer that nobody sees yet, in the place of what the same ``origin`` brought before, or of all that
    is there (``whole``). Durable at return. Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``, ``OPERATION_STATE`` where the
    layer is not waiting any more."""
    with state.append_lock:
        rows = state.rows(tenant)
    try:
        with rows.maintenance:
            known = rows.visible.layers.get(layer)
            if known is not None and (known.shown or len(known.counts) > 1):
                raise EvenshardError("OPERATION_STATE", f"layer {layer} of {tenant} is not waiting for rows any more")
            old = [each for each in of_layer(rows.visible.segments, layer) if whole or each.origin == origin]
            with discarding(state, rows):
                added = _written(state, rows, brought) if brought.rows else ()
            named = [replace(each, layer=layer, origin=origin) for each in added]
            rows.sealed_layers.pop(layer, None)
            _commit(state, rows, named, old, layers=[] if known is not None else [waiting_layer(layer)])
    except OSError as error:
        raise refusal(error, f"rows of {tenant} could not be brought") from error


def end_of(state: State, tenant: TenantId, layer: str, origins: Callable[[str], bool]) -> None:
    """Pieces of a waiting layer whose origin is not among ``origins`` go: they are of a try that was broken off."""
    rows = state.rows(tenant)
    with rows.maintenance:
        segments = of_layer(rows.visible.segments, layer)
        gone = [each for each in segments if each.origin and not origins(each.origin)]
        if gone:
            rows.sealed_layers.pop(layer, None)
            _commit(state, rows, (), gone)


def free(state: State, tenant: TenantId, change: Change, pace: Pace) -> None:
    """Events of a layer that somebody else sent too, and that nobody stands for once the layer does not: one copy of
    each waits in the layer that the change frees. Raises as ``take``."""
    rows = state.tenants.get(tenant)
    if rows is None or change.layer not in rows.visible.layers:
        return
    release(state, tenant, pace)
    try:
        with rows.maintenance:
            found, held = _freed(state, rows, change.layer)
    except OSError as error:
        raise refusal(error, f"rows of {tenant} could not be compared") from error
    if found is not None or change.frees in rows.visible.layers:
        none = MarkedRows(EventBatch(pa.RecordBatch.from_pylist([], schema=pa.schema(FIELDS))), _NO_BITS, _NO_BITS)
        bring(state, tenant, change.frees, "freed", none if found is None else found, whole=True)
    rows.freed_layers[change.layer] = held


def seal(state: State, tenant: TenantId, layer: str, pace: Pace, changes: Collection[Change] = ()) -> None:
    """Decides the duplicates of a waiting layer: among its rows, and beside all others that are indexed now. It becomes
    few segments. Copies of which no original came go. ``changes``: what is to come true with it; layers that cease by
    then do not count, and one that they free has no others beside it that do. Raises as ``take``."""
    rows = state.tenants.get(tenant)
    if rows is None or layer not in rows.visible.layers:
        return
    release(state, tenant, pace)  # a copy's original may be among what is not indexed
    try:
        with rows.maintenance:
            _seal(state, rows, layer, pace, changes)
    except OSError as error:
        raise refusal(error, f"rows brought to {tenant} could not be merged") from error


def prepare(state: State, tenant: TenantId, prepared: Prepared) -> None:
    """What ``settle`` is to do for an operation. Durable at return; one that is done stays so."""
    with state.append_lock:
        state.rows(tenant)
        with state.changing_catalog() as catalog:
            known = catalog.prepared(tenant).get(prepared.operation)
            if known is None or (not known.done and known != prepared):
                catalog.prepare(tenant, prepared)


def settle(state: State, tenant: TenantId, operation: str, pace: Pace) -> None:
    """What was prepared comes true, at once and durably; nothing, where it has, or nothing was. Raises as ``take``."""
    for _ in range(TRIES_MAX):
        prepared = state.catalog.prepared(tenant).get(operation)
        if prepared is None or prepared.done:
            return
        with state.append_lock:
            rows = state.rows(tenant)
        freeing = [each for each in prepared.changes if each.frees and _ceases(rows, each)]
        for change in freeing:
            if not _is_known(rows, rows.freed_layers.get(change.layer)):
                free(state, tenant, change, pace)
        coming = _coming(rows, prepared)
        for layer in coming:
            if not _is_known(rows, rows.sealed_layers.get(layer)):
                seal(state, tenant, layer, pace, prepared.changes)
        with rows.maintenance, state.append_lock:
            known = [rows.sealed_layers.get(layer) for layer in _coming(rows, prepared)]
            known += [rows.freed_layers.get(change.layer) for change in freeing]
            fresh = all(_is_known(rows, each) for each in known)
            if fresh and not any(_meets_tail(rows, each) for each in known):
                _come_true(state, rows, prepared)
                return
        if fresh:  # what was stored meanwhile may be the same: it is indexed, and compared
            release(state, tenant, pace)
    raise EvenshardError("SHARD_UNAVAILABLE", f"others keep storing what a repair brings to {tenant}: try again")


def drop(state: State, tenant: TenantId, layers: Sequence[str], operation: str) -> None:
    """Layers that nobody sees, and whose rows are nobody's originals, go with all their rows. Raises
    ``OPERATION_STATE`` for others."""
    rows = state.tenants.get(tenant)
    if rows is None:
        return
    with rows.maintenance:
        known = [rows.visible.layers[name] for name in layers if name in rows.visible.layers]
        for layer in known:
            if layer.shown or layer.counts_now:
                raise EvenshardError("OPERATION_STATE", f"layer {layer.name} of {tenant} is in use")
        for layer in known:
            rows.sealed_layers.pop(layer.name, None)
            gone = of_layer(rows.visible.segments, layer.name)
            _commit(state, rows, (), gone, gone=[layer.name])
    with state.changing_catalog() as catalog:
        if operation:
            catalog.forget_prepared(tenant, operation)


def tally(state: State, tenant: TenantId, layer: str) -> LayerTally:
    """What a layer holds. Raises ``DATA_DAMAGED``."""
    with state.visible_lock:
        rows = state.tenants.get(tenant)
        visible = None if rows is None else rows.visible
        segments = () if visible is None else of_layer(visible.segments, layer)
        state.pins.pin(segments)
    everything, originals = Tally(), Tally()
    try:
        for segment in segments:
            assert visible is not None
            hiding = visible.deletions.hiding(segment.deletions_seen)
            reader = SegmentReader(state.disk, segment)
            fields = tuple(field.name for field in FIELDS)
            for scanned in reader.scan(fields, None, segment.min_time_ms, segment.max_time_ms + 1, hiding):
                record = scanned.record
                copies = record.column(DUPLICATE).to_numpy(zero_copy_only=False)
                everything += tally_of(record)
                originals += tally_of(record.filter(pa.array(~copies)) if copies.any() else record)
    finally:
        state.pins.unpin(segments)
    return LayerTally(everything, originals, sum(segment.bytes for segment in segments))


def _split(state: State, rows: TenantRows, segment: SegmentInfo, layer: str, wanted: KeyRows, pace: Pace) -> None:
    """Writes a segment anew as two: the rows that are wanted, and the others. Under ``maintenance``."""
    visible = rows.visible
    hiding = visible.deletions.hiding(segment.deletions_seen)
    reader = SegmentReader(state.disk, segment)
    groups = range(len(reader.row_groups))
    if not any(wanted.key_rows(reader.read_group(group, wanted.columns)).any() for group in groups):
        return
    source = SegmentInput(reader, hiding)
    place = SegmentPlace(
        segment.tenant,
        segment.first_day,
        segment.last_day,
        segment.run,
        segment.written_day,
        state.shard,
        visible.deletions.last_seq,
    )
    with discarding(state, rows):
        others, taken = (
            RunWriter(state.disk, lambda: next_segment_id(state, rows), place, SEGMENT_ROWS_MAX) for _ in range(2)
        )
        schema = merged_schema([(source.schema, segment.rows)])
        rows_max = max(1, min(WINDOW_ROWS, WINDOW_BYTES // row_bytes(schema)))
        for first, last in cut_windows([source.weights()], rows_max, WINDOW_BYTES):
            part = source.slice(first, last)
            if part is None:
                continue
            merged = without_identities(merge_sorted([part], schema))  # they are not in the order of the rows
            (record,) = merged.combine_chunks().to_batches()
            mask = wanted.rows(record)
            taken.append(merged.filter(pa.array(mask)))
            others.append(merged.filter(pa.array(~mask)))
            pace(0)
        apart = [replace(each, layer=layer) for each in taken.finish()]
        if not apart:
            others.discard()
            return
        kept = [replace(each, layer=segment.layer, origin=segment.origin) for each in others.finish()]
        state.disk.sync_directory(FOLDER)
    if sum(each.rows for each in (*kept, *apart)) + source.hidden != segment.rows:
        raise AssertionError("a repair wrote another number of rows than it read and left out")
    pace(sum(each.bytes for each in (*kept, *apart)))
    _commit(state, rows, [*kept, *apart], [segment])


def _written(state: State, rows: TenantRows, brought: MarkedRows) -> tuple[SegmentInfo, ...]:
    """Rows as segments that the catalog does not know yet. Under ``maintenance``."""
    hashes = hash_events(rows.tenant, brought.batch)
    table = pa.Table.from_batches([brought.batch.record])
    for name, values in (
        (PLACEMENT_HASH, hashes.placement),
        (DUPLICATE, brought.duplicate),
        (HOT, brought.hot),
        (IDENTITY_HASH, hashes.identity),
    ):
        table = table.append_column(name, pa.array(values))
    return compact(
        state.disk,
        lambda: next_segment_id(state, rows),
        rows.tenant,
        [table],
        (),
        storage_day(state.clock.now_ms()),
        shard=state.shard,
        deletions=rows.visible.deletions,
        limits=Limits(window_bytes=state.settings.window_bytes),
        settle=as_it_is,
    ).added


def _seal(state: State, rows: TenantRows, layer: str, pace: Pace, changes: Collection[Change]) -> None:
    visible = rows.visible
    segments = sorted(of_layer(visible.segments, layer), key=lambda each: each.origin)
    beside = counting(visible.segments, visible.layers)
    ceasing = {each.layer for each in changes if not each.counts}
    staying = [each for each in beside if each.layer not in ceasing]
    staying += state.catalog.counting_originals(rows.tenant)
    if any(each.frees == layer for each in changes):  # its copies are there still, as duplicates
        staying = []
    indexed = IndexedIdentities(
        state.disk,
        staying,
        SegmentCache(_SEAL_CACHE_BYTES, KeyScratch(state.disk, 0)),
        copies_count=not ceasing and copies_count(visible.layers),
    )
    added: tuple[SegmentInfo, ...] = ()
    if segments:
        first, last = min(each.first_day for each in segments), max(each.last_day for each in segments)
        task = Task(first, last, MAIN_RUN, tuple(each.id for each in segments))

        def decided(table: pa.Table, tenant: TenantId) -> pa.Table:
            return copies_with_originals(table, _known(table, tenant, indexed, rows))

        with discarding(state, rows):
            written = compact(
                state.disk,
                lambda: next_segment_id(state, rows),
                rows.tenant,
                (),
                segments,
                storage_day(state.clock.now_ms()),
                shard=state.shard,
                deletions=visible.deletions,
                limits=Limits(window_bytes=state.settings.window_bytes),
                tasks=[task],
                settle=decided,
                pace=pace,
            )
            added = tuple(replace(each, layer=layer) for each in written.added)
    _commit(state, rows, added, segments)
    identities = [stored_identities(SegmentReader(state.disk, each)) for each in added]
    found = np.concatenate([np.zeros(0, np.uint64), *identities])
    rows.sealed_layers[layer] = SealedLayer(frozenset(each.id for each in beside), found[found != NO_IDENTITY])


def _known(table: pa.Table, tenant: TenantId, indexed: IndexedIdentities, rows: TenantRows) -> Bools:
    """One a row: its event is stored elsewhere already."""
    events = only_chunk(table.column("event").unify_dictionaries())
    if not pa.types.is_dictionary(events.type):
        events = events.dictionary_encode()
    arrays = [
        events,
        plain_strings(table.column("distinct_id")),
        only_chunk(table.column("time")),
        plain_strings(table.column("insert_id")),
    ]
    batch = EventBatch(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(FIELDS)))
    return indexed.known(tenant, batch, hash_events(tenant, batch), rows.visible.deletions)


def _coming(rows: TenantRows, prepared: Prepared) -> list[str]:
    """Layers whose rows are to become originals."""
    layers = rows.visible.layers
    return [
        each.layer
        for each in prepared.changes
        if each.counts and each.layer in layers and not layers[each.layer].counts_now
    ]


def _ceases(rows: TenantRows, change: Change) -> bool:
    """Whether a layer's rows are to be originals no more."""
    layer = rows.visible.layers.get(change.layer)
    return layer is not None and layer.counts_now and not change.counts


def _is_known(rows: TenantRows, sealed: SealedLayer | None) -> bool:
    """Whether a layer was compared with all segments there are now."""
    beside = counting(rows.visible.segments, rows.visible.layers)
    return sealed is not None and {each.id for each in beside} <= sealed.beside


def _meets_tail(rows: TenantRows, sealed: SealedLayer | None) -> bool:
    """Whether unindexed rows may be the same as some of a layer. Under ``append_lock``."""
    identities = _NO_IDENTITIES if sealed is None else sealed.identities
    sets = [each for each in (rows.active, rows.sealed) if each is not None and len(each)]
    return any(bool((each.find(identities) != NO_CANDIDATE).any()) for each in sets)


def _freed(state: State, rows: TenantRows, layer: str) -> tuple[MarkedRows | None, SealedLayer]:
    """A copy of each event of a layer whose copies elsewhere are all duplicates, as its original; and what was looked
    at. Under ``maintenance``."""
    visible = rows.visible
    own = of_layer(visible.segments, layer)
    beside = frozenset(each.id for each in counting(visible.segments, visible.layers))
    identities = [stored_identities(SegmentReader(state.disk, each)) for each in own]
    held = SealedLayer(beside, np.concatenate([_NO_IDENTITIES, *identities]))
    if not own:
        return None, held
    indexed = IndexedIdentities(state.disk, own, SegmentCache(_SEAL_CACHE_BYTES, KeyScratch(state.disk, 0)))
    start_ms, end_ms = min(each.min_time_ms for each in own), max(each.max_time_ms for each in own) + 1
    found: list[MarkedRows] = []
    for segment in visible.shown:
        if segment.layer == layer or segment.max_time_ms < start_ms or segment.min_time_ms >= end_ms:
            continue
        reader, hiding = SegmentReader(state.disk, segment), visible.deletions.hiding(segment.deletions_seen)
        fields = (*(field.name for field in FIELDS), HOT)
        for scanned in reader.scan(fields, None, start_ms, end_ms, hiding):
            marked = MarkedRows.of_scanned(scanned.record)
            hashes = hash_events(rows.tenant, marked.batch)
            known = np.flatnonzero(indexed.known(rows.tenant, marked.batch, hashes, visible.deletions))
            if known.size:
                found.append(marked.take(known))
    return _first_of_orphans(found), held


def _first_of_orphans(found: Sequence[MarkedRows]) -> MarkedRows | None:
    """One row of each event that has no original among them, as one; None: each has."""
    if not found:
        return None
    marked = MarkedRows.joined(found)
    record = marked.batch.record
    columns = {name: record.column(name) for name in ("distinct_id", "time", "insert_id")}
    table = pa.table({"event": record.column("event").cast(pa.utf8()), **columns, "copy": pa.array(marked.duplicate)})
    table = table.append_column("row", pa.array(np.arange(marked.rows)))
    grouped = table.group_by(["event", "distinct_id", "time", "insert_id"]).aggregate([("copy", "min"), ("row", "min")])
    orphans = grouped.filter(grouped.column("copy_min")).column("row_min").to_numpy()
    if not orphans.size:
        return None
    first = marked.take(np.sort(orphans))
    return MarkedRows(first.batch, np.zeros(first.rows, np.bool_), first.hot)


def _come_true(state: State, rows: TenantRows, prepared: Prepared) -> None:
    """Under ``maintenance`` and ``append_lock``."""
    position, layers = state.writer.next_row, dict(rows.visible.layers)
    for change in prepared.changes:
        if change.layer in layers:
            layers[change.layer] = layers[change.layer].changed(position, shown=change.shown, counts=change.counts)
    changed = [layers[each.layer] for each in prepared.changes if each.layer in layers]
    segments = rows.visible.segments
    indexed = counting_identities(state.disk, segments, layers, state.cache)
    done = replace(prepared, done=True)
    try:
        with state.changing_catalog() as catalog:
            catalog.change_layers(rows.tenant, changed, done)
    except BaseException as error:
        if state.catalog.prepared(rows.tenant).get(prepared.operation) != done:
            if not (isinstance(error, EvenshardError) and error.code == "DISK_FULL"):
                state.writer.stop(f"it is not known whether a repair of {rows.tenant} was stored: {error!r}")
            raise
        # Committed; only emptying SQLite's own log failed, which the next change does again.
        state.report(f"a repair of {rows.tenant} was stored, but the catalog could not be tidied: {error!r}")
    rows.originals = IndexedIdentities(state.disk, state.catalog.counting_originals(rows.tenant), state.cache)
    with state.visible_lock:
        rows.replace_segments(segments, indexed, layers)
    for change in prepared.changes:
        rows.sealed_layers.pop(change.layer, None)
        rows.freed_layers.pop(change.layer, None)


def _commit(
    state: State,
    rows: TenantRows,
    added: Sequence[SegmentInfo] = (),
    removed: Sequence[SegmentInfo] = (),
    *,
    layers: Iterable[Layer] = (),
    gone: Sequence[str] = (),
) -> None:
    """In the catalog, then for scans and appends; the files of what was replaced go with their last reader."""
    new = list(layers)
    ids = [segment.id for segment in removed]
    segments = catalog_committed(state, rows.tenant, added, ids, rows.visible.mark, layers=new, layers_gone=gone)
    known: Mapping[str, Layer] = state.catalog.layers(rows.tenant)
    indexed = counting_identities(state.disk, segments, known, state.cache)
    with state.append_lock, state.visible_lock:
        rows.replace_segments(segments, indexed, known)
    state.pins.remove(removed)
