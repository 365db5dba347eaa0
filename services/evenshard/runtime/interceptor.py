"""What surrounds every handler: trace, principal and deadline come in; errors leave as ``google.rpc.Status``."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
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

INTERNAL_SERVICES: Final = frozenset(["evenshard.v1.ShardService", "evenshard.v1.CounterService"])
_OURS: Final = "/evenshard."


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the handlers of our own services; health and reflection pass."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or not path.startswith(_OURS):
            return handler
        metadata = handler_call_details.invocation_metadata or ()
        codecs = handler.request_deserializer, handler.response_serializer
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(path, metadata, handler.unary_stream), *codecs)
        return grpc.unary_unary_rpc_method_handler(_unary(path, metadata, handler.unary_unary), *codecs)


def _unary(path: str, metadata: Any, method: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    async def handle(request: Any, context: Any) -> Any:
        async with _surrounded(path, metadata, context, DEFAULT_TIMEOUT_S) as call:
            _check_size(path, request)
            # gRPC ends the calls whose deadline has passed; this ends those that came without one.
            async with asyncio.timeout(call.remaining_s()):
                return await method(request, context)

    return handle


def _stream(path: str, metadata: Any, method: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> Any:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        async with _surrounded(path, metadata, context, STREAM_TIMEOUT_S) as call:
            _check_size(path, request)
            async with contextlib.aclosing(method(request, context)) as answers:
                async for answer in answers:
                    yield answer
                    if not call.remaining_s():
                        raise TimeoutError

    return handle


@contextlib.asynccontextmanager
async def _surrounded(path: str, metadata: Any, context: Any, default_timeout_s: float) -> AsyncIterator[Call]:
    """Enters the call. gRPC runs each in a task of its own, so what is bound to the task's context ends with it."""
    left_s = context.time_remaining()
    no_deadline = left_s is None or left_s > NO_DEADLINE_S
    left_s = default_timeout_s if no_deadline else min(left_s, TIMEOUT_S_MAX)
    began_s = time.monotonic()
    span: trace.Span = trace.INVALID_SPAN
    if path not in UNTRACED:
        span = tracer().start_span(
            path[1:], extract_context(metadata), trace.SpanKind.SERVER, attributes=server_attributes(path)
        )
    otel_context.attach(trace.set_span_in_context(span))
    call = Call(DEVELOPMENT, trace_id_of(span), time.monotonic() + left_s)
    enter_call(call)
    code = ""
    try:
        yield call
    except Exception as raised:  # noqa: BLE001 - answered and logged, whatever it is
        error = _as_error(path, raised)
        error.trace_id = error.trace_id or call.trace_id
        code = error.code
        _log(path, error, raised)
        status = to_status(error)
        await context.abort(
            getattr(grpc.StatusCode, CODES[error.code].grpc_status), status.message, trailing_metadata(error)
        )
    except BaseException as broken_off:
        code = outcome_of(broken_off)
        raise
    finally:
        if code:
            span.set_status(trace.StatusCode.ERROR, code)
            span.set_attribute("error.type", code)
        span.end()
        record_call("server", path, code, grpc_status_of(code), time.monotonic() - began_s)


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
