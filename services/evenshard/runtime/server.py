"""One gRPC server of one process: our services behind the interceptor, health, reflection, and a drain."""

from collections.abc import Sequence
from typing import Any, Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from evenshard.errors import EvenshardError
from evenshard.runtime.interceptor import CallInterceptor
from evenshard.runtime.peers import MESSAGE_BYTES_MAX
from evenshard.runtime.service import Servicer

CALLS_MAX: Final = 1000
"""Calls handled at once; more are refused as ``OVERLOADED``."""

_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.so_reuseport", 0),  # two processes on one port would share its calls
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Peers ping every 10 s; gRPC's default is to hang up on those.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Server:
    """Serves ``servicers`` at ``listen`` once ``start`` returned. Belongs to one event loop."""

    def __init__(self, listen: str, servicers: Sequence[Servicer]) -> None:
        self._listen = listen
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = ["", *(each.full_name for each in servicers)]
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor()], options=_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX
        )
        for each in servicers:
            each.add(each.instance, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self.port = 0

    async def start(self) -> None:
        """Raises ``PORT_IN_USE``. Health answers ``SERVING`` from now on."""
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as taken:
            raise EvenshardError("PORT_IN_USE", f"cannot listen at {self._listen}: {taken}") from taken
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_s: float) -> None:
        """Health answers ``NOT_SERVING``, no call is taken any more; returns when those in flight have ended, or have
        been cancelled after ``grace_s``."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(grace_s)

    async def _set_health(self, status: Any) -> None:
        for name in self._names:
            await self._health.set(name, status)
