from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Warning(_message.Message):
    __slots__ = ("code", "message", "count")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    count: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class SlotRange(_message.Message):
    __slots__ = ("first", "last", "shard")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    shard: str
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., shard: _Optional[str] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("epoch", "slots", "overflow")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    slots: _containers.RepeatedCompositeFieldContainer[SlotRange]
    overflow: _containers.RepeatedCompositeFieldContainer[SlotRange]
    def __init__(self, epoch: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[SlotRange, _Mapping]]] = ..., overflow: _Optional[_Iterable[_Union[SlotRange, _Mapping]]] = ...) -> None: ...

class DuplicatesSkipped(_message.Message):
    __slots__ = ("log", "segment")
    LOG_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    log: int
    segment: int
    def __init__(self, log: _Optional[int] = ..., segment: _Optional[int] = ...) -> None: ...

class Meta(_message.Message):
    __slots__ = ("complete", "missing_shards", "placement_epoch", "data_version", "duplicates_skipped", "hot_events_rewritten", "rows_scanned", "bytes_scanned", "shards", "cache", "elapsed_ms", "trace_id", "warnings")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    MISSING_SHARDS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DATA_VERSION_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    HOT_EVENTS_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SCANNED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    missing_shards: _containers.RepeatedScalarFieldContainer[str]
    placement_epoch: int
    data_version: str
    duplicates_skipped: DuplicatesSkipped
    hot_events_rewritten: int
    rows_scanned: int
    bytes_scanned: int
    shards: int
    cache: str
    elapsed_ms: float
    trace_id: str
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, complete: _Optional[bool] = ..., missing_shards: _Optional[_Iterable[str]] = ..., placement_epoch: _Optional[int] = ..., data_version: _Optional[str] = ..., duplicates_skipped: _Optional[_Union[DuplicatesSkipped, _Mapping]] = ..., hot_events_rewritten: _Optional[int] = ..., rows_scanned: _Optional[int] = ..., bytes_scanned: _Optional[int] = ..., shards: _Optional[int] = ..., cache: _Optional[str] = ..., elapsed_ms: _Optional[float] = ..., trace_id: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class MemoryPart(_message.Message):
    __slots__ = ("part", "bytes", "bytes_max")
    PART_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    part: str
    bytes: int
    bytes_max: int
    def __init__(self, part: _Optional[str] = ..., bytes: _Optional[int] = ..., bytes_max: _Optional[int] = ...) -> None: ...

class ShardMemory(_message.Message):
    __slots__ = ("shard", "bytes_max", "resident_bytes", "resident_bytes_peak", "parts")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_PEAK_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    bytes_max: int
    resident_bytes: int
    resident_bytes_peak: int
    parts: _containers.RepeatedCompositeFieldContainer[MemoryPart]
    def __init__(self, shard: _Optional[str] = ..., bytes_max: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., resident_bytes_peak: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[MemoryPart, _Mapping]]] = ...) -> None: ...

class KeyLoad(_message.Message):
    __slots__ = ("tenant", "distinct_id", "events_per_second", "busy")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_id: str
    events_per_second: float
    busy: float
    def __init__(self, tenant: _Optional[str] = ..., distinct_id: _Optional[str] = ..., events_per_second: _Optional[float] = ..., busy: _Optional[float] = ...) -> None: ...

class ShardLoad(_message.Message):
    __slots__ = ("shard", "window_ms", "events_per_second", "queries_per_second", "query_p99_ms", "busy", "pending_bytes", "backlog_rows", "queries_running", "cpu", "read_bytes_per_second", "write_bytes_per_second", "rows", "bytes", "tenants", "keys", "disk_free_bytes")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    QUERIES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    QUERY_P99_MS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    PENDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_ROWS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_RUNNING_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    shard: str
    window_ms: float
    events_per_second: float
    queries_per_second: float
    query_p99_ms: float
    busy: float
    pending_bytes: int
    backlog_rows: int
    queries_running: int
    cpu: float
    read_bytes_per_second: float
    write_bytes_per_second: float
    rows: int
    bytes: int
    tenants: int
    keys: _containers.RepeatedCompositeFieldContainer[KeyLoad]
    disk_free_bytes: int
    def __init__(self, shard: _Optional[str] = ..., window_ms: _Optional[float] = ..., events_per_second: _Optional[float] = ..., queries_per_second: _Optional[float] = ..., query_p99_ms: _Optional[float] = ..., busy: _Optional[float] = ..., pending_bytes: _Optional[int] = ..., backlog_rows: _Optional[int] = ..., queries_running: _Optional[int] = ..., cpu: _Optional[float] = ..., read_bytes_per_second: _Optional[float] = ..., write_bytes_per_second: _Optional[float] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., tenants: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[KeyLoad, _Mapping]]] = ..., disk_free_bytes: _Optional[int] = ...) -> None: ...

class CompactionState(_message.Message):
    __slots__ = ("shard", "paused", "paused_tenants", "failing_tenants", "backlog_rows", "log_files", "log_kept_by")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_TENANTS_FIELD_NUMBER: _ClassVar[int]
    FAILING_TENANTS_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_ROWS_FIELD_NUMBER: _ClassVar[int]
    LOG_FILES_FIELD_NUMBER: _ClassVar[int]
    LOG_KEPT_BY_FIELD_NUMBER: _ClassVar[int]
    shard: str
    paused: bool
    paused_tenants: _containers.RepeatedScalarFieldContainer[str]
    failing_tenants: _containers.RepeatedScalarFieldContainer[str]
    backlog_rows: int
    log_files: int
    log_kept_by: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, shard: _Optional[str] = ..., paused: _Optional[bool] = ..., paused_tenants: _Optional[_Iterable[str]] = ..., failing_tenants: _Optional[_Iterable[str]] = ..., backlog_rows: _Optional[int] = ..., log_files: _Optional[int] = ..., log_kept_by: _Optional[_Iterable[str]] = ...) -> None: ...
