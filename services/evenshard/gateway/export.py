"""Streams a tenant's rows in order: shards' sorted streams merged window by window and encoded, with cursors.

Memory: one message of each shard, and one window of their rows.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.gateway.encode import encode_arrow, encode_lines
from evenshard.gateway.scatter import Deadline, Scatter, Terms, named
from evenshard.ids import ShardId
from evenshard.ports.peers import Peers
from evenshard.queries.export import (
    Cursor,
    ExportQuery,
    behind,
    count_scan,
    next_window,
    rows_before,
    rows_through,
)
from evenshard.wire.query import scan_rows_request
from evenshard.wire.rpcs import SCAN_ROWS

PAYLOAD_BYTES = 1 << 20
"""About the size of a message; a single large row may exceed it."""
PIECE_ROWS_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of an export."""

    payload: bytes
    rows: int
    cursor: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an export."""

    cursor: str
    rows_behind: int
    """Rows that have arrived before the place of the cursor resumed from, since the export began: not in it."""
    rows_given_up: int
    """Rows at most that were lost, and of which the loss was accepted."""


class _Stream:
    """One shard's rows: ``head`` is what was read and not yet merged, None at the end."""

    def __init__(self, shard: ShardId, messages: AsyncIterator[Any]) -> None:
        self.shard = shard
        self.head: pa.RecordBatch | None = None
        self._messages = messages

    async def fill(self) -> None:
        """Reads on until ``head`` has rows, or the stream has ended."""
        try:
            while self.head is None or self.head.num_rows == 0:
                self.head = None
                message = await anext(self._messages, None)
                if message is None:
                    return
                if message.arrow_ipc:
                    with pa.ipc.open_stream(message.arrow_ipc) as reader:
                        self.head = reader.read_next_batch()
        except EvenshardError as error:
            raise named(self.shard, error) from error


class Exporter:
    """Runs exports."""

    def __init__(self, peers: Peers, scatter: Scatter) -> None:
        self._peers = peers
        self._scatter = scatter

    async def run(self, query: ExportQuery, cursor_text: str, deadline: Deadline) -> AsyncGenerator[Piece | Done, None]:
        """All pieces in order, then ``Done``. The placement may change only before the first row.

        Raises ``QUERY_INVALID`` for a wrong cursor and ``SHARD_UNAVAILABLE`` naming a shard that fails, also midway.
        """
        cursor = Cursor.from_text(cursor_text, query) if cursor_text else None
        async with contextlib.AsyncExitStack() as stack:
            version, before, given_up, streams = await self._open(query, cursor, deadline, stack)
            encode = encode_arrow if query.format == "arrow" else encode_lines
            skipper = _Skipper(cursor)
            async for window in _windows(streams):
                rows = await asyncio.to_thread(skipper.skip, window)
                for piece in _pieces(rows):
                    payload = await asyncio.to_thread(encode, piece, query.include_duplicates)
                    cursor = behind(cursor, piece, version)
                    yield Piece(payload, piece.num_rows, cursor.to_text(query))
            arrived = before + skipper.skipped - skipper.emitted if before is not None else 0
            yield Done(cursor.to_text(query) if cursor else "", max(0, arrived), given_up)

    async def _open(
        self, query: ExportQuery, cursor: Cursor | None, deadline: Deadline, stack: contextlib.AsyncExitStack
    ) -> tuple[str, int | None, int, list[_Stream]]:
        """The tenant's data version, the rows before the cursor's ms (None: nothing has changed since the export
        began), the rows that are lost for good, and the streams with their first rows."""

        async def opened(tenant: Tenant) -> tuple[str, int | None, int, list[_Stream]]:
            async with contextlib.AsyncExitStack() as attempt:
                version, before, given_up = await self._versions(query, tenant, cursor, deadline)
                streams = [
                    await self._stream(query, tenant, shard, cursor, deadline, attempt)
                    for shard in tenant.placement.shards
                ]
                await asyncio.gather(*(stream.fill() for stream in streams))
                stack.push_async_exit(attempt.pop_all())
                return version, before, given_up, streams

        return await self._scatter.at_one_epoch(query.tenant, deadline, opened)

    async def _versions(
        self, query: ExportQuery, tenant: Tenant, cursor: Cursor | None, deadline: Deadline
    ) -> tuple[str, int | None, int]:
        skip = tenant.settings.dedupe and not query.include_duplicates
        now = await self._scatter.scan(
            tenant, count_scan(query, query.start_ms, skip_duplicates=skip).to_json(), Terms(deadline)
        )
        if cursor is None or cursor.data_version == now.data_version:
            return now.data_version, None, now.stats.rows_given_up
        counted = await self._scatter.scan(
            tenant, count_scan(query, cursor.key[0], skip_duplicates=skip).to_json(), Terms(deadline)
        )
        partials = pa.concat_tables(counted.partials)
        cells = partials.column("bucket").to_numpy() >= 0
        return now.data_version, int(partials.column("events").to_numpy()[cells].sum()), now.stats.rows_given_up

    async def _stream(
        self,
        query: ExportQuery,
        tenant: Tenant,
        shard: ShardId,
        cursor: Cursor | None,
        deadline: Deadline,
        stack: contextlib.AsyncExitStack,
    ) -> _Stream:
        request = scan_rows_request(
            query,
            tenant.name,
            tenant.placement.epoch,
            from_ms=query.start_ms if cursor is None else cursor.key[0],
            include_duplicates=query.include_duplicates or not tenant.settings.dedupe,
        )
        address = await self._scatter.address(shard, deadline)
        messages = self._peers.stream(address, SCAN_ROWS, request, timeout_s=deadline.remaining_s())
        await stack.enter_async_context(contextlib.aclosing(cast(AsyncGenerator[Any, None], messages)))
        return _Stream(shard, messages)


async def _windows(streams: list[_Stream]) -> AsyncIterator[pa.RecordBatch]:
    """The rows of all streams, in order."""
    while live := [stream for stream in streams if stream.head is not None]:
        window, rest = await asyncio.to_thread(next_window, [stream.head for stream in live])
        for stream, head in zip(live, rest, strict=True):
            stream.head = head
        yield window
        await asyncio.gather(*(stream.fill() for stream in live))


class _Skipper:
    """Leaves out what was emitted before the cursor, and counts it."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.emitted = cursor.emitted if cursor else 0
        self.skipped = 0
        self._cursor = cursor
        self._ties_left = cursor.ties if cursor else 0

    def skip(self, window: pa.RecordBatch) -> pa.RecordBatch:
        if self._cursor is None:
            return window
        before, through = rows_before(window, self._cursor.key), rows_through(window, self._cursor.key)
        ties = min(self._ties_left, through - before)
        self._ties_left -= ties
        self.skipped += before + ties
        if through < window.num_rows:
            self._cursor = None
        return window.slice(before + ties)


def _pieces(rows: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Slices that encode to about ``PAYLOAD_BYTES``."""
    if rows.num_rows == 0:
        return []
    row_bytes = 100 + rows.nbytes // rows.num_rows
    size = max(1, min(PIECE_ROWS_MAX, PAYLOAD_BYTES // row_bytes))
    return [rows.slice(at, size) for at in range(0, rows.num_rows, size)]
