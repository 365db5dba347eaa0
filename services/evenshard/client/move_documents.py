"""Plans that move slots, and how shards are used, as the contract's documents."""

from typing import Any

from evenshard.api.v1 import admin_pb2


def plan_document(plan: admin_pb2.MovePlan) -> dict[str, Any]:
    """What would be moved; ``loads``: rows of each shard, before and after."""
    return {
        "plan_id": plan.plan_id,
        "directory_revision": plan.directory_revision,
        "moves": [
            {
                "tenant": move.tenant,
                "slots": [move.first, move.last],
                "from": move.source,
                "to": move.target,
                "overflow": move.overflow,
                "rows": move.rows,
                "bytes": move.bytes,
                "reason": move.reason,
            }
            for move in plan.moves
        ],
        "skew_before": plan.skew_before if plan.HasField("skew_before") else None,
        "skew_after": plan.skew_after if plan.HasField("skew_after") else None,
        "expected_hold_ms": plan.expected_hold_ms,
        "expected_seconds": plan.expected_seconds,
        "loads": [
            {"shard": load.shard, "rows_before": load.rows_before, "rows_after": load.rows_after} for load in plan.loads
        ],
    }


def shard_document(shard: admin_pb2.ShardState) -> dict[str, Any]:
    """A shard and how it is used, without its load."""
    return {
        "shard": shard.shard,
        "address": shard.address,
        "labels": dict(shard.labels),
        "state": shard.state,
    }
