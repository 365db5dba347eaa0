"""The surroundings of a call: sizes, deadlines, traces, and one log line for each failure."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from evenshard.api.v1 import ingest_pb2, ingest_pb2_grpc
from evenshard.errors import EvenshardError
from evenshard.runtime import interceptor
from evenshard.runtime.call import current_call
from evenshard.runtime.logs import start_logs
from evenshard.runtime.peers import GrpcPeers
from evenshard.runtime.server import Server
from evenshard.runtime.service import Servicer
from evenshard.runtime.telemetry import start_telemetry, trace_id_of, tracer
from evenshard.testing.probe import Probe, ask
from evenshard.wire.health import HEALTH_CHECK, health_request, is_serving
from evenshard.wire.rpcs import IMPORT_EVENTS, INGEST_SERVICE, SCAN


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    """Counts bytes; sleeps for the tenant ``slow``."""

    async def ImportEvents(self, request: Any, context: Any) -> Any:
        if request.tenant == "slow":
            await asyncio.sleep(60)
        return ingest_pb2.ImportEventsResponse(accepted=len(request.ndjson), trace_id=current_call().trace_id)


@pytest.fixture
def log() -> io.StringIO:
    start_telemetry("test")
    stream = io.StringIO()
    start_logs("test-0", stream)
    return stream


@pytest.fixture
async def address(log: io.StringIO) -> AsyncIterator[str]:
    ingest = Servicer(INGEST_SERVICE, ingest_pb2_grpc.add_IngestServiceServicer_to_server, Ingest())
    server = Server("127.0.0.1:0", [Probe().servicer(), ingest])
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.drain(0)


@pytest.fixture
async def peers() -> AsyncIterator[GrpcPeers]:
    made = GrpcPeers()
    yield made
    await made.close()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize("surplus_bytes", [0, 1])
async def test_a_client_may_send_16_mib_and_not_a_byte_more(address: str, peers: GrpcPeers, surplus_bytes: int) -> None:
    payload_bytes = interceptor.REQUEST_BYTES_MAX
    request = ingest_pb2.ImportEventsRequest(ndjson=b" " * payload_bytes)
    payload_bytes -= request.ByteSize() - payload_bytes - surplus_bytes
    request = ingest_pb2.ImportEventsRequest(ndjson=b" " * payload_bytes)
    assert request.ByteSize() == interceptor.REQUEST_BYTES_MAX + surplus_bytes
    if surplus_bytes:
        with pytest.raises(EvenshardError) as caught:
            await peers.call(address, IMPORT_EVENTS, request, timeout_s=20)
        assert caught.value.code == "REQUEST_TOO_LARGE"
    else:
        assert (await peers.call(address, IMPORT_EVENTS, request, timeout_s=20)).accepted == payload_bytes


async def test_services_may_send_each_other_more(address: str, peers: GrpcPeers) -> None:
    payload = b" " * (interceptor.REQUEST_BYTES_MAX + 1000)
    assert (await peers.call(address, SCAN, ask("echo", payload=payload), timeout_s=20)).partial == payload


async def test_what_is_too_large_for_everybody_is_named_so(address: str, peers: GrpcPeers) -> None:
    with pytest.raises(EvenshardError) as caught:
        await peers.call(address, SCAN, ask("echo", payload=b" " * (65 << 20)), timeout_s=20)
    assert caught.value.code == "REQUEST_TOO_LARGE"


async def test_a_call_without_a_deadline_gets_one(
    address: str, peers: GrpcPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "DEFAULT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(interceptor, "NO_DEADLINE_S", 100.0)  # a longer deadline than this counts as none
    with pytest.raises(EvenshardError) as caught:
        await peers.call(address, SCAN, ask("sleep", 60_000), timeout_s=1000)
    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_a_deadline_of_hours_is_left_as_it_is(
    address: str, peers: GrpcPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "DEFAULT_TIMEOUT_S", 0.05)
    answer = await peers.call(address, SCAN, ask("sleep", 300), timeout_s=3 * 3600)
    assert answer == await peers.call(address, SCAN, ask("sleep", 1), timeout_s=5)


async def test_an_import_that_ran_out_of_time_is_in_doubt(
    address: str, peers: GrpcPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "DEFAULT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(interceptor, "NO_DEADLINE_S", 100.0)
    with pytest.raises(EvenshardError) as caught:
        await peers.call(address, IMPORT_EVENTS, ingest_pb2.ImportEventsRequest(tenant="slow"), timeout_s=1000)
    assert (caught.value.code, caught.value.in_doubt) == ("DEADLINE_EXCEEDED", True)


async def test_the_answer_carries_the_trace_of_its_caller(address: str, peers: GrpcPeers) -> None:
    with tracer().start_as_current_span("client.import") as span:
        answer = await peers.call(address, IMPORT_EVENTS, ingest_pb2.ImportEventsRequest(), timeout_s=5)
        assert answer.trace_id == trace_id_of(span)


async def test_a_failed_call_is_one_line_with_its_trace(address: str, peers: GrpcPeers, log: io.StringIO) -> None:
    with pytest.raises(EvenshardError) as caught:
        await peers.call(address, SCAN, ask("refuse"), timeout_s=5)
    (line,) = lines(log)
    assert sorted(line) == ["code", "event", "level", "message", "rpc", "service", "trace_id", "ts"]
    assert (line["level"], line["service"], line["code"], line["rpc"], line["trace_id"]) == (
        "info",
        "test-0",
        "SHARD_UNAVAILABLE",
        "evenshard.v1.ShardService/Scan",
        caught.value.trace_id,
    )


async def test_a_defect_is_logged_with_its_stack(address: str, peers: GrpcPeers, log: io.StringIO) -> None:
    with pytest.raises(EvenshardError):
        await peers.call(address, SCAN, ask("crash"), timeout_s=5)
    (line,) = lines(log)
    assert (line["level"], line["code"]) == ("error", "INTERNAL")
    assert "ZeroDivisionError: crashed as told" in line["exception"]


async def test_a_call_that_succeeds_is_not_logged(address: str, peers: GrpcPeers, log: io.StringIO) -> None:
    await peers.call(address, SCAN, ask("echo"), timeout_s=5)
    assert lines(log) == []


async def test_two_servers_do_not_share_a_port(address: str) -> None:
    with pytest.raises(EvenshardError) as caught:
        await Server(address, [Probe().servicer()]).start()
    assert caught.value.code == "PORT_IN_USE"


async def test_a_server_that_gets_ready_says_so_and_refuses_until_it_serves(peers: GrpcPeers, log: io.StringIO) -> None:
    server = Server("127.0.0.1:0", starting=lambda: "replaying log 3 of 7, 41 s left")
    await server.listen()
    address = f"127.0.0.1:{server.port}"
    assert not is_serving(await peers.call(address, HEALTH_CHECK, health_request(), timeout_s=5))
    with pytest.raises(EvenshardError) as caught:
        await peers.call(address, SCAN, ask("echo"), timeout_s=5)
    assert (caught.value.code, caught.value.retryable) == ("UNREACHABLE", True)
    assert "replaying log 3 of 7, 41 s left" in caught.value.message
    await server.serve([Probe().servicer()])
    assert is_serving(await peers.call(address, HEALTH_CHECK, health_request(), timeout_s=5))
    await peers.call(address, SCAN, ask("echo"), timeout_s=5)
    await server.drain(0)
