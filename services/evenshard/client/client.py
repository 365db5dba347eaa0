"""The blocking client: ``AsyncClient`` run on a shared loop, so that there is one implementation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from evenshard.client.async_client import AsyncClient
from evenshard.client.blocking_export import Export
from evenshard.client.browse import SchemaResult, TimelineResult
from evenshard.client.files import Format
from evenshard.client.flows import FlowsResult
from evenshard.client.funnels import FunnelResult
from evenshard.client.import_result import ImportResult
from evenshard.client.importer import Progress
from evenshard.client.loop import run_blocking
from evenshard.client.requests import Time
from evenshard.client.results import SegmentationResult
from evenshard.client.retentions import RetentionResult


class Client:
    """A connection to one router and one gateway; a context manager; may be shared by threads.

    Every method is that of ``AsyncClient``, which see; those without a docstring here differ only in that they wait.
    """

    def __init__(self, connect: Callable[[], AsyncClient]) -> None:
        async def made() -> AsyncClient:
            return connect()

        self._client = run_blocking(made())

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        run_blocking(self._client.close())

    def import_events(self, events: Iterable[Mapping[str, Any]], **options: Any) -> ImportResult:
        return run_blocking(self._client.import_events(events, **options))

    def import_table(self, table: Any, **options: Any) -> ImportResult:
        return run_blocking(self._client.import_table(table, **options))

    def import_file(
        self,
        path: str | Path,
        *,
        file_format: Format = "auto",
        on_progress: Callable[[Progress, int | None], None] | None = None,
        **options: Any,
    ) -> ImportResult:
        return run_blocking(self._client.import_file(path, file_format=file_format, on_progress=on_progress, **options))

    def segmentation(
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
        no_cache: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> SegmentationResult:
        return run_blocking(
            self._client.segmentation(
                event,
                from_date=from_date,
                to_date=to_date,
                unit=unit,
                measure=measure,
                property=property,
                by=by,
                where=where,
                limit=limit,
                include_duplicates=include_duplicates,
                allow_partial=allow_partial,
                no_cache=no_cache,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def segmentation_of(self, document: str | bytes, *, timeout: float | None = None) -> SegmentationResult:
        return run_blocking(self._client.segmentation_of(document, timeout=timeout))

    def funnel(
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
        no_cache: bool = False,
        explain_user: str | None = None,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> FunnelResult:
        return run_blocking(
            self._client.funnel(
                steps,
                from_date=from_date,
                to_date=to_date,
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
                no_cache=no_cache,
                explain_user=explain_user,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def funnel_of(self, document: str | bytes, *, timeout: float | None = None) -> FunnelResult:
        return run_blocking(self._client.funnel_of(document, timeout=timeout))

    def schema(
        self,
        *,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        include_hidden: bool = False,
        include_duplicates: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> SchemaResult:
        return run_blocking(
            self._client.schema(
                from_date=from_date,
                to_date=to_date,
                include_hidden=include_hidden,
                include_duplicates=include_duplicates,
                allow_partial=allow_partial,
                no_cache=no_cache,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def schema_of(self, document: str | bytes, *, timeout: float | None = None) -> SchemaResult:
        return run_blocking(self._client.schema_of(document, timeout=timeout))

    def timeline(
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
        no_cache: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> TimelineResult:
        return run_blocking(
            self._client.timeline(
                user,
                from_date=from_date,
                to_date=to_date,
                where=where,
                page_size=page_size,
                page_token=page_token,
                include_duplicates=include_duplicates,
                allow_partial=allow_partial,
                no_cache=no_cache,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def timeline_of(self, document: str | bytes, *, timeout: float | None = None) -> TimelineResult:
        return run_blocking(self._client.timeline_of(document, timeout=timeout))

    def retention(
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
        no_cache: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> RetentionResult:
        return run_blocking(
            self._client.retention(
                birth,
                return_=return_,
                from_date=from_date,
                to_date=to_date,
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
                no_cache=no_cache,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def retention_of(self, document: str | bytes, *, timeout: float | None = None) -> RetentionResult:
        return run_blocking(self._client.retention_of(document, timeout=timeout))

    def flows(
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
        no_cache: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> FlowsResult:
        return run_blocking(
            self._client.flows(
                anchor,
                from_date=from_date,
                to_date=to_date,
                direction=direction,
                steps=steps,
                window=window,
                top=top,
                collapse_repeats=collapse_repeats,
                where=where,
                include_duplicates=include_duplicates,
                allow_partial=allow_partial,
                no_cache=no_cache,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def flows_of(self, document: str | bytes, *, timeout: float | None = None) -> FlowsResult:
        return run_blocking(self._client.flows_of(document, timeout=timeout))

    def save_cohort(self, name: str, **definition: Any) -> dict[str, Any]:
        return run_blocking(self._client.save_cohort(name, **definition))

    def cohorts(self, *, tenant: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        return run_blocking(self._client.cohorts(tenant=tenant, timeout=timeout))

    def delete_cohort(self, name: str, *, tenant: str | None = None, timeout: float | None = None) -> dict[str, Any]:
        return run_blocking(self._client.delete_cohort(name, tenant=tenant, timeout=timeout))

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
    ) -> "Export":
        return Export(
            self._client.export(
                start,
                end,
                events,
                format=format,
                include_duplicates=include_duplicates,
                cursor=cursor,
                tenant=tenant,
                timeout=timeout,
            )
        )

    def create_tenant(self, tenant: str, **settings: Any) -> dict[str, Any]:
        return run_blocking(self._client.create_tenant(tenant, **settings))

    def set_tenant(self, tenant: str, **settings: Any) -> dict[str, Any]:
        return run_blocking(self._client.set_tenant(tenant, **settings))

    def tenant(self, tenant: str) -> dict[str, Any]:
        return run_blocking(self._client.tenant(tenant))

    def tenants(self) -> dict[str, Any]:
        return run_blocking(self._client.tenants())

    def compact(self, tenant: str | None = None, **options: Any) -> dict[str, Any]:
        return run_blocking(self._client.compact(tenant, **options))

    def pause_compaction(self, tenant: str | None = None) -> dict[str, Any]:
        return run_blocking(self._client.pause_compaction(tenant))

    def resume_compaction(self, tenant: str | None = None) -> dict[str, Any]:
        return run_blocking(self._client.resume_compaction(tenant))

    def storage(self, tenant: str | None = None) -> dict[str, Any]:
        return run_blocking(self._client.storage(tenant))

    def delete_users(self, distinct_ids: str | Sequence[str], **options: Any) -> dict[str, Any]:
        return run_blocking(self._client.delete_users(distinct_ids, **options))

    def operations(self, tenant: str | None = None) -> dict[str, Any]:
        return run_blocking(self._client.operations(tenant))

    def operation(self, operation: str) -> dict[str, Any]:
        return run_blocking(self._client.operation(operation))

    def wait_operation(self, operation: str, *, timeout: float | None = None) -> dict[str, Any]:
        return run_blocking(self._client.wait_operation(operation, timeout=timeout))

    def cancel_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        return run_blocking(self._client.cancel_operation(operation, dry_run=dry_run))
