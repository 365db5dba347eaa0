"""The client's moves of slots, what becomes of shards, and tenants that are deleted."""

from collections.abc import Sequence
from typing import Any

from evenshard.api.v1 import admin_pb2
from evenshard.client.admin import tenant_document
from evenshard.client.async_calls import AsyncCalls
from evenshard.client.move_documents import plan_document, shard_document
from evenshard.client.operations import operation_document
from evenshard.client.requests import names
from evenshard.wire import rpcs


class AsyncMoves(AsyncCalls):
    """Asks the router. What begins a move takes ``request_id`` (sent again it begins nothing new), ``expect_revision``
    (of a plan: ``PLAN_STALE`` where what it is about has changed since) and ``bytes_per_second`` (of each copy, at
    most), and returns the operation; the same with ``plan_`` before its name only says what it would do."""

    async def move_tenant(
        self,
        /,
        tenant: str,
        to: str,
        *,
        slots: tuple[int, int] | None = None,
        overflow: bool = False,
        **how: Any,
    ) -> dict[str, Any]:
        """All slots of a tenant, or those from first to last, go to one shard."""
        return _operation(await self._move(tenant, to, slots, how, overflow=overflow))

    async def plan_move(
        self,
        /,
        tenant: str,
        to: str,
        *,
        slots: tuple[int, int] | None = None,
        overflow: bool = False,
        **how: Any,
    ) -> dict[str, Any]:
        """What ``move_tenant`` would do; nothing is begun."""
        return plan_document((await self._move(tenant, to, slots, how, overflow=overflow, dry_run=True)).plan)

    async def split_tenant(self, /, tenant: str, to: str | Sequence[str], **how: Any) -> dict[str, Any]:
        """A tenant is spread evenly over its shards and these."""
        return _operation(await self._split(tenant, to, how))

    async def plan_split(self, /, tenant: str, to: str | Sequence[str], **how: Any) -> dict[str, Any]:
        """What ``split_tenant`` would do; nothing is begun."""
        return plan_document((await self._split(tenant, to, how, dry_run=True)).plan)

    async def merge_tenant(self, /, tenant: str, to: str, **how: Any) -> dict[str, Any]:
        """A tenant that several shards have goes to one."""
        return _operation(await self._merge(tenant, to, how))

    async def plan_merge(self, /, tenant: str, to: str, **how: Any) -> dict[str, Any]:
        """What ``merge_tenant`` would do; nothing is begun."""
        return plan_document((await self._merge(tenant, to, how, dry_run=True)).plan)

    async def isolate_tenant(self, /, tenant: str, to: str | None = None, **how: Any) -> dict[str, Any]:
        """A tenant gets a shard of its own, which is cordoned."""
        return _operation(await self._isolate(tenant, to, how))

    async def plan_isolate(self, /, tenant: str, to: str | None = None, **how: Any) -> dict[str, Any]:
        """What ``isolate_tenant`` would do; nothing is begun."""
        return plan_document((await self._isolate(tenant, to, how, dry_run=True)).plan)

    async def drain_shard(self, /, shard: str, **how: Any) -> dict[str, Any]:
        """Everything on a shard goes elsewhere, and nothing new is placed there."""
        return _operation(await self._drain(shard, how))

    async def plan_drain(self, /, shard: str, **how: Any) -> dict[str, Any]:
        """What ``drain_shard`` would do; nothing is begun."""
        return plan_document((await self._drain(shard, how, dry_run=True)).plan)

    async def rebalance(self, /, policy: str = "even", **how: Any) -> dict[str, Any]:
        """Slots of the fullest shards go to the emptiest; ``promote``: only those of large tenants."""
        return _operation(await self._rebalance(policy, how))

    async def plan_rebalance(self, /, policy: str = "even", **how: Any) -> dict[str, Any]:
        """What ``rebalance`` would do; nothing is begun."""
        return plan_document((await self._rebalance(policy, how, dry_run=True)).plan)

    async def cordon_shard(self, shard: str, *, request_id: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Nothing new is placed on a shard."""
        options = self._options({"request_id": request_id}, dry_run=dry_run)
        request = admin_pb2.CordonShardRequest(shard=shard, options=options)
        return shard_document((await self._call(self._router, rpcs.CORDON_SHARD, request)).shard)

    async def uncordon_shard(
        self, shard: str, *, request_id: str | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """A shard may be used for everything again."""
        options = self._options({"request_id": request_id}, dry_run=dry_run)
        request = admin_pb2.UncordonShardRequest(shard=shard, options=options)
        return shard_document((await self._call(self._router, rpcs.UNCORDON_SHARD, request)).shard)

    async def rollback_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Takes a move back that has switched. Raises ``OPERATION_STATE``."""
        options = self._options({}, dry_run=dry_run)
        request = admin_pb2.RollbackOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.ROLLBACK_OPERATION, request)).operation)

    async def complete_operation(self, operation: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Ends a move that has switched: its sources forget. Raises ``OPERATION_STATE``."""
        options = self._options({}, dry_run=dry_run)
        request = admin_pb2.CompleteOperationRequest(operation=operation, options=options)
        return operation_document((await self._call(self._router, rpcs.COMPLETE_OPERATION, request)).operation)

    async def delete_tenant(self, tenant: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Takes a tenant out of use; for seven days it can be had back. The tenant as it was."""
        request = admin_pb2.DeleteTenantRequest(tenant=tenant, options=self._options({}, dry_run=dry_run))
        answer = await self._call(self._router, rpcs.DELETE_TENANT, request)
        return {**tenant_document(answer.tenant), "kept_until_ms": answer.kept_until_ms}

    async def undelete_tenant(self, tenant: str) -> dict[str, Any]:
        """Brings a deleted tenant back."""
        request = admin_pb2.UndeleteTenantRequest(tenant=tenant, options=self._change())
        return tenant_document((await self._call(self._router, rpcs.UNDELETE_TENANT, request)).tenant)

    async def _move(
        self,
        tenant: str,
        to: str,
        slots: tuple[int, int] | None,
        how: dict[str, Any],
        *,
        overflow: bool,
        dry_run: bool = False,
    ) -> Any:
        wanted = None if slots is None else admin_pb2.WantedSlots(first=slots[0], last=slots[1])
        request = admin_pb2.MoveTenantRequest(
            tenant=tenant, to=to, slots=wanted, overflow=overflow, **self._how(how, dry_run=dry_run)
        )
        return await self._call(self._router, rpcs.MOVE_TENANT, request)

    async def _split(self, tenant: str, to: str | Sequence[str], how: dict[str, Any], *, dry_run: bool = False) -> Any:
        request = admin_pb2.SplitTenantRequest(tenant=tenant, to=names(to), **self._how(how, dry_run=dry_run))
        return await self._call(self._router, rpcs.SPLIT_TENANT, request)

    async def _merge(self, tenant: str, to: str, how: dict[str, Any], *, dry_run: bool = False) -> Any:
        request = admin_pb2.MergeTenantRequest(tenant=tenant, to=to, **self._how(how, dry_run=dry_run))
        return await self._call(self._router, rpcs.MERGE_TENANT, request)

    async def _isolate(self, tenant: str, to: str | None, how: dict[str, Any], *, dry_run: bool = False) -> Any:
        request = admin_pb2.IsolateTenantRequest(tenant=tenant, to=to or "", **self._how(how, dry_run=dry_run))
        return await self._call(self._router, rpcs.ISOLATE_TENANT, request)

    async def _drain(self, shard: str, how: dict[str, Any], *, dry_run: bool = False) -> Any:
        request = admin_pb2.DrainShardRequest(shard=shard, **self._how(how, dry_run=dry_run))
        return await self._call(self._router, rpcs.DRAIN_SHARD, request)

    async def _rebalance(self, policy: str, how: dict[str, Any], *, dry_run: bool = False) -> Any:
        request = admin_pb2.RebalanceRequest(policy=policy, **self._how(how, dry_run=dry_run))
        return await self._call(self._router, rpcs.REBALANCE, request)

    def _how(self, how: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        unknown = how.keys() - {"request_id", "expect_revision", "bytes_per_second"}
        if unknown:
            raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
        return {
            "bytes_per_second": how.get("bytes_per_second") or 0,
            "options": self._options(how, dry_run=dry_run),
        }

    def _options(self, how: dict[str, Any], *, dry_run: bool) -> admin_pb2.ChangeOptions:
        options = self._change()
        options.dry_run = dry_run
        options.request_id = how.get("request_id") or options.request_id
        options.expected_revision = how.get("expect_revision") or 0
        return options


def _operation(answer: Any) -> dict[str, Any]:
    return operation_document(answer.operation)
