"""What a shard still has of a tenant none of whose slots it owns: trash, and rows in its log. A deletion of users does
not wait for the days that trash is kept: it makes all of that go.
"""

from dataclasses import replace

from evenshard.ids import TenantId
from evenshard.storage.indexing import Pace
from evenshard.storage.layers import TRASH
from evenshard.storage.moving.dropping import remove_layer
from evenshard.storage.purging import PURGED, Purge, give_up_log, log_keepers, unindexed_rows
from evenshard.storage.state import State, refusal
from evenshard.storage.tenant import TenantRows


def left_status(state: State, tenant: TenantId) -> Purge:
    """How much that is. Nothing while a move of the tenant goes on here: what that brings, or drops, is purged as any
    other rows."""
    rows = state.tenants.get(tenant)
    if rows is None or rows.moves.records():
        return PURGED
    left = sum(segment.rows for segment in rows.visible.segments if segment.layer.startswith(TRASH))
    with state.append_lock:
        position = state.writer.next_row
        in_log = bool(state.log_files.holding(tenant, below=position))
        keepers = log_keepers(state, tenant, position)
    left += sum(unindexed_rows(state, name) for name in keepers)
    if left or _trash(rows) or in_log:
        return Purge(False, left, 0, "what moves left in the trash, and the log, to be removed")
    kept = state.pins.kept(tenant)
    return replace(PURGED, purged=False, waits_for=f"a scan that still reads {kept[0]}") if kept else PURGED


def left_step(state: State, tenant: TenantId, pace: Pace = lambda _: None) -> bool:
    """Removes the next piece of it; False: nothing is left, or only waiting. Raises as ``purge_step``."""
    rows = state.tenants.get(tenant)
    if rows is None or rows.moves.records():
        return False
    try:
        for layer in _trash(rows):
            remove_layer(state, rows, layer)
            with state.append_lock:  # what was looked up in segments that had the rows
                state.cache.scratch.forget_all_but(frozenset(info.id for info in state.catalog.all_segments))
            return True
        return give_up_log(state, tenant, state.writer.next_row, pace)
    except OSError as error:
        raise refusal(error, f"what is left of {tenant} could not be removed") from error


def _trash(rows: TenantRows) -> list[str]:
    return [layer for layer in rows.visible.layers if layer.startswith(TRASH)]
