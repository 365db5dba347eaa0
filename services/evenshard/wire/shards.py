"""Calls to shards: protobuf ↔ ours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, TenantId

Bools = npt.NDArray[np.bool_]
AppendRequest = shard_pb2.AppendEventsRequest


@dataclass(frozen=True, slots=True)
class BatchToAppend:
    """Events of one tenant on their way to a shard; ``payload`` is ``EventBatch.to_ipc``."""

    tenant: TenantId
    epoch: Epoch
    payload: bytes
    hot_bits: bytes = b""
    """One an event, least significant first: its key is hot; empty: none is."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchAppended:
    """What became of a batch: stored whole (``code`` is empty), or not at all."""

    code: str
    message: str
    duplicates: Bools
    """One an event; empty where it was not stored."""
    position: int
    """Where it stands in the shard's log."""
    retry_after_ms: int = 0
    """Not stored for want of room: when to send it again; 0: nothing is known."""
    sealed: Sequence[tuple[str, int]] = ()
    """With ``KEY_SEALED``: distinct_ids and days of the keys whose rows are not taken there, or not so."""


NO_BITS: Bools = np.zeros(0, np.bool_)


def refused(
    code: str, message: str, retry_after_ms: int | None = None, sealed: Sequence[tuple[str, int]] = ()
) -> BatchAppended:
    """A batch that was not stored, and why."""
    return BatchAppended(code, message, NO_BITS, 0, retry_after_ms or 0, sealed)


def append_request(batches: Sequence[BatchToAppend]) -> AppendRequest:
    return AppendRequest(
        batches=[
            shard_pb2.TenantBatch(
                tenant=batch.tenant, epoch=batch.epoch, arrow_ipc=batch.payload, hot_bits=batch.hot_bits
            )
            for batch in batches
        ]
    )


def batches_of(request: AppendRequest) -> list[BatchToAppend]:
    return [BatchToAppend(TenantId(b.tenant), Epoch(b.epoch), b.arrow_ipc, b.hot_bits) for b in request.batches]


def packed(hot: Bools) -> bytes:
    """Hot bits as they travel."""
    return np.packbits(hot, bitorder="little").tobytes() if hot.any() else b""


def hot_of(batch: BatchToAppend, rows: int) -> Bools | None:
    """The hot bits of a batch of so many rows; None: none is set. Raises ``PAYLOAD_INVALID``."""
    if not batch.hot_bits:
        return None
    if len(batch.hot_bits) != (rows + 7) // 8:
        raise EvenshardError("PAYLOAD_INVALID", f"{len(batch.hot_bits)} bytes of hot bits for {rows} events")
    bits = np.frombuffer(batch.hot_bits, np.uint8)
    return np.unpackbits(bits, count=rows, bitorder="little").view(np.bool_)


def append_response(results: Sequence[BatchAppended]) -> shard_pb2.AppendEventsResponse:
    return shard_pb2.AppendEventsResponse(
        results=[
            shard_pb2.TenantAppend(
                code=result.code,
                message=result.message,
                duplicate_bits=np.packbits(result.duplicates, bitorder="little").tobytes(),
                duplicates=int(np.count_nonzero(result.duplicates)),
                position=result.position,
                retry_after_ms=result.retry_after_ms,
                sealed=[shard_pb2.KeyOfDay(distinct_id=distinct_id, day=day) for distinct_id, day in result.sealed],
            )
            for result in results
        ]
    )


def appended_of(response: shard_pb2.AppendEventsResponse, rows: Sequence[int]) -> list[BatchAppended]:
    """The results of batches of so many rows each; raises ``INTERNAL`` for an answer that does not fit the question."""
    if len(response.results) != len(rows):
        raise EvenshardError("INTERNAL", f"the shard answered for {len(response.results)} of {len(rows)} batches")
    results = []
    for result, count in zip(response.results, rows, strict=True):
        if result.code:
            sealed = tuple((key.distinct_id, key.day) for key in result.sealed)
            results.append(refused(result.code, result.message, result.retry_after_ms, sealed))
            continue
        bits = np.frombuffer(result.duplicate_bits, np.uint8)
        if bits.size != (count + 7) // 8:
            raise EvenshardError("INTERNAL", f"the shard answered with {bits.size} bytes of bits for {count} events")
        duplicates = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
        results.append(BatchAppended("", "", duplicates, result.position))
    return results
