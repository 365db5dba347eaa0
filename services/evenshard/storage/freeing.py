"""Events that a layer brought and somebody else sent too: once the layer is taken back, one of theirs is the original.

A copy was stored as a duplicate, and its bit stands in a file. So one of each event is set apart, in a layer that goes
when the copy comes that takes its place, as an original: who looks at duplicates too sees as many as were sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.hashing import UInt64, hash_events
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, Bools
from evenshard.ids import TenantId
from evenshard.storage.indexing import Pace, release
from evenshard.storage.layer_files import bring, commit, split
from evenshard.storage.layers import Change, counting, of_layer, taken_layer
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import IndexedIdentities, stored_identities
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import SealedLayer, TenantRows

_CACHE_BYTES: Final = 16 << 20
_NO_BITS: Final[Bools] = np.zeros(0, np.bool_)
_NO_IDENTITIES: Final[UInt64] = np.zeros(0, np.uint64)
_FIELD_NAMES: Final = tuple(field.name for field in FIELDS)
_ROWS_MAX: Final = 1 << 40
"""More than are looked at: a place to choose by, and what kind it is, in one number."""


def free(state: State, tenant: TenantId, change: Change, pace: Pace) -> None:
    """Events of a layer that somebody else sent too, and that nobody stands for once the layer does not: one copy of
    each waits in the layer that the change frees. Raises as ``take``."""
    rows = state.tenants.get(tenant)
    if rows is None or change.layer not in rows.visible.layers:
        return
    release(state, tenant, pace)
    try:
        with rows.maintenance:
            found, held = _freed(state, rows, change, pace)
    except OSError as error:
        raise refusal(error, f"rows of {tenant} could not be compared") from error
    if found is not None or change.frees in rows.visible.layers:
        none = MarkedRows(EventBatch(pa.RecordBatch.from_pylist([], schema=pa.schema(FIELDS))), _NO_BITS, _NO_BITS)
        bring(state, tenant, change.frees, "freed", none if found is None else found, whole=True)
    rows.freed_layers[change.layer] = held


def _freed(state: State, rows: TenantRows, change: Change, pace: Pace) -> tuple[MarkedRows | None, SealedLayer]:
    """The originals that are to come, and what was looked at. Under ``maintenance``."""
    own = of_layer(rows.visible.segments, change.layer)
    identities = [stored_identities(SegmentReader(state.disk, each)) for each in own]
    found: list[MarkedRows] = []
    if own:
        copies = _copies(state, rows, change, own)
        if copies.apart is not None:
            apart = change.replaced
            if apart not in rows.visible.layers:
                commit(state, rows, layers=[taken_layer(apart)])
            for segment in rows.visible.shown:
                if _may_be_set_apart(segment, apart) and copies.apart.may_be_in(segment):
                    split(state, rows, segment, apart, copies.apart, pace)
        found = [each for each in (copies.left, _all_of(state, rows, change.replaced)) if each is not None]
    beside = frozenset(each.id for each in counting(rows.visible.segments, rows.visible.layers))
    held = SealedLayer(beside, np.concatenate([_NO_IDENTITIES, *identities]))
    if not found:
        return None, held
    marked = MarkedRows.joined(found)
    return MarkedRows(marked.batch, np.zeros(marked.rows, np.bool_), marked.hot), held


def _may_be_set_apart(segment: SegmentInfo, apart: str) -> bool:
    """Rows that other repairs brought are theirs; those that were set apart for an undo that was given up are not."""
    return segment.layer != apart and (not segment.layer or Change.is_replaced(segment.layer))


@dataclass(slots=True)
class OneOfEach:
    """Of each of some events the first copy that is met. Mutable: what was met is not meant again."""

    events: pa.Table
    """The four fields."""
    placement: UInt64
    start_ms: int
    end_ms: int

    @property
    def columns(self) -> Sequence[str]:
        return (PLACEMENT_HASH, "time", DUPLICATE)

    def may_be_in(self, info: SegmentInfo) -> bool:
        first, last = info.hash_bounds
        within = (self.placement >= np.uint64(first)) & (self.placement <= np.uint64(last))
        return bool(info.max_time_ms >= self.start_ms and info.min_time_ms < self.end_ms and within.any())

    def key_rows(self, record: pa.RecordBatch) -> Bools:
        times = record.column("time").to_numpy()
        wanted = np.isin(record.column(PLACEMENT_HASH).to_numpy(), self.placement)
        wanted &= (times >= self.start_ms) & (times < self.end_ms)
        found: Bools = wanted & record.column(DUPLICATE).to_numpy(zero_copy_only=False)
        return found

    def rows(self, record: pa.RecordBatch) -> Bools:
        wanted = self.key_rows(record)
        places = np.flatnonzero(wanted)
        wanted[:] = False
        if not places.size or not self.events.num_rows:
            return wanted
        met = _fields(record.take(pa.array(places))).append_column("row", pa.array(places))
        asked = self.events.append_column("event_number", pa.array(np.arange(self.events.num_rows)))
        both = pa.concat_tables([met, asked], promote_options="default")
        grouped = both.group_by(list(_FIELD_NAMES)).aggregate([("row", "min"), ("event_number", "min")])
        hits = grouped.filter(
            pc.and_(grouped.column("row_min").is_valid(), grouped.column("event_number_min").is_valid())
        )
        wanted[hits.column("row_min").to_numpy()] = True
        left = np.ones(self.events.num_rows, np.bool_)
        left[hits.column("event_number_min").to_numpy()] = False
        self.events, self.placement = self.events.filter(pa.array(left)), self.placement[left]
        return wanted


@dataclass(frozen=True, slots=True)
class _Copies:
    """Of events whose copies elsewhere are all duplicates."""

    apart: OneOfEach | None
    """Those of which one is to be set apart still; None: of none."""
    left: MarkedRows | None
    """One of each of which all are of other repairs: it stays, and comes once more."""


def _copies(state: State, rows: TenantRows, change: Change, own: Sequence[SegmentInfo]) -> _Copies:
    visible = rows.visible
    indexed = IndexedIdentities(state.disk, own, SegmentCache(_CACHE_BYTES, KeyScratch(state.disk, 0)))
    start_ms, end_ms = min(each.min_time_ms for each in own), max(each.max_time_ms for each in own) + 1
    found: list[MarkedRows] = []
    kinds: list[np.ndarray] = []
    for segment in visible.shown:
        if segment.layer == change.layer or segment.max_time_ms < start_ms or segment.min_time_ms >= end_ms:
            continue
        kind = 0 if segment.layer == change.replaced else 1 if _may_be_set_apart(segment, change.replaced) else 2
        reader, hiding = SegmentReader(state.disk, segment), visible.deletions.hiding(segment.deletions_seen)
        for scanned in reader.scan((*_FIELD_NAMES, HOT), None, start_ms, end_ms, hiding):
            marked = MarkedRows.of_scanned(scanned.record)
            hashes = hash_events(rows.tenant, marked.batch)
            known = np.flatnonzero(indexed.known(rows.tenant, marked.batch, hashes, visible.deletions))
            if known.size:
                found.append(marked.take(known))
                kinds.append(np.full(known.size, kind, np.int64))
    if not found:
        return _Copies(None, None)
    marked, kind_of_row = MarkedRows.joined(found), np.concatenate(kinds)
    chosen = _one_of_orphans(marked, kind_of_row)
    apart, left = chosen[kind_of_row[chosen] == 1], chosen[kind_of_row[chosen] == 2]
    one_of_each = None
    if apart.size:
        some = marked.take(apart)
        placement = hash_events(rows.tenant, some.batch).placement
        one_of_each = OneOfEach(_fields(some.batch.record), placement, start_ms, end_ms)
    return _Copies(one_of_each, marked.take(left) if left.size else None)


def _one_of_orphans(marked: MarkedRows, kind_of_row: np.ndarray) -> np.ndarray:
    """One row of each event that has no original among them, of the lowest kind; ascending."""
    table = _fields(marked.batch.record)
    table = table.append_column("copy", pa.array(marked.duplicate))
    table = table.append_column("place", pa.array(kind_of_row * _ROWS_MAX + np.arange(marked.rows)))
    grouped = table.group_by(list(_FIELD_NAMES)).aggregate([("copy", "min"), ("place", "min")])
    places = grouped.filter(grouped.column("copy_min")).column("place_min").to_numpy()
    return np.sort(places % _ROWS_MAX)


def _fields(record: pa.RecordBatch) -> pa.Table:
    """What two copies agree in, as plain columns."""
    columns = {name: record.column(name) for name in _FIELD_NAMES}
    return pa.table(
        {
            name: column.cast(pa.utf8()) if pa.types.is_dictionary(column.type) else column
            for name, column in columns.items()
        }
    )


def _all_of(state: State, rows: TenantRows, layer: str) -> MarkedRows | None:
    """What a layer holds that no deletion hides."""
    found = []
    for segment in of_layer(rows.visible.segments, layer):
        hiding = rows.visible.deletions.hiding(segment.deletions_seen)
        reader = SegmentReader(state.disk, segment)
        scanned = reader.scan((*_FIELD_NAMES, HOT), None, segment.min_time_ms, segment.max_time_ms + 1, hiding)
        found += [MarkedRows.of_scanned(each.record) for each in scanned]
    return MarkedRows.joined(found) if found else None
