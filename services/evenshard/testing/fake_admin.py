"""What a fake cluster's operators ask: it keeps their words, and answers as if it had done them."""

import json
import threading
from collections.abc import Iterator
from typing import Any

from evenshard.api.v1 import admin_pb2, admin_pb2_grpc, common_pb2
from evenshard.errors import EvenshardError
from evenshard.testing.fake_calls import refuse
from evenshard.testing.fake_state import FakeState


class FakeAdmin(admin_pb2_grpc.AdminServiceServicer):
    def __init__(self, cluster: FakeState) -> None:
        self.cluster = cluster

    def CreateTenant(self, request: Any, context: Any) -> Any:
        if self.cluster.create_script:
            refuse(context, self.cluster.create_script.pop(0))
        self.cluster.created.append(request.tenant)
        if request.tenant in self.cluster.tenants:
            refuse(context, EvenshardError("TENANT_EXISTS", f"{request.tenant!r} exists"))
        return admin_pb2.CreateTenantResponse(tenant=self.cluster.add_tenant(request.tenant, request.settings))

    def UpdateTenant(self, request: Any, context: Any) -> Any:
        tenant = self._found(request.tenant, context)
        if request.settings.HasField("owners"):  # they are replaced, not added to
            tenant.settings.ClearField("owners")
        if request.settings.HasField("required_labels"):
            tenant.settings.ClearField("required_labels")
        tenant.settings.MergeFrom(request.settings)
        return admin_pb2.UpdateTenantResponse(tenant=tenant)

    def GetTenant(self, request: Any, context: Any) -> Any:
        return admin_pb2.GetTenantResponse(tenant=self._found(request.tenant, context))

    def ListTenants(self, request: Any, context: Any) -> Any:
        tenants = self.cluster.tenants
        return admin_pb2.ListTenantsResponse(tenants=[tenants[name] for name in sorted(tenants)])

    def CompactTenant(self, request: Any, context: Any) -> Any:
        self._found(request.tenant, context)
        rows = len(self.cluster.rows_of(request.tenant))
        return admin_pb2.CompactTenantResponse(segments_written=1, rows=rows, duplicates_marked=2, backlog_rows=0)

    def SetCompaction(self, request: Any, context: Any) -> Any:
        if request.tenant:
            self._found(request.tenant, context)
        change = self.cluster.paused.add if request.paused else self.cluster.paused.discard
        change(request.tenant)
        return admin_pb2.SetCompactionResponse(shards=[self._compaction()])

    def _compaction(self) -> common_pb2.CompactionState:
        paused = sorted(self.cluster.paused - {""})
        return common_pb2.CompactionState(
            shard="shard-0", paused="" in self.cluster.paused, paused_tenants=paused, backlog_rows=7, log_files=1
        )

    def GetStorage(self, request: Any, context: Any) -> Any:
        names = [request.tenant] if request.tenant else sorted(self.cluster.tenants)
        return admin_pb2.GetStorageResponse(
            tenants=[
                admin_pb2.TenantStorage(tenant=name, log_rows=len(self.cluster.rows_of(name)), files=3, bytes=4096)
                for name in names
            ],
            compaction=[self._compaction()],
        )

    def DeleteUsers(self, request: Any, context: Any) -> Any:
        self._found(request.tenant, context)
        self.cluster.deletions.append(request)
        if not request.distinct_ids[0]:
            refuse(context, EvenshardError("QUERY_INVALID", "the empty distinct_id is nobody's"))
        if self.cluster.deletion_errors and not request.options.dry_run:
            refuse(context, self.cluster.deletion_errors.pop(0))
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}",
            kind="delete-users",
            tenant=request.tenant,
            state="running",
            rows_total=7,
            requested_by="development",
        )
        if not request.options.dry_run:
            self.cluster.operations[operation.operation] = operation
        return admin_pb2.DeleteUsersResponse(operation=operation)

    def GetOperation(self, request: Any, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.kind == "move" and len(self.cluster.move_states) > 1:
            operation.state = self.cluster.move_states.pop(1)
        return admin_pb2.GetOperationResponse(operation=operation)

    def ListOperations(self, request: Any, context: Any) -> Any:
        found = [each for each in self.cluster.operations.values() if request.tenant in ("", each.tenant)]
        return admin_pb2.ListOperationsResponse(operations=found[::-1])

    def ListAudit(self, request: Any, context: Any) -> Any:
        """One change, and what was asked for as its subject and verb."""
        change = admin_pb2.AuditedChange(
            revision=12,
            at_ms=1_767_225_600_000,
            who="development",
            verb=request.verb or "update-tenant",
            subject=request.subject or "acme",
            before_json='{"strict": false, "epoch": 1}',
            after_json='{"strict": true, "epoch": 1}',
        )
        return admin_pb2.ListAuditResponse(changes=[change], left_out=max(0, 3 - request.limit))

    def WaitOperation(self, request: Any, context: Any) -> Any:
        """As ``waits`` says: "" it goes on (after the time given), else the state in which it ends."""
        operation = self._operation(request.operation, context)
        self.cluster.waits_asked_ms.append(request.timeout_ms)
        state = self.cluster.waits.pop(0) if self.cluster.waits else "complete"
        if state:
            operation.state, operation.rows_done = state, operation.rows_total
        else:
            threading.Event().wait(request.timeout_ms / 1000)
        return admin_pb2.WaitOperationResponse(operation=operation)

    def CancelOperation(self, request: Any, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.state != "planned":
            refuse(context, EvenshardError("OPERATION_STATE", f"it is {operation.state}"))
        if not request.options.dry_run:
            operation.state = "cancelled"
        return admin_pb2.CancelOperationResponse(operation=operation)

    def MoveTenant(self, request: Any, context: Any) -> Any:
        """To ``shard-9`` nobody can go."""
        self._found(request.tenant, context)
        self.cluster.moves.append(request)
        if request.to == "shard-9":
            refuse(context, EvenshardError("SHARD_NOT_FOUND", "there is no shard 'shard-9'"))
        moved = admin_pb2.PlannedMove(
            tenant=request.tenant,
            first=0,
            last=2047,
            source="shard-0",
            target=request.to,
            rows=7,
            bytes=900,
            reason="x",
        )
        plan = admin_pb2.MovePlan(
            plan_id="p",
            directory_revision=5,
            moves=[moved],
            skew_before=2.0,
            skew_after=1.0,
            expected_hold_ms=100,
            expected_seconds=0.5,
            loads=[
                admin_pb2.PlannedLoad(shard="shard-0", rows_before=7),
                admin_pb2.PlannedLoad(shard="s", rows_after=7),
            ],
        )
        if request.options.dry_run:
            return admin_pb2.MoveTenantResponse(plan=plan)
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}",
            kind="move",
            tenant=request.tenant,
            state=self.cluster.move_states[0],
            rows_done=3,
            rows_total=7,
            bytes_total=900,
            requested_by="development",
        )
        self.cluster.operations[operation.operation] = operation
        return admin_pb2.MoveTenantResponse(operation=operation, plan=plan)

    def RollbackOperation(self, request: Any, context: Any) -> Any:
        """A drain that goes on goes back by itself."""
        operation = self._operation(request.operation, context)
        if (operation.kind, operation.state) == ("drain", "running"):
            operation.error = operation.error if request.options.dry_run else "is being rolled back"
            return admin_pb2.RollbackOperationResponse(operation=operation)
        return admin_pb2.RollbackOperationResponse(operation=self._ended(request, "rolled_back", context))

    def CompleteOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.CompleteOperationResponse(operation=self._ended(request, "complete", context))

    def _ended(self, request: Any, state: str, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.state != "switched":
            refuse(context, EvenshardError("OPERATION_STATE", f"it is {operation.state}"))
        if not request.options.dry_run:
            operation.state = state
        return operation

    def CordonShard(self, request: Any, context: Any) -> Any:
        shard = admin_pb2.ShardState(shard=request.shard, address="127.0.0.1:1", state="cordoned")
        return admin_pb2.CordonShardResponse(shard=shard)

    def DeleteTenant(self, request: Any, context: Any) -> Any:
        tenant = self._found(request.tenant, context)
        if not request.options.dry_run:
            del self.cluster.tenants[request.tenant]
        return admin_pb2.DeleteTenantResponse(tenant=tenant, kept_until_ms=1_767_225_600_000)

    def RepairHotKey(self, request: Any, context: Any) -> Any:
        """The key ``hot`` is one; of ``many`` there is another repair."""
        self._found(request.tenant, context)
        self.cluster.repairs.append(request)
        if request.distinct_id == "many":
            refuse(context, EvenshardError("OPERATION_CONFLICT", "operation op-0 is repairing it"))
        if request.distinct_id != "hot":
            refuse(context, EvenshardError("HOT_KEY_NOT_FOUND", f"{request.distinct_id!r} is not hot"))
        before = '{"event":"$hotshard_events","properties":{"distinct_id":"","mp_original_event_name":"e"}}'
        after = '{"event":"e","properties":{"distinct_id":"u"}}' if request.action != "delete" else ""
        plan = admin_pb2.RepairPlan(
            kept_rows=5,
            rewritten_rows=7,
            bytes=1200,
            days=[request.from_date],
            examples=[admin_pb2.RepairExample(before=before, after=after)],
            left_rows=1,
            left=['{"event":"e","properties":{"distinct_id":"hot"}}'],
        )
        operation = self._begun("repair", request)
        return admin_pb2.RepairHotKeyResponse(operation=operation, plan=plan)

    def UndoRepair(self, request: Any, context: Any) -> Any:
        self._operation(request.operation, context)
        return admin_pb2.UndoRepairResponse(operation=self._begun("repair-undo", request))

    def ExportHotKey(self, request: Any, context: Any) -> Iterator[Any]:
        self._found(request.tenant, context)
        for number in range(2):
            line = json.dumps({"event": "e", "properties": {"distinct_id": request.distinct_id_from, "n": number}})
            yield admin_pb2.ExportHotKeyResponse(lines=line.encode() + b"\n", rows=1)

    def PauseOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.PauseOperationResponse(operation=self._held(request, context, paused=True))

    def ResumeOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.ResumeOperationResponse(operation=self._held(request, context, paused=False))

    def VerifyOperation(self, request: Any, context: Any) -> Any:
        operation = admin_pb2.Operation()
        operation.CopyFrom(self._operation(request.operation, context))
        operation.verify.CopyFrom(self.cluster.verified)
        return admin_pb2.VerifyOperationResponse(operation=operation)

    def _begun(self, kind: str, request: Any) -> Any:
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}", kind=kind, tenant="acme", state="planned", rows_total=7
        )
        if not request.options.dry_run:
            self.cluster.operations[operation.operation] = operation
        return operation

    def _held(self, request: Any, context: Any, *, paused: bool) -> Any:
        operation = self._operation(request.operation, context)
        if not request.options.dry_run:
            operation.paused = paused
        return operation

    def _operation(self, name: str, context: Any) -> Any:
        if name not in self.cluster.operations:
            refuse(context, EvenshardError("OPERATION_NOT_FOUND", f"no operation {name!r}"))
        return self.cluster.operations[name]

    def _found(self, name: str, context: Any) -> Any:
        if name not in self.cluster.tenants:
            refuse(context, EvenshardError("TENANT_NOT_FOUND", f"no tenant {name!r}"))
        return self.cluster.tenants[name]
