"""The spans of a command, sent where those of the cluster go."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

TRACE_FILE_VARIABLE: Final = "EVENSHARD_TRACE_FILE"
SERVICE_NAME: Final = "client"
_VARIABLES: Final = (TRACE_FILE_VARIABLE, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CALL_NOBODY: Final = frozenset(["up", "serve", "config", "version"])


@contextlib.contextmanager
def command_traced(command: str) -> Iterator[None]:
    """While ``command`` runs its spans go to the file ``EVENSHARD_TRACE_FILE`` names, and to the OTLP collector. Raises
    ``USAGE`` where the file cannot be written."""
    if command in _CALL_NOBODY or not any(os.environ.get(name) for name in _VARIABLES):
        yield
        return
    from evenshard.runtime.telemetry import start_telemetry, stop_telemetry

    start_telemetry(SERVICE_NAME, os.environ.get(TRACE_FILE_VARIABLE, ""))
    try:
        yield
    finally:
        stop_telemetry()
