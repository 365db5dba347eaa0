"""The record of a move as a call changes it: checked against what was heard of it, durable, then in force.

Under the store's ``append_lock``.
"""

from dataclasses import replace
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.storage.moving.record import MoveRecord, move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.ownership import Foreign
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows

LOG_GONE: Final = "OPERATION_STATE"
"""Code of a source that keeps what its follower needs no more: it has to begin anew."""


def heard(rows: TenantRows, moved: MovedSlots, operation: str, revision: int) -> MoveRecord:
    """What is known of a move with a call that came; not stored yet. Raises ``OPERATION_CONFLICT`` for one that was
    overtaken."""
    known = rows.moves.get(move_name(operation, overflow=moved.overflow))
    if known is None:
        return MoveRecord(operation, moved.overflow, moved.spans, revision)
    return known.heard(revision, moved.spans)


def following(rows: TenantRows, name: str) -> MoveRecord:
    """A move in which this shard follows. Raises ``OPERATION_STATE`` where it does not."""
    record = rows.moves.get(name)
    if record is None or record.follow is None:
        raise EvenshardError("OPERATION_STATE", f"{rows.tenant} is not followed here for {name}")
    return record


def store(
    state: State, rows: TenantRows, record: MoveRecord, *, with_foreign: bool = False, may_go_on: bool = False
) -> MoveRecord:
    """Durable at return. ``with_foreign``: rows of its slots may be here that the shard does not own. ``may_go_on``:
    it is not over, though nothing is under way here."""
    done = not may_go_on and record.follow is None and record.fenced_at is None and record.kept is None
    record = replace(record, is_over=done)
    foreign = with_moved(state.catalog.foreign(rows.tenant), record.moved(rows.tenant)) if with_foreign else None
    gone = rows.moves.superfluous()
    with state.changing_catalog() as catalog:
        catalog.put_move(rows.tenant, record, foreign, gone)
    rows.moves.forget(gone)
    rows.moves.put(record)
    if foreign is not None:
        with state.visible_lock:
            rows.visible = replace(rows.visible, foreign=foreign)
    return record


def with_moved(foreign: Foreign, moved: MovedSlots) -> Foreign:
    """With more slots of which there may be foreign rows."""
    if moved.overflow:
        return replace(foreign, overflow=foreign.overflow | moved.mask)
    return replace(foreign, home=foreign.home | moved.mask)


def without_moved(foreign: Foreign, moved: MovedSlots) -> Foreign:
    """Without slots of which there are none."""
    if moved.overflow:
        return replace(foreign, overflow=foreign.overflow & ~moved.mask)
    return replace(foreign, home=foreign.home & ~moved.mask)
