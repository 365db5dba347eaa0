"""The shapes of the documents that commands print with ``--json``, field for field; and what of a document misfits one.

A shape is a type, a tuple of types, an array of one shape, an object of shapes, ``Map`` or ``Empty``.
"""

from typing import Any

NULL = type(None)
MAYBE_TEXT, MAYBE_NUMBER = (str, NULL), (float, NULL)


class Map:
    """An object with any keys, and values of one shape."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Empty:
    """An array without items."""


ERROR = {
    "error": {
        "code": str, "message": str, "hint": str, "retryable": bool, "trace_id": MAYBE_TEXT, "details": Map(str),
    }
}  # fmt: skip
WRONG = {"error": {**ERROR["error"], "details": {"fields": [{"field": str, "description": str}]}}}
UP = {
    "status": str, "routers": [str], "gateways": [str], "counters": [str], "shards": Map(str), "etcd": [str],
    "data_dir": str, "seconds": float,
}  # fmt: skip
SERVICE = {
    "name": str, "kind": str, "address": str, "status": str, "reason": MAYBE_TEXT, "pid": int, "restarts": int,
    "rss_bytes": int,
}  # fmt: skip
UNREACHABLE_SERVICE = {**SERVICE, "reason": str, "pid": NULL, "restarts": NULL, "rss_bytes": NULL}
SLOTS = [{"first": int, "last": int, "shard": str}]
TENANT = {
    "tenant": str, "hot_key_threshold": int, "hot_key_mode": str, "timezone": str, "dedupe": bool,
    "retention_days": NULL, "strict": bool, "events_per_second": NULL, "bytes_per_second": NULL,
    "owners": list, "report_sink": MAYBE_TEXT, "required_labels": list,
    "placement": {"epoch": int, "slots": SLOTS, "overflow": Empty},
}  # fmt: skip
CHANGE = {
    "revision": int, "at_ms": int, "who": str, "verb": str, "subject": str, "before": dict, "after": dict,
}  # fmt: skip
COUNTS = {"accepted": int, "duplicates": int, "hot_events_rewritten": int, "rejected": int}
REJECTED = {
    "index": int, "tenant": str, "insert_id": str, "field": str, "code": str, "message": str, "retryable": bool
}  # fmt: skip
IMPORTED = {
    "events_read": int, **COUNTS, "errors": [REJECTED], "errors_by_code": Map(int), "by_tenant": Map(COUNTS),
    "warnings": [{"code": str, "message": str, "count": int}], "seconds": float, "events_per_second": float,
    "trace_id": str,
}  # fmt: skip
META = {
    "complete": bool, "missing_shards": Empty, "placement_epoch": int, "data_version": str,
    "duplicates_skipped": {"log": int, "segment": int}, "hot_events_rewritten": int, "rows_scanned": int,
    "bytes_scanned": int, "shards": int, "cache": str, "elapsed_ms": (int, float), "trace_id": str, "warnings": Empty,
}  # fmt: skip
SERIES = {"by": [(str, NULL)], "values": [int], "overall": int}
STEP = {
    "step": int, "name": str, "count": int, "conversion_from_previous": MAYBE_NUMBER,
    "conversion_from_first": MAYBE_NUMBER, "avg_seconds_from_previous": MAYBE_NUMBER,
    "median_seconds_from_previous": MAYBE_NUMBER, "avg_seconds_from_first": MAYBE_NUMBER,
    "median_seconds_from_first": MAYBE_NUMBER, "histogram": list,
}  # fmt: skip
COHORT = {"start": str, "size": int, "returned": [int], "incomplete": [bool]}
SAVED_COHORT = {"name": str, "version": int, "definition": dict, "users": int}
NODE = {"step": int, "name": str, "count": int, "dropoff": int}
EDGE = {"step": int, "from": str, "to": str, "count": int}
BARS = [{"up_to_seconds": (int, float), "count": int}]
EXPLAINED = [{"event": str, "time_ms": int, "insert_id": str, "step": (int, type(None)), "reason": str}]
ROW = {"event": str, "properties": {"distinct_id": str, "time": int, "$insert_id": str, "shop": str}}
EXPORTED = {"rows": int, "bytes": int, "cursor": MAYBE_TEXT, "complete": bool}
COMPACTED = {"segments_written": int, "rows": int, "duplicates_marked": int, "backlog_rows": int}
STORED = {
    "tenant": str, "log_rows": int, "segment_rows": int, "duplicate_rows": int, "segments": int, "files": int,
    "bytes": int,
}  # fmt: skip
COMPACTION = {
    "shard": str, "paused": bool, "paused_tenants": [str], "failing_tenants": Empty, "backlog_rows": int,
    "log_files": int, "log_kept_by": Empty,
}  # fmt: skip
UNPAUSED = {**COMPACTION, "paused_tenants": Empty}
MEMORY = {
    "shard": str, "bytes_max": int, "resident_bytes": int, "resident_bytes_peak": int,
    "parts": [{"part": str, "bytes": int, "bytes_max": int}],
}  # fmt: skip
STORAGE = {"tenants": [STORED], "compaction": [UNPAUSED], "memory": [MEMORY]}
OPERATION = {
    "operation": str, "kind": str, "tenant": str, "state": str, "paused": bool, "rows_done": int, "rows_total": int,
    "bytes_done": int, "bytes_total": int, "lag_rows": int, "eta_seconds": MAYBE_NUMBER, "fenced_ms": NULL,
    "verify": NULL, "error": MAYBE_TEXT, "requested_by": str, "asked": MAYBE_TEXT,
}  # fmt: skip
SHARD = {
    "shard": str, "address": str, "labels": dict, "state": str, "tenants": int, "rows": int, "bytes": int,
    "events_per_second": float, "queries_per_second": float, "query_p99_ms": MAYBE_NUMBER, "busy": float,
    "queries_running": int, "pending_bytes": int, "backlog_rows": int, "cpu": MAYBE_NUMBER,
    "read_bytes_per_second": MAYBE_NUMBER, "write_bytes_per_second": MAYBE_NUMBER, "window_ms": float,
    "share": MAYBE_NUMBER, "reason": NULL,
}  # fmt: skip
SHARDS = {"shards": [SHARD], "skew": MAYBE_NUMBER, "load_of": str, "skews": Map(MAYBE_NUMBER)}
COUNTED_KEY = {
    "tenant": str, "distinct_id": str, "date": MAYBE_TEXT, "count": (int, NULL), "count_error": (int, NULL),
    "share": MAYBE_NUMBER, "marked": bool, "mode": MAYBE_TEXT,
}  # fmt: skip
DIAGNOSIS = {
    "kind": str, "subject": str, "evidence": str, "advice": str, "shard": str, "tenant": MAYBE_TEXT,
    "distinct_id": MAYBE_TEXT, "dimension": str,
}  # fmt: skip
TOP = {"keys": [COUNTED_KEY], **SHARDS, "diagnosis": [DIAGNOSIS], "counters": str}
SLOW = {
    "shard": MAYBE_TEXT, "tenant": MAYBE_TEXT, "kind": MAYBE_TEXT, "event": MAYBE_TEXT, "count": int, "p99_ms": float,
    "max_ms": float, "wait_p99_ms": float, "run_p99_ms": float, "rows": int,
}  # fmt: skip
SPAN = {
    "trace_id": str, "span_id": str, "parent_span_id": MAYBE_TEXT, "name": str, "service": str, "start_unix_ns": int,
    "end_unix_ns": int, "status": str, "attributes": Map((str, int, float, bool)),
    "links": list,
}  # fmt: skip
TRACES = {
    "traces": [{"trace_id": str, "root": str, "duration_ms": float, "spans": [SPAN]}],
}  # fmt: skip
HOT_KEY = {
    "distinct_id": str, "date": str, "mode": str, "threshold": int, "kept": int, "rewritten": int, "events": Map(int),
    "stands_out": [{"property": str, "value": str, "share": float, "share_elsewhere": float}], "likely_cause": str,
    "advice": str,
}  # fmt: skip
REPORT = {"tenant": str, "from": str, "to": str, "hot_keys": [HOT_KEY], "more_hot_keys": int}
SENT = {
    "tenant": str, "week": str, "from": str, "to": str, "outcome": str, "sink": MAYBE_TEXT, "hot_keys": (list, NULL),
    "more_hot_keys": int, "hot_key_count": int, "attempts": int, "error": MAYBE_TEXT, "changed_ms": int,
}  # fmt: skip
REPORTS = {"week": str, "from": str, "to": str, "reports": [SENT]}
ANY_TENANT = {**TENANT, "placement": {**TENANT["placement"], "overflow": list}}  # type: ignore[dict-item]
PLAN = {
    "kept_rows": int, "rewritten_rows": int, "bytes": int, "days": [str],
    "examples": [{"before": dict, "after": (dict, NULL)}], "left_rows": int, "left": list,
}  # fmt: skip
CHECKED = {"ok": bool, "files_checked": int, "frames": int, "rows": int, "findings": Empty}
FINDING = {"file": str, "offset": int, "code": str, "lost_rows": int, "next": str}
SETTING = {
    "name": str,
    "value": (int, float, str, bool),
    "default": (int, float, str, bool),
    "unit": str,
    "effect": str,
}


def misfits(value: Any, shape: Any, at: str = "$") -> list[str]:
    """Where a document is not of a shape: a type, one of several, or an object or array of shapes."""
    match shape:
        case type() if shape is Empty:
            return [] if value == [] else [f"{at}: {value!r} is not []"]
        case type() if shape in (list, dict):
            return [] if isinstance(value, shape) else [f"{at}: {value!r} is no {shape.__name__}"]
        case type():
            return [] if type(value) is shape else [f"{at}: {value!r} is no {shape.__name__}"]
        case tuple():
            return [] if type(value) in shape else [f"{at}: {value!r} is none of {shape}"]
        case Map():
            if type(value) is not dict or not all(value):
                return [f"{at}: {value!r} is no object"]
            return [each for key in value for each in misfits(value[key], shape.value, f"{at}.{key}")]
        case [item]:
            if type(value) is not list or not value:
                return [f"{at}: {value!r} is no array with items"]
            return [each for place, one in enumerate(value) for each in misfits(one, item, f"{at}[{place}]")]
        case dict():
            if type(value) is not dict or set(value) != set(shape):
                return [f"{at}: {value!r} has not the fields {sorted(shape)}"]
            return [each for key in shape for each in misfits(value[key], shape[key], f"{at}.{key}")]
    raise TypeError(shape)
