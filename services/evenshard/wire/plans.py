"""Plans that move slots: protobuf ↔ ours."""

from evenshard.api.v1 import admin_pb2
from evenshard.directory.moves import Slots
from evenshard.directory.planning import HOLD_MS, Plan, slots_given
from evenshard.directory.service import ServiceRecord
from evenshard.directory.shard_state import Use
from evenshard.ids import Revision


def slots_wanted(wanted: admin_pb2.WantedSlots) -> Slots:
    """Raises ``QUERY_INVALID``."""
    return slots_given(f"{wanted.first}-{wanted.last}")


def shard_used(record: ServiceRecord, use: Use) -> admin_pb2.ShardState:
    """How a shard is used, without its load."""
    return admin_pb2.ShardState(shard=record.name, address=record.address, labels=record.labels, state=use)


def plan_message(plan: Plan, revision: Revision, bytes_per_second: int) -> admin_pb2.MovePlan:
    """``revision``: of the directory when it was made."""
    return admin_pb2.MovePlan(
        plan_id=plan.id_at(revision),
        directory_revision=revision,
        moves=[
            admin_pb2.PlannedMove(
                tenant=move.tenant,
                first=move.slots[0],
                last=move.slots[1],
                source=move.source,
                target=move.target,
                overflow=move.overflow,
                rows=move.rows,
                bytes=move.bytes,
                reason=move.reason,
            )
            for move in plan.moves
        ],
        skew_before=plan.skew_before,
        skew_after=plan.skew_after,
        expected_hold_ms=HOLD_MS if plan.moves else 0,
        expected_seconds=plan.seconds(bytes_per_second),
        loads=[
            admin_pb2.PlannedLoad(shard=shard, rows_before=rows, rows_after=plan.rows_after[shard])
            for shard, rows in plan.rows_before.items()
        ],
    )
