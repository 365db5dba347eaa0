"""Fences slots, begins and ends the following of a source; what it returned for holds across restarts.

Under ``append_lock``, so a fence stands between two groups of the log: rows of the slots are at lower positions, all of
them synced, and none comes at a higher one until the fence is lifted.
"""

from dataclasses import replace

from evenshard.ids import ShardId
from evenshard.storage.moving.known import heard, store
from evenshard.storage.moving.record import Follow, MoveRecord, move_name
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.telling import NOTHING_SEEN
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows


def fence(state: State, rows: TenantRows, moved: MovedSlots, operation: str, revision: int) -> int:
    """The position from which on nothing comes into the slots; once more, the same."""
    record = heard(rows, moved, operation, revision)
    if record.fenced_at is None:
        record = replace(record, fenced_at=state.writer.next_row)
    store(state, rows, record, with_foreign=True)
    assert record.fenced_at is not None
    return record.fenced_at


def lift(state: State, rows: TenantRows, moved: MovedSlots, operation: str, revision: int) -> None:
    """Rows of the slots are taken again."""
    store(state, rows, replace(heard(rows, moved, operation, revision), fenced_at=None))


def follow(
    state: State,
    rows: TenantRows,
    moved: MovedSlots,
    operation: str,
    revision: int,
    source: ShardId,
    address: str,
    bytes_per_second: int,
    from_position: int | None,
    copies: int,
) -> MoveRecord:
    """Begins to follow a source, or goes on; it was the follower's own fence, if any, that it ends."""
    record = heard(rows, moved, operation, revision)
    known = record.follow
    if known is None or known.source != source:
        known = Follow(source, address, revision, copies=copies)
        if from_position is not None:
            known = replace(known, next_day=None, is_cleared=True, position=from_position, deletions_seen=NOTHING_SEEN)
    elif copies > known.copies:
        known = Follow(source, address, known.since, copies=copies)
        rows.moves.stop_counting(record.name)
    known = replace(known, address=address, bytes_per_second=bytes_per_second)
    changed = replace(record, follow=known, fenced_at=None, kept=None)
    if changed != rows.moves.get(record.name):
        changed = store(state, rows, changed, with_foreign=True)
    return changed


def begin_anew(state: State, rows: TenantRows, record: MoveRecord) -> None:
    """What was taken is of no use: the source cannot tell any more what came since."""
    assert record.follow is not None
    known = record.follow
    again = Follow(known.source, known.address, known.since, known.bytes_per_second, copies=known.copies)
    store(state, rows, replace(record, follow=again), with_foreign=True)


def cleared(state: State, rows: TenantRows, record: MoveRecord) -> None:
    """Nothing is left of what was here before."""
    assert record.follow is not None
    store(state, rows, replace(record, follow=replace(record.follow, is_cleared=True)), with_foreign=True)


def keep_nothing(state: State, rows: TenantRows, record: MoveRecord) -> None:
    """Who follows has to begin anew."""
    store(state, rows, replace(record, kept=None), may_go_on=True)


def end(state: State, rows: TenantRows, moved: MovedSlots, operation: str, revision: int) -> None:
    """It follows no more, and keeps nothing for a follower; a fence stays."""
    store(state, rows, replace(heard(rows, moved, operation, revision), follow=None, kept=None))
    rows.moves.stop_counting(move_name(operation, overflow=moved.overflow))
