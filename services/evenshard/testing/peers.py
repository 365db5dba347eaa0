"""Calls between services in one process: no sockets, but messages are copied, errors travel as on the wire, and links
can be cut, slowed, and made to lose answers."""

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from evenshard.errors import EvenshardError
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng
from evenshard.runtime.call import DEVELOPMENT, Call, current_call, enter_call
from evenshard.runtime.service import Servicer
from evenshard.wire.status import from_status, to_status

_Result = TypeVar("_Result")
_STREAM_ANSWERS_BUFFERED_MAX = 2


@dataclass
class _Link:
    """The way to one address and what is wrong with it."""

    instances: dict[str, Any] = field(default_factory=dict)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    delay_ms: float = 0.0
    failures: dict[str, EvenshardError] = field(default_factory=dict)
    answers_to_lose: dict[str, int] = field(default_factory=dict)


class MemoryPeers:
    """``Peers`` whose deadlines run on ``clock``."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._rng = rng
        self._links: dict[str, _Link] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    # What a test does to the network.

    def register(self, address: str, servicers: Sequence[Servicer]) -> None:
        """From now on ``address`` is served by ``servicers``."""
        self._link(address).instances = {each.full_name: each.instance for each in servicers}

    def unregister(self, address: str) -> None:
        """The process at ``address`` is gone."""
        self._link(address).instances = {}

    def partition(self, address: str) -> None:
        """Cuts the link: calls in flight and new ones fail as ``UNREACHABLE``; what was sent may have been done."""
        self._link(address).cut.set()

    def heal(self, address: str) -> None:
        """Undoes ``partition``, ``delay`` and ``fail``."""
        link = self._link(address)
        link.cut = asyncio.Event()
        link.delay_ms = 0.0
        link.failures.clear()

    def delay(self, address: str, duration_ms: float) -> None:
        """Every request to ``address`` takes this long to arrive."""
        self._link(address).delay_ms = duration_ms

    def fail(self, address: str, rpc: Rpc[Any, Any], error: EvenshardError | None) -> None:
        """Calls of ``rpc`` fail before they arrive; ``None`` ends that."""
        failures = self._link(address).failures
        failures.pop(rpc.path, None)
        if error is not None:
            failures[rpc.path] = error

    def lose_answers(self, address: str, rpc: Rpc[Any, Any], count: int = 1) -> None:
        """The next ``count`` calls of ``rpc`` are done, but fail as ``UNREACHABLE``."""
        self._link(address).answers_to_lose[rpc.path] = count

    # The port.

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        sent: Any = request

        async def handle(handler: Callable[[Any, Any], Awaitable[Any]]) -> bytes:
            answer = await handler(rpc.request.FromString(sent.SerializeToString()), None)  # type: ignore[attr-defined]
            return bytes(answer.SerializeToString())

        expiry = self._start(self._clock.sleep(timeout_s * 1000))
        try:
            task = self._start(self._serve(address, rpc, timeout_s, handle))
            data = await self._first(address, task, expiry)
        finally:
            expiry.cancel()
        left = self._link(address).answers_to_lose
        if left.get(rpc.path, 0):
            left[rpc.path] -= 1
            raise EvenshardError("UNREACHABLE", f"{address}: the answer was lost", details={"address": address})
        parsed: Response = rpc.response.FromString(data)  # type: ignore[attr-defined]
        return parsed

    async def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        sent: Any = request
        answers: asyncio.Queue[bytes | None] = asyncio.Queue(_STREAM_ANSWERS_BUFFERED_MAX)

        async def handle(handler: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> None:
            received = rpc.request.FromString(sent.SerializeToString())  # type: ignore[attr-defined]
            async with contextlib.aclosing(handler(received, None)) as produced:
                async for answer in produced:
                    await answers.put(answer.SerializeToString())
            await answers.put(None)

        expiry = self._start(self._clock.sleep(timeout_s * 1000))
        task = self._start(self._serve(address, rpc, timeout_s, handle))
        try:
            while True:
                following = self._start(answers.get())
                data = await self._first(address, following, expiry, task)
                if data is None:
                    return
                yield rpc.response.FromString(data)  # type: ignore[attr-defined]
        finally:
            expiry.cancel()
            task.cancel()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _link(self, address: str) -> _Link:
        return self._links.setdefault(address, _Link())

    def _start(self, work: Awaitable[_Result]) -> "asyncio.Future[_Result]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(
        self, address: str, rpc: Rpc[Any, Any], timeout_s: float, handle: Callable[[Any], Awaitable[_Result]]
    ) -> _Result:
        """Runs one call as its server would: in a task of its own, with a ``Call``, errors as on the wire."""
        link = self._link(address)
        if link.cut.is_set() or not link.instances:
            raise EvenshardError("UNREACHABLE", f"{address}: nobody there", details={"address": address})
        if rpc.path in link.failures:
            raise link.failures[rpc.path]
        if link.delay_ms:
            await self._clock.sleep(link.delay_ms)
        _, service, method = rpc.path.split("/")
        try:
            principal, trace_id = current_call().principal, current_call().trace_id
        except LookupError:
            principal, trace_id = DEVELOPMENT, self._rng.token_hex(16)
        enter_call(Call(principal, trace_id, time.monotonic() + timeout_s))
        try:
            instance = link.instances.get(service)
            if instance is None or not hasattr(instance, method):
                raise EvenshardError("USAGE", f"{address} does not serve {rpc.path}", details={"address": address})
            return await handle(getattr(instance, method))
        except EvenshardError as error:
            error.trace_id = error.trace_id or trace_id
            travelled = from_status(to_status(error))
            assert travelled is not None
            raise travelled from error
        except Exception as defect:
            traceback.print_exc()
            raise EvenshardError("INTERNAL", f"{type(defect).__name__}: {defect}", trace_id=trace_id) from defect

    async def _first(
        self,
        address: str,
        wanted: "asyncio.Future[_Result]",
        expiry: "asyncio.Future[None]",
        server: "asyncio.Future[Any] | None" = None,
    ) -> _Result:
        """What ``wanted`` gives; the error of ``server``, of a cut link or of the deadline if one of them is first."""
        link = self._link(address)
        cut = self._start(link.cut.wait())
        server = server or wanted
        try:
            waiting: set[asyncio.Future[Any]] = {wanted, expiry, cut, server}
            while not wanted.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if wanted in done:
                    break
                if server in done:
                    await server  # raises, or it has put its last answer
                elif cut in done:
                    raise EvenshardError("UNREACHABLE", f"{address}: the link was cut", details={"address": address})
                else:
                    raise EvenshardError("DEADLINE_EXCEEDED", f"{address}: no answer in time")
            return await wanted
        finally:
            cut.cancel()
            wanted.cancel()
