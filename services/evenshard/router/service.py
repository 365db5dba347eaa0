"""``IngestService``: the gRPC edge of imports."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evenshard.api.v1 import ingest_pb2, ingest_pb2_grpc
from evenshard.errors import EvenshardError
from evenshard.router.importing import Importer
from evenshard.router.measuring import count_import
from evenshard.router.payload import PAYLOAD_BYTES_MAX
from evenshard.runtime.call import current_call
from evenshard.runtime.telemetry import TENANTS_NAMED_MAX, tracer
from evenshard.storage.fair_queue import FairShare
from evenshard.wire.ingest import Import, ImportResult, import_of, import_response

EXPANSION = 8
"""How much larger than as sent a compressed payload is reckoned to be."""


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Takes imports, as many at once as fit into ``bytes_in_flight_max``; of one tenant, which may wait for a
    shard that has no room, only as many as leave some for others."""

    def __init__(self, importer: Importer, pool: ThreadPoolExecutor, bytes_in_flight_max: int) -> None:
        self._importer = importer
        self._pool = pool
        self._room = FairShare(bytes_in_flight_max)

    @property
    def bytes_in_flight(self) -> int:
        """Payloads that are being handled."""
        return self._room.bytes

    async def ImportEvents(
        self, request: ingest_pb2.ImportEventsRequest, context: Any
    ) -> ingest_pb2.ImportEventsResponse:
        call = current_call()
        attributes: dict[str, str | int] = {"evenshard.tenant": request.tenant, "evenshard.bytes": request.ByteSize()}
        with tracer().start_as_current_span("router.import", attributes=attributes) as span:
            asked = import_of(request)
            with self._admitted(asked):
                result = await self._importer.run(asked, call.remaining_s())
                span.set_attributes(_counts(request.tenant, result))
                span.set_attribute("evenshard.directory_revision", self._importer.directory_revision)
                count_import(result)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, import_response, result, call.trace_id)

    @contextlib.contextmanager
    def _admitted(self, asked: Import) -> Iterator[None]:
        """Raises ``OVERLOADED`` where too much is in flight; one import is always admitted."""
        size = max(1, len(asked.payload))
        if asked.compressor != "none":
            size = min(EXPANSION * size, PAYLOAD_BYTES_MAX)
        if not self._room.take(asked.tenant, size):
            raise EvenshardError(
                "OVERLOADED",
                f"{self._room.bytes:,} bytes of imports are in flight already, "
                f"{self._room.held_by(asked.tenant):,} of them of {asked.tenant or 'several tenants'}",
            )
        try:
            yield
        finally:
            self._room.give_back(asked.tenant, size)


def _counts(tenant: str, result: ImportResult) -> dict[str, str | int]:
    """What the span of an import says of its answer; of lines that name their tenants all of these."""
    counts = result.by_tenant.values()
    return {
        "evenshard.tenant": tenant or ",".join(sorted(result.by_tenant)[:TENANTS_NAMED_MAX]),
        "evenshard.rows": sum(each.accepted for each in counts),
        "evenshard.duplicates": sum(each.duplicates for each in counts),
        "evenshard.rejected": len(result.rejects),
    }
