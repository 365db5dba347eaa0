"""What a shard holds of some slots as numbers, as of the position that source and follower are to agree at."""

from dataclasses import dataclass, replace
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.hashing import hash_of
from evenshard.events.scan import HOT, PLACEMENT_HASH, SPREAD
from evenshard.storage.moving.counting import Cell, Cells, Counting, Sum
from evenshard.storage.moving.hot_keys import concerned, name_of, version_of
from evenshard.storage.moving.known import heard, store
from evenshard.storage.moving.record import Kept, MoveRecord
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows

TRIES_MAX: Final = 8
"""Of counting while what is there changes otherwise than by what comes."""
FIELDS_COUNTED: Final = (*FIELD_NAMES, HOT, SPREAD, PLACEMENT_HASH)
_ALL_TIMES: Final = (-(1 << 62), 1 << 62)


@dataclass(frozen=True, slots=True)
class Digest:
    """Of a move's slots on one shard."""

    sum: Sum
    state: int
    """Of hot keys and the horizon."""
    log_position: int
    """Where this shard's log ended then."""
    cells: tuple[Cell, ...] = ()


def count(state: State, moved: MovedSlots, name: str) -> bool:
    """Counts what is there, and what has come since it began; True: nearly all of it is. Raises ``DATA_DAMAGED``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        known = rows.moves.counting(name)
        if known is not None and known.is_given_up:
            rows.moves.stop_counting(name)
        known = rows.moves.counting(name, lambda: Counting(moved))
    assert known is not None
    with known.one:
        if not known.has_begun:
            with state.append_lock:
                known.taken()  # the snapshot has it
                snapshot = _snapshot(state, rows)
            known.cells = Cells()
            with snapshot:
                for scanned in snapshot.scan(FIELDS_COUNTED, None, *_ALL_TIMES):
                    known.count(scanned.record)
            known.has_begun = True
        _count_new(state, known)
    with state.append_lock:
        return rows.moves.counting(name) is known and known.is_near


def _count_new(state: State, known: Counting) -> None:
    with state.append_lock:
        blocks = known.taken()
    known.count_blocks(blocks)


def digest_at(
    state: State, moved: MovedSlots, operation: str, revision: int, position: int, *, with_cells: bool
) -> Digest:
    """As of a position of the source's log: the one at which this shard is fenced, or that it has got to as a follower,
    or beyond: nothing comes into the slots behind a fence. Of a follower, its own log is kept from there on, for who
    follows it later. Raises ``OPERATION_STATE``, ``OPERATION_CONFLICT``."""
    for _ in range(TRIES_MAX):
        with state.append_lock:
            rows = state.rows(moved.tenant)
            name = _at(heard(rows, moved, operation, revision), position).name
        if not count(state, moved, name):  # from here on nothing comes that would have to be counted
            continue
        with state.append_lock:
            known = rows.moves.counting(name)
        if known is None:
            continue
        with known.one:
            _count_new(state, known)
        with known.one, state.append_lock:
            record = _at(heard(rows, moved, operation, revision), position)
            if rows.moves.counting(name) is not known:
                continue
            if record.fenced_at is None:
                record = replace(record, kept=Kept(state.writer.next_row, state.catalog.last_deletion(moved.tenant)))
            if record != rows.moves.get(name):
                store(state, rows, record)
            cells = tuple(known.cells.listed()) if with_cells else ()
            return Digest(known.cells.sum(), _state_digest(state, rows, moved), state.writer.next_row, cells)
    raise EvenshardError("SHARD_UNAVAILABLE", f"what is stored of {moved.tenant} keeps changing: try again")


def _at(record: MoveRecord, position: int) -> MoveRecord:
    if record.fenced_at == position:
        return record
    follow = record.follow
    if record.fenced_at is not None or follow is None or not follow.is_copied or follow.position < position:
        at = record.fenced_at if record.fenced_at is not None else None if follow is None else follow.position
        raise EvenshardError("OPERATION_STATE", f"operation {record.operation} is at position {at}, not {position}")
    return record


def _state_digest(state: State, rows: TenantRows, moved: MovedSlots) -> int:
    names = [name_of(each, moved) for each in concerned(rows, moved)]
    return hash_of(f"{version_of(names)}|{state.catalog.horizon_ms(moved.tenant)}")


def _snapshot(state: State, rows: TenantRows) -> Snapshot:
    """Under ``append_lock``: what comes to the count comes after it."""
    with state.visible_lock:
        visible = rows.visible
        state.pins.pin(visible.segments)
    return Snapshot(
        state.disk,
        rows.tenant,
        state.catalog.epoch(rows.tenant),
        visible,
        lambda seen: state.pins.unpin(seen.segments),
        state.quarantine_segment,
    )
