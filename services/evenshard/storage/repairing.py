"""Takes rows of a key into a layer, brings rows as another, and lets what a repair prepared come true all at once.

Each act may be done again: what it finds done it leaves as it is. Taking and bringing change no answer; only ``settle``
does, for this shard in one transaction, between two groups of the log.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.hashing import NO_IDENTITY, UInt64, hash_events
from evenshard.events.row_digest import Tally, tally_of
from evenshard.events.scan import DUPLICATE, Bools
from evenshard.ids import TenantId
from evenshard.storage.choosing import KeyRows
from evenshard.storage.compaction.compact import Limits, compact
from evenshard.storage.compaction.plan import Task, storage_day
from evenshard.storage.compaction.settle import copies_with_originals
from evenshard.storage.freeing import free
from evenshard.storage.identity import NO_CANDIDATE
from evenshard.storage.indexing import Pace, discarding, next_segment_id, release
from evenshard.storage.layer_files import commit, split
from evenshard.storage.layers import (
    Change,
    Prepared,
    copies_count,
    counting,
    of_layer,
    taken_layer,
)
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import IndexedIdentities, stored_identities
from evenshard.storage.segment.info import MAIN_RUN, SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.order import only_chunk, plain_strings
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import SealedLayer, TenantRows, counting_identities

TRIES_MAX: Final = 8
"""Of letting rows come while others like them are being stored."""
_SEAL_CACHE_BYTES: Final = 16 << 20
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
                commit(state, rows, layers=[taken_layer(layer)])
            for segment in rows.visible.shown:
                if segment.layer != layer and wanted.may_be_in(segment):
                    split(state, rows, segment, layer, wanted, pace)
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


def end_of(state: State, tenant: TenantId, layer: str, origins: Callable[[str], bool]) -> None:
    """Pieces of a waiting layer whose origin is not among ``origins`` go: they are of a try that was broken off."""
    rows = state.rows(tenant)
    with rows.maintenance:
        segments = of_layer(rows.visible.segments, layer)
        gone = [each for each in segments if each.origin and not origins(each.origin)]
        if gone:
            rows.sealed_layers.pop(layer, None)
            commit(state, rows, (), gone)


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
        if prepared is None:
            return
        if prepared.done:
            drop(state, tenant, prepared.replaced, "")
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
                prepared = replace(prepared, done=True)
        if prepared.done:
            drop(state, tenant, prepared.replaced, "")
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
            commit(state, rows, (), gone, gone=[layer.name])
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
    commit(state, rows, added, segments)
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


def _come_true(state: State, rows: TenantRows, prepared: Prepared) -> None:
    """Under ``maintenance`` and ``append_lock``."""
    position, layers = state.writer.next_row, dict(rows.visible.layers)
    for change in prepared.changes:
        if change.layer in layers:
            layers[change.layer] = layers[change.layer].changed(position, shown=change.shown, counts=change.counts)
    replaced = [layer for layer in prepared.replaced if layer in layers]
    for layer in replaced:
        layers[layer] = layers[layer].changed(position, shown=False, counts=False)
    changed = [layers[name] for name in (*(each.layer for each in prepared.changes), *replaced) if name in layers]
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
