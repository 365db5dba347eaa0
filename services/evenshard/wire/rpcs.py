"""Every remote procedure of the protos, as ``Peers`` takes it. A test compares this list with the protos."""

from evenshard.api.v1 import admin_pb2, counter_pb2, debug_pb2, ingest_pb2, query_pb2, shard_pb2
from evenshard.ports.peers import Rpc

INGEST_SERVICE = "evenshard.v1.IngestService"
QUERY_SERVICE = "evenshard.v1.QueryService"
ADMIN_SERVICE = "evenshard.v1.AdminService"
SHARD_SERVICE = "evenshard.v1.ShardService"
COUNTER_SERVICE = "evenshard.v1.CounterService"
DEBUG_SERVICE = "evenshard.v1.DebugService"

IMPORT_EVENTS = Rpc(
    f"/{INGEST_SERVICE}/ImportEvents",
    ingest_pb2.ImportEventsRequest,
    ingest_pb2.ImportEventsResponse,
)

QUERY_SEGMENTATION = Rpc(
    f"/{QUERY_SERVICE}/QuerySegmentation",
    query_pb2.QuerySegmentationRequest,
    query_pb2.QuerySegmentationResponse,
)
QUERY_FUNNEL = Rpc(f"/{QUERY_SERVICE}/QueryFunnel", query_pb2.QueryFunnelRequest, query_pb2.QueryFunnelResponse)
QUERY_RETENTION = Rpc(
    f"/{QUERY_SERVICE}/QueryRetention", query_pb2.QueryRetentionRequest, query_pb2.QueryRetentionResponse
)
QUERY_FLOWS = Rpc(f"/{QUERY_SERVICE}/QueryFlows", query_pb2.QueryFlowsRequest, query_pb2.QueryFlowsResponse)
GET_TIMELINE = Rpc(f"/{QUERY_SERVICE}/GetTimeline", query_pb2.GetTimelineRequest, query_pb2.GetTimelineResponse)
GET_SCHEMA = Rpc(f"/{QUERY_SERVICE}/GetSchema", query_pb2.GetSchemaRequest, query_pb2.GetSchemaResponse)
SAVE_COHORT = Rpc(f"/{QUERY_SERVICE}/SaveCohort", query_pb2.SaveCohortRequest, query_pb2.SaveCohortResponse)
LIST_COHORTS = Rpc(f"/{QUERY_SERVICE}/ListCohorts", query_pb2.ListCohortsRequest, query_pb2.ListCohortsResponse)
DELETE_COHORT = Rpc(f"/{QUERY_SERVICE}/DeleteCohort", query_pb2.DeleteCohortRequest, query_pb2.DeleteCohortResponse)
EXPORT_EVENTS = Rpc(
    f"/{QUERY_SERVICE}/ExportEvents",
    query_pb2.ExportEventsRequest,
    query_pb2.ExportEventsResponse,
)
"""A server stream."""

CREATE_TENANT = Rpc(
    f"/{ADMIN_SERVICE}/CreateTenant",
    admin_pb2.CreateTenantRequest,
    admin_pb2.CreateTenantResponse,
)
UPDATE_TENANT = Rpc(
    f"/{ADMIN_SERVICE}/UpdateTenant",
    admin_pb2.UpdateTenantRequest,
    admin_pb2.UpdateTenantResponse,
)
GET_TENANT = Rpc(f"/{ADMIN_SERVICE}/GetTenant", admin_pb2.GetTenantRequest, admin_pb2.GetTenantResponse)
LIST_TENANTS = Rpc(f"/{ADMIN_SERVICE}/ListTenants", admin_pb2.ListTenantsRequest, admin_pb2.ListTenantsResponse)
COMPACT_TENANT = Rpc(
    f"/{ADMIN_SERVICE}/CompactTenant",
    admin_pb2.CompactTenantRequest,
    admin_pb2.CompactTenantResponse,
)
SET_COMPACTION = Rpc(
    f"/{ADMIN_SERVICE}/SetCompaction",
    admin_pb2.SetCompactionRequest,
    admin_pb2.SetCompactionResponse,
)
GET_STORAGE = Rpc(f"/{ADMIN_SERVICE}/GetStorage", admin_pb2.GetStorageRequest, admin_pb2.GetStorageResponse)
DELETE_USERS = Rpc(f"/{ADMIN_SERVICE}/DeleteUsers", admin_pb2.DeleteUsersRequest, admin_pb2.DeleteUsersResponse)
GET_OPERATION = Rpc(f"/{ADMIN_SERVICE}/GetOperation", admin_pb2.GetOperationRequest, admin_pb2.GetOperationResponse)
LIST_OPERATIONS = Rpc(
    f"/{ADMIN_SERVICE}/ListOperations",
    admin_pb2.ListOperationsRequest,
    admin_pb2.ListOperationsResponse,
)
LIST_AUDIT = Rpc(f"/{ADMIN_SERVICE}/ListAudit", admin_pb2.ListAuditRequest, admin_pb2.ListAuditResponse)
WAIT_OPERATION = Rpc(f"/{ADMIN_SERVICE}/WaitOperation", admin_pb2.WaitOperationRequest, admin_pb2.WaitOperationResponse)
CANCEL_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/CancelOperation",
    admin_pb2.CancelOperationRequest,
    admin_pb2.CancelOperationResponse,
)
LIST_SHARDS = Rpc(f"/{ADMIN_SERVICE}/ListShards", admin_pb2.ListShardsRequest, admin_pb2.ListShardsResponse)
CLAIM_REPORT = Rpc(f"/{ADMIN_SERVICE}/ClaimReport", admin_pb2.ClaimReportRequest, admin_pb2.ClaimReportResponse)
RECORD_REPORT = Rpc(f"/{ADMIN_SERVICE}/RecordReport", admin_pb2.RecordReportRequest, admin_pb2.RecordReportResponse)
REPAIR_HOT_KEY = Rpc(f"/{ADMIN_SERVICE}/RepairHotKey", admin_pb2.RepairHotKeyRequest, admin_pb2.RepairHotKeyResponse)
UNDO_REPAIR = Rpc(f"/{ADMIN_SERVICE}/UndoRepair", admin_pb2.UndoRepairRequest, admin_pb2.UndoRepairResponse)
EXPORT_HOT_KEY = Rpc(f"/{ADMIN_SERVICE}/ExportHotKey", admin_pb2.ExportHotKeyRequest, admin_pb2.ExportHotKeyResponse)
"""A server stream."""
PAUSE_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/PauseOperation", admin_pb2.PauseOperationRequest, admin_pb2.PauseOperationResponse
)
RESUME_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/ResumeOperation", admin_pb2.ResumeOperationRequest, admin_pb2.ResumeOperationResponse
)
VERIFY_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/VerifyOperation", admin_pb2.VerifyOperationRequest, admin_pb2.VerifyOperationResponse
)
MOVE_TENANT = Rpc(f"/{ADMIN_SERVICE}/MoveTenant", admin_pb2.MoveTenantRequest, admin_pb2.MoveTenantResponse)
SPLIT_TENANT = Rpc(f"/{ADMIN_SERVICE}/SplitTenant", admin_pb2.SplitTenantRequest, admin_pb2.SplitTenantResponse)
MERGE_TENANT = Rpc(f"/{ADMIN_SERVICE}/MergeTenant", admin_pb2.MergeTenantRequest, admin_pb2.MergeTenantResponse)
ISOLATE_TENANT = Rpc(f"/{ADMIN_SERVICE}/IsolateTenant", admin_pb2.IsolateTenantRequest, admin_pb2.IsolateTenantResponse)
REBALANCE = Rpc(f"/{ADMIN_SERVICE}/Rebalance", admin_pb2.RebalanceRequest, admin_pb2.RebalanceResponse)
CORDON_SHARD = Rpc(f"/{ADMIN_SERVICE}/CordonShard", admin_pb2.CordonShardRequest, admin_pb2.CordonShardResponse)
UNCORDON_SHARD = Rpc(f"/{ADMIN_SERVICE}/UncordonShard", admin_pb2.UncordonShardRequest, admin_pb2.UncordonShardResponse)
DRAIN_SHARD = Rpc(f"/{ADMIN_SERVICE}/DrainShard", admin_pb2.DrainShardRequest, admin_pb2.DrainShardResponse)
ROLLBACK_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/RollbackOperation", admin_pb2.RollbackOperationRequest, admin_pb2.RollbackOperationResponse
)
COMPLETE_OPERATION = Rpc(
    f"/{ADMIN_SERVICE}/CompleteOperation", admin_pb2.CompleteOperationRequest, admin_pb2.CompleteOperationResponse
)
DELETE_TENANT = Rpc(f"/{ADMIN_SERVICE}/DeleteTenant", admin_pb2.DeleteTenantRequest, admin_pb2.DeleteTenantResponse)
UNDELETE_TENANT = Rpc(
    f"/{ADMIN_SERVICE}/UndeleteTenant", admin_pb2.UndeleteTenantRequest, admin_pb2.UndeleteTenantResponse
)
LIST_SERVICES = Rpc(f"/{ADMIN_SERVICE}/ListServices", admin_pb2.ListServicesRequest, admin_pb2.ListServicesResponse)

APPEND_EVENTS = Rpc(f"/{SHARD_SERVICE}/AppendEvents", shard_pb2.AppendEventsRequest, shard_pb2.AppendEventsResponse)
SCAN = Rpc(f"/{SHARD_SERVICE}/Scan", shard_pb2.ScanRequest, shard_pb2.ScanResponse)
SCAN_ROWS = Rpc(f"/{SHARD_SERVICE}/ScanRows", shard_pb2.ScanRowsRequest, shard_pb2.ScanRowsResponse)
"""A server stream."""
COMPACT = Rpc(f"/{SHARD_SERVICE}/Compact", shard_pb2.CompactRequest, shard_pb2.CompactResponse)
SET_SHARD_COMPACTION = Rpc(
    f"/{SHARD_SERVICE}/SetShardCompaction",
    shard_pb2.SetShardCompactionRequest,
    shard_pb2.SetShardCompactionResponse,
)
LEARN_EPOCH = Rpc(f"/{SHARD_SERVICE}/LearnEpoch", shard_pb2.LearnEpochRequest, shard_pb2.LearnEpochResponse)
SEAL_KEY = Rpc(f"/{SHARD_SERVICE}/SealKey", shard_pb2.SealKeyRequest, shard_pb2.SealKeyResponse)
KEEP_ORIGINALS = Rpc(
    f"/{SHARD_SERVICE}/KeepOriginals",
    shard_pb2.KeepOriginalsRequest,
    shard_pb2.KeepOriginalsResponse,
)
RECORD_KEY = Rpc(f"/{SHARD_SERVICE}/RecordKey", shard_pb2.RecordKeyRequest, shard_pb2.RecordKeyResponse)
HIDE_USERS = Rpc(f"/{SHARD_SERVICE}/HideUsers", shard_pb2.HideUsersRequest, shard_pb2.HideUsersResponse)
RAISE_HORIZON = Rpc(f"/{SHARD_SERVICE}/RaiseHorizon", shard_pb2.RaiseHorizonRequest, shard_pb2.RaiseHorizonResponse)
PURGE = Rpc(f"/{SHARD_SERVICE}/Purge", shard_pb2.PurgeRequest, shard_pb2.PurgeResponse)
LOOK_AT_KEY = Rpc(f"/{SHARD_SERVICE}/LookAtKey", shard_pb2.LookAtKeyRequest, shard_pb2.LookAtKeyResponse)
READ_KEY = Rpc(f"/{SHARD_SERVICE}/ReadKey", shard_pb2.ReadKeyRequest, shard_pb2.ReadKeyResponse)
"""A server stream."""
TAKE_LAYER = Rpc(f"/{SHARD_SERVICE}/TakeLayer", shard_pb2.TakeLayerRequest, shard_pb2.TakeLayerResponse)
BRING_ROWS = Rpc(f"/{SHARD_SERVICE}/BringRows", shard_pb2.BringRowsRequest, shard_pb2.BringRowsResponse)
PREPARE_REPAIR = Rpc(
    f"/{SHARD_SERVICE}/PrepareRepair",
    shard_pb2.PrepareRepairRequest,
    shard_pb2.PrepareRepairResponse,
)
SETTLE_REPAIRS = Rpc(
    f"/{SHARD_SERVICE}/SettleRepairs",
    shard_pb2.SettleRepairsRequest,
    shard_pb2.SettleRepairsResponse,
)
TALLY_LAYERS = Rpc(f"/{SHARD_SERVICE}/TallyLayers", shard_pb2.TallyLayersRequest, shard_pb2.TallyLayersResponse)
DROP_LAYERS = Rpc(f"/{SHARD_SERVICE}/DropLayers", shard_pb2.DropLayersRequest, shard_pb2.DropLayersResponse)
FOLLOW_SLOTS = Rpc(f"/{SHARD_SERVICE}/FollowSlots", shard_pb2.FollowSlotsRequest, shard_pb2.FollowSlotsResponse)
COPY_RUNS = Rpc(f"/{SHARD_SERVICE}/CopyRuns", shard_pb2.CopyRunsRequest, shard_pb2.CopyRunsResponse)
"""A server stream."""
TAIL_LOG = Rpc(f"/{SHARD_SERVICE}/TailLog", shard_pb2.TailLogRequest, shard_pb2.TailLogResponse)
"""A server stream."""
COPY_HELD_KEYS = Rpc(f"/{SHARD_SERVICE}/CopyHeldKeys", shard_pb2.CopyHeldKeysRequest, shard_pb2.CopyHeldKeysResponse)
"""A server stream."""
FENCE_SLOTS = Rpc(f"/{SHARD_SERVICE}/FenceSlots", shard_pb2.FenceSlotsRequest, shard_pb2.FenceSlotsResponse)
LIFT_FENCE = Rpc(f"/{SHARD_SERVICE}/LiftFence", shard_pb2.LiftFenceRequest, shard_pb2.LiftFenceResponse)
COMPARE_SLOTS = Rpc(f"/{SHARD_SERVICE}/CompareSlots", shard_pb2.CompareSlotsRequest, shard_pb2.CompareSlotsResponse)
GET_DIGEST = Rpc(f"/{SHARD_SERVICE}/GetDigest", shard_pb2.GetDigestRequest, shard_pb2.GetDigestResponse)
END_FOLLOWING = Rpc(f"/{SHARD_SERVICE}/EndFollowing", shard_pb2.EndFollowingRequest, shard_pb2.EndFollowingResponse)
DROP_SLOTS = Rpc(f"/{SHARD_SERVICE}/DropSlots", shard_pb2.DropSlotsRequest, shard_pb2.DropSlotsResponse)
DROP_TENANT = Rpc(f"/{SHARD_SERVICE}/DropTenant", shard_pb2.DropTenantRequest, shard_pb2.DropTenantResponse)
GET_SHARD_STORAGE = Rpc(
    f"/{SHARD_SERVICE}/GetShardStorage",
    shard_pb2.GetShardStorageRequest,
    shard_pb2.GetShardStorageResponse,
)
GET_SHARD_LOAD = Rpc(f"/{SHARD_SERVICE}/GetShardLoad", shard_pb2.GetShardLoadRequest, shard_pb2.GetShardLoadResponse)

COUNT_EVENTS = Rpc(f"/{COUNTER_SERVICE}/CountEvents", counter_pb2.CountEventsRequest, counter_pb2.CountEventsResponse)
GET_COUNTS = Rpc(f"/{COUNTER_SERVICE}/GetCounts", counter_pb2.GetCountsRequest, counter_pb2.GetCountsResponse)
FORGET_USERS = Rpc(f"/{COUNTER_SERVICE}/ForgetUsers", counter_pb2.ForgetUsersRequest, counter_pb2.ForgetUsersResponse)
LIST_HOT_KEYS = Rpc(f"/{COUNTER_SERVICE}/ListHotKeys", counter_pb2.ListHotKeysRequest, counter_pb2.ListHotKeysResponse)
GET_HOT_KEY_REPORT = Rpc(
    f"/{COUNTER_SERVICE}/GetHotKeyReport",
    counter_pb2.GetHotKeyReportRequest,
    counter_pb2.GetHotKeyReportResponse,
)

LIST_SLOW_QUERIES = Rpc(
    f"/{DEBUG_SERVICE}/ListSlowQueries",
    debug_pb2.ListSlowQueriesRequest,
    debug_pb2.ListSlowQueriesResponse,
)
LIST_TRACES = Rpc(f"/{DEBUG_SERVICE}/ListTraces", debug_pb2.ListTracesRequest, debug_pb2.ListTracesResponse)
KEEP_TRACES = Rpc(f"/{DEBUG_SERVICE}/KeepTraces", debug_pb2.KeepTracesRequest, debug_pb2.KeepTracesResponse)
