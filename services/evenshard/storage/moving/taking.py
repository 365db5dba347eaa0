"""What a follower takes of a source's log: rows, with their bits as they were decided there, and deletions.

Rows come as *copied frames* of the follower's own log, each with a note of how far the source's log is taken with it.
So what was taken, and how far that is, become durable at once, and a replay derives nothing anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenshard.events.hashing import SLOT_SHIFT, EventHashes, hash_events, hash_of
from evenshard.events.marked_rows import MarkedRows
from evenshard.storage import deleting
from evenshard.storage.deletions import Deletion
from evenshard.storage.log.frame import Content, FrameKind, checksum, packed_bits
from evenshard.storage.moving.bits import copied_block, insert_decided
from evenshard.storage.moving.known import following, store
from evenshard.storage.moving.note import Note, with_note
from evenshard.storage.moving.record import Follow, MoveRecord
from evenshard.storage.segment.info import DAY_MS
from evenshard.storage.state import State
from evenshard.storage.tail.block import Block
from evenshard.storage.tenant import TenantRows


@dataclass(frozen=True, slots=True)
class TailRows:
    """Rows of one frame of the source; everything before ``position`` was told with them."""

    position: int
    rows: MarkedRows


def take_rows(state: State, rows: TenantRows, name: str, told: Sequence[TailRows]) -> None:
    """Durable and there at return, though nobody sees them before the shard owns them. What was taken already changes
    nothing. Under ``append_lock``. Raises ``DISK_FULL``, ``SHARD_UNAVAILABLE``; then nothing was taken."""
    record = following(rows, name)
    assert record.follow is not None
    follow, ordinal = record.follow, rows.next_ordinal
    contents: list[Content] = []
    blocks: list[Block] = []
    try:
        for each in told:
            if each.position <= follow.position:
                continue
            new = _new(follow, each)
            follow = follow.reached(each.position)
            if new is None:
                continue
            follow = replace(follow, rows_done=follow.rows_done + new.rows)
            hashes = hash_events(rows.tenant, new.batch)
            note = Note(name, each.position)
            content, block = _prepared(state, rows, new, hashes, note, ordinal, spread=record.overflow)
            insert_decided(rows.active, new.batch, hashes, new.duplicate, ordinal)
            contents.append(content)
            blocks.append(block)
            ordinal += block.rows
        first_rows = state.writer.append(contents) if contents else []
    except BaseException:
        rows.active.forget(rows.next_ordinal)
        raise
    written = []
    for content, block, first_row in zip(contents, blocks, first_rows, strict=True):
        end_position = first_row + content.rows
        written.append(replace(block, end_position=end_position))
        state.log_files.note(state.writer.number, rows.tenant, end_position, first_row, now_ms=block.appended_ms)
    with state.visible_lock:
        rows.moves.put(replace(record, follow=follow))
        if written:
            rows.publish(written)


def reached(rows: TenantRows, name: str, position: int) -> None:
    """Nothing else came before a position. Under ``append_lock``; not stored: it may be looked at again."""
    record = following(rows, name)
    assert record.follow is not None
    rows.moves.put(replace(record, follow=record.follow.reached(position)))


def take_deletion(state: State, rows: TenantRows, name: str, told: Deletion, position: int) -> bool:
    """Hides what it hid at the source: all that was taken so far, and nothing else that is here. Durable at return;
    under ``append_lock``. One that was taken already changes nothing. False: rows that did not come with the move, or
    came later, would be hidden too; then ``expunge`` does it."""
    record = following(rows, name)
    assert record.follow is not None
    if told.seq <= record.follow.deletions_seen:
        return True
    record = with_deletion(record, told, position)
    mask = record.moved(rows.tenant).mask
    users = [user for user in told.users if mask[hash_of(user) >> SLOT_SHIFT]]
    seq, at = state.catalog.last_deletion(rows.tenant) + 1, state.writer.next_row
    if told.horizon_ms is not None:
        if told.horizon_ms <= state.catalog.horizon_ms(rows.tenant):
            return False
        deletion = Deletion(seq, at, "", horizon_ms=told.horizon_ms)
        deleting.take(state, rows, deletion, deleting.superseded(rows), move=record)
    elif record.overflow or rows.held.of_users(users):  # other rows of theirs are here as well
        return False
    elif users:
        deleting.take(state, rows, Deletion(seq, at, told.operation, tuple(users)), (), move=record)
    else:
        store(state, rows, record)
    rows.moves.put(record)
    return True


def with_deletion(record: MoveRecord, told: Deletion, position: int) -> MoveRecord:
    """A deletion of the source was taken."""
    assert record.follow is not None
    return replace(record, follow=replace(record.follow.reached(position), deletions_seen=told.seq))


def _new(follow: Follow, told: TailRows) -> MarkedRows | None:
    """Rows that were not copied with their days, and will not be; None: there are none."""
    days = told.rows.batch.record.column("time").to_numpy() // DAY_MS
    comes = np.zeros(days.size, np.bool_) if follow.next_day is None else days >= follow.next_day
    for strip in follow.strips:
        if told.position <= strip.position:
            comes |= (days >= strip.first_day) & (days <= strip.last_day)
    if not comes.any():
        return told.rows
    return None if comes.all() else told.rows.take(np.flatnonzero(~comes))


def _prepared(
    state: State,
    rows: TenantRows,
    marked: MarkedRows,
    hashes: EventHashes,
    note: Note,
    ordinal: int,
    *,
    spread: bool,
) -> tuple[Content, Block]:
    payload = with_note(note, marked.batch.to_ipc())
    hot = marked.hot if marked.hot.any() else None
    bits = np.ones(marked.rows, np.bool_) if spread else None
    block = copied_block(
        marked.batch,
        hashes,
        marked.duplicate,
        hot,
        bits,
        first_ordinal=ordinal,
        appended_ms=state.clock.now_ms(),
        size=len(payload),
    )
    content = Content(
        rows.tenant,
        state.catalog.epoch(rows.tenant),
        marked.rows,
        packed_bits(marked.duplicate),
        payload,
        checksum(payload),
        b"" if hot is None else packed_bits(hot),
        b"" if bits is None else packed_bits(bits),
        FrameKind.COPIED,
    )
    return content, block
