"""What surrounds every handler: trace, principal and deadline come in; errors leave as ``google.rpc.Status``."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry import context as otel_context
from opentelemetry import trace

from evenshard.errors import CODES, EvenshardError
from evenshard.runtime.call import DEFAULT_TIMEOUT_S, DEVELOPMENT, Call, enter_call
from evenshard.runtime.call_spans import UNTRACED, grpc_status_of, outcome_of, server_attributes
from evenshard.runtime.logs import logger
from evenshard.runtime.metrics import record_call
from evenshard.runtime.telemetry import extract_context, trace_id_of, tracer
from evenshard.wire.rpcs import IMPORT_EVENTS
from evenshard.wire.status import to_status, trailing_metadata

REQUEST_BYTES_MAX: Final = 16 << 20
"""What clients may send; services among themselves may send more (``peers.MESSAGE_BYTES_MAX``)."""

STREAM_TIMEOUT_S: Final = 3600.0
"""Of a stream whose caller set no deadline."""
TIMEOUT_S_MAX: Final = 86_400.0
"""No call lasts longer."""
NO_DEADLINE_S: Final = 366 * 86_400.0
"""Where there is no deadline gRPC tells one in a far future."""

WRAPPED_MAX: Final = 1_000
"""Methods whose handlers are kept wrapped; while a service starts any name is one."""

INTERNAL_SERVICES: Final = frozenset(["evenshard.v1.ShardService", "evenshard.v1.CounterService"])
_OURS: Final = "/evenshard."


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the handlers of our own services; health and reflection pass."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Any, Any]] = {}
        """By path, a method's handler and the same wrapped: made once, the same ones are called all the time."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or not path.startswith(_OURS):
            return handler
        known = self._wrapped.get(path)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = _wrapped(path, handler)
        if known is not None or len(self._wrapped) < WRAPPED_MAX:
            self._wrapped[path] = handler, wrapped
        return wrapped


def _wrapped(path: str, handler: Any) -> Any:
    codecs = handler.request_deserializer, handler.response_serializer
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_stream(path, handler.unary_stream), *codecs)
    return grpc.unary_unary_rpc_method_handler(_unary(path, handler.unary_unary), *codecs)


def _unary(path: str, method: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    async def handle(request: Any, context: Any) -> Any:
        async with _Surrounded(path, context, DEFAULT_TIMEOUT_S) as call:
            _check_size(path, request)
            # gRPC ends the calls whose deadline has passed; this ends those that came without one.
            async with asyncio.timeout(call.remaining_s()):
                return await method(request, context)

    return handle


def _stream(path: str, method: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> Any:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        async with _Surrounded(path, context, STREAM_TIMEOUT_S) as call:
            _check_size(path, request)
            async with contextlib.aclosing(method(request, context)) as answers:
                async for answer in answers:
                    yield answer
                    if not call.remaining_s():
                        raise TimeoutError

    return handle


class _Surrounded:
    """Enters the call. gRPC runs each in a task of its own, so what is bound to the task's context ends with it."""

    __slots__ = ("_began_s", "_call", "_context", "_default_timeout_s", "_path", "_span")

    def __init__(self, path: str, context: Any, default_timeout_s: float) -> None:
        self._path = path
        self._context = context
        self._default_timeout_s = default_timeout_s

    async def __aenter__(self) -> Call:
        path, left_s = self._path, self._context.time_remaining()
        no_deadline = left_s is None or left_s > NO_DEADLINE_S
        left_s = self._default_timeout_s if no_deadline else min(left_s, TIMEOUT_S_MAX)
        self._began_s = time.monotonic()
        self._span: trace.Span = trace.INVALID_SPAN
        if path not in UNTRACED:
            parent = extract_context(self._context.invocation_metadata() or ())
            self._span = tracer().start_span(
                path[1:], parent, trace.SpanKind.SERVER, attributes=server_attributes(path)
            )
        otel_context.attach(trace.set_span_in_context(self._span))
        self._call = Call(DEVELOPMENT, trace_id_of(self._span), self._began_s + left_s)
        enter_call(self._call)
        return self._call

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Whatever was raised is answered and logged."""
        path, span, code = self._path, self._span, outcome_of(raised)
        try:
            if isinstance(raised, Exception):
                error = _as_error(path, raised)
                error.trace_id = error.trace_id or self._call.trace_id
                code = error.code
                _log(path, error, raised)
                status = to_status(error)
                grpc_status = getattr(grpc.StatusCode, CODES[error.code].grpc_status)
                await self._context.abort(grpc_status, status.message, trailing_metadata(error))
        finally:
            if code:
                span.set_status(trace.StatusCode.ERROR, code)
                span.set_attribute("error.type", code)
            span.end()
            record_call("server", path, code, grpc_status_of(code), time.monotonic() - self._began_s)


def _as_error(path: str, raised: Exception) -> EvenshardError:
    match raised:
        case EvenshardError():
            return raised
        case TimeoutError():
            message = f"{path[1:]} was not done in time"
            return EvenshardError("DEADLINE_EXCEEDED", message, in_doubt=path == IMPORT_EVENTS.path)
        case _:
            return EvenshardError("INTERNAL", f"{path[1:]}: {type(raised).__name__}: {raised}")


def _log(path: str, error: EvenshardError, raised: Exception) -> None:
    fields = {"rpc": path[1:], "code": error.code, "message": error.message, "trace_id": error.trace_id}
    if error.act == "damaged":
        logger().error("call failed", exc_info=raised, **fields)
    else:
        logger().info("call failed", **fields)


def _check_size(path: str, request: Any) -> None:
    service = path[1:].split("/", 1)[0]
    if service not in INTERNAL_SERVICES and request.ByteSize() > REQUEST_BYTES_MAX:
        raise EvenshardError(
            "REQUEST_TOO_LARGE", f"the request has {request.ByteSize()} bytes, at most {REQUEST_BYTES_MAX} are taken"
        )
