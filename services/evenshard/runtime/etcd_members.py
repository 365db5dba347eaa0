"""The members of an etcd cluster: one channel each, one in use, the next one after a failure."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from evenshard.api.etcd import rpc_pb2_grpc
from evenshard.errors import EvenshardError

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_S: Final = 1.0
"""How long one member may take to be reached before the next one is tried."""
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 1.0

_OPTIONS: Final[list[tuple[str, Any]]] = [
    # A directory of many tenants is more than gRPC's default of 4 MiB; its size is etcd's to bound.
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A connection whose other end is gone is given up although nothing closes it; etcd refuses pings more often than
    # every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
]

REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""etcd answered, and did nothing. After any other failure it may have."""


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """Files in PEM. ``ca``: whom to trust (absent: the system's list); ``cert`` and ``key``: who we are."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Member:
    """One etcd server."""

    __slots__ = ("address", "channel", "kv", "lease", "maintenance", "watch")

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.address = address
        self.channel = (
            grpc.aio.insecure_channel(address, options=_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        )
        self.kv: Any = rpc_pb2_grpc.KVStub(self.channel)  # type: ignore[no-untyped-call]
        self.lease: Any = rpc_pb2_grpc.LeaseStub(self.channel)  # type: ignore[no-untyped-call]
        self.watch: Any = rpc_pb2_grpc.WatchStub(self.channel)  # type: ignore[no-untyped-call]
        self.maintenance: Any = rpc_pb2_grpc.MaintenanceStub(self.channel)  # type: ignore[no-untyped-call]


class Members:
    """All members; everybody uses the same one until it fails."""

    def __init__(self, endpoints: Sequence[str], tls: EtcdTls | None) -> None:
        if not endpoints:
            raise EvenshardError("USAGE", "no etcd endpoint is given", hint="set ETCD_ENDPOINTS to host:port,…")
        if tls is None and any(each.startswith("https://") for each in endpoints):
            tls = EtcdTls()
        credentials = None if tls is None else _credentials(tls)
        self._members = [Member(each.split("://")[-1].rstrip("/"), credentials) for each in endpoints]
        self._current = 0
        self.closed = False

    @property
    def all(self) -> Sequence[Member]:
        """In the order given."""
        return tuple(self._members)

    def failed(self, member: Member) -> None:
        """From now on the one after ``member`` is used, unless somebody else has moved on already."""
        if self._members[self._current] is member:
            self._current = (self._current + 1) % len(self._members)

    async def reached(self, timeout_s: float) -> Member | None:
        """The current member once connected to; ``None`` (and on to the next) if it is not within ``timeout_s``."""
        member = self._members[self._current]
        if self.closed:
            return None
        try:
            async with asyncio.timeout(max(0.0, min(timeout_s, CONNECT_TIMEOUT_S))):
                await member.channel.channel_ready()
        except (TimeoutError, grpc.aio.UsageError):  # the latter: closed meanwhile
            self.failed(member)
            return None
        return member

    async def ask(
        self, call: Callable[[Member, float], Awaitable[Answer]], timeout_s: float, *, in_doubt: bool = False
    ) -> Answer:
        """What the first member that answers says to ``call(member, seconds it may take)``, which must be safe to
        repeat. A refusal is raised as it came (``AioRpcError``)."""
        pace = Pace(timeout_s)
        why = "not connected"
        while not self.closed:
            member = await self.reached(pace.left_s())
            if member is not None:
                try:
                    return await self.guarded(call(member, pace.try_s()))
                except (grpc.aio.AioRpcError, TimeoutError) as error:
                    if isinstance(error, grpc.aio.AioRpcError):
                        if error.code() in REFUSALS:
                            raise
                        why = f"{error.code().name} {error.details()}"
                    self.failed(member)
            if not await pace.again():
                break
        raise self.unavailable(f"no answer within {timeout_s:g} s: {why}", in_doubt=in_doubt)

    async def guarded(self, waiting: Awaitable[Answer]) -> Answer:
        """Awaits a call; one that ``close`` ended fails as such instead of looking like this task's cancellation."""
        try:
            return await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.closed and task is not None and not task.cancelling():
                raise self.unavailable("this connection to it was closed") from None
            raise

    def unavailable(self, why: str, *, in_doubt: bool = False) -> EvenshardError:
        addresses = ", ".join(member.address for member in self._members)
        return EvenshardError("DIRECTORY_UNAVAILABLE", f"etcd at {addresses}: {why}", in_doubt=in_doubt)

    async def close(self) -> None:
        self.closed = True
        for member in self._members:
            await member.channel.close(None)


class Pace:
    """The deadline of one call of ours, and the growing pauses between its tries."""

    __slots__ = ("_backoff_s", "_deadline_s", "_loop", "_try_s")

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = self._loop.time() + timeout_s
        self._try_s = 0.4 * timeout_s
        self._backoff_s = BACKOFF_S_MIN

    def left_s(self) -> float:
        return max(0.0, self._deadline_s - self._loop.time())

    def try_s(self) -> float:
        """What one try may take: less than all, so that another member, or reading back, gets a turn."""
        return max(0.001, min(self.left_s(), self._try_s))

    async def again(self) -> bool:
        """Waits before the next try; false: there is no time for one."""
        if self.left_s() <= self._backoff_s:
            return False
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(BACKOFF_S_MAX, 2 * self._backoff_s)
        return True


def _credentials(tls: EtcdTls) -> grpc.ChannelCredentials:
    def content(path: Path | None) -> bytes | None:
        if path is None:
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            raise EvenshardError(
                "USAGE", f"cannot read {path}: {error.strerror}", hint="see the TLS settings"
            ) from error

    return grpc.ssl_channel_credentials(content(tls.ca), content(tls.key), content(tls.cert))
