"""Errors on the wire: every ``EvenshardError`` as a ``google.rpc.Status`` and back, nothing lost on the way.

``errors.CODES`` says which gRPC status a code has. A failure that carries no status of ours (no peer, no answer in
time, a message too large) becomes the code a caller can act on.
"""

from collections.abc import Iterable
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from evenshard.errors import CODES, EvenshardError, FieldFault

DOMAIN: Final = "evenshard"
STATUS_METADATA_KEY: Final = "grpc-status-details-bin"
RETRY_DELAY_DEFAULT_MS: Final = 100
"""What ``RetryInfo`` asks for where the error names no time of its own."""

# gRPC refuses trailing metadata above 8 KiB, and sends the message twice: once percent-encoded, once in the status.
MESSAGE_BYTES_MAX: Final = 800
DETAIL_BYTES_MAX: Final = 200
STATUS_BYTES_MAX: Final = 3500

_OWN_METADATA = frozenset(["hint", "in_doubt", "trace_id"])


def to_status(error: EvenshardError) -> status_pb2.Status:
    """The error as it travels. Long texts are cut, and surplus fields and details left out, to fit gRPC's limit."""
    code: int = getattr(grpc.StatusCode, CODES[error.code].grpc_status).value[0]
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=error.code)
    info.metadata["hint"] = _cut(error.hint, DETAIL_BYTES_MAX)
    info.metadata["in_doubt"] = "true" if error.in_doubt else "false"
    info.metadata["trace_id"] = error.trace_id
    faults = error_details_pb2.BadRequest()
    budget = STATUS_BYTES_MAX - MESSAGE_BYTES_MAX - info.ByteSize()
    for name, value in error.details.items():
        key, text = _cut(name, DETAIL_BYTES_MAX), _cut(value, DETAIL_BYTES_MAX)
        budget -= len(key) + len(text.encode()) + 16
        if budget < 0:
            break
        info.metadata[key] = text
    for fault in error.fields:
        violation = faults.field_violations.add(
            field=_cut(fault.field, DETAIL_BYTES_MAX), description=_cut(fault.description, DETAIL_BYTES_MAX)
        )
        budget -= violation.ByteSize() + 16
        if budget < 0:
            faults.field_violations.pop()
            break
    status = status_pb2.Status(code=code, message=_cut(error.message, MESSAGE_BYTES_MAX), details=[_packed(info)])
    if error.retryable:
        delay_ms = RETRY_DELAY_DEFAULT_MS if error.retry_after_ms is None else error.retry_after_ms
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(delay_ms)
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if faults.field_violations:
        status.details.append(_packed(faults))
    return status


def from_status(status: status_pb2.Status) -> EvenshardError | None:
    """The error a status carries; ``None`` where it is not one of ours."""
    info, retry, faults = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    retry_after_ms = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_ms = retry.retry_delay.ToMilliseconds()
        elif not detail.Unpack(info):
            detail.Unpack(faults)
    if info.domain != DOMAIN:
        return None
    details = {name: value for name, value in info.metadata.items() if name not in _OWN_METADATA}
    code = info.reason
    if code not in CODES:  # a newer peer's
        code, details["reason"] = _code_of_status(status.code), info.reason
    return EvenshardError(
        code,
        status.message,
        hint=info.metadata.get("hint", ""),
        in_doubt=info.metadata.get("in_doubt") == "true",
        retry_after_ms=retry_after_ms,
        fields=tuple(FieldFault(each.field, each.description) for each in faults.field_violations),
        details=details,
        trace_id=info.metadata.get("trace_id", ""),
    )


def from_rpc_error(error: grpc.RpcError, address: str = "") -> EvenshardError:
    """What a failed call means to its caller; ``address`` is named where the peer could not be reached."""
    for key, value in _pairs(error.trailing_metadata()):
        if key == STATUS_METADATA_KEY:
            status = status_pb2.Status()
            status.ParseFromString(value)
            known = from_status(status)
            if known is not None:
                return known
    code = error.code()
    said = error.details() or code.name
    where = {"address": address} if address else {}
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said:
        return EvenshardError("REQUEST_TOO_LARGE", said, details=where)
    return EvenshardError(
        _code_of_status(code.value[0]), f"{address}: {said}" if address else said, details=where | {"grpc": code.name}
    )


def trailing_metadata(error: EvenshardError) -> tuple[tuple[str, bytes], ...]:
    """The metadata with which a server sends the error, beside the gRPC status and message."""
    return ((STATUS_METADATA_KEY, to_status(error).SerializeToString()),)


_CODES_OF_STATUS: Final = {
    grpc.StatusCode.UNAVAILABLE: "UNREACHABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.CANCELLED: "UNREACHABLE",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OVERLOADED",
    grpc.StatusCode.INVALID_ARGUMENT: "USAGE",
    grpc.StatusCode.UNIMPLEMENTED: "USAGE",
    grpc.StatusCode.UNAUTHENTICATED: "TOKEN_INVALID",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.DATA_LOSS: "DATA_DAMAGED",
}
_CODES_OF_NUMBER: Final[dict[int, str]] = {code.value[0]: reason for code, reason in _CODES_OF_STATUS.items()}


def _code_of_status(number: int) -> str:
    return _CODES_OF_NUMBER.get(number, "INTERNAL")


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _pairs(metadata: Any) -> Iterable[tuple[str, Any]]:
    return metadata or ()


def _cut(text: str, bytes_max: int) -> str:
    """At most ``bytes_max`` bytes of UTF-8; what UTF-8 cannot hold is replaced."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= bytes_max else data[: bytes_max - 3].decode(errors="ignore") + "…"
