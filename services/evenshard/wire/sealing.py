"""Seals and originals of hot keys: protobuf ↔ ours."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES, FIELDS, EventBatch
from evenshard.events.hashing import UInt64
from evenshard.ids import Epoch, TenantId

_IDENTITY_HASH = "identity_hash"


@dataclass(frozen=True, slots=True)
class Told:
    """A page of identities as it travels."""

    batch: EventBatch
    identity: UInt64
    hash_next: int
    """0: it is the last."""


def learn_epoch_request(tenant: TenantId, epoch: Epoch) -> shard_pb2.LearnEpochRequest:
    return shard_pb2.LearnEpochRequest(tenant=tenant, epoch=epoch)


def _key(key: tuple[str, int]) -> shard_pb2.KeyOfDay:
    return shard_pb2.KeyOfDay(distinct_id=key[0], day=key[1])


def seal_request(
    tenant: TenantId, epoch: Epoch, key: tuple[str, int], nonce: str, hash_from: int
) -> shard_pb2.SealKeyRequest:
    return shard_pb2.SealKeyRequest(tenant=tenant, epoch=epoch, key=_key(key), nonce=nonce, hash_from=hash_from)


def seal_response(batch: EventBatch, identity: UInt64, hash_next: int) -> shard_pb2.SealKeyResponse:
    record = batch.record.append_column(_IDENTITY_HASH, pa.array(identity))
    return shard_pb2.SealKeyResponse(arrow_ipc=EventBatch(record).to_ipc() if batch.rows else b"", hash_next=hash_next)


def told_of(response: shard_pb2.SealKeyResponse) -> Told:
    """Raises ``INTERNAL`` for what no shard says."""
    if not response.arrow_ipc:
        return Told(_NOTHING, np.zeros(0, np.uint64), response.hash_next)
    try:
        record = EventBatch.from_ipc(response.arrow_ipc).record
        batch = EventBatch(record.select(FIELD_NAMES))
        return Told(batch, record.column(_IDENTITY_HASH).to_numpy(), response.hash_next)
    except (pa.ArrowException, KeyError, StopIteration) as error:
        raise EvenshardError("INTERNAL", f"originals cannot be read: {error}") from error


def keep_request(
    tenant: TenantId, epoch: Epoch, key: tuple[str, int], nonce: str, page: tuple[int, int], batch: EventBatch
) -> shard_pb2.KeepOriginalsRequest:
    return shard_pb2.KeepOriginalsRequest(
        tenant=tenant,
        epoch=epoch,
        key=_key(key),
        nonce=nonce,
        hash_from=page[0],
        hash_next=page[1],
        arrow_ipc=batch.to_ipc() if batch.rows else b"",
    )


def originals_of(request: shard_pb2.KeepOriginalsRequest) -> EventBatch | None:
    """None: none are sent. Raises ``PAYLOAD_INVALID``."""
    return originals_from(request.arrow_ipc) if request.arrow_ipc else None


def originals_from(ipc: bytes) -> EventBatch:
    """Identities alone. Raises ``PAYLOAD_INVALID``."""
    try:
        batch = EventBatch.from_ipc(ipc)
        batch.record.validate()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise EvenshardError("PAYLOAD_INVALID", f"originals cannot be read: {error}") from error
    if list(batch.record.schema) != list(FIELDS):
        raise EvenshardError("PAYLOAD_INVALID", "originals are not in canonical form")
    return batch


def record_request(tenant: TenantId, epoch: Epoch, key: tuple[str, int], nonce: str) -> shard_pb2.RecordKeyRequest:
    return shard_pb2.RecordKeyRequest(tenant=tenant, epoch=epoch, key=_key(key), nonce=nonce)


_NOTHING = EventBatch(pa.RecordBatch.from_pylist([], schema=pa.schema(FIELDS)))
