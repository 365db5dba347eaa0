"""Durable events a second sent as protobuf rows; whole requests are encoded before the clock starts."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc.aio

import evenshard
from evenshard.api.v1 import ingest_pb2
from evenshard.client.loop import run_blocking
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import record_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.segmentation import ask_total
from evenshard.testing.bench.sending import IN_FLIGHT, SEED, SHARDS, TENANT, TIMEOUT_S
from evenshard.testing.processes import ClusterProcess
from evenshard.wire.rpcs import IMPORT_EVENTS

EVENTS_DEFAULT: Final = 1_000_000
BATCH_ROWS: Final = 10_000
ROUNDS_DEFAULT: Final = 3


def ingest_rows(options: Options) -> list[Figure]:
    events = options.events or EVENTS_DEFAULT
    requests = [_request(first, min(BATCH_ROWS, events - first)) for first in range(0, events, BATCH_ROWS)]
    rates = [events / _round_s(requests, events, options.folder) for _ in range(options.rounds or ROUNDS_DEFAULT)]
    detail = {
        "batch_rows": BATCH_ROWS,
        "in_flight": IN_FLIGHT,
        "shards": SHARDS,
        "bytes_sent": sum(len(request) for request in requests),
        "seed": SEED,
        "rounds": [round(rate) for rate in rates],
    }
    return [Figure("ingest_rows", round(statistics.median(rates), 1), "events/s", events, detail=detail)]


def _request(first: int, rows: int) -> bytes:
    request = ingest_pb2.ImportEventsRequest(tenant=TENANT)
    for row in record_of(SEED, first, rows).to_pylist():
        request.rows.rows.add(
            event=row["event"],
            distinct_id=row["distinct_id"],
            time_ms=row["time"],
            insert_id=row["insert_id"],
            properties=[
                ingest_pb2.Property(name="page", value=ingest_pb2.Value(string=row["page"])),
                ingest_pb2.Property(name="amount", value=ingest_pb2.Value(int64=row["amount"])),
            ],
        )
    return request.SerializeToString()


def _round_s(requests: Sequence[bytes], events: int, folder: Path | None) -> float:
    """One import into a new cluster, in seconds; raises where its answers are wrong."""
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=folder))
    try:
        with (
            ClusterProcess(place / "data", shards=SHARDS) as cluster,
            evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=TIMEOUT_S) as client,
        ):
            client.create_tenant(TENANT)
            started_s = time.perf_counter()
            accepted, duplicates = run_blocking(_send(cluster.router, requests))
            took_s = time.perf_counter() - started_s
            found = (accepted, duplicates, sum(row[1] for row in ask_total(client)))
            if found != (events, 0, events):
                raise RuntimeError(f"accepted, duplicates, counted: {found}, expected {(events, 0, events)}")
    finally:
        shutil.rmtree(place)
    return took_s


async def _send(router: str, requests: Sequence[bytes]) -> tuple[int, int]:
    """Events accepted, and how many of them as duplicates."""
    waiting = iter(requests)
    accepted = duplicates = 0
    async with grpc.aio.insecure_channel(router) as channel:
        call = channel.unary_unary(
            IMPORT_EVENTS.path,
            request_serializer=None,
            response_deserializer=ingest_pb2.ImportEventsResponse.FromString,
        )

        async def sender() -> None:
            nonlocal accepted, duplicates
            for request in waiting:
                answer = await call(request, timeout=TIMEOUT_S)
                accepted += answer.accepted
                duplicates += answer.duplicates

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(sender())
    return accepted, duplicates
