"""Operations as the contract's documents. What an operation of its kind does not have is null."""

from typing import Any

from evenshard.api.v1 import admin_pb2


def operation_document(operation: admin_pb2.Operation) -> dict[str, Any]:
    return {
        "operation": operation.operation,
        "kind": operation.kind,
        "tenant": operation.tenant,
        "state": operation.state,
        "paused": operation.paused,
        "rows_done": operation.rows_done,
        "rows_total": operation.rows_total,
        "bytes_done": operation.bytes_done,
        "bytes_total": operation.bytes_total,
        "lag_rows": operation.lag_rows,
        "eta_seconds": operation.eta_seconds if operation.HasField("eta_seconds") else None,
        "fenced_ms": operation.fenced_ms if operation.HasField("fenced_ms") else None,
        "verify": _verify(operation.verify) if operation.HasField("verify") else None,
        "error": operation.error or None,
        "requested_by": operation.requested_by,
        "asked": operation.asked or None,
    }


def _verify(verify: admin_pb2.OperationVerify) -> dict[str, Any]:
    return {"equal": verify.equal, "differences": list(verify.differences)}
