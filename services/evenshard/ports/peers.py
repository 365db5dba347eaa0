"""Calls to other services as an argument."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request, Response]):
    """One remote procedure: its path (``/evenshard.v1.ShardService/Scan``) and its message types."""

    path: str
    request: type[Request]
    response: type[Response]


class Peers(Protocol):
    """Calls by address (``host:port``). Failures arrive as ``EvenshardError`` with the code the peer sent;
    ``UNREACHABLE`` where there was no peer, ``DEADLINE_EXCEEDED`` where it did not answer in time."""

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        """One request, one answer. Trace context and the caller's principal travel along."""
        ...

    def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        """One request, many answers, read as fast as the caller takes them; closing the iterator cancels the call."""
        ...

    async def close(self) -> None: ...
