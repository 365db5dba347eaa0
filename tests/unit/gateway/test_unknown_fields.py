"""A request of a later protocol is refused: what it asks for beyond this one is never accepted and ignored."""

from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError
from evenshard.testing.gateway_world import GATEWAY, TENANT, GatewayWorld
from evenshard.wire.rpcs import EXPORT_EVENTS, QUERY_FUNNEL, QUERY_SEGMENTATION

RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
TRUE = b"\x01"


def later(number: int, value: bytes = TRUE) -> bytes:
    """A varint field as the wire has it."""
    tag = number << 3
    return (bytes([tag & 0x7F | 0x80, tag >> 7]) if tag > 127 else bytes([tag])) + value


def options_with(number: int) -> query_pb2.QueryOptions:
    return query_pb2.QueryOptions.FromString(later(number))


def step_with(number: int) -> query_pb2.FunnelStep:
    return query_pb2.FunnelStep.FromString(query_pb2.FunnelStep(events=["view"]).SerializeToString() + later(number))


def with_field(request: Any, number: int) -> Any:
    return type(request).FromString(request.SerializeToString() + later(number) + later(number))


SEGMENTATION = query_pb2.QuerySegmentationRequest(tenant=TENANT, **RANGE)
STEPS = [query_pb2.FunnelStep(events=["view"]), query_pb2.FunnelStep(events=["buy"])]
FUNNEL = query_pb2.QueryFunnelRequest(tenant=TENANT, **RANGE, steps=STEPS)
EXPORT = query_pb2.ExportEventsRequest(tenant=TENANT, start_ms=0, end_ms=1)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (with_field(SEGMENTATION, 12), "12"),
        (query_pb2.QuerySegmentationRequest(tenant=TENANT, **RANGE, options=options_with(9)), "options.9"),
        (with_field(FUNNEL, 19), "19"),
        (with_field(FUNNEL, 500), "500"),
        (query_pb2.QueryFunnelRequest(tenant=TENANT, **RANGE, steps=STEPS, options=options_with(9)), "options.9"),
        (query_pb2.QueryFunnelRequest(tenant=TENANT, **RANGE, steps=[STEPS[0], step_with(3)]), "steps[1].3"),
        (with_field(EXPORT, 12), "12"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_fields_of_a_later_protocol_are_refused_by_name(request_: Any, name: str) -> None:
    async with GatewayWorld(shard_count=2) as world:
        with pytest.raises(EvenshardError) as caught:
            await ask(world, request_)
    error = caught.value
    assert (error.code, [fault.field for fault in error.fields]) == ("QUERY_INVALID", [name])
    assert error.message == f"the request has fields this version does not know: {name}"
    assert all(shard.scans == 0 for shard in world.shards.values())


@pytest.mark.parametrize("request_", [SEGMENTATION, FUNNEL, EXPORT], ids=lambda value: type(value).__name__)
async def test_requests_of_this_protocol_are_answered(request_: Any) -> None:
    async with GatewayWorld(shard_count=2) as world:
        await ask(world, request_)


async def test_an_error_names_a_few_of_many_fields() -> None:
    request = query_pb2.QuerySegmentationRequest.FromString(
        SEGMENTATION.SerializeToString() + b"".join(later(number) for number in range(100, 1000))
    )
    async with GatewayWorld(shard_count=1) as world:
        with pytest.raises(EvenshardError) as caught:
            await ask(world, request)
    assert [fault.field for fault in caught.value.fields] == [str(number) for number in range(100, 110)]


async def ask(world: GatewayWorld, request: Any) -> None:
    match request:
        case query_pb2.QuerySegmentationRequest():
            await world.peers.call(GATEWAY, QUERY_SEGMENTATION, request, timeout_s=10)
        case query_pb2.QueryFunnelRequest():
            await world.peers.call(GATEWAY, QUERY_FUNNEL, request, timeout_s=10)
        case _:
            _ = [message async for message in world.peers.stream(GATEWAY, EXPORT_EVENTS, request, timeout_s=10)]
