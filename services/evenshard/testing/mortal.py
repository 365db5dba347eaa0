"""Ports of a process that dies at a chosen call, or is frozen in it and comes back: what kill -9 and SIGSTOP leave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Delete, Directory, Entry, Put, Snapshot, SwapResult, Unchanged
from evenshard.ports.peers import Peers, Request, Response, Rpc

Answer = TypeVar("Answer")
Death = Literal["before", "after", "late"]
"""The call is never made; is made and its answer never seen; is made when the process is woken."""


class Life:
    """Counts the calls of one process; at the last one it falls still: that call and all later ones wait."""

    def __init__(self) -> None:
        self.calls = 0
        """Since it was armed."""
        self._calls_left: int | None = None
        self._death: Death = "before"
        self._still = False
        self._woken = asyncio.Event()
        self._buried = False

    @property
    def still(self) -> bool:
        """It has fallen still."""
        return self._still

    def arm(self, calls: int | None, death: Death) -> None:
        """It falls still at its ``calls``-th call from now; None: never."""
        self.calls, self._calls_left, self._death = 0, calls, death

    def wake(self) -> None:
        """It goes on, with the call it was frozen in first."""
        self._still = False
        self._woken.set()

    def bury(self) -> None:
        """Its calls fail, so that its tasks can be ended."""
        self._buried = True
        self.wake()

    async def during(self, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """A call of the process."""
        self.calls += 1
        last = self._calls_left is not None and self.calls == self._calls_left
        if last:
            self._still = True
            if self._death == "after":
                await make()
        if self._still:
            await self._woken.wait()
        if self._buried:
            raise EvenshardError("DIRECTORY_UNAVAILABLE", "the process is dead")
        return await make()


class MortalDirectory:
    """``Directory`` of a process that may fall still."""

    def __init__(self, directory: Directory, life: Life) -> None:
        self._directory = directory
        self._life = life

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        return await self._life.during(lambda: self._directory.get(key, timeout_s=timeout_s))

    async def range(self, prefix: str, *, timeout_s: float = 5.0) -> Snapshot:
        return await self._life.during(lambda: self._directory.range(prefix, timeout_s=timeout_s))

    async def swap(
        self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], *, timeout_s: float = 5.0
    ) -> SwapResult:
        return await self._life.during(lambda: self._directory.swap(conditions, changes, timeout_s=timeout_s))

    async def watch(self, prefix: str, after: Revision) -> AsyncIterator[Changes]:
        """Costs no call; tells nothing while the process is still."""
        async for changes in self._directory.watch(prefix, after):
            if self._life.still:
                await self._life._woken.wait()
            yield changes

    async def grant(self, ttl_s: int, *, timeout_s: float = 5.0) -> int:
        return await self._life.during(lambda: self._directory.grant(ttl_s, timeout_s=timeout_s))

    async def keep_alive(self, lease: int, *, timeout_s: float = 5.0) -> bool:
        return await self._life.during(lambda: self._directory.keep_alive(lease, timeout_s=timeout_s))

    async def revoke(self, lease: int, *, timeout_s: float = 5.0) -> None:
        await self._life.during(lambda: self._directory.revoke(lease, timeout_s=timeout_s))

    async def close(self) -> None:
        """Others may share what is behind."""


class MortalPeers:
    """``Peers`` of a process that may fall still."""

    def __init__(self, peers: Peers, life: Life) -> None:
        self._peers = peers
        self._life = life

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        return await self._life.during(lambda: self._peers.call(address, rpc, request, timeout_s=timeout_s))

    def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        return self._peers.stream(address, rpc, request, timeout_s=timeout_s)

    async def close(self) -> None:
        """Others may share what is behind."""
