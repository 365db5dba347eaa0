"""What operators changed: ours → protobuf."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from evenshard.api.v1 import admin_pb2
from evenshard.directory.audit import Audited
from evenshard.ids import Revision


def audit_message(changes: Iterable[tuple[Revision, Audited]], left_out: int) -> admin_pb2.ListAuditResponse:
    return admin_pb2.ListAuditResponse(
        changes=[
            admin_pb2.AuditedChange(
                revision=revision,
                at_ms=audited.at_ms,
                who=audited.who,
                verb=audited.verb,
                subject=audited.subject,
                before_json=_json(audited.before),
                after_json=_json(audited.after),
            )
            for revision, audited in changes
        ],
        left_out=left_out,
    )


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told) if told else ""
