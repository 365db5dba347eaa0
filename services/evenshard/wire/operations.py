"""Operations and what they ask of shards: protobuf ↔ ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.moves import Move
from evenshard.directory.operations import Operation, Verified
from evenshard.ids import Epoch, OperationId, Revision, ShardId, TenantId


def operation_to_proto(
    operation: Operation, revision: Revision, verified: Verified | None = None
) -> admin_pb2.Operation:
    """``revision``: of its last change; 0 where it is only planned. ``verified``: what comparing found, if it was."""
    done = operation.rows_done / operation.rows_total if operation.rows_total else float(operation.state == "complete")
    found = None
    if verified is not None:
        found = admin_pb2.OperationVerify(equal=not verified.differences, differences=verified.differences)
    told = admin_pb2.Operation(
        operation=operation.id,
        kind=operation.kind,
        tenant=operation.tenant,
        state=operation.state,
        rows_done=operation.rows_done,
        rows_total=operation.rows_total,
        paused=operation.paused,
        bytes_total=operation.bytes_total,
        bytes_done=int(operation.bytes_total * min(1.0, done)),
        verify=found,
        error=operation.error,
        requested_by=operation.requested_by,
        created_ms=operation.created_ms,
        changed_ms=operation.changed_ms,
        revision=revision,
    )
    if operation.move is not None:
        _add_move(told, operation.move)
        told.asked = "" if operation.ended else operation.move.wish
    return told


def _add_move(told: admin_pb2.Operation, move: Move) -> None:
    told.bytes_done, told.lag_rows = move.bytes_done, move.lag_rows
    if move.eta_seconds is not None:
        told.eta_seconds = move.eta_seconds
    if move.fenced_ms is not None:
        told.fenced_ms = move.fenced_ms
    if move.differences is not None and not told.HasField("verify"):
        told.verify.CopyFrom(admin_pb2.OperationVerify(equal=not move.differences, differences=move.differences))


def hide_request(
    tenant: TenantId, epoch: Epoch, operation: OperationId, distinct_ids: Iterable[str]
) -> shard_pb2.HideUsersRequest:
    return shard_pb2.HideUsersRequest(tenant=tenant, epoch=epoch, operation=operation, distinct_ids=distinct_ids)


def horizon_request(tenant: TenantId, epoch: Epoch, horizon_ms: int) -> shard_pb2.RaiseHorizonRequest:
    return shard_pb2.RaiseHorizonRequest(tenant=tenant, epoch=epoch, horizon_ms=horizon_ms)


def purge_request(tenant: TenantId, epoch: Epoch, operation: OperationId | None) -> shard_pb2.PurgeRequest:
    """``operation`` None: all that is hidden."""
    return shard_pb2.PurgeRequest(tenant=tenant, epoch=epoch, operation=operation or "")


def rows_hidden(answers: Iterable[shard_pb2.HideUsersResponse]) -> int:
    """By all shards together."""
    return sum(answer.rows for answer in answers)


@dataclass(frozen=True, slots=True)
class PurgeProgress:
    """How far the shards of a tenant are, together."""

    shards_left: Sequence[ShardId]
    """Those that have something to remove still."""
    rows_done: int
    rows_left: int
    waits_for: str
    """For people; empty: nothing."""


def purge_progress(answers: Mapping[ShardId, shard_pb2.PurgeResponse]) -> PurgeProgress:
    left = {shard: answer for shard, answer in sorted(answers.items()) if not answer.purged}
    return PurgeProgress(
        tuple(left),
        sum(answer.rows_done for answer in answers.values()),
        sum(answer.rows_left for answer in left.values()),
        "; ".join(f"{shard}: {answer.waits_for}" for shard, answer in left.items() if answer.waits_for),
    )
