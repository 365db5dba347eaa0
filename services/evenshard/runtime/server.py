"""One gRPC server of one process: our services behind the interceptor, health, reflection, and a drain."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from evenshard.errors import EvenshardError
from evenshard.runtime.interceptor import CallInterceptor
from evenshard.runtime.peers import MESSAGE_BYTES_MAX
from evenshard.runtime.service import Servicer

LIVENESS: Final = "liveness"
"""What a probe asks health for to learn whether the process is alive: ``SERVING`` from ``listen`` until it exits, in a
recovery, without a directory and while it drains. The empty name, and each service's, tell whether it is ready."""
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


class _Starting(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers calls of our services while they are not there yet: a caller may try again, or elsewhere."""

    def __init__(self, reason: Callable[[], str]) -> None:
        self.over = False
        self._reason = reason

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if self.over or not handler_call_details.method.startswith("/evenshard."):
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._refuse, request_deserializer=lambda _: health_pb2.HealthCheckRequest()
        )

    async def _refuse(self, request: Any, context: Any) -> Any:
        raise EvenshardError("UNREACHABLE", f"it does not serve yet: {self._reason() or 'it is starting'}")


class _Late:
    """A server that runs already, for generated code: of the two ways it registers methods the one that still works."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service_name: str, handlers: Any) -> None:
        """Looking methods up sooner, which has to be asked for before the start."""


class Server:
    """Serves ``servicers`` at ``listen`` once ``start`` returned. Belongs to one event loop.

    Where getting ready takes long: ``listen`` first, which says so to everybody, then ``serve``.
    """

    def __init__(
        self, listen: str, servicers: Sequence[Servicer] = (), starting: Callable[[], str] = lambda: ""
    ) -> None:
        """``starting`` tells what it does until it serves."""
        self._listen = listen
        self._servicers = servicers
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = [""]
        self._starting = _Starting(starting)
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor()], options=_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX
        )
        self._server.add_generic_rpc_handlers((self._starting,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0
        self.serves = False
        """Whether it takes calls."""

    async def start(self) -> None:
        """Raises ``PORT_IN_USE``. Health answers ``SERVING`` from now on."""
        await self.listen()
        await self.serve(self._servicers)

    async def listen(self) -> None:
        """Raises ``PORT_IN_USE``. Health answers ``NOT_SERVING``, ``LIVENESS`` apart; all else is refused for now."""
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as taken:
            raise EvenshardError("PORT_IN_USE", f"cannot listen at {self._listen}: {taken}") from taken
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def serve(self, servicers: Sequence[Servicer]) -> None:
        """Health answers ``SERVING`` from now on."""
        late = _Late(self._server)
        for each in servicers:
            each.add(each.instance, late)
        self._names += [each.full_name for each in servicers]
        reflected = ReflectionServicer([*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, late)
        self._starting.over = self.serves = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_s: float) -> None:
        """Health answers ``NOT_SERVING``, no call is taken any more; returns when those in flight have ended, or have
        been cancelled after ``grace_s``."""
        self.serves = False
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(grace_s)

    async def _set_health(self, status: Any) -> None:
        for name in self._names:
            await self._health.set(name, status)
