"""Streams a tenant's rows, going on behind the last one received where the stream breaks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from os import PathLike
from typing import Any, Final

import aiofiles
import orjson
import pyarrow as pa

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import pandas_frame, polars_frame
from evenshard.client.retries import Retries
from evenshard.client.tracing import ending, start_client_span
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.ports.rng import Rng
from evenshard.runtime.telemetry import trace_id_of
from evenshard.wire.rpcs import EXPORT_EVENTS

STREAM_MAX_S: Final = 600.0
"""Longest single stream; a longer export goes on in another one."""


class AsyncExport:
    """An export in progress. Iterating gives rows as dicts, in order; ``batches`` and ``payloads`` more at once.

    ``rows``, ``bytes``, ``cursor``, ``complete`` and ``warnings`` tell how far it is: of what was given out so far.
    An error comes only after everything before it was given out; ``cursor`` then says where to go on.
    """

    def __init__(
        self, transport: Transport, request: query_pb2.ExportEventsRequest, *, timeout_s: float, rng: Rng
    ) -> None:
        self._transport = transport
        self._request = request
        self.format = request.format
        self._timeout_s = timeout_s
        self._rng = rng
        self._span = start_client_span("client.query", request.tenant)
        self.trace_id = trace_id_of(self._span)
        self.rows = 0
        self.bytes = 0
        self.cursor = request.cursor
        self.complete = False
        self.warnings: list[dict[str, Any]] = []

    async def payloads(self) -> AsyncGenerator[bytes, None]:
        """As they come: whole NDJSON lines, or a whole Arrow IPC stream each. ``timeout`` is for each of them."""
        with ending(self._span):
            retries = Retries(self._timeout_s, self._rng)
            while not self.complete:
                try:
                    async for payload in self._one_stream():
                        if payload:
                            yield payload
                        retries = Retries(self._timeout_s, self._rng)
                    if not self.complete:
                        raise EvenshardError("UNREACHABLE", "the export ended too early")
                except EvenshardError as error:
                    if not await retries.again(error, self._transport):
                        raise
            self._span.set_attributes({"evenshard.rows": self.rows, "evenshard.bytes": self.bytes})

    async def save(self, path: str | PathLike[str]) -> None:
        """Writes all rows to a file as they come, without holding up the loop; needs ``format="ndjson"``. What goes on
        behind a cursor is appended. Raises ``OSError``; ``cursor`` then says where to go on."""
        if self.format == "arrow":
            raise EvenshardError("USAGE", "Arrow comes as many streams: write batches() with one writer instead")
        async with aiofiles.open(path, "ab" if self._request.cursor else "wb") as file:
            async for payload in self.payloads():
                await file.write(payload)

    async def batches(self) -> AsyncGenerator[pa.RecordBatch, None]:
        """Record batches; needs ``format="arrow"``."""
        async for payload in self.payloads():
            with pa.ipc.open_stream(payload) as reader:
                for batch in reader:
                    yield batch

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        if self.format == "arrow":
            async for batch in self.batches():
                for row in batch.to_pylist():
                    yield row
        else:
            async for payload in self.payloads():
                for line in payload.splitlines():
                    yield orjson.loads(line)

    async def to_arrow(self) -> pa.Table:
        """Everything, as one table; needs ``format="arrow"``."""
        tables = [pa.Table.from_batches([batch]) async for batch in self.batches()]
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})

    async def to_pandas(self) -> Any:
        """Everything, as a data frame; needs pandas and ``format="arrow"``."""
        return pandas_frame(await self.to_arrow())

    async def to_polars(self) -> Any:
        """Everything, as a data frame; needs polars and ``format="arrow"``."""
        return polars_frame(await self.to_arrow())

    async def plot(self, ax: Any = None) -> Any:
        """Draws everything over time, stacked by name. Returns the matplotlib ``Axes``: ``ax``, or those of a new
        figure; needs matplotlib (``evenshard[plot]``) and ``format="arrow"``."""
        from evenshard.client.plots.events import draw_events

        return draw_events(await self.to_arrow(), ax)

    def __repr__(self) -> str:
        state = "complete" if self.complete else "not complete"
        return f"<export of {self._request.tenant} as {self.format}: {self.rows:,} rows so far, {state}>"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard export --out``."""
        return {"rows": self.rows, "bytes": self.bytes, "cursor": self.cursor or None, "complete": self.complete}

    async def _one_stream(self) -> AsyncIterator[bytes]:
        request = query_pb2.ExportEventsRequest()
        request.CopyFrom(self._request)
        request.cursor = self.cursor
        async with aclosing(
            self._transport.stream(EXPORT_EVENTS, request, timeout_s=STREAM_MAX_S, span=self._span)
        ) as answers:
            while (answer := await self._next(answers)) is not None:
                self.rows += answer.rows
                self.bytes += len(answer.payload)
                self.cursor = answer.cursor or self.cursor
                self.complete = answer.complete
                for each in answer.warnings:
                    self.warnings.append({"code": each.code, "message": each.message, "count": each.count})
                yield answer.payload

    async def _next(
        self, answers: AsyncIterator[query_pb2.ExportEventsResponse]
    ) -> query_pb2.ExportEventsResponse | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await anext(answers, None)
        except TimeoutError:
            raise EvenshardError("DEADLINE_EXCEEDED", f"no rows for {self._timeout_s:g} s") from None
