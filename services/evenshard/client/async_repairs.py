"""The client's repairs of hot keys, and what else operators do to operations."""

from collections.abc import Callable
from datetime import date
from typing import Any, Literal

from evenshard.api.v1 import admin_pb2
from evenshard.client.async_calls import AsyncCalls
from evenshard.client.operations import operation_document
from evenshard.client.repairs import plan_document
from evenshard.client.tracing import ending, start_client_span
from evenshard.wire import rpcs

Action = Literal["restore", "reassign", "delete", "export"]


class AsyncRepairs(AsyncCalls):
    """Asks the router."""

    async def repair(
        self,
        distinct_id: str,
        from_date: str | date,
        to_date: str | date,
        action: Action,
        *,
        distinct_id_from: str | None = None,
        include_earlier: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Repairs what became of a hot key, on the UTC dates on which it is hot, as an operation: see docs/hot-keys.md.

        ``restore`` shows its events under their original name and id again; ``reassign`` gives them the distinct_id
        that the property ``distinct_id_from`` holds; ``delete`` removes them. Raises ``HOT_KEY_NOT_FOUND``,
        ``OPERATION_CONFLICT`` where another repair of it goes on."""
        answer = await self._repair(
            distinct_id, from_date, to_date, action, distinct_id_from, include_earlier, tenant, timeout, dry_run=False
        )
        return operation_document(answer.operation)

    async def repair_plan(
        self,
        distinct_id: str,
        from_date: str | date,
        to_date: str | date,
        action: Action,
        *,
        distinct_id_from: str | None = None,
        include_earlier: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """What ``repair`` would do, with examples; changes nothing."""
        answer = await self._repair(
            distinct_id, from_date, to_date, action, distinct_id_from, include_earlier, tenant, timeout, dry_run=True
        )
        return plan_document(answer.plan)

    async def _repair(
        self,
        distinct_id: str,
        from_date: str | date,
        to_date: str | date,
        action: Action,
        distinct_id_from: str | None,
        include_earlier: bool,
        tenant: str | None,
        timeout: float | None,
        *,
        dry_run: bool,
    ) -> admin_pb2.RepairHotKeyResponse:
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.RepairHotKeyRequest(
            tenant=self._tenant_of(tenant),
            distinct_id=distinct_id,
            from_date=str(from_date),
            to_date=str(to_date),
            action=action,
            distinct_id_from=distinct_id_from or "",
            include_earlier=include_earlier,
            options=options,
        )
        return await self._call(self._router, rpcs.REPAIR_HOT_KEY, request, timeout)

    async def undo_repair(
        self, operation: str, *, dry_run: bool = False, timeout: float | None = None
    ) -> dict[str, Any]:
        """Takes a repair back, as an operation of its own. Raises ``OPERATION_STATE`` where that cannot be."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.UndoRepairRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.UNDO_REPAIR, request, timeout)).operation)

    async def export_hot_key(
        self,
        distinct_id: str,
        from_date: str | date,
        to_date: str | date,
        write: Callable[[bytes], object],
        *,
        distinct_id_from: str | None = None,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Both sets of a hot key's events, each once, under their original names and the ids that the property holds,
        as NDJSON lines in no order: ``write`` is given them. How many there were. It is not tried again midway."""
        request = admin_pb2.ExportHotKeyRequest(
            tenant=self._tenant_of(tenant),
            distinct_id=distinct_id,
            from_date=str(from_date),
            to_date=str(to_date),
            distinct_id_from=distinct_id_from or "",
        )
        span = start_client_span("client.admin", request.tenant)
        rows = 0
        with ending(span):
            timeout_s = self.timeout if timeout is None else timeout
            messages = self._router.stream(rpcs.EXPORT_HOT_KEY, request, timeout_s=timeout_s, span=span)
            async for message in messages:
                write(message.lines)
                rows += message.rows
        return rows

    async def pause_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Holds an operation until it is resumed. Raises ``OPERATION_STATE`` where it has ended."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.PauseOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.PAUSE_OPERATION, request)).operation)

    async def resume_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Lets a paused operation go on. Raises ``OPERATION_STATE`` where it has ended."""
        options = self._change()
        options.dry_run = dry_run
        request = admin_pb2.ResumeOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.RESUME_OPERATION, request)).operation)

    async def verify_operation(self, operation: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Compares what an operation planned with what is there: ``verify`` of the answer says it, null: nothing to
        compare."""
        request = admin_pb2.VerifyOperationRequest(operation=operation)
        answer = await self._call(self._router, rpcs.VERIFY_OPERATION, request, timeout)
        return operation_document(answer.operation)
