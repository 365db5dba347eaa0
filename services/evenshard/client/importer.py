"""Sends batches of events, a few calls at once, until each event is answered for or its batch's deadline passes.

A batch that fails in doubt is sent again as it was; of a batch that is answered in part only the retryable rows are
sent again. Their insert_ids never change, so what was stored by a send whose answer was lost counts once.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from evenshard.api.v1 import ingest_pb2
from evenshard.client.batches import Batch
from evenshard.client.import_result import ImportResult, Rejected, Tally
from evenshard.client.retries import Retries
from evenshard.client.sampling import Sampling
from evenshard.client.tracing import ending, start_client_span
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.ports.rng import Rng
from evenshard.runtime.telemetry import trace_id_of
from evenshard.wire.rpcs import IMPORT_EVENTS

Compression = Literal["none", "gzip", "zstd"]

IN_FLIGHT_DEFAULT: Final = 4
ATTEMPT_MAX_S: Final = 20.0
"""Longest single send: longer than any service takes on purpose; a frozen one leaves time for another try."""
LIMIT_WAIT_MAX_S: Final = 3600.0
"""Longest wait of one batch for the limit of its tenant, where its time is not bounded by the caller."""
_COMPRESSIONS: Final = {"none": ingest_pb2.NONE, "gzip": ingest_pb2.GZIP, "zstd": ingest_pb2.ZSTD}
_TENANT_UNKNOWN: Final = "TENANT_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is."""

    events: int
    accepted: int
    duplicates: int
    rejected: int
    bytes_read: int
    """Of the source, with everything before answered for; 0 where it has no size."""
    answered_to: int = 0
    """Every event before this place is answered for: the place to go on from."""
    waiting_for: str = ""
    """The tenant whose import limit is being waited for now; empty: nothing is."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import."""

    tenant: str
    """Empty: each line names its own."""
    strict: bool = False
    in_flight: int = IN_FLIGHT_DEFAULT
    """Calls at once."""
    timeout_s: float = 60.0
    """Of each batch, its retries included."""
    limit_wait_max_s: float = 0.0
    """Of each batch, beyond ``timeout_s``: waiting for the import limit of a tenant."""
    compression: Compression = "none"
    create_tenant: Callable[[str], Awaitable[None]] | None = None
    """Makes a tenant that an event or the call names and nobody made; it may exist by then."""
    on_progress: Callable[[Progress], None] | None = None
    stopping: Callable[[], bool] = lambda: False
    """True: take no further batch, finish those in flight."""
    on_rejects: Callable[[Batch, list[Rejected]], None] | None = None
    """Is told of every event rejected, batch by batch; may raise ``EvenshardError``."""


class Importer:
    """One import."""

    def __init__(
        self, transport: Transport, options: ImportOptions, rng: Rng, sampling: Sampling | None = None
    ) -> None:
        self._transport = transport
        self._options = options
        self._rng = rng
        self._sampling = sampling
        self._span = start_client_span("client.import", options.tenant)
        self._tally = Tally()
        self._bytes_read = 0
        self._taken_to = 0
        self._open: set[int] = set()
        """Where the batches begin that are in flight, or failed."""
        self._failures: list[EvenshardError] = []
        self._creating: dict[str, asyncio.Task[None]] = {}
        self._waiting_for = ""

    async def run(self, batches: Iterator[Batch], *, in_thread: bool) -> ImportResult:
        """Imports all batches. ``in_thread``: making one takes long enough to be done off the loop.

        Raises ``EvenshardError`` where a batch could not be sent at all; its details then say how far it came.
        """
        with ending(self._span):
            return await self._run(batches, in_thread=in_thread)

    async def _run(self, batches: Iterator[Batch], *, in_thread: bool) -> ImportResult:
        started_s = time.monotonic()
        slots = asyncio.Semaphore(self._options.in_flight)
        source_failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            while not self._options.stopping():
                await slots.acquire()
                if self._failures:
                    break
                try:
                    batch = await asyncio.to_thread(next, batches, None) if in_thread else next(batches, None)
                except Exception as failure:  # noqa: BLE001 - raised below, once what is in flight has been answered
                    source_failure = failure
                    break
                if batch is None:
                    break
                self._taken_to = batch.first + batch.rows
                self._open.add(batch.first)
                group.create_task(self._settle(batch)).add_done_callback(lambda _: slots.release())
        if source_failure is not None:
            raise source_failure
        if self._failures:
            raise self._failure()
        counts = self._tally.counts
        self._span.set_attributes({"evenshard.rows": counts.accepted, "evenshard.duplicates": counts.duplicates})
        return self._tally.result(time.monotonic() - started_s, trace_id_of(self._span))

    async def _settle(self, batch: Batch) -> None:
        """Answers for every event of a batch, or notes why that failed."""
        on_rejects = self._options.on_rejects
        tally = Tally(kept=None if on_rejects is None else [])
        try:
            await self._send_until_settled(batch, tally)
            if on_rejects is not None and tally.kept:
                on_rejects(batch, tally.kept)
            self._open.discard(batch.first)
        except EvenshardError as error:
            self._failures.append(error)
        self._merge(tally, batch)

    async def _send_until_settled(self, batch: Batch, tally: Tally) -> None:
        tally.reject(batch.rejects)
        rest: Batch | None = batch if batch.payload else None
        retries = Retries(
            self._options.timeout_s,
            self._rng,
            attempt_max_s=ATTEMPT_MAX_S,
            limit_wait_max_s=self._options.limit_wait_max_s,
            on_limit=self._waits,
        )
        unsettled: list[Rejected] = []
        try:
            while rest is not None:
                try:
                    answer = await self._send(rest, retries)
                except EvenshardError:
                    if not unsettled:
                        raise
                    return  # what an earlier answer said of these events still holds
                tally.add_answer(answer)
                unsettled, rows, final = [], [], []
                for error in answer.errors:
                    rejected = _rejected(rest.place(error.index), error)
                    if self._is_retryable(error):
                        unsettled.append(rejected)
                        rows.append(error.index)
                    else:
                        final.append(rejected)
                tally.reject(final)
                rest = (
                    rest.only(rows)
                    if rows and await self._prepare_retry(unsettled, retries, answer.retry_after_ms)
                    else None
                )
        finally:
            tally.reject(unsettled)

    async def _send(self, batch: Batch, retries: Retries) -> ingest_pb2.ImportEventsResponse:
        payload = batch.payload
        if self._options.compression != "none":
            payload = await asyncio.to_thread(_compressed, payload, self._options.compression)
        request = ingest_pb2.ImportEventsRequest(
            tenant=self._options.tenant,
            compression=_COMPRESSIONS[self._options.compression],
            strict=self._options.strict,
        )
        if batch.encoding == "arrow":
            request.arrow_ipc = payload
        else:
            request.ndjson = payload
        with self._sampled(batch):
            return await retries.attempt(
                self._transport,
                lambda timeout_s: self._transport.call(IMPORT_EVENTS, request, timeout_s=timeout_s, span=self._span),
            )

    def _sampled(self, batch: Batch) -> contextlib.AbstractContextManager[None]:
        if self._sampling is None:
            return contextlib.nullcontext()
        return self._sampling.batch(self._options.tenant, batch, self._rng.random())

    def _is_retryable(self, error: ingest_pb2.RejectedEvent) -> bool:
        return error.retryable or (error.code == _TENANT_UNKNOWN and self._options.create_tenant is not None)

    async def _prepare_retry(self, unsettled: list[Rejected], retries: Retries, retry_after_ms: int) -> bool:
        """Makes missing tenants and pauses; False: there is no time for another attempt."""
        unknown = sorted({each.tenant for each in unsettled if each.code == _TENANT_UNKNOWN})
        new = [tenant for tenant in unknown if tenant not in self._creating]
        for tenant in unknown:
            try:
                await self._create(tenant)
            except EvenshardError as error:
                if not error.retryable:
                    raise
                return await retries.wait(retry_after_ms)
        if new and len(new) == len({each.tenant for each in unsettled}):
            return retries.remaining_s() > 0
        return await retries.wait()

    async def _create(self, tenant: str) -> None:
        """Once an import, however many batches name it, unless it fails."""
        assert self._options.create_tenant is not None
        if tenant not in self._creating:
            self._creating[tenant] = asyncio.ensure_future(self._options.create_tenant(tenant))
        creating = self._creating[tenant]
        try:
            await asyncio.shield(creating)
        except EvenshardError:
            if self._creating.get(tenant) is creating:
                del self._creating[tenant]  # the next batch that names it tries again
            raise

    def _merge(self, tally: Tally, batch: Batch) -> None:
        self._tally.merge(tally)
        self._bytes_read = max(self._bytes_read, batch.bytes_read)
        self._waiting_for = ""
        self._tell()

    def _waits(self, error: EvenshardError) -> None:
        self._waiting_for = error.details.get("tenant", self._options.tenant)
        self._tell()

    def _tell(self) -> None:
        if self._options.on_progress is not None:
            counts = self._tally.counts
            self._options.on_progress(
                Progress(
                    counts.accepted + counts.rejected,
                    counts.accepted,
                    counts.duplicates,
                    counts.rejected,
                    self._bytes_read,
                    self._answered_to(),
                    self._waiting_for,
                )
            )

    def _answered_to(self) -> int:
        return min(self._open, default=self._taken_to)

    def _failure(self) -> EvenshardError:
        """The first failure, in doubt if any is, with what was answered for."""
        first = self._failures[0]
        first.in_doubt = any(error.in_doubt for error in self._failures)
        counts = self._tally.counts
        first.details = {
            **first.details,
            "accepted": str(counts.accepted),
            "rejected": str(counts.rejected),
            "answered_to": str(self._answered_to()),
        }
        return first


def _rejected(index: int, error: ingest_pb2.RejectedEvent) -> Rejected:
    return Rejected(index, error.tenant, error.insert_id, error.field, error.code, error.message, error.retryable)


def _compressed(payload: bytes, compression: Compression) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, compression) as stream:
        stream.write(payload)
    result: bytes = sink.getvalue().to_pybytes()
    return result
