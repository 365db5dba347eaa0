"""What operators changed, as documents."""

import json
from typing import Any

from evenshard.api.v1 import admin_pb2


def audit_document(answer: admin_pb2.ListAuditResponse) -> dict[str, Any]:
    """``{"changes": [{"revision", "at_ms", "who", "verb", "subject", "before", "after"}], "left_out"}``."""
    return {"changes": [_change(each) for each in answer.changes], "left_out": answer.left_out}


def _change(change: admin_pb2.AuditedChange) -> dict[str, Any]:
    return {
        "revision": change.revision,
        "at_ms": change.at_ms,
        "who": change.who,
        "verb": change.verb,
        "subject": change.subject,
        "before": json.loads(change.before_json or "{}"),
        "after": json.loads(change.after_json or "{}"),
    }
