"""Logs: one JSON line each on stderr, with time, level, service, event, and the trace it belongs to."""

import datetime
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from evenshard.runtime.call import current_call
from evenshard.runtime.telemetry import span_ids

Logger = structlog.typing.FilteringBoundLogger


def start_logs(service_name: str, stream: TextIO | None = None) -> None:
    """From now on loggers, those of libraries too, write JSON lines to ``stream`` (stderr if absent)."""
    structlog.configure(
        processors=[
            _who_and_when(service_name),
            _trace,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: structlog.PrintLogger(stream or sys.stderr),  # stderr as it is by then
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_OfLibraries()], force=True)


def logger() -> Logger:
    """The process's logger: ``logger().info("what happened", key=value)``; ``exception`` adds the stack."""
    bound: Logger = structlog.get_logger()
    return bound


class _OfLibraries(logging.Handler):
    """What libraries say through ``logging`` becomes lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno, logging.CRITICAL) // 10 * 10
        logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)


def _who_and_when(service_name: str) -> Any:
    def add(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "ts": now,
            "level": "error" if level == "exception" else level,
            "service": service_name,
            "event": event.pop("event", ""),
            **event,
        }

    return add


def _trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "trace_id" not in event:
        ids = span_ids()
        if ids:
            event.update(ids)
        else:
            try:
                event["trace_id"] = current_call().trace_id
            except LookupError:
                event["trace_id"] = None  # outside of any call
    return event


def _line(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
