from evenshard.api.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeOptions(_message.Message):
    __slots__ = ("request_id", "dry_run", "expected_revision")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    dry_run: bool
    expected_revision: int
    def __init__(self, request_id: _Optional[str] = ..., dry_run: _Optional[bool] = ..., expected_revision: _Optional[int] = ...) -> None: ...

class TenantSettings(_message.Message):
    __slots__ = ("timezone", "dedupe", "strict", "hot_key_threshold", "hot_key_mode", "retention_days", "events_per_second", "bytes_per_second", "owners", "report_sink", "required_labels")
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    HOT_KEY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    HOT_KEY_MODE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_DAYS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    REPORT_SINK_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_LABELS_FIELD_NUMBER: _ClassVar[int]
    timezone: str
    dedupe: bool
    strict: bool
    hot_key_threshold: int
    hot_key_mode: str
    retention_days: int
    events_per_second: int
    bytes_per_second: int
    owners: Owners
    report_sink: str
    required_labels: RequiredLabels
    def __init__(self, timezone: _Optional[str] = ..., dedupe: _Optional[bool] = ..., strict: _Optional[bool] = ..., hot_key_threshold: _Optional[int] = ..., hot_key_mode: _Optional[str] = ..., retention_days: _Optional[int] = ..., events_per_second: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., owners: _Optional[_Union[Owners, _Mapping]] = ..., report_sink: _Optional[str] = ..., required_labels: _Optional[_Union[RequiredLabels, _Mapping]] = ...) -> None: ...

class RequiredLabels(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Owners(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Tenant(_message.Message):
    __slots__ = ("name", "settings", "placement", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings: TenantSettings
    placement: _common_pb2.Placement
    revision: int
    def __init__(self, name: _Optional[str] = ..., settings: _Optional[_Union[TenantSettings, _Mapping]] = ..., placement: _Optional[_Union[_common_pb2.Placement, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class CreateTenantRequest(_message.Message):
    __slots__ = ("tenant", "settings", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    settings: TenantSettings
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., settings: _Optional[_Union[TenantSettings, _Mapping]] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class CreateTenantResponse(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: Tenant
    def __init__(self, tenant: _Optional[_Union[Tenant, _Mapping]] = ...) -> None: ...

class UpdateTenantRequest(_message.Message):
    __slots__ = ("tenant", "settings", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    settings: TenantSettings
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., settings: _Optional[_Union[TenantSettings, _Mapping]] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class UpdateTenantResponse(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: Tenant
    def __init__(self, tenant: _Optional[_Union[Tenant, _Mapping]] = ...) -> None: ...

class GetTenantRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class GetTenantResponse(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: Tenant
    def __init__(self, tenant: _Optional[_Union[Tenant, _Mapping]] = ...) -> None: ...

class ListTenantsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTenantsResponse(_message.Message):
    __slots__ = ("tenants",)
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedCompositeFieldContainer[Tenant]
    def __init__(self, tenants: _Optional[_Iterable[_Union[Tenant, _Mapping]]] = ...) -> None: ...

class CompactTenantRequest(_message.Message):
    __slots__ = ("tenant", "day", "wait")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    day: str
    wait: bool
    def __init__(self, tenant: _Optional[str] = ..., day: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class CompactTenantResponse(_message.Message):
    __slots__ = ("segments_written", "rows", "duplicates_marked", "backlog_rows")
    SEGMENTS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_MARKED_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_ROWS_FIELD_NUMBER: _ClassVar[int]
    segments_written: int
    rows: int
    duplicates_marked: int
    backlog_rows: int
    def __init__(self, segments_written: _Optional[int] = ..., rows: _Optional[int] = ..., duplicates_marked: _Optional[int] = ..., backlog_rows: _Optional[int] = ...) -> None: ...

class SetCompactionRequest(_message.Message):
    __slots__ = ("tenant", "paused")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    paused: bool
    def __init__(self, tenant: _Optional[str] = ..., paused: _Optional[bool] = ...) -> None: ...

class SetCompactionResponse(_message.Message):
    __slots__ = ("shards",)
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[_common_pb2.CompactionState]
    def __init__(self, shards: _Optional[_Iterable[_Union[_common_pb2.CompactionState, _Mapping]]] = ...) -> None: ...

class GetStorageRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class TenantStorage(_message.Message):
    __slots__ = ("tenant", "log_rows", "segment_rows", "duplicate_rows", "segments", "files", "bytes")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOG_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_ROWS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    log_rows: int
    segment_rows: int
    duplicate_rows: int
    segments: int
    files: int
    bytes: int
    def __init__(self, tenant: _Optional[str] = ..., log_rows: _Optional[int] = ..., segment_rows: _Optional[int] = ..., duplicate_rows: _Optional[int] = ..., segments: _Optional[int] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetStorageResponse(_message.Message):
    __slots__ = ("tenants", "compaction", "memory")
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedCompositeFieldContainer[TenantStorage]
    compaction: _containers.RepeatedCompositeFieldContainer[_common_pb2.CompactionState]
    memory: _containers.RepeatedCompositeFieldContainer[_common_pb2.ShardMemory]
    def __init__(self, tenants: _Optional[_Iterable[_Union[TenantStorage, _Mapping]]] = ..., compaction: _Optional[_Iterable[_Union[_common_pb2.CompactionState, _Mapping]]] = ..., memory: _Optional[_Iterable[_Union[_common_pb2.ShardMemory, _Mapping]]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServiceState(_message.Message):
    __slots__ = ("name", "kind", "address", "status", "reason", "pid", "restarts", "rss_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    address: str
    status: str
    reason: str
    pid: int
    restarts: int
    rss_bytes: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., address: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., pid: _Optional[int] = ..., restarts: _Optional[int] = ..., rss_bytes: _Optional[int] = ...) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("healthy", "directory_revision", "services")
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    healthy: bool
    directory_revision: int
    services: _containers.RepeatedCompositeFieldContainer[ServiceState]
    def __init__(self, healthy: _Optional[bool] = ..., directory_revision: _Optional[int] = ..., services: _Optional[_Iterable[_Union[ServiceState, _Mapping]]] = ...) -> None: ...

class DeleteUsersRequest(_message.Message):
    __slots__ = ("tenant", "distinct_ids", "block", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_IDS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_ids: _containers.RepeatedScalarFieldContainer[str]
    block: bool
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., distinct_ids: _Optional[_Iterable[str]] = ..., block: _Optional[bool] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class DeleteUsersResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("operation", "kind", "tenant", "state", "paused", "rows_done", "rows_total", "bytes_done", "bytes_total", "lag_rows", "eta_seconds", "fenced_ms", "verify", "error", "requested_by", "created_ms", "changed_ms", "revision", "asked")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ROWS_DONE_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAG_ROWS_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FENCED_MS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    operation: str
    kind: str
    tenant: str
    state: str
    paused: bool
    rows_done: int
    rows_total: int
    bytes_done: int
    bytes_total: int
    lag_rows: int
    eta_seconds: float
    fenced_ms: float
    verify: OperationVerify
    error: str
    requested_by: str
    created_ms: int
    changed_ms: int
    revision: int
    asked: str
    def __init__(self, operation: _Optional[str] = ..., kind: _Optional[str] = ..., tenant: _Optional[str] = ..., state: _Optional[str] = ..., paused: _Optional[bool] = ..., rows_done: _Optional[int] = ..., rows_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., lag_rows: _Optional[int] = ..., eta_seconds: _Optional[float] = ..., fenced_ms: _Optional[float] = ..., verify: _Optional[_Union[OperationVerify, _Mapping]] = ..., error: _Optional[str] = ..., requested_by: _Optional[str] = ..., created_ms: _Optional[int] = ..., changed_ms: _Optional[int] = ..., revision: _Optional[int] = ..., asked: _Optional[str] = ...) -> None: ...

class OperationVerify(_message.Message):
    __slots__ = ("equal", "differences")
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    equal: bool
    differences: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, equal: _Optional[bool] = ..., differences: _Optional[_Iterable[str]] = ...) -> None: ...

class GetOperationRequest(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: str
    def __init__(self, operation: _Optional[str] = ...) -> None: ...

class GetOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("subject", "verb", "limit")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    subject: str
    verb: str
    limit: int
    def __init__(self, subject: _Optional[str] = ..., verb: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class AuditedChange(_message.Message):
    __slots__ = ("revision", "at_ms", "who", "verb", "subject", "before_json", "after_json")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_JSON_FIELD_NUMBER: _ClassVar[int]
    AFTER_JSON_FIELD_NUMBER: _ClassVar[int]
    revision: int
    at_ms: int
    who: str
    verb: str
    subject: str
    before_json: str
    after_json: str
    def __init__(self, revision: _Optional[int] = ..., at_ms: _Optional[int] = ..., who: _Optional[str] = ..., verb: _Optional[str] = ..., subject: _Optional[str] = ..., before_json: _Optional[str] = ..., after_json: _Optional[str] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("changes", "left_out")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[AuditedChange]
    left_out: int
    def __init__(self, changes: _Optional[_Iterable[_Union[AuditedChange, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class WaitOperationRequest(_message.Message):
    __slots__ = ("operation", "timeout_ms")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    timeout_ms: int
    def __init__(self, operation: _Optional[str] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class WaitOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class CancelOperationRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class CancelOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListShardsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShardState(_message.Message):
    __slots__ = ("shard", "address", "labels", "state", "load", "share", "reason")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    shard: str
    address: str
    labels: _containers.ScalarMap[str, str]
    state: str
    load: _common_pb2.ShardLoad
    share: float
    reason: str
    def __init__(self, shard: _Optional[str] = ..., address: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., state: _Optional[str] = ..., load: _Optional[_Union[_common_pb2.ShardLoad, _Mapping]] = ..., share: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Skew(_message.Message):
    __slots__ = ("of", "skew")
    OF_FIELD_NUMBER: _ClassVar[int]
    SKEW_FIELD_NUMBER: _ClassVar[int]
    of: str
    skew: float
    def __init__(self, of: _Optional[str] = ..., skew: _Optional[float] = ...) -> None: ...

class ListShardsResponse(_message.Message):
    __slots__ = ("shards", "load_of", "skew", "skews")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    LOAD_OF_FIELD_NUMBER: _ClassVar[int]
    SKEW_FIELD_NUMBER: _ClassVar[int]
    SKEWS_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[ShardState]
    load_of: str
    skew: float
    skews: _containers.RepeatedCompositeFieldContainer[Skew]
    def __init__(self, shards: _Optional[_Iterable[_Union[ShardState, _Mapping]]] = ..., load_of: _Optional[str] = ..., skew: _Optional[float] = ..., skews: _Optional[_Iterable[_Union[Skew, _Mapping]]] = ...) -> None: ...

class ClaimReportRequest(_message.Message):
    __slots__ = ("tenant", "week", "claimant")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    WEEK_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    week: str
    claimant: str
    def __init__(self, tenant: _Optional[str] = ..., week: _Optional[str] = ..., claimant: _Optional[str] = ...) -> None: ...

class ReportRecord(_message.Message):
    __slots__ = ("tenant", "week", "state", "sink", "hot_keys", "attempts", "error", "changed_ms", "claimant")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    WEEK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINK_FIELD_NUMBER: _ClassVar[int]
    HOT_KEYS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_MS_FIELD_NUMBER: _ClassVar[int]
    CLAIMANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    week: str
    state: str
    sink: str
    hot_keys: int
    attempts: int
    error: str
    changed_ms: int
    claimant: str
    def __init__(self, tenant: _Optional[str] = ..., week: _Optional[str] = ..., state: _Optional[str] = ..., sink: _Optional[str] = ..., hot_keys: _Optional[int] = ..., attempts: _Optional[int] = ..., error: _Optional[str] = ..., changed_ms: _Optional[int] = ..., claimant: _Optional[str] = ...) -> None: ...

class ClaimReportResponse(_message.Message):
    __slots__ = ("claimed", "record")
    CLAIMED_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    claimed: bool
    record: ReportRecord
    def __init__(self, claimed: _Optional[bool] = ..., record: _Optional[_Union[ReportRecord, _Mapping]] = ...) -> None: ...

class RecordReportRequest(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: ReportRecord
    def __init__(self, record: _Optional[_Union[ReportRecord, _Mapping]] = ...) -> None: ...

class RecordReportResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: ReportRecord
    def __init__(self, record: _Optional[_Union[ReportRecord, _Mapping]] = ...) -> None: ...

class RepairHotKeyRequest(_message.Message):
    __slots__ = ("tenant", "distinct_id", "from_date", "to_date", "action", "distinct_id_from", "include_earlier", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FROM_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EARLIER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_id: str
    from_date: str
    to_date: str
    action: str
    distinct_id_from: str
    include_earlier: bool
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., distinct_id: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., action: _Optional[str] = ..., distinct_id_from: _Optional[str] = ..., include_earlier: _Optional[bool] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class RepairHotKeyResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: RepairPlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[RepairPlan, _Mapping]] = ...) -> None: ...

class RepairPlan(_message.Message):
    __slots__ = ("kept_rows", "rewritten_rows", "bytes", "days", "examples", "left_rows", "left")
    KEPT_ROWS_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LEFT_ROWS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    kept_rows: int
    rewritten_rows: int
    bytes: int
    days: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedCompositeFieldContainer[RepairExample]
    left_rows: int
    left: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kept_rows: _Optional[int] = ..., rewritten_rows: _Optional[int] = ..., bytes: _Optional[int] = ..., days: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[_Union[RepairExample, _Mapping]]] = ..., left_rows: _Optional[int] = ..., left: _Optional[_Iterable[str]] = ...) -> None: ...

class RepairExample(_message.Message):
    __slots__ = ("before", "after")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    before: str
    after: str
    def __init__(self, before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class UndoRepairRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class UndoRepairResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ExportHotKeyRequest(_message.Message):
    __slots__ = ("tenant", "distinct_id", "from_date", "to_date", "distinct_id_from")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FROM_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_id: str
    from_date: str
    to_date: str
    distinct_id_from: str
    def __init__(self, tenant: _Optional[str] = ..., distinct_id: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., distinct_id_from: _Optional[str] = ...) -> None: ...

class ExportHotKeyResponse(_message.Message):
    __slots__ = ("lines", "rows")
    LINES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    rows: int
    def __init__(self, lines: _Optional[bytes] = ..., rows: _Optional[int] = ...) -> None: ...

class PauseOperationRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class PauseOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ResumeOperationRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class ResumeOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class VerifyOperationRequest(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: str
    def __init__(self, operation: _Optional[str] = ...) -> None: ...

class VerifyOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class PlannedMove(_message.Message):
    __slots__ = ("tenant", "first", "last", "source", "target", "overflow", "rows", "bytes", "reason")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    first: int
    last: int
    source: str
    target: str
    overflow: bool
    rows: int
    bytes: int
    reason: str
    def __init__(self, tenant: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., overflow: _Optional[bool] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PlannedLoad(_message.Message):
    __slots__ = ("shard", "rows_before", "rows_after")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROWS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ROWS_AFTER_FIELD_NUMBER: _ClassVar[int]
    shard: str
    rows_before: int
    rows_after: int
    def __init__(self, shard: _Optional[str] = ..., rows_before: _Optional[int] = ..., rows_after: _Optional[int] = ...) -> None: ...

class MovePlan(_message.Message):
    __slots__ = ("plan_id", "directory_revision", "moves", "skew_before", "skew_after", "expected_hold_ms", "expected_seconds", "loads")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_REVISION_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    SKEW_BEFORE_FIELD_NUMBER: _ClassVar[int]
    SKEW_AFTER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_HOLD_MS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    directory_revision: int
    moves: _containers.RepeatedCompositeFieldContainer[PlannedMove]
    skew_before: float
    skew_after: float
    expected_hold_ms: float
    expected_seconds: float
    loads: _containers.RepeatedCompositeFieldContainer[PlannedLoad]
    def __init__(self, plan_id: _Optional[str] = ..., directory_revision: _Optional[int] = ..., moves: _Optional[_Iterable[_Union[PlannedMove, _Mapping]]] = ..., skew_before: _Optional[float] = ..., skew_after: _Optional[float] = ..., expected_hold_ms: _Optional[float] = ..., expected_seconds: _Optional[float] = ..., loads: _Optional[_Iterable[_Union[PlannedLoad, _Mapping]]] = ...) -> None: ...

class WantedSlots(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class MoveTenantRequest(_message.Message):
    __slots__ = ("tenant", "to", "slots", "overflow", "bytes_per_second", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    to: str
    slots: WantedSlots
    overflow: bool
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., to: _Optional[str] = ..., slots: _Optional[_Union[WantedSlots, _Mapping]] = ..., overflow: _Optional[bool] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class MoveTenantResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class SplitTenantRequest(_message.Message):
    __slots__ = ("tenant", "to", "bytes_per_second", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    to: _containers.RepeatedScalarFieldContainer[str]
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., to: _Optional[_Iterable[str]] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class SplitTenantResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class MergeTenantRequest(_message.Message):
    __slots__ = ("tenant", "to", "bytes_per_second", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    to: str
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., to: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class MergeTenantResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class IsolateTenantRequest(_message.Message):
    __slots__ = ("tenant", "to", "bytes_per_second", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    to: str
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., to: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class IsolateTenantResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class RebalanceRequest(_message.Message):
    __slots__ = ("policy", "bytes_per_second", "options")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, policy: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class RebalanceResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class DrainShardRequest(_message.Message):
    __slots__ = ("shard", "bytes_per_second", "options")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    bytes_per_second: int
    options: ChangeOptions
    def __init__(self, shard: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class DrainShardResponse(_message.Message):
    __slots__ = ("operation", "plan")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    plan: MovePlan
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., plan: _Optional[_Union[MovePlan, _Mapping]] = ...) -> None: ...

class CordonShardRequest(_message.Message):
    __slots__ = ("shard", "options")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    options: ChangeOptions
    def __init__(self, shard: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class CordonShardResponse(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: ShardState
    def __init__(self, shard: _Optional[_Union[ShardState, _Mapping]] = ...) -> None: ...

class UncordonShardRequest(_message.Message):
    __slots__ = ("shard", "options")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    options: ChangeOptions
    def __init__(self, shard: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class UncordonShardResponse(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: ShardState
    def __init__(self, shard: _Optional[_Union[ShardState, _Mapping]] = ...) -> None: ...

class RollbackOperationRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class RollbackOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class CompleteOperationRequest(_message.Message):
    __slots__ = ("operation", "options")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    operation: str
    options: ChangeOptions
    def __init__(self, operation: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class CompleteOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class DeleteTenantRequest(_message.Message):
    __slots__ = ("tenant", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class DeleteTenantResponse(_message.Message):
    __slots__ = ("tenant", "kept_until_ms")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KEPT_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    tenant: Tenant
    kept_until_ms: int
    def __init__(self, tenant: _Optional[_Union[Tenant, _Mapping]] = ..., kept_until_ms: _Optional[int] = ...) -> None: ...

class UndeleteTenantRequest(_message.Message):
    __slots__ = ("tenant", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    options: ChangeOptions
    def __init__(self, tenant: _Optional[str] = ..., options: _Optional[_Union[ChangeOptions, _Mapping]] = ...) -> None: ...

class UndeleteTenantResponse(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: Tenant
    def __init__(self, tenant: _Optional[_Union[Tenant, _Mapping]] = ...) -> None: ...
