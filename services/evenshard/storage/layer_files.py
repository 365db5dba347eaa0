"""The files of layers: rows of a segment set apart, rows that are brought, and the catalog told of both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD, Bools
from evenshard.ids import TenantId
from evenshard.storage.compaction.compact import Limits, compact
from evenshard.storage.compaction.plan import storage_day
from evenshard.storage.compaction.settle import as_it_is
from evenshard.storage.indexing import Pace, catalog_committed, discarding, next_segment_id
from evenshard.storage.layers import Layer, of_layer, waiting_layer
from evenshard.storage.segment.format import IDENTITY_HASH
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.splitting import split_segment
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import TenantRows, counting_identities


class Chosen(Protocol):
    """Says which rows are to be set apart."""

    @property
    def columns(self) -> Sequence[str]:
        """What tells most rows that are not meant."""
        ...

    def key_rows(self, record: pa.RecordBatch) -> Bools:
        """One a row: it may be meant, by ``columns`` alone."""
        ...

    def rows(self, record: pa.RecordBatch) -> Bools:
        """One a row of scanned rows: it is meant. Each row is asked about once."""
        ...


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
                added = written(state, rows, brought) if brought.rows else ()
            named = [replace(each, layer=layer, origin=origin) for each in added]
            rows.sealed_layers.pop(layer, None)
            commit(state, rows, named, old, layers=[] if known is not None else [waiting_layer(layer)])
    except OSError as error:
        raise refusal(error, f"rows of {tenant} could not be brought") from error


def split(state: State, rows: TenantRows, segment: SegmentInfo, layer: str, wanted: Chosen, pace: Pace) -> None:
    """The rows of a segment that are wanted join a layer. Under ``maintenance``."""
    reader = SegmentReader(state.disk, segment)
    groups = range(len(reader.row_groups))
    if not any(wanted.key_rows(reader.read_group(group, wanted.columns)).any() for group in groups):
        return
    halves = split_segment(state, rows, reader, wanted.rows, pace)
    if halves is not None:
        apart = [replace(each, layer=layer) for each in halves.apart]
        commit(state, rows, [*halves.others, *apart], [segment])


def written(state: State, rows: TenantRows, brought: MarkedRows) -> tuple[SegmentInfo, ...]:
    """Rows as segments that the catalog does not know yet. Under ``maintenance``."""
    hashes = hash_events(rows.tenant, brought.batch)
    table = pa.Table.from_batches([brought.batch.record])
    for name, values in (
        (PLACEMENT_HASH, hashes.placement),
        (DUPLICATE, brought.duplicate),
        (HOT, brought.hot),
        (SPREAD, pa.nulls(brought.rows, pa.bool_())),  # for which of the two they came is not told
        (IDENTITY_HASH, hashes.identity),
    ):
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
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


def commit(
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
    with state.append_lock:
        with state.visible_lock:
            rows.replace_segments(segments, indexed, known)
        state.cache.forget(ids)
    state.pins.remove(removed)
