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
from evenshard.router.operations_admin import OperationAdmin
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.repairs_planning import KeyExport
from evenshard.router.report_records import ReportRecords
from evenshard.router.shard_loads import ShardLoads
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.operations import StoredOperation
from evenshard.runtime.process_info import this_host
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.operations import operation_to_proto
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
        etcd: Sequence[str] = (),
    ) -> None:
        self._tenants = TenantAdmin(directory, tenants, clock, rng)
        self._shards = ShardAdmin(shards, services)
        self._loads = ShardLoads(shards, services)
        self._reports = ReportRecords(directory, clock, rng)
        self._operations = operations
        self._repairs = repairs
        self._key_export = KeyExport(directory, shards)
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
        stored = await self._operations.delete_users(
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
        stored, verified = await self._operations.verify(request.operation)
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
