"""Calls to other services over gRPC: one channel an address, found again within a second of a restart."""

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio

from evenshard.errors import EvenshardError
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.runtime.call_spans import ClientCall
from evenshard.wire.status import from_rpc_error

MESSAGE_BYTES_MAX: Final = 64 << 20
"""Between services: what a client may send (16 MiB), recoded, with slack."""

CHANNELS_MAX: Final = 4096
TIMEOUT_MIN_S: Final = 0.001

CHANNEL_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A restarted service is found again soon; an address that does not answer is given up after the minimum.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A name may stand for another address soon after a restart, and is looked up again then; gRPC's default is 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A peer whose machine is gone is noticed although nothing closes the connection.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
]


class _Link:
    """The channel to one address and how many calls use it."""

    __slots__ = ("calls", "channel", "methods")

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.methods: dict[str, Any] = {}
        self.calls = 0


class GrpcPeers:
    """``Peers`` over ``grpc.aio``. Belongs to one event loop."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._closed = False

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        link = await self._link(address)
        method = link.methods.get(rpc.path)
        if method is None:
            method = link.methods[rpc.path] = link.channel.unary_unary(rpc.path, *_codecs(rpc))
        link.calls += 1
        with ClientCall(address, rpc.path) as traced:
            try:
                answer: Response = await method(
                    request, timeout=max(timeout_s, TIMEOUT_MIN_S), metadata=traced.metadata
                )
                return answer
            except grpc.aio.AioRpcError as failed:
                raise from_rpc_error(failed, address) from failed
            finally:
                link.calls -= 1

    async def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        link = await self._link(address)
        method = link.methods.get(rpc.path)
        if method is None:
            method = link.methods[rpc.path] = link.channel.unary_stream(rpc.path, *_codecs(rpc))
        link.calls += 1
        with ClientCall(address, rpc.path) as traced:
            call = method(request, timeout=max(timeout_s, TIMEOUT_MIN_S), metadata=traced.metadata)
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as failed:
                raise from_rpc_error(failed, address) from failed
            finally:
                call.cancel()  # nothing happens where it has ended
                link.calls -= 1

    async def close(self) -> None:
        """Ends all calls and connections."""
        self._closed = True
        links, self._links = self._links, {}
        for link in links.values():
            await link.channel.close(None)

    async def _link(self, address: str) -> _Link:
        if self._closed:
            raise EvenshardError("UNREACHABLE", f"{address}: this process is stopping")
        link = self._links.pop(address, None) or _Link(address)
        self._links[address] = link  # at the end: in order of last use
        if len(self._links) > CHANNELS_MAX:
            idle = next((name for name, each in self._links.items() if not each.calls and name != address), None)
            if idle is not None:
                await self._links.pop(idle).channel.close(None)
        return link


def _codecs(rpc: Rpc[Any, Any]) -> tuple[Any, Any]:
    return rpc.request.SerializeToString, rpc.response.FromString
