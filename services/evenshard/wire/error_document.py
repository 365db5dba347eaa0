"""Errors as JSON: what ``--json`` prints, what a process that cannot start leaves in its log, and back."""

from collections.abc import Mapping
from typing import Any

from evenshard.errors import CODES, EvenshardError, FieldFault


def error_document(error: EvenshardError) -> dict[str, Any]:
    """``{"error": {…}}`` as the contract says."""
    details: dict[str, Any] = dict(error.details)
    if error.in_doubt:
        details["in_doubt"] = True
    if error.retry_after_ms is not None:
        details["retry_after_ms"] = error.retry_after_ms
    if error.fields:
        details["fields"] = [{"field": each.field, "description": each.description} for each in error.fields]
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retryable": error.retryable,
            "trace_id": error.trace_id or None,
            "details": details,
        }
    }


def error_from_document(document: Mapping[str, Any]) -> EvenshardError | None:
    """The error that was written; ``None`` where there is none that we know."""
    error = document.get("error")
    if not isinstance(error, Mapping) or error.get("code") not in CODES:
        return None
    details = dict(error.get("details") or {})
    in_doubt, retry_after_ms = details.pop("in_doubt", False), details.pop("retry_after_ms", None)
    fields = tuple(FieldFault(each["field"], each["description"]) for each in details.pop("fields", ()))
    return EvenshardError(
        error["code"],
        error.get("message", ""),
        hint=error.get("hint", ""),
        in_doubt=in_doubt,
        retry_after_ms=retry_after_ms,
        fields=fields,
        details=details,
        trace_id=error.get("trace_id") or "",
    )
