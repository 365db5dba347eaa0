"""What a request_id was used for, where that began an operation: sent again, it answers with that one."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from evenshard.directory.changes import subject_of, used_otherwise
from evenshard.ids import OperationId, TenantId


@dataclass(frozen=True, slots=True)
class OperationBegun:
    """What a request_id was used for, written in the very swap that made the operation."""

    verb: str
    operation: OperationId
    tenant: TenantId
    digest: str
    """Of what was asked for: ids do not outlive the operation here."""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def of(verb: str, operation: OperationId, tenant: TenantId, asked: Any) -> "OperationBegun":
        return OperationBegun(verb, operation, tenant, hashlib.sha256(json.dumps(asked).encode()).hexdigest())

    def check_same(self, request_id: str, data: bytes) -> OperationId:
        """The operation that the same request began. Raises ``OPERATION_CONFLICT`` where it was another request."""
        record = json.loads(data)
        if (record["verb"], record.get("digest")) != (self.verb, self.digest) or record["tenant"] != self.tenant:
            raise used_otherwise(request_id, record["verb"], subject_of(record))
        return OperationId(record["operation"])
