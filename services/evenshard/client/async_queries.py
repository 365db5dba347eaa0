"""The client's questions, and the cohorts they may name."""

from collections.abc import Sequence
from datetime import date
from typing import Literal

from evenshard.api.v1 import query_pb2
from evenshard.client.async_calls import AsyncCalls
from evenshard.client.browse import (
    SchemaResult,
    TimelineResult,
    parsed_schema,
    parsed_timeline,
    schema_result,
    timeline_result,
)
from evenshard.client.cohorts import CohortsResult, cohorts_result, save_cohort_request
from evenshard.client.flows import FlowsResult, flows_request, flows_result, parsed_flows
from evenshard.client.funnels import FunnelResult, funnel_request, funnel_result, parsed_funnel
from evenshard.client.requests import parsed_segmentation, segmentation_request
from evenshard.client.results import SegmentationResult, segmentation_result
from evenshard.client.retentions import RetentionResult, parsed_retention, retention_request, retention_result
from evenshard.wire import rpcs


class AsyncQueries(AsyncCalls):
    """Asks the gateway."""

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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        )
        return await self._segmentation(request, timeout)

    async def segmentation_of(self, document: str | bytes, *, timeout: float | None = None) -> SegmentationResult:
        """The whole request as proto3 JSON (``QuerySegmentationRequest``)."""
        return await self._segmentation(parsed_segmentation(document), timeout)

    async def _segmentation(
        self, request: query_pb2.QuerySegmentationRequest, timeout: float | None
    ) -> SegmentationResult:
        answer = await self._call(self._gateway, rpcs.QUERY_SEGMENTATION, request, timeout)
        return segmentation_result(answer, request.by, request.measure or "total", request.unit or "day")

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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            options=query_pb2.QueryOptions(
                include_duplicates=include_duplicates,
                restore_hot=restore_hot,
                allow_partial=allow_partial,
                no_cache=no_cache,
            ),
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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            options=query_pb2.QueryOptions(
                include_duplicates=include_duplicates,
                restore_hot=restore_hot,
                allow_partial=allow_partial,
                no_cache=no_cache,
            ),
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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        )
        return await self._retention(request, timeout)

    async def retention_of(self, document: str | bytes, *, timeout: float | None = None) -> RetentionResult:
        """The whole request as proto3 JSON (``QueryRetentionRequest``)."""
        return await self._retention(parsed_retention(document), timeout)

    async def _retention(self, request: query_pb2.QueryRetentionRequest, timeout: float | None) -> RetentionResult:
        answer = await self._call(self._gateway, rpcs.QUERY_RETENTION, request, timeout)
        return retention_result(answer, request.by, request.unit)

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
        restore_hot: bool = False,
        allow_partial: bool = False,
        no_cache: bool = False,
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
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        )
        return await self._flows(request, timeout)

    async def flows_of(self, document: str | bytes, *, timeout: float | None = None) -> FlowsResult:
        """The whole request as proto3 JSON (``QueryFlowsRequest``)."""
        return await self._flows(parsed_flows(document), timeout)

    async def _flows(self, request: query_pb2.QueryFlowsRequest, timeout: float | None) -> FlowsResult:
        answer = await self._call(self._gateway, rpcs.QUERY_FLOWS, request, timeout)
        return flows_result(answer, request.direction)

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
    ) -> CohortsResult:
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
        return cohorts_result([answer.cohort])

    async def cohorts(self, *, tenant: str | None = None, timeout: float | None = None) -> CohortsResult:
        """A tenant's cohorts by name, and how many belong to each now."""
        request = query_pb2.ListCohortsRequest(tenant=self._tenant_of(tenant))
        return cohorts_result((await self._call(self._gateway, rpcs.LIST_COHORTS, request, timeout)).cohorts)

    async def delete_cohort(
        self, name: str, *, tenant: str | None = None, timeout: float | None = None
    ) -> CohortsResult:
        """Deletes a cohort; returns those that are left. Raises ``COHORT_NOT_FOUND``."""
        request = query_pb2.DeleteCohortRequest(tenant=self._tenant_of(tenant), name=name)
        await self._call(self._gateway, rpcs.DELETE_COHORT, request, timeout, may_be_in_doubt=True)
        return await self.cohorts(tenant=tenant, timeout=timeout)
