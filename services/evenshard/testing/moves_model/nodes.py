"""What one process sees of the others: links that delay, lose and repeat, a directory it may be cut off from, and a
process that may be stopped and go on later as if nothing had been."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Changes, Delete, Entry, Put, Snapshot, SwapResult, Unchanged
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.peers import MemoryPeers


@dataclass
class Links:
    """What goes wrong between processes, as chances of each call."""

    lose: float = 0.0
    lose_answer: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    delay_ms_max: float = 40.0
    repeat_ms_max: float = 3_000.0


class Node:
    """One process: ``stopped`` it does nothing, and goes on where it was."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._goes = asyncio.Event()
        self._goes.set()
        self.is_cut_off = False
        """From the directory."""

    def stop(self) -> None:
        self._goes.clear()

    def go_on(self) -> None:
        self._goes.set()

    @property
    def is_stopped(self) -> bool:
        return not self._goes.is_set()

    async def turn(self) -> None:
        """Where a stopped process stands."""
        await self._goes.wait()


@dataclass
class Faults:
    """Of the directory, whoever asks it next."""

    calls_failing: int = 0
    replies_lost: int = 0
    """Of swaps that were decided."""


class NodeDirectory:
    """``Directory`` as one process reaches it."""

    def __init__(self, node: Node, inner: MemoryDirectory, faults: Faults) -> None:
        self._node = node
        self._inner = inner
        self._faults = faults

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        await self._reach()
        return await self._inner.get(key, timeout_s=timeout_s)

    async def range(self, prefix: str, *, timeout_s: float = 5.0) -> Snapshot:
        await self._reach()
        return await self._inner.range(prefix, timeout_s=timeout_s)

    async def swap(
        self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], *, timeout_s: float = 5.0
    ) -> SwapResult:
        await self._reach()
        result = await self._inner.swap(conditions, changes, timeout_s=timeout_s)
        if self._faults.replies_lost:
            self._faults.replies_lost -= 1
            raise EvenshardError("DIRECTORY_UNAVAILABLE", "the reply was lost", in_doubt=True)
        return result

    async def watch(self, prefix: str, after: Revision) -> AsyncIterator[Changes]:
        await self._reach()
        watching = self._inner.watch(prefix, after)
        async with contextlib.aclosing(watching) as told:  # type: ignore[type-var]
            async for changes in told:
                await self._reach()
                yield changes

    async def grant(self, ttl_s: int, *, timeout_s: float = 5.0) -> int:
        await self._reach()
        return await self._inner.grant(ttl_s, timeout_s=timeout_s)

    async def keep_alive(self, lease: int, *, timeout_s: float = 5.0) -> bool:
        await self._reach()
        return await self._inner.keep_alive(lease, timeout_s=timeout_s)

    async def revoke(self, lease: int, *, timeout_s: float = 5.0) -> None:
        await self._reach()
        await self._inner.revoke(lease, timeout_s=timeout_s)

    async def close(self) -> None: ...

    async def _reach(self) -> None:
        await self._node.turn()
        if self._node.is_cut_off:
            raise EvenshardError("DIRECTORY_UNAVAILABLE", f"{self._node.name} is cut off")
        if self._faults.calls_failing:
            self._faults.calls_failing -= 1
            raise EvenshardError("DIRECTORY_UNAVAILABLE", "it was told to fail")


class NodePeers:
    """``Peers`` as one process reaches them, over links on which things go wrong."""

    def __init__(self, node: Node, inner: MemoryPeers, clock: Clock, random: Random, links: Links) -> None:
        self._node = node
        self._inner = inner
        self._clock = clock
        self._random = random
        self._links = links
        self._late: set[asyncio.Task[Any]] = set()

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        await self._node.turn()
        links = self._links
        if self._happens(links.delay):
            await self._clock.sleep(self._random.random() * links.delay_ms_max)
        if self._happens(links.lose):
            raise EvenshardError("UNREACHABLE", f"{address}: lost")
        if self._happens(links.repeat):
            again = asyncio.create_task(self._again(address, rpc, request, timeout_s))
            self._late.add(again)
            again.add_done_callback(self._late.discard)
        answer = await self._inner.call(address, rpc, request, timeout_s=timeout_s)
        if self._happens(links.lose_answer):
            raise EvenshardError("UNREACHABLE", f"{address}: the answer was lost")
        await self._node.turn()
        return answer

    def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        return self._inner.stream(address, rpc, request, timeout_s=timeout_s)

    async def close(self) -> None:
        for task in self._late:
            task.cancel()

    async def _again(self, address: str, rpc: Rpc[Any, Any], request: Any, timeout_s: float) -> None:
        await self._clock.sleep(self._random.random() * self._links.repeat_ms_max)
        with contextlib.suppress(EvenshardError):
            await self._inner.call(address, rpc, request, timeout_s=timeout_s)

    def _happens(self, chance: float) -> bool:
        return bool(chance) and self._random.random() < chance
