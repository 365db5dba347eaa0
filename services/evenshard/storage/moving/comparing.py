"""What a shard holds of some slots as numbers, as of the position that source and follower are to agree at."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.hashing import hash_of
from evenshard.events.scan import HOT, PLACEMENT_HASH, SPREAD
from evenshard.storage.moving.counting import Cell, Cells, Counted, Counting, Sum
from evenshard.storage.moving.hot_keys import concerned, name_of, version_of
from evenshard.storage.moving.known import heard, store
from evenshard.storage.moving.record import Kept, MoveRecord
from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.moving.whole_files import whole_files
from evenshard.storage.snapshot import ALL_TIMES_MS, Snapshot
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows

TRIES_MAX: Final = 8
"""Of counting while what is there changes otherwise than by what comes."""
PASSES_MAX: Final = 5
"""Over what came meanwhile: each has less to count than the one before."""
FIELDS_COUNTED: Final = (*FIELD_NAMES, HOT, SPREAD, PLACEMENT_HASH)


@dataclass(frozen=True, slots=True)
class Digest:
    """Of a move's slots on one shard."""

    sum: Sum
    state: int
    """Of hot keys and the horizon."""
    log_position: int
    """Where this shard's log ended then."""
    cells: tuple[Cell, ...] = ()
    files: tuple[bytes, ...] = ()
    """What the files contain that were counted as files: only of the same ones sums can be compared."""


def count(state: State, moved: MovedSlots, name: str, agreed: Collection[bytes] | None = ()) -> Counted:
    """Counts what is there, and what has come since it began. ``agreed``: what files contain that the other side has as
    well, which are counted as files; None: it is not known yet, all that may be are. Raises ``DATA_DAMAGED``."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        known = rows.moves.counting(name)
        if known is not None and known.is_given_up:
            rows.moves.stop_counting(name)
        known = rows.moves.counting(name, lambda: Counting(moved))
    assert known is not None
    with known.one:
        if not known.has_begun:
            _begin(state, rows, known, agreed)
        elif agreed is not None and not _count_others(state, rows, known, frozenset(agreed)):
            return Counted(is_near=False)
        for _ in range(PASSES_MAX):
            _count_new(state, known)
            if known.is_near:
                break
        files = tuple(sorted(known.files))
        known.looked()
    with state.append_lock:
        return Counted(rows.moves.counting(name) is known and known.is_near, files)


def _begin(state: State, rows: TenantRows, known: Counting, agreed: Collection[bytes] | None) -> None:
    with state.append_lock:
        known.taken()  # the snapshot has it
        snapshot = _snapshot(state, rows)
    with snapshot:
        known.files = {} if agreed is not None and not agreed else whole_files(snapshot, known.moved, agreed)
        known.cells = Cells()
        for scanned in snapshot.scan(FIELDS_COUNTED, None, *ALL_TIMES_MS, but=known.files.values()):
            known.count(scanned.record)
    known.has_begun = True


def _count_others(state: State, rows: TenantRows, known: Counting, agreed: frozenset[bytes]) -> bool:
    """Counts the rows of files that are not ``agreed``. False: one of them is not there any more, the count is given
    up. Raises ``DATA_DAMAGED``; then, too."""
    others = {content: info for content, info in known.files.items() if content not in agreed}
    if not others:
        return True
    with state.append_lock:
        known.is_given_up = True  # until all of them are counted
        snapshot = _snapshot(state, rows)
    with snapshot:
        there = {info.id for info in snapshot.segments}
        if not all(info.id in there for info in others.values()):
            return False
        for scanned in snapshot.scan_only(FIELDS_COUNTED, others.values()):
            known.count(scanned.record)
    for content in others:
        del known.files[content]
    with state.append_lock:
        known.is_given_up = known.has_too_many
    return True


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
        agreed = None if _has_begun(state, rows, name) else ()
        if not count(state, moved, name, agreed).is_near:  # from here on nothing comes that would have to be counted
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
            files = tuple(sorted(known.files))
            return Digest(known.sum(), _state_digest(state, rows, moved), state.writer.next_row, cells, files)
    raise EvenshardError("SHARD_UNAVAILABLE", f"what is stored of {moved.tenant} keeps changing: try again")


def digest_now(state: State, moved: MovedSlots, name: str) -> tuple[Digest, int | None]:
    """Of what a count has begun with and what has come since, with cells, as of the end of this shard's log; and how
    far a follower was then. Raises ``SHARD_UNAVAILABLE`` where that is not what is shown any more."""
    with state.append_lock:
        rows = state.rows(moved.tenant)
        known = rows.moves.counting(beside(name))
    gone = EvenshardError(
        "SHARD_UNAVAILABLE",
        f"what is stored of {moved.tenant} changed otherwise than by what came: compare again",
        details={"begin_anew": "1"},
    )
    if known is None or not known.has_begun:
        raise gone
    with known.one:
        for _ in range(PASSES_MAX):
            _count_new(state, known)
        with state.append_lock:
            if rows.moves.counting(beside(name)) is not known or known.is_given_up:
                raise gone
            blocks, position = known.taken(), state.writer.next_row
            record = rows.moves.get(name)
            state_digest = _state_digest(state, rows, moved)
        known.count_blocks(blocks)
        follow = None if record is None else record.follow
        cells, files = tuple(known.cells.listed()), tuple(sorted(known.files))
        digest = Digest(known.sum(), state_digest, position, cells, files)
        return digest, None if follow is None else follow.position


def beside(name: str) -> str:
    """Under which a move is counted once more, for a comparison that somebody asked for."""
    return f"{name}, compared"


def _has_begun(state: State, rows: TenantRows, name: str) -> bool:
    """Whether source and target may have come to terms about files."""
    with state.append_lock:
        known = rows.moves.counting(name)
    return known is not None and known.has_begun and not known.is_given_up


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
