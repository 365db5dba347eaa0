"""What every ``Peers`` promises, over sockets and in memory; then what each adds."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from evenshard.errors import EvenshardError
from evenshard.ports.peers import Peers
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.logs import start_logs
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.server import Server
from evenshard.runtime.telemetry import start_telemetry, trace_id_of, tracer
from evenshard.testing.clock import ManualClock
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.probe import Probe, ask, ask_rows, refusal
from evenshard.testing.rng import SeededRng
from evenshard.wire.rpcs import LIST_TENANTS, SCAN, SCAN_ROWS
from opentelemetry import trace


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class World:
    peers: Peers
    address: str
    probe: Probe


@pytest.fixture(scope="module", autouse=True)
def telemetry() -> None:
    start_telemetry("test")
    start_logs("test")


@pytest.fixture(params=["grpc", "memory"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    probe = Probe()
    if request.param == "memory":
        memory = MemoryPeers(SystemClock(), SeededRng(1))
        memory.register("127.0.0.1:1", [probe.servicer()])
        yield World(memory, "127.0.0.1:1", probe)
        await memory.close()
        return
    server = Server("127.0.0.1:0", [probe.servicer()])
    await server.start()
    peers = GrpcPeers()
    yield World(peers, f"127.0.0.1:{server.port}", probe)
    await peers.close()
    await server.drain(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another server's task
            await asyncio.sleep(0.005)


async def test_a_call_is_answered(world: World) -> None:
    answer = await world.peers.call(world.address, SCAN, ask("echo", payload=b"\x00abc"), timeout_s=5)
    assert answer.partial == b"\x00abc"


async def test_the_handler_sees_who_calls_and_how_long_they_wait(world: World) -> None:
    answer = await world.peers.call(world.address, SCAN, ask("call"), timeout_s=7)
    trace_id, left_s, principal = answer.partial.decode().split()
    assert (len(trace_id), principal) == (32, "development")
    assert 6 < float(left_s) < 7.1


async def test_concurrent_calls_each_have_their_own_call(world: World) -> None:
    answers = await asyncio.gather(
        *(world.peers.call(world.address, SCAN, ask("call"), timeout_s=number) for number in range(3, 13))
    )
    fields = [answer.partial.decode().split() for answer in answers]
    assert len({trace_id for trace_id, _, _ in fields}) == 10
    assert [round(float(left_s)) for _, left_s, _ in fields] == list(range(3, 13))


async def test_an_error_arrives_as_it_was_raised(world: World) -> None:
    with pytest.raises(EvenshardError) as caught:
        await world.peers.call(world.address, SCAN, ask("refuse"), timeout_s=5)
    got, sent = caught.value, refusal()
    assert len(got.trace_id) == 32
    assert (got.code, got.message, got.hint, got.in_doubt, got.retry_after_ms, tuple(got.fields), got.details) == (
        sent.code,
        sent.message,
        sent.hint,
        sent.in_doubt,
        sent.retry_after_ms,
        tuple(sent.fields),
        sent.details,
    )


async def test_a_defect_is_named_internal_with_its_trace(world: World) -> None:
    with pytest.raises(EvenshardError, match="crashed as told") as caught:
        await world.peers.call(world.address, SCAN, ask("crash"), timeout_s=5)
    assert (caught.value.code, len(caught.value.trace_id), caught.value.retryable) == ("INTERNAL", 32, False)


async def test_nobody_there_is_unreachable_at_once(world: World) -> None:
    address = unused_address()
    started = time.monotonic()
    with pytest.raises(EvenshardError) as caught:
        await world.peers.call(address, SCAN, ask("echo"), timeout_s=5)
    assert (caught.value.code, caught.value.details["address"]) == ("UNREACHABLE", address)
    with pytest.raises(EvenshardError) as caught:
        await anext(aiter(world.peers.stream(address, SCAN_ROWS, ask_rows("count", 1), timeout_s=5)))
    assert caught.value.code == "UNREACHABLE"
    assert time.monotonic() - started < 3


async def test_no_answer_in_time_is_a_deadline_and_ends_the_handler(world: World) -> None:
    started = time.monotonic()
    with pytest.raises(EvenshardError) as caught:
        await world.peers.call(world.address, SCAN, ask("sleep", 60_000), timeout_s=0.2)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - started < 2
    await until(lambda: world.probe.ended == ["sleep"])


async def test_a_cancelled_call_ends_its_handler(world: World) -> None:
    task = asyncio.create_task(world.peers.call(world.address, SCAN, ask("sleep", 60_000), timeout_s=60))
    await until(lambda: world.probe.started == ["sleep"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: world.probe.ended == ["sleep"])


async def test_an_rpc_nobody_serves_is_refused(world: World) -> None:
    with pytest.raises(EvenshardError) as caught:
        await world.peers.call(world.address, LIST_TENANTS, LIST_TENANTS.request(), timeout_s=5)
    assert caught.value.code == "USAGE"


async def test_a_stream_gives_every_answer_in_order(world: World) -> None:
    answers = [
        answer.arrow_ipc
        async for answer in world.peers.stream(world.address, SCAN_ROWS, ask_rows("count", 100), timeout_s=5)
    ]
    assert answers == [str(number).encode() for number in range(100)]


async def test_a_stream_that_breaks_gives_what_came_and_then_the_error(world: World) -> None:
    answers = aiter(world.peers.stream(world.address, SCAN_ROWS, ask_rows("broken"), timeout_s=5))
    assert [(await anext(answers)).arrow_ipc, (await anext(answers)).arrow_ipc] == [b"0", b"1"]
    with pytest.raises(EvenshardError) as caught:
        await anext(answers)
    assert caught.value.code == "SHARD_UNAVAILABLE"


async def test_a_slow_reader_holds_the_stream_and_closing_it_ends_the_handler(world: World) -> None:
    stream = world.peers.stream(world.address, SCAN_ROWS, ask_rows("endless"), timeout_s=30)
    async with contextlib.aclosing(stream) as answers:  # type: ignore[type-var]
        async for _ in answers:
            break
        await asyncio.sleep(0.3)
        assert world.probe.answers < 40  # of 1 MiB each
    await until(lambda: world.probe.ended == ["endless"])


# Over sockets.


async def test_the_trace_of_the_caller_goes_on_in_the_handler() -> None:
    server = Server("127.0.0.1:0", [Probe().servicer()])
    await server.start()
    peers = GrpcPeers()
    with tracer().start_as_current_span("test.caller") as span:
        answer = await peers.call(f"127.0.0.1:{server.port}", SCAN, ask("call"), timeout_s=5)
        assert answer.partial.decode().split()[0] == trace_id_of(span)
    assert trace.get_current_span().get_span_context().is_valid is False
    await peers.close()
    await server.drain(0)


async def test_one_trace_runs_through_every_hop() -> None:
    @dataclass
    class Relay(Probe):
        """Passes the call on."""

        to: str = ""

        async def Scan(self, request: Any, context: Any) -> Any:
            return await peers.call(self.to, SCAN, request, timeout_s=5)

    peers = GrpcPeers()
    last = Server("127.0.0.1:0", [Probe().servicer()])
    await last.start()
    middle = Server("127.0.0.1:0", [Relay(to=f"127.0.0.1:{last.port}").servicer()])
    await middle.start()
    with tracer().start_as_current_span("test.caller") as span:
        answer = await peers.call(f"127.0.0.1:{middle.port}", SCAN, ask("call"), timeout_s=5)
        assert answer.partial.decode().split()[0] == trace_id_of(span)
    with pytest.raises(EvenshardError) as caught:
        await peers.call(f"127.0.0.1:{middle.port}", SCAN, ask("refuse"), timeout_s=5)
    assert caught.value.details == refusal().details
    await peers.close()
    await middle.drain(0)
    await last.drain(0)


async def test_a_restarted_service_is_found_within_two_seconds() -> None:
    address = unused_address()
    peers = GrpcPeers()
    for _ in range(2):
        server = Server(address, [Probe().servicer()])
        await server.start()
        async with asyncio.timeout(2):
            while True:
                try:
                    await peers.call(address, SCAN, ask("echo"), timeout_s=1)
                    break
                except EvenshardError as error:
                    if error.code != "UNREACHABLE":
                        raise
                    await asyncio.sleep(0.05)
        await server.drain(0)
        with pytest.raises(EvenshardError):
            await peers.call(address, SCAN, ask("echo"), timeout_s=1)
    await peers.close()


# In memory.


async def test_a_cut_link_fails_calls_in_flight_and_heals() -> None:
    peers, probe = MemoryPeers(SystemClock(), SeededRng(2)), Probe()
    peers.register("a", [probe.servicer()])
    flying = asyncio.create_task(peers.call("a", SCAN, ask("sleep", 60_000), timeout_s=60))
    await until(lambda: probe.started == ["sleep"])
    peers.partition("a")
    for failing in (flying, peers.call("a", SCAN, ask("echo"), timeout_s=1)):
        with pytest.raises(EvenshardError) as caught:
            await failing
        assert caught.value.code == "UNREACHABLE"
    peers.heal("a")
    assert (await peers.call("a", SCAN, ask("echo", payload=b"1"), timeout_s=1)).partial == b"1"
    await peers.close()


async def test_a_lost_answer_was_done_all_the_same() -> None:
    peers, probe = MemoryPeers(SystemClock(), SeededRng(3)), Probe()
    peers.register("a", [probe.servicer()])
    peers.lose_answers("a", SCAN)
    with pytest.raises(EvenshardError) as caught:
        await peers.call("a", SCAN, ask("echo"), timeout_s=1)
    assert (caught.value.code, probe.ended) == ("UNREACHABLE", ["echo"])
    await peers.call("a", SCAN, ask("echo"), timeout_s=1)
    await peers.close()


async def test_delay_and_deadline_run_on_the_clock_given() -> None:
    clock, probe = ManualClock(), Probe()
    peers = MemoryPeers(clock, SeededRng(4))
    peers.register("a", [probe.servicer()])
    peers.delay("a", 3_000)
    slow = asyncio.create_task(peers.call("a", SCAN, ask("echo", payload=b"1"), timeout_s=60))
    hasty = asyncio.create_task(peers.call("a", SCAN, ask("echo"), timeout_s=2))
    await clock.advance(2_500)
    with pytest.raises(EvenshardError) as caught:
        await hasty
    assert (caught.value.code, slow.done()) == ("DEADLINE_EXCEEDED", False)
    await clock.advance(500)
    assert (await slow).partial == b"1"
    await peers.close()


async def test_one_rpc_fails_as_told() -> None:
    peers = MemoryPeers(SystemClock(), SeededRng(5))
    peers.register("a", [Probe().servicer()])
    peers.fail("a", SCAN, EvenshardError("OVERLOADED", "busy"))
    with pytest.raises(EvenshardError, match="busy"):
        await peers.call("a", SCAN, ask("echo"), timeout_s=1)
    peers.fail("a", SCAN, None)
    await peers.call("a", SCAN, ask("echo"), timeout_s=1)
    await peers.close()
