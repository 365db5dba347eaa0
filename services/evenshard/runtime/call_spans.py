"""Calls between processes as spans and metrics see them, by OpenTelemetry's semantic conventions of RPCs."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from opentelemetry import trace

from evenshard.errors import CODES, EvenshardError
from evenshard.runtime.metrics import record_call
from evenshard.runtime.peer_names import name_of
from evenshard.runtime.spans import CANCELLED
from evenshard.runtime.telemetry import outgoing_metadata, tracer
from evenshard.wire.rpcs import KEEP_TRACES, LIST_TRACES

UNTRACED: Final = frozenset([KEEP_TRACES.path, LIST_TRACES.path])
"""Calls about traces are in none."""
_ATTRIBUTES_MAX: Final = 16_384

_of_server: dict[str, Mapping[str, str]] = {}
_of_client: dict[tuple[str, str, str], Mapping[str, str | int]] = {}
"""Made once: the same calls go on all the time."""


def server_attributes(path: str) -> Mapping[str, str]:
    """What the span of a call that came in says from the begin."""
    found = _of_server.get(path)
    if found is None:
        found = _of_server[path] = {"rpc.system.name": "grpc", "rpc.method": path[1:]}
    return found


def _client_attributes(address: str, path: str) -> Mapping[str, str | int]:
    """What the span of a call to ``address`` says: the process it went to too, where the directory has told."""
    name = name_of(address)
    found = _of_client.get((address, path, name))
    if found is None:
        host, _, port = address.rpartition(":")
        found = {"rpc.system.name": "grpc", "rpc.method": path[1:], "server.address": host or address}
        if port.isdigit():
            found["server.port"] = int(port)
        if name:
            found["evenshard.peer"] = name
        if name.startswith("shard-"):
            found["evenshard.shard"] = name
        if len(_of_client) >= _ATTRIBUTES_MAX:
            _of_client.clear()
        _of_client[address, path, name] = found
    return found


def outcome_of(error: BaseException | None) -> str:
    """The code a call ended with; empty: it was answered."""
    match error:
        case None | GeneratorExit():  # whoever reads a stream may have enough of it
            return ""
        case EvenshardError():
            return error.code
        case asyncio.CancelledError():
            return CANCELLED
        case TimeoutError():
            return "DEADLINE_EXCEEDED"
        case _:
            return "INTERNAL"


def grpc_status_of(code: str) -> str:
    """gRPC's name for how a call ended."""
    if not code:
        return "OK"
    return CODES[code].grpc_status if code in CODES else code


class ClientCall:
    """One call to another process, as long as the block lasts."""

    __slots__ = ("_began_s", "_path", "_span", "metadata")

    def __init__(self, address: str, path: str) -> None:
        self._path = path
        self._span: trace.Span | None = None
        if path not in UNTRACED:
            self._span = tracer().start_span(
                path[1:], kind=trace.SpanKind.CLIENT, attributes=_client_attributes(address, path)
            )
        self.metadata = outgoing_metadata(self._span)
        """What travels along."""
        self._began_s = time.monotonic()

    def __enter__(self) -> "ClientCall":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code = outcome_of(error)
        record_call("client", self._path, code, grpc_status_of(code), time.monotonic() - self._began_s)
        if self._span is not None:
            if code:
                self._span.set_status(trace.StatusCode.ERROR, code)
                self._span.set_attribute("error.type", code)
            self._span.end()
