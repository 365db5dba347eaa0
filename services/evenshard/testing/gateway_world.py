"""A real gateway over shards that are lists: what it asks can be seen, and every way of failing can be arranged."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2, shard_pb2, shard_pb2_grpc
from evenshard.directory.keys import service_key, tenant_key
from evenshard.directory.placement import Placement, even_placement
from evenshard.directory.service import ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.events.hashing import hash_events, slots_of
from evenshard.events.scan import ScannedRows
from evenshard.gateway.build import build
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.directory import Put
from evenshard.queries.reunion import answer, split_at
from evenshard.queries.scans import columns_needed
from evenshard.queries.steps import Step, parse_step
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.settings import Settings
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.reference import Reference, Row
from evenshard.testing.rng import SeededRng
from evenshard.testing.scanned import event_record, scanned_rows
from evenshard.testing.spread import spread
from evenshard.wire.rpcs import (
    DELETE_COHORT,
    EXPORT_EVENTS,
    GET_SCHEMA,
    GET_TIMELINE,
    LIST_COHORTS,
    QUERY_FLOWS,
    QUERY_FUNNEL,
    QUERY_RETENTION,
    QUERY_SEGMENTATION,
    SAVE_COHORT,
    SHARD_SERVICE,
)
from evenshard.wire.scans import rows_message, scan_response

TENANT = TenantId("acme")
GATEWAY = "gateway:1"


@dataclass
class ListShard:
    """Answers ``Scan`` and ``ScanRows`` from a list of rows. ``before_scan`` runs before each."""

    rows: list[Row] = field(default_factory=list)
    epoch: int = 1
    message_rows: int = 3
    scans: int = 0
    unchanged: int = 0
    """Scans answered by that."""
    incarnation: int = 0
    """Restarts."""
    writes: int = 0
    """Changes of its rows, other than by moves."""
    before_scan: Callable[["ListShard"], None] = lambda shard: None
    name: str = ""
    placement: Placement | None = None
    """Where it is one by hand."""
    told: tuple[str, ...] = ()
    """Split users that the last scan told of."""

    def _start(self, epoch: int) -> str:
        self.scans += 1
        self.before_scan(self)
        if epoch < self.epoch:
            raise EvenshardError("STALE_EPOCH", f"epoch {epoch} is older than {self.epoch}")
        return str(len(self.rows))

    async def Scan(self, request: shard_pb2.ScanRequest, context: Any) -> shard_pb2.ScanResponse:
        version = self._start(request.epoch)
        tag = f"{self.incarnation}/{self.writes}"
        if request.known_tag == tag:
            self.unchanged += 1
            return shard_pb2.ScanResponse(tag=tag, unchanged=True)

        def read(scan: bytes) -> Iterator[ScannedRows]:
            needed = columns_needed(scan)
            mine = [row for row in self.rows if needed.start_ms <= row["time"] < needed.end_ms]
            pieces = [mine[at : at + self.message_rows] for at in range(0, len(mine), self.message_rows)]
            return (scanned_rows(piece, indexed=number % 2 == 0) for number, piece in enumerate(pieces))

        self.told = tuple(request.split_users)
        split = None
        if self.placement is not None:
            split = split_at(self.placement, ShardId(self.name), request.scan, self.told, request.split_bytes_max)
        return scan_response(answer(request.scan, read, split), version, tag)

    async def ScanRows(
        self, request: shard_pb2.ScanRowsRequest, context: Any
    ) -> AsyncIterator[shard_pb2.ScanRowsResponse]:
        self._start(request.epoch)

        def wanted(row: Row) -> bool:
            return (
                request.start_ms <= row["time"] < request.end_ms
                and (not request.events or row["event"] in request.events)
                and (request.include_duplicates or not row["duplicate"])
            )

        def key(row: Row) -> tuple[Any, ...]:
            insert = row["insert_id"]
            return row["time"], row["distinct_id"].encode(), row["event"].encode(), insert is not None, insert or ""

        mine = sorted(filter(wanted, self.rows), key=key)
        for at in range(0, len(mine), self.message_rows):
            yield rows_message(event_record(mine[at : at + self.message_rows]))
        yield shard_pb2.ScanRowsResponse(stats=shard_pb2.ScanStats())


@dataclass
class GatewayWorld:
    """``async with``: one gateway, some shards, one tenant."""

    shard_count: int = 2
    settings: TenantSettings = field(default_factory=TenantSettings)
    limits: Settings = field(default_factory=Settings)
    clock: ManualClock = field(default_factory=ManualClock)
    reference: Reference = field(default_factory=Reference)
    shards: dict[ShardId, ListShard] = field(default_factory=dict)

    async def __aenter__(self) -> "GatewayWorld":
        self.rng = SeededRng(1)
        self.directory = MemoryDirectory(self.clock)
        self.peers = MemoryPeers(self.clock, self.rng)
        for number in range(self.shard_count):
            name = ShardId(f"shard-{number}")
            self.shards[name] = ListShard(name=name)
            self.peers.register(
                name, [Servicer(SHARD_SERVICE, shard_pb2_grpc.add_ShardServiceServicer_to_server, self.shards[name])]
            )
            record = ServiceRecord(name, "shard", name, "localhost", 1, 0)
            await self.directory.swap([], [Put(service_key(name), record.to_json())])
        await self.put_tenant(Epoch(1))
        ports = Ports(self.clock, self.rng, self.directory, self.peers, None)
        self.running: Running = await build(
            ports, ServiceOptions("gateway", "gateway-0", GATEWAY, (), Path(), 0, self.limits)
        )
        self.peers.register(GATEWAY, self.running.servicers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.running.close()
        await self.peers.close()
        await self.directory.close()

    async def put_tenant(self, epoch: Epoch, placement: Placement | None = None) -> None:
        """The tenant, over all shards, at this epoch; or placed by hand."""
        placed = replace(placement or even_placement(list(self.shards)), epoch=epoch)
        self.tenant = Tenant(TENANT, self.settings, placed, f"nonce-{epoch}")
        for shard in self.shards.values():
            shard.placement = placement and placed
        await self.directory.swap([], [Put(tenant_key(TENANT), self.tenant.to_json())])

    async def spread(self, rows: Sequence[Row], how: int | str) -> None:
        """Imports rows into the reference and spreads all there are by hand: see ``testing.spread``."""
        self.reference.import_events(rows)
        laid = spread(self.reference.rows, how)
        await self.put_tenant(Epoch(self.tenant.placement.epoch + 1), laid.placement)
        for name, shard in self.shards.items():
            shard.rows = laid.held.get(name, [])
            shard.writes += 1
            shard.scans = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Imports rows into the reference, and into the shards they belong to."""
        first = len(self.reference.rows)
        self.reference.import_events(rows)
        stored = self.reference.rows[first:]
        if not stored:
            return
        record = event_record(stored)
        hashes = hash_events(TENANT, EventBatch(record.select(record.schema.names[:-1])))
        placement = self.tenant.placement
        homes = placement.shard_of_slot[slots_of(np.asarray(hashes.placement))]
        for row, home in zip(stored, homes.tolist(), strict=True):
            self.shards[placement.shards[home]].rows.append(row)
            self.shards[placement.shards[home]].writes += 1

    async def segmentation(self, timeout_s: float = 10.0, **fields: Any) -> query_pb2.QuerySegmentationResponse:
        request = query_pb2.QuerySegmentationRequest(**{"tenant": TENANT, **fields})
        return await self.peers.call(GATEWAY, QUERY_SEGMENTATION, request, timeout_s=timeout_s)

    async def funnel(self, steps: Sequence[str | Step], timeout_s: float = 10.0, **fields: Any) -> Any:
        """``steps`` may be as people write them."""
        parsed = [parse_step(step) if isinstance(step, str) else step for step in steps]
        request = query_pb2.QueryFunnelRequest(
            steps=[query_pb2.FunnelStep(events=step.events, where=step.where) for step in parsed],
            **{"tenant": TENANT, **fields},
        )
        return await self.peers.call(GATEWAY, QUERY_FUNNEL, request, timeout_s=timeout_s)

    async def schema(self, **fields: Any) -> query_pb2.GetSchemaResponse:
        request = query_pb2.GetSchemaRequest(**{"tenant": TENANT, **fields})
        return await self.peers.call(GATEWAY, GET_SCHEMA, request, timeout_s=10)

    async def timeline(self, user: str, **fields: Any) -> query_pb2.GetTimelineResponse:
        request = query_pb2.GetTimelineRequest(**{"tenant": TENANT, "user": user, **fields})
        return await self.peers.call(GATEWAY, GET_TIMELINE, request, timeout_s=10)

    async def retention(
        self, birth: str, returning: str | None = None, /, timeout_s: float = 10.0, **fields: Any
    ) -> query_pb2.QueryRetentionResponse:
        """Steps are as people write them."""
        more: dict[str, Any] = {} if returning is None else {"return": _step(returning)}
        request = query_pb2.QueryRetentionRequest(**{"tenant": TENANT, "birth": _step(birth), **more, **fields})
        return await self.peers.call(GATEWAY, QUERY_RETENTION, request, timeout_s=timeout_s)

    async def flows(self, anchor: str, /, timeout_s: float = 10.0, **fields: Any) -> query_pb2.QueryFlowsResponse:
        """The anchor is as people write it."""
        request = query_pb2.QueryFlowsRequest(**{"tenant": TENANT, "anchor": _step(anchor), **fields})
        return await self.peers.call(GATEWAY, QUERY_FLOWS, request, timeout_s=timeout_s)

    async def save_cohort(self, name: str, definition: dict[str, Any]) -> query_pb2.Cohort:
        """``definition``: proto3 JSON; the range of its dates is January 2024 unless it says another."""
        document = {"from_date": "2024-01-01", "to_date": "2024-01-31", **definition}
        message = json_format.ParseDict(document, query_pb2.CohortDefinition())
        request = query_pb2.SaveCohortRequest(tenant=TENANT, name=name, definition=message)
        return (await self.peers.call(GATEWAY, SAVE_COHORT, request, timeout_s=10)).cohort

    async def cohorts(self) -> Sequence[query_pb2.Cohort]:
        request = query_pb2.ListCohortsRequest(tenant=TENANT)
        return (await self.peers.call(GATEWAY, LIST_COHORTS, request, timeout_s=10)).cohorts

    async def delete_cohort(self, name: str) -> None:
        request = query_pb2.DeleteCohortRequest(tenant=TENANT, name=name)
        await self.peers.call(GATEWAY, DELETE_COHORT, request, timeout_s=10)

    async def export(self, **fields: Any) -> list[query_pb2.ExportEventsResponse]:
        request = query_pb2.ExportEventsRequest(**{"tenant": TENANT, **fields})
        return [message async for message in self.peers.stream(GATEWAY, EXPORT_EVENTS, request, timeout_s=10)]


def _step(text: str) -> query_pb2.FunnelStep:
    step = parse_step(text)
    return query_pb2.FunnelStep(events=step.events, where=step.where)


def exported_rows(messages: Sequence[query_pb2.ExportEventsResponse]) -> list[Row]:
    """The rows of NDJSON messages."""
    return [orjson.loads(line) for message in messages for line in message.payload.splitlines()]
