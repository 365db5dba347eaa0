"""The Python client: imports, queries and administration over gRPC. ``Client`` is the same without ``await``."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from evenshard.api.v1 import query_pb2
from evenshard.client.async_admin import AsyncAdmin
from evenshard.client.async_heat import AsyncHeat
from evenshard.client.async_queries import AsyncQueries
from evenshard.client.batches import Batch
from evenshard.client.exports import AsyncExport
from evenshard.client.files import EventFile, Format
from evenshard.client.import_result import ImportResult
from evenshard.client.importer import (
    IN_FLIGHT_DEFAULT,
    LIMIT_WAIT_MAX_S,
    Compression,
    Importer,
    ImportOptions,
    Progress,
)
from evenshard.client.insert_ids import InsertIds
from evenshard.client.rejected_events import RejectedEvents, refuse_input
from evenshard.client.requests import Time, names, time_ms
from evenshard.client.sources import LINES_PER_BATCH, ROWS_PER_BATCH, batches_of_events, batches_of_table, is_table
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.hotkeys.key_latencies import SAMPLE_EVERY
from evenshard.ports.rng import Rng
from evenshard.runtime.rng import SystemRng

FILE_TIMEOUT_S: Final = 60.0
"""Of each batch of a file, its retries included: long enough for a service to be restarted."""
_ROUTER_DEFAULT: Final = "127.0.0.1:7400"
_GATEWAY_DEFAULT: Final = "127.0.0.1:7401"
_FEW_EVENTS: Final = 1000


class AsyncClient(AsyncQueries, AsyncAdmin, AsyncHeat):
    """A connection to one router and one gateway; belongs to one event loop. Made by ``evenshard.aio.connect``.

    Calls fail with ``EvenshardError``. What is retryable is retried, with the same insert_ids, until the call's
    ``timeout`` (seconds; for imports: of each batch) and never else; an address that never answered is given up after
    3 s. ``tenant`` defaults to the client's.
    """

    def __init__(
        self,
        router: str | None,
        gateway: str | None,
        *,
        tenant: str | None,
        token: str | None,
        timeout: float,
        compression: Compression | Literal["auto"],
        environment: Mapping[str, str],
        rng: Rng | None = None,
        sample_every: int = SAMPLE_EVERY,
    ) -> None:
        token = token or environment.get("EVENSHARD_TOKEN") or None
        router = router or environment.get("EVENSHARD_ROUTER") or _ROUTER_DEFAULT
        gateway = gateway or environment.get("EVENSHARD_GATEWAY") or _GATEWAY_DEFAULT
        if sample_every < 1:
            raise EvenshardError("USAGE", f"sample_every is {sample_every}, it must be at least 1")
        super().__init__(
            Transport(router, token), Transport(gateway, token), tenant, timeout, rng or SystemRng(), sample_every
        )
        self._compression: Compression = compression if compression != "auto" else _compression_for(router)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is in flight and hangs up."""
        await self._sampling.close()
        await self._router.close()
        await self._gateway.close()

    # Imports

    async def import_events(
        self,
        events: Iterable[Mapping[str, Any]],
        *,
        tenant: str | None = None,
        strict: bool = False,
        batch_rows: int = LINES_PER_BATCH,
        in_flight: int = IN_FLIGHT_DEFAULT,
        timeout: float | None = None,
    ) -> ImportResult:
        """Imports dicts of the shape that ``export`` gives: ``event``, ``properties``; ``tenant``, ``distinct_id``,
        ``time`` and ``insert_id`` may stand beside ``event``. An event without insert_id is given one, unless
        ``strict``. A frame or table goes to ``import_table``. Some events may be rejected: look at
        ``result.rejected``.

        ``timeout`` (default: the client's) is of each batch, its retries included. Where none is given, waiting for the
        import limit of a tenant does not count: the import then takes as long as the limit makes it."""
        if is_table(events):
            return await self.import_table(
                events, tenant=tenant, strict=strict, batch_rows=batch_rows, in_flight=in_flight, timeout=timeout
            )
        batches = batches_of_events(events, batch_rows=batch_rows, ids=_ids(strict))
        options = self._import_options(tenant, strict, in_flight, timeout)
        few = isinstance(events, list | tuple) and len(events) <= _FEW_EVENTS
        return await self._import(batches, options, in_thread=not few)

    async def import_table(
        self,
        table: Any,
        *,
        tenant: str | None = None,
        strict: bool = False,
        batch_rows: int = ROWS_PER_BATCH,
        in_flight: int = IN_FLIGHT_DEFAULT,
        timeout: float | None = None,
    ) -> ImportResult:
        """Imports an Arrow table, record batch or reader, or a pandas or polars frame: columns ``event``,
        ``distinct_id``, ``time``, optionally ``insert_id`` and ``properties_json``, every other one a property.
        NaN in a pandas frame means not set."""
        batches = batches_of_table(table, batch_rows=batch_rows, ids=_ids(strict))
        return await self._import(batches, self._import_options(tenant, strict, in_flight, timeout), in_thread=True)

    async def import_file(
        self,
        path: str | Path,
        *,
        tenant: str | None = None,
        file_format: Format = "auto",
        strict: bool = False,
        batch_rows: int | None = None,
        in_flight: int = IN_FLIGHT_DEFAULT,
        timeout: float | None = None,
        create_tenant: bool = False,
        from_line: int = 0,
        errors_to: str | Path | None = None,
        on_progress: Callable[[Progress, int | None], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> ImportResult:
        """Imports a file of NDJSON, Arrow or Parquet, perhaps gzip or zstd; ``-`` is standard input. ``create_tenant``
        makes the tenants it names. ``from_line`` (or row, from 0) is where to begin. ``errors_to`` names a file for the
        rejected events, one a line with what was wrong; with ``from_line`` it is appended to. ``on_progress`` is told
        how far it is, and the file's size where it has one; ``stopping`` is asked before each batch, and while
        standard input keeps it waiting. ``timeout`` is of each batch, 60 s by default, as of ``import_events``."""
        if errors_to is not None:
            refuse_input(errors_to, path)
        file = await asyncio.to_thread(EventFile, path, file_format, stopping)
        with file, contextlib.ExitStack() as stack:
            rejected = None
            if errors_to is not None:
                rejected = stack.enter_context(RejectedEvents(errors_to, append=from_line > 0))
            options = replace(
                self._import_options(tenant, strict, in_flight, timeout, default_s=FILE_TIMEOUT_S),
                create_tenant=self._ensure_tenant if create_tenant else None,
                on_progress=None if on_progress is None else lambda done: on_progress(done, file.size_bytes),
                stopping=stopping,
                on_rejects=None if rejected is None else rejected.write,
            )
            if options.create_tenant is not None and options.tenant:
                await options.create_tenant(options.tenant)
            batches = file.batches(batch_rows=batch_rows, ids=_ids(strict), first=from_line)
            return await self._import(batches, options, in_thread=True)

    def _import_options(
        self,
        tenant: str | None,
        strict: bool,
        in_flight: int,
        timeout: float | None,
        *,
        default_s: float | None = None,
    ) -> ImportOptions:
        if in_flight < 1:
            raise EvenshardError("USAGE", f"in_flight is {in_flight}, it must be at least 1")
        return ImportOptions(
            tenant=tenant or self._tenant or "",
            strict=strict,
            in_flight=in_flight,
            timeout_s=timeout if timeout is not None else default_s if default_s is not None else self.timeout,
            limit_wait_max_s=LIMIT_WAIT_MAX_S if timeout is None else 0.0,
            compression=self._compression,
        )

    async def _import(self, batches: Iterator[Batch], options: ImportOptions, *, in_thread: bool) -> ImportResult:
        return await Importer(self._router, options, self._rng, self._sampling).run(batches, in_thread=in_thread)

    def export(
        self,
        start: Time,
        end: Time,
        events: str | Sequence[str] | None = None,
        *,
        format: Literal["ndjson", "arrow"] = "ndjson",  # noqa: A002 - as the command's flag
        include_duplicates: bool = False,
        restore_hot: bool = False,
        cursor: str = "",
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> AsyncExport:
        """Rows from ``start`` to before ``end`` (ms, RFC 3339 or datetime), ordered by time, distinct_id, event,
        insert_id; streamed. ``timeout`` is for each stretch of rows. ``cursor`` goes on behind a former export."""
        request = query_pb2.ExportEventsRequest(
            tenant=self._tenant_of(tenant),
            start_ms=time_ms(start),
            end_ms=time_ms(end),
            events=names(events),
            format=format,
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            cursor=cursor,
        )
        return AsyncExport(self._gateway, request, timeout_s=timeout or self.timeout, rng=self._rng)

    async def _ensure_tenant(self, tenant: str) -> None:
        try:
            await self.create_tenant(tenant)
        except EvenshardError as error:
            if error.code != "TENANT_EXISTS":
                raise


def _ids(strict: bool) -> InsertIds | None:
    """Strict imports refuse events without an insert_id of their own: none is made for them."""
    return None if strict else InsertIds()


def _compression_for(router: str) -> Compression:
    """Compression pays where bytes travel."""
    host = router.rpartition(":")[0].strip("[]")
    return "none" if host in ("localhost", "::1") or host.startswith("127.") else "zstd"
