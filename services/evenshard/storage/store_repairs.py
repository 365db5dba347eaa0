"""What a store does for repairs: see ``repairing``. Everything blocks: call it off the event loop."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from evenshard.events.marked_rows import MarkedRows
from evenshard.events.row_digest import Tally
from evenshard.events.scan import HOT
from evenshard.ids import TenantId
from evenshard.storage import freeing, layer_files, repairing
from evenshard.storage.choosing import KeyRows
from evenshard.storage.indexing import Pace
from evenshard.storage.layers import Change, Prepared, of_layer
from evenshard.storage.ownership import Owned, Ownership
from evenshard.storage.repairing import LayerTally
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State
from evenshard.storage.tenant import Visible

FIELDS_READ = ("event", "distinct_id", "time", "insert_id", HOT)
NOTHING_HELD = LayerTally(Tally(), Tally(), 0)


def _no_pace(_: int) -> None:
    """As fast as it can."""


class StoreRepairs:
    """Of one store; may be used from several threads."""

    def __init__(self, state: State) -> None:
        self._state = state

    def take(
        self, tenant: TenantId, layer: str, wanted: KeyRows, pace: Pace = _no_pace, *, foreign_layer: str = ""
    ) -> None:
        """All rows that are shown of a key become a layer, and originals kept of it another; no answer changes."""
        repairing.take(self._state, tenant, layer, wanted, pace, foreign_layer)

    def bring(self, tenant: TenantId, layer: str, origin: str, rows: MarkedRows) -> None:
        """Rows join a layer that waits, in the place of what the same ``origin`` brought before."""
        layer_files.bring(self._state, tenant, layer, origin, rows)

    def end_of(self, tenant: TenantId, layer: str, origins: Callable[[str], bool]) -> None:
        """Pieces of a waiting layer of other origins go."""
        if tenant in self._state.tenants:
            repairing.end_of(self._state, tenant, layer, origins)

    def rows_of(self, tenant: TenantId, layer: str, source: str) -> int:
        """How many rows a source has brought to a waiting layer; its name and the slash."""
        segments = of_layer(self._state.catalog.segments.get(tenant, ()), layer)
        return sum(each.rows for each in segments if each.origin.startswith(source))

    def free(self, tenant: TenantId, change: Change, pace: Pace = _no_pace) -> None:
        """Copies of a layer's events that will be on their own wait in another."""
        freeing.free(self._state, tenant, change, pace)

    def seal(self, tenant: TenantId, layer: str, pace: Pace = _no_pace, *, changes: Collection[Change] = ()) -> None:
        """Decides the duplicates of a waiting layer, as of when ``changes`` come true."""
        repairing.seal(self._state, tenant, layer, pace, changes)

    def prepare(self, tenant: TenantId, prepared: Prepared) -> None:
        """What ``settle`` is to do."""
        repairing.prepare(self._state, tenant, prepared)

    def is_settled(self, tenant: TenantId, operation: str) -> bool:
        """Whether what was prepared is done, or nothing was."""
        prepared, layers = self._state.catalog.prepared(tenant).get(operation), self._state.catalog.layers(tenant)
        return prepared is None or (prepared.done and not any(layer in layers for layer in prepared.replaced))

    def is_waiting(self, tenant: TenantId, layer: str) -> bool:
        """Whether its rows are still to come."""
        known = self._state.catalog.layers(tenant).get(layer)
        return known is not None and not known.counts_now

    def settle(self, tenant: TenantId, operation: str, pace: Pace = _no_pace) -> None:
        """What was prepared comes true, all at once."""
        repairing.settle(self._state, tenant, operation, pace)

    def drop(self, tenant: TenantId, layers: Sequence[str], operation: str = "") -> None:
        """Layers that nobody sees go with their rows."""
        repairing.drop(self._state, tenant, layers, operation)

    def tally(self, tenant: TenantId, layer: str) -> LayerTally:
        """What a layer holds."""
        return repairing.tally(self._state, tenant, layer)

    @contextmanager
    def layer(self, tenant: TenantId, layer: str, owned: Ownership | Owned | None = None) -> Iterator[Snapshot]:
        """A snapshot of a layer's rows alone, seen or not; less what deletions hide."""
        state = self._state
        with state.visible_lock:
            rows = state.tenants.get(tenant)
            visible = Visible() if rows is None else rows.visible
            alone = replace(visible, segments=of_layer(visible.segments, layer), blocks=(), layers={})
            state.pins.pin(alone.segments)
        alone = replace(alone, segments=tuple(replace(each, layer="") for each in alone.segments))
        snapshot = Snapshot(
            state.disk,
            tenant,
            state.catalog.epoch(tenant),
            alone,
            lambda seen: state.pins.unpin(seen.segments),
            state.quarantine_segment,
            owned,
            state.columns,
        )
        with snapshot:
            yield snapshot
