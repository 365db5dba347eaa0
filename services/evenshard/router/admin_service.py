"""``AdminService``: protobuf in, protobuf out; what it does stands in ``admin`` and its neighbours."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from evenshard.api.v1 import admin_pb2, admin_pb2_grpc
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.ports.peers import Peers
from evenshard.ports.rng import Rng
from evenshard.router.admin import ChangeOptions, StoredTenant, TenantAdmin
from evenshard.router.admin_shards import ShardAdmin
from evenshard.router.admin_status import ClusterStatus, ServiceHealth
from evenshard.router.audit_shown import AuditShown
from evenshard.router.moves_admin import MoveAdmin, Planned
from evenshard.router.moves_compared import MoveComparer
from evenshard.router.operations_admin import OperationAdmin
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.repairs_planning import KeyExport
from evenshard.router.report_records import ReportRecords
from evenshard.router.shard_loads import ShardLoads
from evenshard.router.shard_states_admin import ShardStateAdmin
from evenshard.router.tenant_deletion import TenantDeletion
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.operations import StoredOperation
from evenshard.runtime.process_info import this_host
from evenshard.runtime.services import ServiceView
from evenshard.runtime.shard_states import ShardStateView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.audit import audit_message
from evenshard.wire.operations import operation_to_proto
from evenshard.wire.plans import plan_message, shard_used, slots_wanted
from evenshard.wire.report_records import report_record_message, report_record_of
from evenshard.wire.tenant import patch_from_proto, tenant_to_proto


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """``etcd``: the endpoints, shown by ``ListServices`` where etcd has no record of its own."""

    def __init__(
        self,
        directory: Directory,
        tenants: TenantView,
        services: ServiceView,
        peers: Peers,
        clock: Clock,
        rng: Rng,
        shards: TenantShards,
        operations: OperationAdmin,
        repairs: RepairAdmin,
        moves: MoveAdmin,
        states: ShardStateView,
        etcd: Sequence[str] = (),
    ) -> None:
        self._tenants = TenantAdmin(directory, tenants, clock, rng)
        self._shards = ShardAdmin(shards, services)
        self._loads = ShardLoads(shards, services, states)
        self._deletion = TenantDeletion(directory, tenants, clock, rng)
        self._states = ShardStateAdmin(directory, clock, rng)
        self._moves = moves
        self._comparer = MoveComparer(shards, clock)
        self._reports = ReportRecords(directory, clock, rng)
        self._operations = operations
        self._repairs = repairs
        self._key_export = KeyExport(directory, shards)
        self._audit = AuditShown(directory)
        self._status = ClusterStatus(directory, services, peers, this_host(), etcd)

    async def CreateTenant(
        self, request: admin_pb2.CreateTenantRequest, context: Any
    ) -> admin_pb2.CreateTenantResponse:
        patch = patch_from_proto(request.settings)
        stored = await self._tenants.create(request.tenant, patch, _options(request.options))
        return admin_pb2.CreateTenantResponse(tenant=_shown(stored))

    async def UpdateTenant(
        self, request: admin_pb2.UpdateTenantRequest, context: Any
    ) -> admin_pb2.UpdateTenantResponse:
        patch = patch_from_proto(request.settings)
        stored = await self._tenants.update(request.tenant, patch, _options(request.options))
        return admin_pb2.UpdateTenantResponse(tenant=_shown(stored))

    async def GetTenant(self, request: admin_pb2.GetTenantRequest, context: Any) -> admin_pb2.GetTenantResponse:
        return admin_pb2.GetTenantResponse(tenant=_shown(await self._tenants.show(request.tenant)))

    async def ListTenants(self, request: admin_pb2.ListTenantsRequest, context: Any) -> admin_pb2.ListTenantsResponse:
        return admin_pb2.ListTenantsResponse(tenants=[_shown(stored) for stored in await self._tenants.all()])

    async def CompactTenant(
        self, request: admin_pb2.CompactTenantRequest, context: Any
    ) -> admin_pb2.CompactTenantResponse:
        return await self._shards.compact(request)

    async def SetCompaction(
        self, request: admin_pb2.SetCompactionRequest, context: Any
    ) -> admin_pb2.SetCompactionResponse:
        return await self._shards.set_compaction(request)

    async def GetStorage(self, request: admin_pb2.GetStorageRequest, context: Any) -> admin_pb2.GetStorageResponse:
        return await self._shards.storage(request)

    async def ListShards(self, request: admin_pb2.ListShardsRequest, context: Any) -> admin_pb2.ListShardsResponse:
        return await self._loads.now()

    async def ClaimReport(self, request: admin_pb2.ClaimReportRequest, context: Any) -> admin_pb2.ClaimReportResponse:
        mine, record = await self._reports.claim(request.tenant, request.week, request.claimant)
        return admin_pb2.ClaimReportResponse(claimed=mine, record=report_record_message(record))

    async def RecordReport(
        self, request: admin_pb2.RecordReportRequest, context: Any
    ) -> admin_pb2.RecordReportResponse:
        record = await self._reports.record(report_record_of(request.record))
        return admin_pb2.RecordReportResponse(record=report_record_message(record))

    async def DeleteUsers(self, request: admin_pb2.DeleteUsersRequest, context: Any) -> admin_pb2.DeleteUsersResponse:
        stored = await self._operations.deletions.delete_users(
            request.tenant, list(request.distinct_ids), _options(request.options), block=request.block
        )
        return admin_pb2.DeleteUsersResponse(operation=_operation(stored))

    async def GetOperation(
        self, request: admin_pb2.GetOperationRequest, context: Any
    ) -> admin_pb2.GetOperationResponse:
        return admin_pb2.GetOperationResponse(operation=_operation(await self._operations.show(request.operation)))

    async def ListOperations(
        self, request: admin_pb2.ListOperationsRequest, context: Any
    ) -> admin_pb2.ListOperationsResponse:
        found = await self._operations.all(request.tenant)
        return admin_pb2.ListOperationsResponse(operations=[_operation(stored) for stored in found])

    async def ListAudit(self, request: admin_pb2.ListAuditRequest, context: Any) -> admin_pb2.ListAuditResponse:
        shown = await self._audit.newest(request.subject, request.verb, request.limit)
        return audit_message(shown.changes, shown.left_out)

    async def WaitOperation(
        self, request: admin_pb2.WaitOperationRequest, context: Any
    ) -> admin_pb2.WaitOperationResponse:
        stored = await self._operations.wait(request.operation, request.timeout_ms)
        return admin_pb2.WaitOperationResponse(operation=_operation(stored))

    async def CancelOperation(
        self, request: admin_pb2.CancelOperationRequest, context: Any
    ) -> admin_pb2.CancelOperationResponse:
        stored = await self._operations.cancel(request.operation, _options(request.options))
        return admin_pb2.CancelOperationResponse(operation=_operation(stored))

    async def PauseOperation(
        self, request: admin_pb2.PauseOperationRequest, context: Any
    ) -> admin_pb2.PauseOperationResponse:
        stored = await self._operations.pause(request.operation, _options(request.options))
        return admin_pb2.PauseOperationResponse(operation=_operation(stored))

    async def ResumeOperation(
        self, request: admin_pb2.ResumeOperationRequest, context: Any
    ) -> admin_pb2.ResumeOperationResponse:
        stored = await self._operations.resume(request.operation, _options(request.options))
        return admin_pb2.ResumeOperationResponse(operation=_operation(stored))

    async def VerifyOperation(
        self, request: admin_pb2.VerifyOperationRequest, context: Any
    ) -> admin_pb2.VerifyOperationResponse:
        stored, found = await self._operations.verify(request.operation)
        verified = await self._comparer.verified(stored, found)
        shown = operation_to_proto(stored.operation, stored.revision, verified)
        return admin_pb2.VerifyOperationResponse(operation=shown)

    async def RepairHotKey(
        self, request: admin_pb2.RepairHotKeyRequest, context: Any
    ) -> admin_pb2.RepairHotKeyResponse:
        asked = await self._repairs.repair(request, _options(request.options))
        return admin_pb2.RepairHotKeyResponse(operation=_operation(asked.stored), plan=asked.plan)

    async def UndoRepair(self, request: admin_pb2.UndoRepairRequest, context: Any) -> admin_pb2.UndoRepairResponse:
        stored = await self._repairs.undo(request.operation, _options(request.options))
        return admin_pb2.UndoRepairResponse(operation=_operation(stored))

    async def ExportHotKey(
        self, request: admin_pb2.ExportHotKeyRequest, context: Any
    ) -> AsyncGenerator[admin_pb2.ExportHotKeyResponse, None]:
        messages = self._key_export.lines(request)
        try:
            async for message in messages:
                yield message
        finally:
            await messages.aclose()

    async def RollbackOperation(
        self, request: admin_pb2.RollbackOperationRequest, context: Any
    ) -> admin_pb2.RollbackOperationResponse:
        stored = await self._operations.rollback(request.operation, _options(request.options))
        return admin_pb2.RollbackOperationResponse(operation=_operation(stored))

    async def CompleteOperation(
        self, request: admin_pb2.CompleteOperationRequest, context: Any
    ) -> admin_pb2.CompleteOperationResponse:
        stored = await self._operations.complete(request.operation, _options(request.options))
        return admin_pb2.CompleteOperationResponse(operation=_operation(stored))

    async def MoveTenant(self, request: admin_pb2.MoveTenantRequest, context: Any) -> admin_pb2.MoveTenantResponse:
        slots = slots_wanted(request.slots) if request.HasField("slots") else None
        planned = await self._moves.move(
            request.tenant,
            request.to,
            slots,
            request.bytes_per_second,
            _options(request.options),
            overflow=request.overflow,
        )
        return admin_pb2.MoveTenantResponse(operation=_begun(planned), plan=_plan(planned, request.bytes_per_second))

    async def SplitTenant(self, request: admin_pb2.SplitTenantRequest, context: Any) -> admin_pb2.SplitTenantResponse:
        options, rate = _options(request.options), request.bytes_per_second
        planned = await self._moves.split(request.tenant, list(request.to), rate, options)
        return admin_pb2.SplitTenantResponse(operation=_begun(planned), plan=_plan(planned, rate))

    async def MergeTenant(self, request: admin_pb2.MergeTenantRequest, context: Any) -> admin_pb2.MergeTenantResponse:
        options, rate = _options(request.options), request.bytes_per_second
        planned = await self._moves.merge(request.tenant, request.to, rate, options)
        return admin_pb2.MergeTenantResponse(operation=_begun(planned), plan=_plan(planned, rate))

    async def IsolateTenant(
        self, request: admin_pb2.IsolateTenantRequest, context: Any
    ) -> admin_pb2.IsolateTenantResponse:
        options, rate = _options(request.options), request.bytes_per_second
        planned = await self._moves.isolate(request.tenant, request.to, rate, options)
        return admin_pb2.IsolateTenantResponse(operation=_begun(planned), plan=_plan(planned, rate))

    async def Rebalance(self, request: admin_pb2.RebalanceRequest, context: Any) -> admin_pb2.RebalanceResponse:
        options, rate = _options(request.options), request.bytes_per_second
        planned = await self._moves.rebalance(request.policy, rate, options)
        return admin_pb2.RebalanceResponse(operation=_begun(planned), plan=_plan(planned, rate))

    async def DrainShard(self, request: admin_pb2.DrainShardRequest, context: Any) -> admin_pb2.DrainShardResponse:
        options, rate = _options(request.options), request.bytes_per_second
        planned = await self._moves.drain(request.shard, rate, options)
        return admin_pb2.DrainShardResponse(operation=_begun(planned), plan=_plan(planned, rate))

    async def CordonShard(self, request: admin_pb2.CordonShardRequest, context: Any) -> admin_pb2.CordonShardResponse:
        record, use = await self._states.cordon(request.shard, _options(request.options))
        return admin_pb2.CordonShardResponse(shard=shard_used(record, use))

    async def UncordonShard(
        self, request: admin_pb2.UncordonShardRequest, context: Any
    ) -> admin_pb2.UncordonShardResponse:
        record, use = await self._states.uncordon(request.shard, _options(request.options))
        return admin_pb2.UncordonShardResponse(shard=shard_used(record, use))

    async def DeleteTenant(
        self, request: admin_pb2.DeleteTenantRequest, context: Any
    ) -> admin_pb2.DeleteTenantResponse:
        stored, until_ms = await self._deletion.delete(request.tenant, _options(request.options))
        return admin_pb2.DeleteTenantResponse(tenant=_shown(stored), kept_until_ms=until_ms)

    async def UndeleteTenant(
        self, request: admin_pb2.UndeleteTenantRequest, context: Any
    ) -> admin_pb2.UndeleteTenantResponse:
        stored = await self._deletion.undelete(request.tenant, _options(request.options))
        return admin_pb2.UndeleteTenantResponse(tenant=_shown(stored))

    async def ListServices(
        self, request: admin_pb2.ListServicesRequest, context: Any
    ) -> admin_pb2.ListServicesResponse:
        cluster = await self._status.now()
        return admin_pb2.ListServicesResponse(
            healthy=cluster.healthy,
            directory_revision=cluster.revision,
            services=[_state(each) for each in cluster.services],
        )


def _options(options: admin_pb2.ChangeOptions) -> ChangeOptions:
    return ChangeOptions(options.request_id, options.dry_run, options.expected_revision)


def _shown(stored: StoredTenant) -> admin_pb2.Tenant:
    return tenant_to_proto(stored.tenant, stored.revision)


def _begun(planned: Planned) -> admin_pb2.Operation | None:
    return None if planned.stored is None else _operation(planned.stored)


def _plan(planned: Planned, bytes_per_second: int) -> admin_pb2.MovePlan:
    return plan_message(planned.plan, planned.revision, bytes_per_second)


def _operation(stored: StoredOperation) -> admin_pb2.Operation:
    return operation_to_proto(stored.operation, stored.revision)


def _state(health: ServiceHealth) -> admin_pb2.ServiceState:
    record = health.record
    return admin_pb2.ServiceState(
        name=record.name,
        kind=record.kind,
        address=record.address,
        status=health.status,
        reason=health.reason,
        pid=record.pid or None,
        restarts=record.restarts,
        rss_bytes=health.rss_bytes,
    )
