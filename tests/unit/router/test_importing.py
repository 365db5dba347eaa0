"""An import from payload to answer, with shards that do as they are told."""

import asyncio
import io
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from evenshard.api.v1 import ingest_pb2, shard_pb2, shard_pb2_grpc
from evenshard.directory.deletion import Block
from evenshard.directory.keys import blocked_key, service_key, tenant_key
from evenshard.directory.placement import Placement, even_placement
from evenshard.directory.service import ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.limits import HOT_EVENT
from evenshard.ids import Epoch, OperationId, ShardId, TenantId
from evenshard.ports.directory import Delete, Put
from evenshard.router.build import build
from evenshard.router.importing import Importer
from evenshard.router.tally import Tally
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.settings import Settings
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire.rpcs import APPEND_EVENTS, IMPORT_EVENTS, SHARD_SERVICE
from evenshard.wire.shards import BatchAppended, append_response, batches_of, refused

SHARDS = [ShardId("shard-0"), ShardId("shard-1")]
TIME_MS = 1_767_225_600_000


@dataclass
class FakeShard(shard_pb2_grpc.ShardServiceServicer):
    """Stores what comes, unless the next of ``refusals`` says no, until ``retry_after_ms``; knows no epochs."""

    stored: list[tuple[str, int, list[dict[str, Any]]]] = field(default_factory=list)
    refusals: deque[str] = field(default_factory=deque)
    retry_after_ms: int = 0
    insert_ids: set[str] = field(default_factory=set)
    frozen: bool = False
    requests: int = 0

    async def AppendEvents(self, request: Any, context: Any) -> Any:
        self.requests += 1
        if self.frozen:
            await asyncio.sleep(3600)
        results = []
        for batch in batches_of(request):
            if self.refusals:
                results.append(refused(self.refusals.popleft(), "as told", self.retry_after_ms))
                continue
            rows = EventBatch.from_ipc(batch.payload).record.to_pylist()
            duplicates = np.array([row["insert_id"] in self.insert_ids for row in rows], np.bool_)
            self.insert_ids |= {row["insert_id"] for row in rows}
            self.stored.append((batch.tenant, batch.epoch, rows))
            results.append(BatchAppended("", "", duplicates, 1))
        return append_response(results)


class World:
    """A router amid fakes."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.directory = MemoryDirectory(clock)
        self.peers = MemoryPeers(clock, SeededRng(1))
        self.shards = {name: FakeShard() for name in SHARDS}
        self.ports = Ports(clock, SeededRng(2), self.directory, self.peers, None)
        self.running: Running | None = None

    async def start(self, settings: Settings) -> None:
        for name, shard in self.shards.items():
            add = shard_pb2_grpc.add_ShardServiceServicer_to_server
            self.peers.register(name, [Servicer(SHARD_SERVICE, add, shard)])
            record = ServiceRecord(name, "shard", name, "localhost", 1, 0)
            await self.directory.swap([], [Put(service_key(name), record.to_json())])
        await self.put("t")
        options = ServiceOptions("router", "router-0", "router-0", (), None, 0, settings)
        self.running = await build(self.ports, options)
        self.peers.register("router-0", self.running.servicers)

    async def put(self, name: str, *, strict: bool = False, placement: Placement | None = None) -> Tenant:
        tenant = Tenant(TenantId(name), TenantSettings(strict=strict), placement or even_placement(SHARDS), "n")
        await self.directory.swap([], [Put(tenant_key(tenant.name), tenant.to_json())])
        return tenant

    async def import_events(self, tenant: str = "t", timeout_s: float = 5.0, **request: Any) -> Any:
        message = IMPORT_EVENTS.request(tenant=tenant, **request)
        return await self.peers.call("router-0", IMPORT_EVENTS, message, timeout_s=timeout_s)

    def stored_ids(self) -> list[str]:
        """insert_ids stored, on any shard, sorted."""
        batches = [rows for shard in self.shards.values() for _, _, rows in shard.stored]
        return sorted(row["insert_id"] for rows in batches for row in rows)


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    made = World()
    await made.start(settings)
    yield made
    assert made.running is not None
    await made.running.close()
    await made.peers.close()


def arrow(rows: int, first: int = 0) -> bytes:
    numbers = range(first, first + rows)
    record = pa.record_batch(
        {
            "event": ["view"] * rows,
            "distinct_id": [f"user-{number}" for number in numbers],
            "time": [TIME_MS + number for number in numbers],
            "insert_id": [f"{number:06d}" for number in numbers],
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return sink.getvalue()


def lines(*events: tuple[str, str]) -> bytes:
    """(tenant, insert_id) each."""
    return b"\n".join(
        orjson.dumps(
            {
                "event": "view",
                "tenant": tenant,
                "properties": {"distinct_id": f"u-{insert_id}", "time": TIME_MS, "$insert_id": insert_id},
            }
        )
        for tenant, insert_id in events
    )


def summary(answer: Any) -> tuple[int, int, int, list[tuple[int, str, str, bool]]]:
    errors = [(error.index, error.insert_id, error.code, error.retryable) for error in answer.errors]
    return answer.accepted, answer.duplicates, answer.rejected, errors


async def test_every_event_is_stored_once_and_duplicates_are_counted(world: World) -> None:
    assert summary(await world.import_events(arrow_ipc=arrow(500))) == (500, 0, 0, [])
    assert all(shard.stored for shard in world.shards.values())
    assert world.stored_ids() == [f"{number:06d}" for number in range(500)]
    again = await world.import_events(arrow_ipc=arrow(600))
    assert summary(again) == (600, 500, 0, [])
    (counts,) = again.by_tenant
    assert (counts.tenant, counts.accepted, counts.duplicates, counts.rejected) == ("t", 600, 500, 0)
    assert len(again.trace_id) == 32


@pytest.mark.parametrize("request_", [{}, {"ndjson": b""}, {"arrow_ipc": b""}, {"tenant": ""}])
async def test_an_empty_payload_answers_zeros(world: World, request_: dict[str, Any]) -> None:
    assert summary(await world.import_events(**request_)) == (0, 0, 0, [])


@pytest.mark.parametrize(
    ("tenant", "code"), [("nobody", "TENANT_NOT_FOUND"), ("../x", "TENANT_NAME_INVALID"), ("", "TENANT_NAME_INVALID")]
)
async def test_a_call_for_a_tenant_that_is_none_fails(world: World, tenant: str, code: str) -> None:
    with pytest.raises(EvenshardError) as caught:
        await world.import_events(tenant, arrow_ipc=arrow(3))
    assert (caught.value.code, caught.value.in_doubt) == (code, False)
    assert world.stored_ids() == []


async def test_a_tenant_made_a_moment_ago_is_known(world: World) -> None:
    world.directory.pause_watches()
    await world.put("new")
    assert summary(await world.import_events("new", arrow_ipc=arrow(3))) == (3, 0, 0, [])


async def test_lines_name_their_tenants_and_unknown_ones_fail_alone(world: World) -> None:
    await world.put("other")
    payload = lines(("t", "a"), ("nobody", "b"), ("other", "c"), ("../x", "d"), ("t", "e"))
    answer = await world.import_events("", ndjson=payload)
    assert summary(answer) == (
        3,
        0,
        2,
        [(1, "b", "TENANT_NOT_FOUND", False), (3, "d", "TENANT_NAME_INVALID", False)],
    )
    by_tenant = {each.tenant: (each.accepted, each.rejected) for each in answer.by_tenant}
    assert by_tenant == {"../x": (0, 1), "nobody": (0, 1), "other": (1, 0), "t": (2, 0)}
    assert world.stored_ids() == ["a", "c", "e"]


def blocking_payloads() -> list[dict[str, Any]]:
    """Six events in each codec: of a blocked id, another, a blocked one whose event came remediated, nobody, …"""
    events = [
        ("view", "bad", {}),
        ("view", "good", {}),
        (HOT_EVENT, "", {"mp_original_event_name": "view", "mp_original_distinct_id": "bad"}),
        ("view", "", {}),
        ("view", "bad2", {}),
        ("view", "bad ", {}),
    ]
    documents = [
        {
            "event": name,
            "properties": {"distinct_id": user, "time": TIME_MS, "$insert_id": f"{number}", **properties},
        }
        for number, (name, user, properties) in enumerate(events)
    ]
    originals = [
        {"event": name, "distinct_id": user, "time": TIME_MS, "insert_id": f"{number}"}
        | {key: properties.get(key) for key in ("mp_original_event_name", "mp_original_distinct_id")}
        for number, (name, user, properties) in enumerate(events)
    ]
    record = pa.RecordBatch.from_pylist(originals)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    rows = ingest_pb2.EventRows(
        rows=[
            ingest_pb2.EventRow(
                event=name,
                distinct_id=user,
                time_ms=TIME_MS,
                insert_id=f"{number}",
                properties=[
                    ingest_pb2.Property(name=key, value=ingest_pb2.Value(string=value))
                    for key, value in properties.items()
                ],
            )
            for number, (name, user, properties) in enumerate(events)
        ]
    )
    return [
        {"arrow_ipc": sink.getvalue()},
        {"ndjson": b"\n".join(orjson.dumps(document) for document in documents)},
        {"rows": rows},
    ]


@pytest.mark.parametrize("payload", blocking_payloads(), ids=["arrow", "ndjson", "rows"])
async def test_events_of_blocked_ids_are_refused_each_and_no_others(world: World, payload: dict[str, Any]) -> None:
    block = Block(OperationId("o")).to_json()
    for tenant, user in (("t", "bad"), ("t", "bad2"), ("other", "good")):
        await world.directory.swap([], [Put(blocked_key(TenantId(tenant), user), block)])
    for _ in range(20):
        await asyncio.sleep(0)
    answer = await world.import_events(**payload)
    assert summary(answer) == (
        3, 0, 3, [(number, str(number), "DISTINCT_ID_BLOCKED", False) for number in (0, 2, 4)],
    )  # fmt: skip
    assert {error.field for error in answer.errors} == {"distinct_id"}
    assert world.stored_ids() == ["1", "3", "5"]
    await world.directory.swap([], [Delete(blocked_key(TenantId("t"), "bad"))])
    for _ in range(20):
        await asyncio.sleep(0)
    assert summary(await world.import_events(**payload))[:3] == (5, 3, 1)


async def test_an_import_of_nothing_but_blocked_ids_answers(world: World) -> None:
    block = Block(OperationId("o")).to_json()
    await world.directory.swap([], [Put(blocked_key(TenantId("t"), f"user-{number}"), block) for number in range(50)])
    for _ in range(20):
        await asyncio.sleep(0)
    answer = await world.import_events(arrow_ipc=arrow(50))
    assert (answer.accepted, answer.rejected, world.stored_ids()) == (0, 50, [])


async def test_one_call_to_a_shard_carries_all_tenants(world: World) -> None:
    await world.put("other")
    payload = lines(*[(tenant, f"{tenant}-{number}") for number in range(50) for tenant in ("t", "other")])
    assert (await world.import_events("", ndjson=payload)).accepted == 100
    assert {name: shard.requests for name, shard in world.shards.items()} == {"shard-0": 1, "shard-1": 1}


async def test_a_tenants_own_strictness_holds_even_if_it_was_not_known_yet(world: World) -> None:
    world.directory.pause_watches()
    await world.put("strict", strict=True)
    payload = lines(("t", "a")) + b'\n{"event":"x","tenant":"strict","distinct_id":"u","time":1767225600000}'
    answer = await world.import_events("", ndjson=payload)
    assert summary(answer) == (1, 0, 1, [(1, "", "INSERT_ID_MISSING", False)])


def failed_indices(world: World, answer: Any, shard: ShardId) -> Sequence[int]:
    stored = set(world.stored_ids())
    expected = [number for number in range(answer.accepted + answer.rejected) if f"{number:06d}" not in stored]
    assert [error.index for error in answer.errors] == expected
    assert [error.insert_id for error in answer.errors] == [f"{number:06d}" for number in expected]
    assert {(error.code, error.retryable, error.tenant) for error in answer.errors} == {
        ("SHARD_UNAVAILABLE", True, "t")
    }
    assert all(shard in error.message for error in answer.errors)
    return expected


async def test_events_of_a_shard_that_is_away_come_back_retryable_by_index(world: World) -> None:
    world.peers.partition("shard-1")
    answer = await world.import_events(arrow_ipc=arrow(400))
    assert failed_indices(world, answer, SHARDS[1])
    assert answer.accepted > 0
    world.peers.heal("shard-1")
    again = await world.import_events(arrow_ipc=arrow(400))
    assert summary(again) == (400, answer.accepted, 0, [])
    assert len(set(world.stored_ids())) == 400


async def test_a_frozen_shard_is_given_less_time_than_the_caller_has(world: World) -> None:
    world.shards[SHARDS[0]].frozen = True
    started = time.monotonic()
    answer = await world.import_events(arrow_ipc=arrow(400), timeout_s=1.0)
    assert 0.7 < time.monotonic() - started < 0.95
    assert failed_indices(world, answer, SHARDS[0])


async def test_a_call_whose_shards_are_all_silent_still_answers(world: World) -> None:
    for shard in world.shards.values():
        shard.frozen = True
    answer = await world.import_events(arrow_ipc=arrow(100), timeout_s=0.5)
    assert (answer.accepted, answer.rejected) == (0, 100)
    assert [error.index for error in answer.errors] == list(range(100))


@pytest.mark.parametrize("code", ["OVERLOADED", "DISK_FULL", "INTERNAL"])
async def test_a_shard_that_refuses_makes_its_events_retryable_and_says_why(world: World, code: str) -> None:
    world.shards[SHARDS[1]].refusals.append(code)
    answer = await world.import_events(arrow_ipc=arrow(100))
    assert failed_indices(world, answer, SHARDS[1])
    assert all(code in error.message for error in answer.errors)


async def test_what_a_shard_has_no_room_for_is_held_and_sent_again_when_it_may_have(world: World) -> None:
    shard = world.shards[SHARDS[1]]
    shard.refusals.extend(["OVERLOADED"] * 3)
    shard.retry_after_ms = 20
    began_s = time.monotonic()
    assert summary(await world.import_events(arrow_ipc=arrow(100))) == (100, 0, 0, [])
    assert time.monotonic() - began_s >= 0.06
    assert (world.shards[SHARDS[0]].requests, shard.requests) == (1, 4)
    assert world.stored_ids() == [f"{number:06d}" for number in range(100)]


async def test_what_a_shard_has_no_room_for_comes_back_where_its_caller_does_not_wait_as_long(world: World) -> None:
    shard = world.shards[SHARDS[1]]
    shard.refusals.append("OVERLOADED")
    shard.retry_after_ms = 1_500
    began_s = time.monotonic()
    answer = await world.import_events(arrow_ipc=arrow(100), timeout_s=2.0)
    assert time.monotonic() - began_s < 1.5
    assert (failed_indices(world, answer, SHARDS[1]) != [], answer.retry_after_ms, shard.requests) == (True, 1_500, 1)


async def test_a_stale_placement_is_read_again_and_its_rows_go_where_they_belong(world: World) -> None:
    world.directory.pause_watches()
    await world.put("t", placement=replace(even_placement([SHARDS[1]]), epoch=Epoch(2)))
    world.shards[SHARDS[0]].refusals.append("STALE_EPOCH")
    world.shards[SHARDS[1]].refusals.append("STALE_EPOCH")
    assert summary(await world.import_events(arrow_ipc=arrow(200))) == (200, 0, 0, [])
    assert world.shards[SHARDS[0]].stored == []
    assert {epoch for _, epoch, _ in world.shards[SHARDS[1]].stored} == {2}
    assert world.stored_ids() == [f"{number:06d}" for number in range(200)]


async def test_a_placement_that_keeps_changing_is_given_up_after_four_tries(world: World) -> None:
    world.shards[SHARDS[0]].refusals.extend(["STALE_EPOCH"] * 100)
    answer = await world.import_events(arrow_ipc=arrow(200))
    assert failed_indices(world, answer, SHARDS[0])
    assert world.shards[SHARDS[0]].requests == 4


async def test_a_tenant_deleted_meanwhile_is_not_found(world: World) -> None:
    world.directory.pause_watches()
    await world.directory.swap([], [Delete(tenant_key(TenantId("t")))])
    for shard in world.shards.values():
        shard.refusals.append("STALE_EPOCH")
    answer = await world.import_events(arrow_ipc=arrow(50))
    assert {(error.code, error.retryable) for error in answer.errors} == {("TENANT_NOT_FOUND", False)}
    assert (answer.accepted, answer.rejected) == (0, 50)


async def test_a_directory_that_is_away_does_not_stop_imports_of_known_tenants(world: World) -> None:
    world.directory.go_away()
    assert summary(await world.import_events(arrow_ipc=arrow(50))) == (50, 0, 0, [])
    world.shards[SHARDS[0]].refusals.append("STALE_EPOCH")
    answer = await world.import_events(arrow_ipc=arrow(100, first=100))
    assert {error.code for error in answer.errors} == {"SHARD_UNAVAILABLE"}
    assert answer.accepted + answer.rejected == 100


async def test_an_answer_of_the_wrong_length_is_no_ack(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer_nothing(request: Any, context: Any) -> Any:
        return shard_pb2.AppendEventsResponse()

    monkeypatch.setattr(world.shards[SHARDS[0]], "AppendEvents", answer_nothing)
    assert failed_indices(world, await world.import_events(arrow_ipc=arrow(100)), SHARDS[0])
    world.peers.lose_answers("shard-1", APPEND_EVENTS)
    monkeypatch.undo()
    answer = await world.import_events(arrow_ipc=arrow(100, first=1000))
    assert answer.rejected > 0


async def test_a_defect_after_events_were_sent_leaves_the_call_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Tally, "stored", defect)
    with pytest.raises(EvenshardError) as caught:
        await world.import_events(arrow_ipc=arrow(10))
    assert (caught.value.code, caught.value.in_doubt) == ("INTERNAL", True)
    assert len(world.stored_ids()) == 10
    with pytest.raises(EvenshardError) as caught:
        await world.import_events(arrow_ipc=b"nothing of the kind")
    assert (caught.value.code, caught.value.in_doubt) == ("PAYLOAD_INVALID", False)


class TestSmallBounds:
    """With little room for imports in flight."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(router_inflight_bytes=8_000)

    async def test_imports_beyond_what_a_router_holds_are_refused_before_anything_is_sent(self, world: World) -> None:
        world.shards[SHARDS[0]].frozen = world.shards[SHARDS[1]].frozen = True
        payload = arrow(100)
        assert 4_000 < len(payload) < 8_000
        first = asyncio.create_task(world.import_events(arrow_ipc=payload, timeout_s=1.0))
        await asyncio.sleep(0.3)
        with pytest.raises(EvenshardError) as caught:
            await world.import_events(arrow_ipc=payload)
        assert (caught.value.code, caught.value.retryable) == ("OVERLOADED", True)
        assert f"{len(payload):,} of them of t" in caught.value.message
        assert (await first).rejected == 100
        for shard in world.shards.values():
            shard.frozen = False
        assert (await world.import_events(arrow_ipc=payload)).accepted == 100


async def test_whoever_settles_waits_for_imports_that_have_begun_and_no_others(world: World) -> None:
    assert world.running is not None
    importer: Importer = next(each for each in world.running.servicers if "Ingest" in each.full_name).instance._importer
    await importer.settle(5.0)
    for shard in world.shards.values():
        shard.frozen = True
    importing = asyncio.create_task(world.import_events(arrow_ipc=arrow(3), timeout_s=1.0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert importer._in_flight
    settling = asyncio.create_task(importer.settle(20.0))
    await asyncio.sleep(0)
    assert not settling.done()
    await importing
    await settling
    assert not importer._in_flight
