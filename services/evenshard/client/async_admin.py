"""The client's administration: tenants, compaction, storage, users to delete, operations."""

import time
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from evenshard.api.v1 import admin_pb2
from evenshard.client.admin import (
    compaction_document,
    paused_document,
    settings_message,
    storage_document,
    tenant_document,
)
from evenshard.client.async_moves import AsyncMoves
from evenshard.client.async_repairs import AsyncRepairs
from evenshard.client.audit import audit_document
from evenshard.client.operations import operation_document
from evenshard.client.requests import names
from evenshard.text.moves import is_settled
from evenshard.wire import rpcs

WAIT_MAX_S: Final = 20.0
"""Of one call that waits for an operation; then the next one."""
WAIT_SLACK_S: Final = 5.0
"""Beyond what is waited, for the answer."""


class AsyncAdmin(AsyncRepairs, AsyncMoves):
    """Asks the router."""

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
        owners: Sequence[str] | None = None,
        report_sink: str | None = None,
        required_labels: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Makes a tenant; None takes the default (UTC, True, False, 100,000, rewrite, no retention, limits, reports,
        labels).

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
                owners,
                report_sink,
                required_labels,
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
        owners: Sequence[str] | None = None,
        report_sink: str | None = None,
        required_labels: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Changes a tenant's settings; None leaves one as it is, 0 ends a retention or a limit, an empty list or text
        owners, reports or required labels. Slots stay where they are, whatever labels are required from now on."""
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
                owners,
                report_sink,
                required_labels,
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

    async def audit(
        self, *, subject: str | None = None, verb: str | None = None, limit: int | None = None
    ) -> dict[str, Any]:
        """What operators changed, newest last: the newest ``limit`` (None: 100) changes of a tenant, shard or operation
        (None: of all), and of a verb."""
        request = admin_pb2.ListAuditRequest(subject=subject or "", verb=verb or "", limit=limit or 0)
        return audit_document(await self._call(self._router, rpcs.LIST_AUDIT, request))

    async def operation(self, operation: str) -> dict[str, Any]:
        """An operation as it stands. Raises ``OPERATION_NOT_FOUND``."""
        request = admin_pb2.GetOperationRequest(operation=operation)
        return operation_document((await self._call(self._router, rpcs.GET_OPERATION, request)).operation)

    async def wait_operation(self, operation: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The operation when it has ended, or has switched, or as it is after ``timeout``; survives routers that are
        restarted."""
        until_s = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            wait_ms = max(1, int(min(WAIT_MAX_S, left_s) * 1000))
            request = admin_pb2.WaitOperationRequest(operation=operation, timeout_ms=wait_ms)
            answer = await self._call(self._router, rpcs.WAIT_OPERATION, request, left_s + WAIT_SLACK_S)
            document = operation_document(answer.operation)
            if is_settled(document) or time.monotonic() >= until_s:
                return document

    async def cancel_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Ends an operation that has changed nothing yet. Raises ``OPERATION_STATE``."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.CancelOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.CANCEL_OPERATION, request)).operation)
