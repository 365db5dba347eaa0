"""The Python client: imports, queries and administration over gRPC. ``Client`` is the same without ``await``."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from evenshard.api.v1 import admin_pb2, query_pb2
from evenshard.client.admin import (
    compaction_document,
    paused_document,
    settings_message,
    storage_document,
    tenant_document,
)
from evenshard.client.batches import Batch
from evenshard.client.browse import (
    SchemaResult,
    TimelineResult,
    parsed_schema,
    parsed_timeline,
    schema_result,
    timeline_result,
)
from evenshard.client.cohorts import cohorts_document, save_cohort_request
from evenshard.client.exports import AsyncExport
from evenshard.client.files import EventFile, Format
from evenshard.client.flows import FlowsResult, flows_request, flows_result, parsed_flows
from evenshard.client.funnels import FunnelResult, funnel_request, funnel_result, parsed_funnel
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
from evenshard.client.operations import ENDED_STATES, operation_document
from evenshard.client.rejected_events import RejectedEvents, refuse_input
from evenshard.client.requests import Time, names, parsed_segmentation, segmentation_request, time_ms
from evenshard.client.results import SegmentationResult, segmentation_result
from evenshard.client.retentions import RetentionResult, parsed_retention, retention_request, retention_result
from evenshard.client.retries import Retries
from evenshard.client.sources import LINES_PER_BATCH, ROWS_PER_BATCH, batches_of_events, batches_of_table, is_table
from evenshard.client.tracing import ending, start_client_span
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng
from evenshard.runtime.rng import SystemRng
from evenshard.wire import rpcs

FILE_TIMEOUT_S: Final = 60.0
"""Of each batch of a file, its retries included: long enough for a service to be restarted."""
WAIT_MAX_S: Final = 20.0
"""Of one call that waits for an operation; then the next one."""
WAIT_SLACK_S: Final = 5.0
"""Beyond what is waited, for the answer."""
_ROUTER_DEFAULT: Final = "127.0.0.1:7400"
_GATEWAY_DEFAULT: Final = "127.0.0.1:7401"
_FEW_EVENTS: Final = 1000


class AsyncClient:
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
    ) -> None:
        token = token or environment.get("EVENSHARD_TOKEN") or None
        router = router or environment.get("EVENSHARD_ROUTER") or _ROUTER_DEFAULT
        gateway = gateway or environment.get("EVENSHARD_GATEWAY") or _GATEWAY_DEFAULT
        self.timeout = timeout
        self._tenant = tenant
        self._compression: Compression = compression if compression != "auto" else _compression_for(router)
        self._rng = rng or SystemRng()
        self._router = Transport(router, token)
        self._gateway = Transport(gateway, token)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is in flight and hangs up."""
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
        return await Importer(self._router, options, self._rng).run(batches, in_thread=in_thread)

    # Queries

    async def segmentation(
        self,
        event: str | Sequence[str] | None = None,
        *,
        from_date: str | date,
        to_date: str | date,
        unit: str = "day",
        measure: str = "total",
        property: str | None = None,  # noqa: A002 - as the command's flag
        by: str | Sequence[str] = (),
        where: str | None = None,
        limit: int = 60,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> SegmentationResult:
        """Counts events (any of ``event``; None: any event) by time bucket: ``unit`` minute, hour, day, week or
        month; ``measure`` total, unique, average (events a user), or sum, min, max, avg, p50, p90 or p99 of the numbers
        of a ``property``. Dates are the tenant's, both inclusive."""
        request = segmentation_request(
            self._tenant_of(tenant),
            event,
            from_date,
            to_date,
            unit=unit,
            measure=measure,
            property=property,
            by=by,
            where=where,
            limit=limit,
            include_duplicates=include_duplicates,
            allow_partial=allow_partial,
        )
        return await self._segmentation(request, timeout)

    async def segmentation_of(self, document: str | bytes, *, timeout: float | None = None) -> SegmentationResult:
        """The whole request as proto3 JSON (``QuerySegmentationRequest``)."""
        return await self._segmentation(parsed_segmentation(document), timeout)

    async def _segmentation(
        self, request: query_pb2.QuerySegmentationRequest, timeout: float | None
    ) -> SegmentationResult:
        answer = await self._call(self._gateway, rpcs.QUERY_SEGMENTATION, request, timeout)
        return segmentation_result(answer, request.by, request.measure or "total")

    async def funnel(
        self,
        steps: Sequence[str],
        *,
        from_date: str | date,
        to_date: str | date,
        window: str = "30d",
        order: Literal["ordered", "strict", "any"] = "ordered",
        attempt: Literal["best", "first"] = "best",
        count: Literal["unique", "total", "session"] = "unique",
        strict_increase: bool = False,
        exclude: str | Sequence[str] = (),
        exclude_user: bool = False,
        hold: str | Sequence[str] = (),
        by: str | Sequence[str] = (),
        by_step: str | int = "first",
        where: str | None = None,
        limit: int = 60,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        explain_user: str | None = None,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> FunnelResult:
        """Counts users who do ``steps`` (2 to 32, each as ``NAME``, ``NAME|NAME`` or ``*``, perhaps followed by
        `` where EXPR``) within ``window`` of the first (inclusive; ``"0s"``: in its very ms). Dates are of the first
        step, the tenant's, both inclusive.

        order: other events may lie between (``ordered``), must not (``strict``), or the steps may come in ``any``
        order. attempt: the deepest of any entry, or the user's first alone. count: users, all attempts one after the
        other, or sessions. exclude: ``NAME@1-2`` each, a step and the two steps between which such an event ends the
        attempt, or with exclude_user drops its user. hold: properties whose values all steps share. by_step (first,
        last or a number): the step whose values group a user. explain_user: tells of this user's events."""
        request = funnel_request(
            self._tenant_of(tenant),
            steps,
            from_date,
            to_date,
            window=window,
            order=order,
            attempt=attempt,
            count=count,
            strict_increase=strict_increase,
            exclude=exclude,
            exclude_user=exclude_user,
            hold=hold,
            by=by,
            by_step=by_step,
            where=where,
            limit=limit,
            include_duplicates=include_duplicates,
            allow_partial=allow_partial,
            explain_user=explain_user,
        )
        return await self._funnel(request, timeout)

    async def funnel_of(self, document: str | bytes, *, timeout: float | None = None) -> FunnelResult:
        """The whole request as proto3 JSON (``QueryFunnelRequest``)."""
        return await self._funnel(parsed_funnel(document), timeout)

    async def _funnel(self, request: query_pb2.QueryFunnelRequest, timeout: float | None) -> FunnelResult:
        answer = await self._call(self._gateway, rpcs.QUERY_FUNNEL, request, timeout)
        return funnel_result(answer, request)

    async def schema(
        self,
        *,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        include_hidden: bool = False,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> SchemaResult:
        """Events with their counts, and properties with their types and most frequent values; of all days where none
        are given. ``include_hidden``: reserved events too."""
        request = query_pb2.GetSchemaRequest(
            tenant=self._tenant_of(tenant),
            from_date=str(from_date or ""),
            to_date=str(to_date or ""),
            include_hidden=include_hidden,
            options=query_pb2.QueryOptions(include_duplicates=include_duplicates, allow_partial=allow_partial),
        )
        return schema_result(await self._call(self._gateway, rpcs.GET_SCHEMA, request, timeout))

    async def schema_of(self, document: str | bytes, *, timeout: float | None = None) -> SchemaResult:
        """The whole request as proto3 JSON (``GetSchemaRequest``)."""
        return schema_result(await self._call(self._gateway, rpcs.GET_SCHEMA, parsed_schema(document), timeout))

    async def timeline(
        self,
        user: str,
        *,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        where: str | None = None,
        page_size: int = 100,
        page_token: str | None = None,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> TimelineResult:
        """A page of a user's events in order; of all days where none are given. Where the result has a
        ``next_page_token``, there are more: ask again with it."""
        request = query_pb2.GetTimelineRequest(
            tenant=self._tenant_of(tenant),
            user=user,
            from_date=str(from_date or ""),
            to_date=str(to_date or ""),
            where=where or "",
            page_size=page_size,
            page_token=page_token or "",
            options=query_pb2.QueryOptions(include_duplicates=include_duplicates, allow_partial=allow_partial),
        )
        return timeline_result(await self._call(self._gateway, rpcs.GET_TIMELINE, request, timeout))

    async def timeline_of(self, document: str | bytes, *, timeout: float | None = None) -> TimelineResult:
        """The whole request as proto3 JSON (``GetTimelineRequest``)."""
        return timeline_result(await self._call(self._gateway, rpcs.GET_TIMELINE, parsed_timeline(document), timeout))

    async def retention(
        self,
        birth: str,
        return_: str | None = None,
        *,
        from_date: str | date,
        to_date: str | date,
        unit: str = "day",
        buckets: int = 8,
        mode: str = "on",
        align: str = "rolling",
        birth_scope: str = "range",
        by: str | Sequence[str] = (),
        where: str | None = None,
        limit: int = 60,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> RetentionResult:
        """Of the users who did ``birth`` for the first time on one of these days (the tenant's, both inclusive), how
        many did ``return_`` (None: anything) again, ``buckets`` units long. Steps are as in ``funnel``. ``unit``: day,
        week or month; ``mode``: on (in that unit) or on_or_after; ``align``: rolling (from the birth on) or calendar;
        ``birth_scope``: range, or lifetime (who did it never before); ``by``: properties of the birth event."""
        request = retention_request(
            self._tenant_of(tenant),
            birth,
            return_,
            from_date,
            to_date,
            unit=unit,
            buckets=buckets,
            mode=mode,
            align=align,
            birth_scope=birth_scope,
            by=by,
            where=where,
            limit=limit,
            include_duplicates=include_duplicates,
            allow_partial=allow_partial,
        )
        return await self._retention(request, timeout)

    async def retention_of(self, document: str | bytes, *, timeout: float | None = None) -> RetentionResult:
        """The whole request as proto3 JSON (``QueryRetentionRequest``)."""
        return await self._retention(parsed_retention(document), timeout)

    async def _retention(self, request: query_pb2.QueryRetentionRequest, timeout: float | None) -> RetentionResult:
        answer = await self._call(self._gateway, rpcs.QUERY_RETENTION, request, timeout)
        return retention_result(answer, request.by)

    async def flows(
        self,
        anchor: str,
        *,
        from_date: str | date,
        to_date: str | date,
        direction: str = "forward",
        steps: int = 3,
        window: str = "30d",
        top: int = 10,
        collapse_repeats: bool = False,
        where: str | None = None,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> FlowsResult:
        """What users did next (``direction`` backward: before) from their first ``anchor`` on one of these days, up to
        ``steps`` events within ``window`` (or "session"). ``top``: names shown at each step, the rest is "$other";
        ``collapse_repeats``: equal neighbours count as one."""
        request = flows_request(
            self._tenant_of(tenant),
            anchor,
            from_date,
            to_date,
            direction=direction,
            steps=steps,
            window=window,
            top=top,
            collapse_repeats=collapse_repeats,
            where=where,
            include_duplicates=include_duplicates,
            allow_partial=allow_partial,
        )
        return await self._flows(request, timeout)

    async def flows_of(self, document: str | bytes, *, timeout: float | None = None) -> FlowsResult:
        """The whole request as proto3 JSON (``QueryFlowsRequest``)."""
        return await self._flows(parsed_flows(document), timeout)

    async def _flows(self, request: query_pb2.QueryFlowsRequest, timeout: float | None) -> FlowsResult:
        return flows_result(await self._call(self._gateway, rpcs.QUERY_FLOWS, request, timeout))

    async def save_cohort(
        self,
        name: str,
        *,
        from_date: str | date,
        to_date: str | date,
        did: str | Sequence[str] = (),
        at_least: int | Sequence[int] = 1,
        did_not: str | Sequence[str] = (),
        funnel: str | bytes | None = None,
        reached: int | None = None,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Saves a cohort, or its next version: users with any event on these days who did each of ``did`` at least so
        many times, none of ``did_not``, and reached a step of ``funnel`` (proto3 JSON of a ``QueryFunnelRequest``). Its
        name is then usable as `` `$cohort:NAME` == true`` and in ``by`` of every query."""
        request = save_cohort_request(
            self._tenant_of(tenant),
            name,
            from_date,
            to_date,
            did=did,
            at_least=at_least,
            did_not=did_not,
            funnel=funnel,
            reached=reached,
        )
        answer = await self._call(self._gateway, rpcs.SAVE_COHORT, request, timeout, may_be_in_doubt=True)
        return cohorts_document([answer.cohort])

    async def cohorts(self, *, tenant: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        """A tenant's cohorts by name, and how many belong to each now."""
        request = query_pb2.ListCohortsRequest(tenant=self._tenant_of(tenant))
        return cohorts_document((await self._call(self._gateway, rpcs.LIST_COHORTS, request, timeout)).cohorts)

    async def delete_cohort(
        self, name: str, *, tenant: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Deletes a cohort; returns those that are left. Raises ``COHORT_NOT_FOUND``."""
        request = query_pb2.DeleteCohortRequest(tenant=self._tenant_of(tenant), name=name)
        await self._call(self._gateway, rpcs.DELETE_COHORT, request, timeout, may_be_in_doubt=True)
        return await self.cohorts(tenant=tenant, timeout=timeout)

    def export(
        self,
        start: Time,
        end: Time,
        events: str | Sequence[str] | None = None,
        *,
        format: Literal["ndjson", "arrow"] = "ndjson",  # noqa: A002 - as the command's flag
        include_duplicates: bool = False,
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
            cursor=cursor,
        )
        return AsyncExport(self._gateway, request, timeout_s=timeout or self.timeout, rng=self._rng)

    # Administration

    async def create_tenant(
        self,
        tenant: str,
        *,
        timezone: str | None = None,
        dedupe: bool | None = None,
        strict: bool | None = None,
        hot_key_threshold: int | None = None,
        hot_key_mode: str | None = None,
        retention_days: int | None = None,
        events_per_second: int | None = None,
        bytes_per_second: int | None = None,
    ) -> dict[str, Any]:
        """Makes a tenant; None takes the default (UTC, True, False, 100,000, rewrite, no retention, no limits).

        Raises ``TENANT_EXISTS``."""
        request = admin_pb2.CreateTenantRequest(
            tenant=tenant,
            settings=settings_message(
                timezone,
                dedupe,
                strict,
                hot_key_threshold,
                hot_key_mode,
                retention_days,
                events_per_second,
                bytes_per_second,
            ),
            options=self._change(),
        )
        answer = await self._call(self._router, rpcs.CREATE_TENANT, request)
        return tenant_document(answer.tenant)

    async def set_tenant(
        self,
        tenant: str,
        *,
        timezone: str | None = None,
        dedupe: bool | None = None,
        strict: bool | None = None,
        hot_key_threshold: int | None = None,
        hot_key_mode: str | None = None,
        retention_days: int | None = None,
        events_per_second: int | None = None,
        bytes_per_second: int | None = None,
    ) -> dict[str, Any]:
        """Changes a tenant's settings; None leaves one as it is, 0 ends a retention or a limit."""
        request = admin_pb2.UpdateTenantRequest(
            tenant=tenant,
            settings=settings_message(
                timezone,
                dedupe,
                strict,
                hot_key_threshold,
                hot_key_mode,
                retention_days,
                events_per_second,
                bytes_per_second,
            ),
            options=self._change(),
        )
        answer = await self._call(self._router, rpcs.UPDATE_TENANT, request)
        return tenant_document(answer.tenant)

    async def tenant(self, tenant: str) -> dict[str, Any]:
        """A tenant's settings and placement."""
        answer = await self._call(self._router, rpcs.GET_TENANT, admin_pb2.GetTenantRequest(tenant=tenant))
        return tenant_document(answer.tenant)

    async def tenants(self) -> dict[str, Any]:
        """All tenants, by name."""
        answer = await self._call(self._router, rpcs.LIST_TENANTS, admin_pb2.ListTenantsRequest())
        return {"tenants": [tenant_document(each) for each in answer.tenants]}

    async def compact(
        self,
        tenant: str | None = None,
        *,
        day: str | date | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Indexes a tenant's logged rows (of one UTC day, or all); ``wait``: answers when it is done."""
        request = admin_pb2.CompactTenantRequest(
            tenant=self._tenant_of(tenant), day="" if day is None else str(day), wait=wait
        )
        return compaction_document(await self._call(self._router, rpcs.COMPACT_TENANT, request, timeout))

    async def pause_compaction(self, tenant: str | None = None) -> dict[str, Any]:
        """Rows of a tenant (None: everybody's, whatever the client's tenant) are compacted only when somebody asks for
        it or very many wait, until ``resume_compaction`` or the shard's restart."""
        return await self._set_compaction(tenant, paused=True)

    async def resume_compaction(self, tenant: str | None = None) -> dict[str, Any]:
        """Ends a pause of a tenant (None: every pause)."""
        return await self._set_compaction(tenant, paused=False)

    async def _set_compaction(self, tenant: str | None, *, paused: bool) -> dict[str, Any]:
        request = admin_pb2.SetCompactionRequest(tenant=tenant or "", paused=paused)
        return paused_document(await self._call(self._router, rpcs.SET_COMPACTION, request))

    async def storage(self, tenant: str | None = None) -> dict[str, Any]:
        """What a tenant (None: the client's, or everybody) occupies."""
        request = admin_pb2.GetStorageRequest(tenant=tenant or self._tenant or "")
        return storage_document(await self._call(self._router, rpcs.GET_STORAGE, request))

    async def delete_users(
        self,
        distinct_ids: str | Sequence[str],
        *,
        block: bool = False,
        dry_run: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Hides everything some users did until now, on every shard when it returns; then removes the bytes, as an
        operation. ``block``: refuses events of theirs from now on. ``dry_run``: only checks."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.DeleteUsersRequest(
            tenant=self._tenant_of(tenant), distinct_ids=names(distinct_ids), block=block, options=options
        )
        answer = await self._call(self._router, rpcs.DELETE_USERS, request, timeout, may_be_in_doubt=True)
        return operation_document(answer.operation)

    async def operations(self, tenant: str | None = None) -> dict[str, Any]:
        """Operations of a tenant (None: the client's, or everybody's), the newest first."""
        request = admin_pb2.ListOperationsRequest(tenant=tenant or self._tenant or "")
        answer = await self._call(self._router, rpcs.LIST_OPERATIONS, request)
        return {"operations": [operation_document(each) for each in answer.operations]}

    async def operation(self, operation: str) -> dict[str, Any]:
        """An operation as it stands. Raises ``OPERATION_NOT_FOUND``."""
        request = admin_pb2.GetOperationRequest(operation=operation)
        return operation_document((await self._call(self._router, rpcs.GET_OPERATION, request)).operation)

    async def wait_operation(self, operation: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The operation when it has ended, or as it is after ``timeout``; survives routers that are restarted."""
        until_s = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            wait_ms = max(1, int(min(WAIT_MAX_S, left_s) * 1000))
            request = admin_pb2.WaitOperationRequest(operation=operation, timeout_ms=wait_ms)
            answer = await self._call(self._router, rpcs.WAIT_OPERATION, request, left_s + WAIT_SLACK_S)
            document = operation_document(answer.operation)
            if document["state"] in ENDED_STATES or time.monotonic() >= until_s:
                return document

    async def cancel_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Ends an operation that has changed nothing yet. Raises ``OPERATION_STATE``."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.CancelOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.CANCEL_OPERATION, request)).operation)

    async def _ensure_tenant(self, tenant: str) -> None:
        try:
            await self.create_tenant(tenant)
        except EvenshardError as error:
            if error.code != "TENANT_EXISTS":
                raise

    # Shared

    async def _call(
        self,
        transport: Transport,
        rpc: Rpc[Request, Response],
        request: Request,
        timeout: float | None = None,
        *,
        may_be_in_doubt: bool = False,
    ) -> Response:
        """Reads, and changes that carry a request_id: safe to send again."""
        name = "client.query" if transport is self._gateway else "client.admin"
        span = start_client_span(name, getattr(request, "tenant", ""))
        retries = Retries(self.timeout if timeout is None else timeout, self._rng)
        with ending(span):
            try:
                return await retries.attempt(
                    transport, lambda timeout_s: transport.call(rpc, request, timeout_s=timeout_s, span=span)
                )
            except EvenshardError as error:
                error.in_doubt &= may_be_in_doubt  # others leave nothing open
                raise

    def _change(self) -> admin_pb2.ChangeOptions:
        return admin_pb2.ChangeOptions(request_id=self._rng.token_hex(16))

    def _tenant_of(self, tenant: str | None) -> str:
        chosen = tenant or self._tenant
        if not chosen:
            raise EvenshardError("USAGE", "no tenant is named", hint="name one: tenant=…, or connect(tenant=…)")
        return chosen


def _ids(strict: bool) -> InsertIds | None:
    """Strict imports refuse events without an insert_id of their own: none is made for them."""
    return None if strict else InsertIds()


def _compression_for(router: str) -> Compression:
    """Compression pays where bytes travel."""
    host = router.rpartition(":")[0].strip("[]")
    return "none" if host in ("localhost", "::1") or host.startswith("127.") else "zstd"
