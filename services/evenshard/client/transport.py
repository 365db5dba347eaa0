"""Calls from outside the cluster: one channel to one address, with token and trace; failures as ``EvenshardError``."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry import trace

from evenshard.errors import EvenshardError
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.runtime.peers import CHANNEL_OPTIONS
from evenshard.runtime.telemetry import outgoing_metadata, trace_id_of
from evenshard.wire.status import from_rpc_error

ANSWER_BYTES_MAX: Final = 256 << 20
_NEVER_SENT: Final = "failed to connect"
_TIMEOUT_MIN_S: Final = 0.001


class Transport:
    """The way to one address. Belongs to one event loop.

    Errors are what the cluster said; where it said nothing ``details`` holds gRPC's status, and ``in_doubt`` is true
    unless the call surely never left.
    """

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address
        self.was_connected = False
        """Somebody answered here before."""
        self._channel = grpc.aio.insecure_channel(
            address, options=[*CHANNEL_OPTIONS, ("grpc.max_receive_message_length", ANSWER_BYTES_MAX)]
        )
        self._token = token

    async def call(
        self, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float, span: trace.Span
    ) -> Response:
        """One request, one answer."""
        method = self._channel.unary_unary(
            rpc.path, request_serializer=_serializer(rpc), response_deserializer=_deserializer(rpc)
        )
        try:
            answer: Response = await method(
                request, timeout=max(timeout_s, _TIMEOUT_MIN_S), metadata=self._metadata(span)
            )
        except grpc.aio.AioRpcError as failed:
            raise self._error(failed, span) from failed
        self.was_connected = True
        return answer

    async def stream(
        self, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float, span: trace.Span
    ) -> AsyncGenerator[Response, None]:
        """One request, many answers; closing the iterator cancels the call."""
        method = self._channel.unary_stream(
            rpc.path, request_serializer=_serializer(rpc), response_deserializer=_deserializer(rpc)
        )
        call = method(request, timeout=max(timeout_s, _TIMEOUT_MIN_S), metadata=self._metadata(span))
        try:
            async for answer in call:
                self.was_connected = True
                yield answer
        except grpc.aio.AioRpcError as failed:
            raise self._error(failed, span) from failed
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close(None)

    def _metadata(self, span: trace.Span) -> tuple[tuple[str, str], ...]:
        token = (("authorization", f"Bearer {self._token}"),) if self._token else ()
        return (*outgoing_metadata(span), *token)

    def _error(self, failed: grpc.aio.AioRpcError, span: trace.Span) -> EvenshardError:
        error = from_rpc_error(failed, self.address)
        said_nothing = "grpc" in error.details
        never_sent = said_nothing and _NEVER_SENT in (failed.details() or "")
        self.was_connected |= not never_sent
        error.in_doubt |= said_nothing and not never_sent
        error.trace_id = error.trace_id or trace_id_of(span)
        return error


def _serializer(rpc: Rpc[Any, Any]) -> Any:
    return rpc.request.SerializeToString


def _deserializer(rpc: Rpc[Any, Any]) -> Any:
    return rpc.response.FromString
