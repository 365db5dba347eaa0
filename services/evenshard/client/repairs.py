"""Plans of repairs as the contract's documents."""

from typing import Any

import orjson

from evenshard.api.v1 import admin_pb2


def plan_document(plan: admin_pb2.RepairPlan) -> dict[str, Any]:
    """``before`` and ``after`` are events as an export gives them; ``after`` is null of one that will be deleted."""
    return {
        "kept_rows": plan.kept_rows,
        "rewritten_rows": plan.rewritten_rows,
        "bytes": plan.bytes,
        "days": list(plan.days),
        "examples": [
            {"before": orjson.loads(each.before), "after": orjson.loads(each.after) if each.after else None}
            for each in plan.examples
        ],
        "left_rows": plan.left_rows,
        "left": [orjson.loads(line) for line in plan.left],
    }
