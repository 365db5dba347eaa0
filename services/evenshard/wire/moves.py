"""What moves ask of shards: protobuf ↔ ours."""

from collections.abc import Iterable

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import SLOT_COUNT
from evenshard.events.marked_rows import MarkedRows
from evenshard.ids import TenantId
from evenshard.storage.deletions import Deletion
from evenshard.storage.moving.comparing import Digest
from evenshard.storage.moving.counting import Counted
from evenshard.storage.moving.hot_keys import HeldName, HeldTold
from evenshard.storage.moving.record import MoveRecord, Strip
from evenshard.storage.moving.slots import MovedSlots, mask_of, spans_of
from evenshard.storage.moving.tailing import Tailed
from evenshard.storage.moving.telling import SegmentTold, StripTold, Told
from evenshard.storage.segment.info import from_json, to_json
from evenshard.wire.sealing import originals_from


def moved_of(message: shard_pb2.MovedSlots) -> MovedSlots:
    """Raises ``PAYLOAD_INVALID`` for slots that are none."""
    spans = [(span.first, span.last) for span in message.slots]
    if not spans or not message.operation or any(first > last or last >= SLOT_COUNT for first, last in spans):
        raise EvenshardError("PAYLOAD_INVALID", "a move has an operation, and slots from 0 to 4095")
    return MovedSlots(TenantId(message.tenant), spans_of(mask_of(spans)), message.overflow)


def moved_message(moved: MovedSlots, operation: str, revision: int) -> shard_pb2.MovedSlots:
    return shard_pb2.MovedSlots(
        tenant=moved.tenant,
        operation=operation,
        revision=revision,
        slots=[shard_pb2.SlotSpan(first=first, last=last) for first, last in moved.spans],
        overflow=moved.overflow,
    )


def progress_message(
    record: MoveRecord, log_end: int | None, error: EvenshardError | None
) -> shard_pb2.FollowSlotsResponse:
    """``log_end``: where the source's log ended, as far as known."""
    follow = record.follow
    assert follow is not None
    phase = shard_pb2.FOLLOW_PHASE_CATCHING_UP if follow.is_copied else shard_pb2.FOLLOW_PHASE_COPYING
    return shard_pb2.FollowSlotsResponse(
        phase=phase,
        rows_done=follow.rows_done,
        rows_total=max(follow.rows_done, follow.rows_total),
        bytes_done=follow.bytes_done,
        bytes_total=max(follow.bytes_done, follow.bytes_total),
        lag_rows=0 if log_end is None else max(0, log_end - follow.position),
        position=follow.position,
        error_code="" if error is None else error.code,
        error="" if error is None else error.message,
    )


def told_message(told: Told) -> shard_pb2.CopyRunsResponse:
    match told:
        case StripTold():
            return shard_pb2.CopyRunsResponse(
                strip=shard_pb2.CopiedStrip(
                    first_day=told.strip.first_day,
                    last_day=told.strip.last_day,
                    is_last=told.is_last,
                    position=told.strip.position,
                    tail_first=told.tail_first,
                    rows_total=told.rows_total,
                    bytes_total=told.bytes_total,
                    deletions_seen=told.deletions_seen,
                )
            )
        case SegmentTold():
            return shard_pb2.CopyRunsResponse(
                segment=shard_pb2.CopiedSegment(info=to_json(told.info), file_bytes=told.file_bytes)
            )
        case bytes():
            return shard_pb2.CopyRunsResponse(data=told)
        case _:
            return shard_pb2.CopyRunsResponse(rows=shard_pb2.CopiedRows(arrow_ipc=told.to_ipc()))


def strip_of(message: shard_pb2.CopiedStrip) -> StripTold:
    return StripTold(
        Strip(message.first_day, message.last_day, message.position),
        message.is_last,
        message.tail_first,
        message.rows_total,
        message.bytes_total,
        message.deletions_seen,
    )


def segment_of(message: shard_pb2.CopiedSegment) -> SegmentTold:
    return SegmentTold(from_json(message.info), tuple(message.file_bytes))


def tailed_message(tailed: Tailed, end: int, held_version: int) -> shard_pb2.TailLogResponse:
    message = shard_pb2.TailLogResponse(position=tailed.position, end_position=end, held_version=held_version)
    if tailed.rows is not None:
        message.rows.arrow_ipc = tailed.rows.to_ipc()
    if tailed.deletion is not None:
        deletion = tailed.deletion
        message.deletion.seq, message.deletion.operation = deletion.seq, deletion.operation
        message.deletion.users.extend(deletion.users)
        if deletion.horizon_ms is not None:
            message.deletion.horizon_ms = deletion.horizon_ms
    return message


def rows_of(message: shard_pb2.CopiedRows) -> MarkedRows:
    """Raises ``PAYLOAD_INVALID``."""
    return MarkedRows.from_ipc(message.arrow_ipc)


def deletion_of(message: shard_pb2.CopiedDeletion) -> Deletion:
    """As the source has it, but for its place in the log."""
    horizon_ms = message.horizon_ms if message.HasField("horizon_ms") else None
    return Deletion(message.seq, 0, message.operation, tuple(message.users), horizon_ms)


def held_names(messages: Iterable[shard_pb2.HeldKeyName]) -> list[HeldName]:
    return [_name_of(each) for each in messages]


def _name_of(message: shard_pb2.HeldKeyName) -> HeldName:
    return HeldName((message.key.distinct_id, message.key.day), message.nonce, message.sealed)


def name_message(name: HeldName) -> shard_pb2.HeldKeyName:
    distinct_id, day = name.key
    key = shard_pb2.KeyOfDay(distinct_id=distinct_id, day=day)
    return shard_pb2.HeldKeyName(key=key, nonce=name.nonce, sealed=name.sealed)


def held_message(told: HeldTold) -> shard_pb2.CopyHeldKeysResponse:
    ipc = b"" if told.originals is None else told.originals.to_ipc()
    return shard_pb2.CopyHeldKeysResponse(name=name_message(told.name), has_hot_rows=told.has_hot_rows, arrow_ipc=ipc)


def held_of(message: shard_pb2.CopyHeldKeysResponse) -> HeldTold:
    """Raises ``PAYLOAD_INVALID``."""
    batch: EventBatch | None = originals_from(message.arrow_ipc) if message.arrow_ipc else None
    return HeldTold(_name_of(message.name), message.has_hot_rows, batch)


def agreed_of(request: shard_pb2.GetDigestRequest | shard_pb2.CompareSlotsRequest) -> frozenset[bytes] | None:
    """What files contain that both sides have; None: that is to be found out."""
    return None if request.tell_files else frozenset(request.agreed_files)


def counted_message(counted: Counted, agreed: frozenset[bytes] | None) -> shard_pb2.GetDigestResponse:
    return shard_pb2.GetDigestResponse(ready=counted.is_ready(agreed), files=counted.files)


def digest_message(digest: Digest) -> shard_pb2.GetDigestResponse:
    cells = [
        shard_pb2.DigestCell(
            slot=cell.slot, day=cell.day, rows=cell.rows, digest=cell.digest, digest_high=cell.digest_high
        )
        for cell in digest.cells
    ]
    return shard_pb2.GetDigestResponse(
        ready=True,
        rows=digest.sum.rows,
        digest=digest.sum.digest,
        digest_high=digest.sum.digest_high,
        state_digest=digest.state,
        log_position=digest.log_position,
        cells=cells,
        files=digest.files,
    )
