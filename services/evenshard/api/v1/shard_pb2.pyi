from evenshard.api.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FollowPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOLLOW_PHASE_UNSPECIFIED: _ClassVar[FollowPhase]
    FOLLOW_PHASE_COPYING: _ClassVar[FollowPhase]
    FOLLOW_PHASE_CATCHING_UP: _ClassVar[FollowPhase]

class CompareStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARE_STEP_UNSPECIFIED: _ClassVar[CompareStep]
    COMPARE_STEP_COUNT: _ClassVar[CompareStep]
    COMPARE_STEP_HOLD: _ClassVar[CompareStep]
    COMPARE_STEP_NOW: _ClassVar[CompareStep]
    COMPARE_STEP_END: _ClassVar[CompareStep]
FOLLOW_PHASE_UNSPECIFIED: FollowPhase
FOLLOW_PHASE_COPYING: FollowPhase
FOLLOW_PHASE_CATCHING_UP: FollowPhase
COMPARE_STEP_UNSPECIFIED: CompareStep
COMPARE_STEP_COUNT: CompareStep
COMPARE_STEP_HOLD: CompareStep
COMPARE_STEP_NOW: CompareStep
COMPARE_STEP_END: CompareStep

class AppendEventsRequest(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[TenantBatch]
    def __init__(self, batches: _Optional[_Iterable[_Union[TenantBatch, _Mapping]]] = ...) -> None: ...

class TenantBatch(_message.Message):
    __slots__ = ("tenant", "epoch", "arrow_ipc", "hot_bits")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    HOT_BITS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    arrow_ipc: bytes
    hot_bits: bytes
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., arrow_ipc: _Optional[bytes] = ..., hot_bits: _Optional[bytes] = ...) -> None: ...

class AppendEventsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TenantAppend]
    def __init__(self, results: _Optional[_Iterable[_Union[TenantAppend, _Mapping]]] = ...) -> None: ...

class TenantAppend(_message.Message):
    __slots__ = ("code", "message", "duplicate_bits", "duplicates", "position", "retry_after_ms", "sealed")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_BITS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    duplicate_bits: bytes
    duplicates: int
    position: int
    retry_after_ms: int
    sealed: _containers.RepeatedCompositeFieldContainer[KeyOfDay]
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., duplicate_bits: _Optional[bytes] = ..., duplicates: _Optional[int] = ..., position: _Optional[int] = ..., retry_after_ms: _Optional[int] = ..., sealed: _Optional[_Iterable[_Union[KeyOfDay, _Mapping]]] = ...) -> None: ...

class KeyOfDay(_message.Message):
    __slots__ = ("distinct_id", "day")
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    distinct_id: str
    day: int
    def __init__(self, distinct_id: _Optional[str] = ..., day: _Optional[int] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "scan", "known_tag", "split_users", "split_bytes_max")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TAG_FIELD_NUMBER: _ClassVar[int]
    SPLIT_USERS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    scan: bytes
    known_tag: str
    split_users: _containers.RepeatedScalarFieldContainer[str]
    split_bytes_max: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., scan: _Optional[bytes] = ..., known_tag: _Optional[str] = ..., split_users: _Optional[_Iterable[str]] = ..., split_bytes_max: _Optional[int] = ...) -> None: ...

class ScanStats(_message.Message):
    __slots__ = ("duplicates_skipped_log", "duplicates_skipped_segment", "rows_scanned", "bytes_scanned", "data_version", "hot_events_rewritten", "rows_given_up")
    DUPLICATES_SKIPPED_LOG_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_SKIPPED_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    BYTES_SCANNED_FIELD_NUMBER: _ClassVar[int]
    DATA_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOT_EVENTS_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    duplicates_skipped_log: int
    duplicates_skipped_segment: int
    rows_scanned: int
    bytes_scanned: int
    data_version: str
    hot_events_rewritten: int
    rows_given_up: int
    def __init__(self, duplicates_skipped_log: _Optional[int] = ..., duplicates_skipped_segment: _Optional[int] = ..., rows_scanned: _Optional[int] = ..., bytes_scanned: _Optional[int] = ..., data_version: _Optional[str] = ..., hot_events_rewritten: _Optional[int] = ..., rows_given_up: _Optional[int] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("partial", "stats", "tag", "unchanged", "split_rows", "split_users", "split_bytes")
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    SPLIT_ROWS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_USERS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    partial: bytes
    stats: ScanStats
    tag: str
    unchanged: bool
    split_rows: _containers.RepeatedScalarFieldContainer[bytes]
    split_users: _containers.RepeatedScalarFieldContainer[str]
    split_bytes: int
    def __init__(self, partial: _Optional[bytes] = ..., stats: _Optional[_Union[ScanStats, _Mapping]] = ..., tag: _Optional[str] = ..., unchanged: _Optional[bool] = ..., split_rows: _Optional[_Iterable[bytes]] = ..., split_users: _Optional[_Iterable[str]] = ..., split_bytes: _Optional[int] = ...) -> None: ...

class ScanRowsRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "start_ms", "end_ms", "events", "include_duplicates", "restore_hot")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    RESTORE_HOT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    start_ms: int
    end_ms: int
    events: _containers.RepeatedScalarFieldContainer[str]
    include_duplicates: bool
    restore_hot: bool
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., events: _Optional[_Iterable[str]] = ..., include_duplicates: _Optional[bool] = ..., restore_hot: _Optional[bool] = ...) -> None: ...

class ScanRowsResponse(_message.Message):
    __slots__ = ("arrow_ipc", "stats")
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    arrow_ipc: bytes
    stats: ScanStats
    def __init__(self, arrow_ipc: _Optional[bytes] = ..., stats: _Optional[_Union[ScanStats, _Mapping]] = ...) -> None: ...

class CompactRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "day", "wait")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    day: str
    wait: bool
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., day: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class CompactResponse(_message.Message):
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

class SetShardCompactionRequest(_message.Message):
    __slots__ = ("tenant", "paused")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    paused: bool
    def __init__(self, tenant: _Optional[str] = ..., paused: _Optional[bool] = ...) -> None: ...

class SetShardCompactionResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.CompactionState
    def __init__(self, state: _Optional[_Union[_common_pb2.CompactionState, _Mapping]] = ...) -> None: ...

class GetShardStorageRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class ShardTenantStorage(_message.Message):
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

class GetShardStorageResponse(_message.Message):
    __slots__ = ("tenants", "compaction", "memory")
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedCompositeFieldContainer[ShardTenantStorage]
    compaction: _common_pb2.CompactionState
    memory: _common_pb2.ShardMemory
    def __init__(self, tenants: _Optional[_Iterable[_Union[ShardTenantStorage, _Mapping]]] = ..., compaction: _Optional[_Union[_common_pb2.CompactionState, _Mapping]] = ..., memory: _Optional[_Union[_common_pb2.ShardMemory, _Mapping]] = ...) -> None: ...

class LearnEpochRequest(_message.Message):
    __slots__ = ("tenant", "epoch")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class LearnEpochResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SealKeyRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "key", "nonce", "hash_from")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FROM_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    key: KeyOfDay
    nonce: str
    hash_from: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., key: _Optional[_Union[KeyOfDay, _Mapping]] = ..., nonce: _Optional[str] = ..., hash_from: _Optional[int] = ...) -> None: ...

class SealKeyResponse(_message.Message):
    __slots__ = ("arrow_ipc", "hash_next")
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    HASH_NEXT_FIELD_NUMBER: _ClassVar[int]
    arrow_ipc: bytes
    hash_next: int
    def __init__(self, arrow_ipc: _Optional[bytes] = ..., hash_next: _Optional[int] = ...) -> None: ...

class KeepOriginalsRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "key", "nonce", "hash_from", "hash_next", "arrow_ipc")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FROM_FIELD_NUMBER: _ClassVar[int]
    HASH_NEXT_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    key: KeyOfDay
    nonce: str
    hash_from: int
    hash_next: int
    arrow_ipc: bytes
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., key: _Optional[_Union[KeyOfDay, _Mapping]] = ..., nonce: _Optional[str] = ..., hash_from: _Optional[int] = ..., hash_next: _Optional[int] = ..., arrow_ipc: _Optional[bytes] = ...) -> None: ...

class KeepOriginalsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordKeyRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "key", "nonce")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    key: KeyOfDay
    nonce: str
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., key: _Optional[_Union[KeyOfDay, _Mapping]] = ..., nonce: _Optional[str] = ...) -> None: ...

class RecordKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HideUsersRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "operation", "distinct_ids")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_IDS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    operation: str
    distinct_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., operation: _Optional[str] = ..., distinct_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class HideUsersResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    def __init__(self, rows: _Optional[int] = ...) -> None: ...

class RaiseHorizonRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "horizon_ms")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    horizon_ms: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., horizon_ms: _Optional[int] = ...) -> None: ...

class RaiseHorizonResponse(_message.Message):
    __slots__ = ("horizon_ms",)
    HORIZON_MS_FIELD_NUMBER: _ClassVar[int]
    horizon_ms: int
    def __init__(self, horizon_ms: _Optional[int] = ...) -> None: ...

class PurgeRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "operation")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    operation: str
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., operation: _Optional[str] = ...) -> None: ...

class PurgeResponse(_message.Message):
    __slots__ = ("purged", "rows_left", "rows_done", "waits_for")
    PURGED_FIELD_NUMBER: _ClassVar[int]
    ROWS_LEFT_FIELD_NUMBER: _ClassVar[int]
    ROWS_DONE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    purged: bool
    rows_left: int
    rows_done: int
    waits_for: str
    def __init__(self, purged: _Optional[bool] = ..., rows_left: _Optional[int] = ..., rows_done: _Optional[int] = ..., waits_for: _Optional[str] = ...) -> None: ...

class GetShardLoadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetShardLoadResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: _common_pb2.ShardLoad
    def __init__(self, load: _Optional[_Union[_common_pb2.ShardLoad, _Mapping]] = ...) -> None: ...

class KeyRows(_message.Message):
    __slots__ = ("distinct_id", "days", "rewritten_only", "distinct_id_from", "refused", "strict")
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FROM_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    distinct_id: str
    days: _containers.RepeatedScalarFieldContainer[int]
    rewritten_only: bool
    distinct_id_from: str
    refused: _containers.RepeatedScalarFieldContainer[str]
    strict: bool
    def __init__(self, distinct_id: _Optional[str] = ..., days: _Optional[_Iterable[int]] = ..., rewritten_only: _Optional[bool] = ..., distinct_id_from: _Optional[str] = ..., refused: _Optional[_Iterable[str]] = ..., strict: _Optional[bool] = ...) -> None: ...

class LookAtKeyRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "rows", "examples_max")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_MAX_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    rows: KeyRows
    examples_max: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., rows: _Optional[_Union[KeyRows, _Mapping]] = ..., examples_max: _Optional[int] = ...) -> None: ...

class KeyRowCount(_message.Message):
    __slots__ = ("rows", "bytes", "examples")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    rows: int
    bytes: int
    examples: bytes
    def __init__(self, rows: _Optional[int] = ..., bytes: _Optional[int] = ..., examples: _Optional[bytes] = ...) -> None: ...

class LookAtKeyResponse(_message.Message):
    __slots__ = ("kept", "rewritten", "left")
    KEPT_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    kept: KeyRowCount
    rewritten: KeyRowCount
    left: KeyRowCount
    def __init__(self, kept: _Optional[_Union[KeyRowCount, _Mapping]] = ..., rewritten: _Optional[_Union[KeyRowCount, _Mapping]] = ..., left: _Optional[_Union[KeyRowCount, _Mapping]] = ...) -> None: ...

class ReadKeyRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "rows", "layer")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    rows: KeyRows
    layer: str
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., rows: _Optional[_Union[KeyRows, _Mapping]] = ..., layer: _Optional[str] = ...) -> None: ...

class ReadKeyResponse(_message.Message):
    __slots__ = ("arrow_ipc",)
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    arrow_ipc: bytes
    def __init__(self, arrow_ipc: _Optional[bytes] = ...) -> None: ...

class TakeLayerRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "layer", "rows", "foreign_layer")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_LAYER_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    layer: str
    rows: KeyRows
    foreign_layer: str
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., layer: _Optional[str] = ..., rows: _Optional[_Union[KeyRows, _Mapping]] = ..., foreign_layer: _Optional[str] = ...) -> None: ...

class LayerTally(_message.Message):
    __slots__ = ("layer", "rows", "digest", "originals", "originals_digest", "bytes")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ORIGINALS_FIELD_NUMBER: _ClassVar[int]
    ORIGINALS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    layer: str
    rows: int
    digest: int
    originals: int
    originals_digest: int
    bytes: int
    def __init__(self, layer: _Optional[str] = ..., rows: _Optional[int] = ..., digest: _Optional[int] = ..., originals: _Optional[int] = ..., originals_digest: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class TakeLayerResponse(_message.Message):
    __slots__ = ("tally",)
    TALLY_FIELD_NUMBER: _ClassVar[int]
    tally: LayerTally
    def __init__(self, tally: _Optional[_Union[LayerTally, _Mapping]] = ...) -> None: ...

class BringRowsRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "layer", "origin", "arrow_ipc", "pieces")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    layer: str
    origin: str
    arrow_ipc: bytes
    pieces: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., layer: _Optional[str] = ..., origin: _Optional[str] = ..., arrow_ipc: _Optional[bytes] = ..., pieces: _Optional[int] = ...) -> None: ...

class BringRowsResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    def __init__(self, rows: _Optional[int] = ...) -> None: ...

class LayerChange(_message.Message):
    __slots__ = ("layer", "shown", "counts", "frees")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FREES_FIELD_NUMBER: _ClassVar[int]
    layer: str
    shown: bool
    counts: bool
    frees: str
    def __init__(self, layer: _Optional[str] = ..., shown: _Optional[bool] = ..., counts: _Optional[bool] = ..., frees: _Optional[str] = ...) -> None: ...

class PrepareRepairRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "operation", "changes")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    operation: str
    changes: _containers.RepeatedCompositeFieldContainer[LayerChange]
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., operation: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[LayerChange, _Mapping]]] = ...) -> None: ...

class PrepareRepairResponse(_message.Message):
    __slots__ = ("tallies",)
    TALLIES_FIELD_NUMBER: _ClassVar[int]
    tallies: _containers.RepeatedCompositeFieldContainer[LayerTally]
    def __init__(self, tallies: _Optional[_Iterable[_Union[LayerTally, _Mapping]]] = ...) -> None: ...

class SettleRepairsRequest(_message.Message):
    __slots__ = ("tenant", "epoch")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class SettleRepairsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TallyLayersRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "layers")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    layers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., layers: _Optional[_Iterable[str]] = ...) -> None: ...

class TallyLayersResponse(_message.Message):
    __slots__ = ("tallies",)
    TALLIES_FIELD_NUMBER: _ClassVar[int]
    tallies: _containers.RepeatedCompositeFieldContainer[LayerTally]
    def __init__(self, tallies: _Optional[_Iterable[_Union[LayerTally, _Mapping]]] = ...) -> None: ...

class DropLayersRequest(_message.Message):
    __slots__ = ("tenant", "epoch", "layers", "operation")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    epoch: int
    layers: _containers.RepeatedScalarFieldContainer[str]
    operation: str
    def __init__(self, tenant: _Optional[str] = ..., epoch: _Optional[int] = ..., layers: _Optional[_Iterable[str]] = ..., operation: _Optional[str] = ...) -> None: ...

class DropLayersResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SlotSpan(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class MovedSlots(_message.Message):
    __slots__ = ("tenant", "operation", "revision", "slots", "overflow")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    operation: str
    revision: int
    slots: _containers.RepeatedCompositeFieldContainer[SlotSpan]
    overflow: bool
    def __init__(self, tenant: _Optional[str] = ..., operation: _Optional[str] = ..., revision: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[SlotSpan, _Mapping]]] = ..., overflow: _Optional[bool] = ...) -> None: ...

class FollowSlotsRequest(_message.Message):
    __slots__ = ("moved", "epoch", "source", "source_address", "bytes_per_second", "from_position", "copies")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FROM_POSITION_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    epoch: int
    source: str
    source_address: str
    bytes_per_second: int
    from_position: int
    copies: int
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., epoch: _Optional[int] = ..., source: _Optional[str] = ..., source_address: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., from_position: _Optional[int] = ..., copies: _Optional[int] = ...) -> None: ...

class FollowSlotsResponse(_message.Message):
    __slots__ = ("phase", "rows_done", "rows_total", "bytes_done", "bytes_total", "lag_rows", "position", "error_code", "error")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ROWS_DONE_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAG_ROWS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    phase: FollowPhase
    rows_done: int
    rows_total: int
    bytes_done: int
    bytes_total: int
    lag_rows: int
    position: int
    error_code: str
    error: str
    def __init__(self, phase: _Optional[_Union[FollowPhase, str]] = ..., rows_done: _Optional[int] = ..., rows_total: _Optional[int] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., lag_rows: _Optional[int] = ..., position: _Optional[int] = ..., error_code: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class CopyRunsRequest(_message.Message):
    __slots__ = ("moved", "first_day", "position", "deletions_seen")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    FIRST_DAY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DELETIONS_SEEN_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    first_day: int
    position: int
    deletions_seen: int
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., first_day: _Optional[int] = ..., position: _Optional[int] = ..., deletions_seen: _Optional[int] = ...) -> None: ...

class CopyRunsResponse(_message.Message):
    __slots__ = ("strip", "segment", "data", "rows", "end")
    STRIP_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    strip: CopiedStrip
    segment: CopiedSegment
    data: bytes
    rows: CopiedRows
    end: CopiedEnd
    def __init__(self, strip: _Optional[_Union[CopiedStrip, _Mapping]] = ..., segment: _Optional[_Union[CopiedSegment, _Mapping]] = ..., data: _Optional[bytes] = ..., rows: _Optional[_Union[CopiedRows, _Mapping]] = ..., end: _Optional[_Union[CopiedEnd, _Mapping]] = ...) -> None: ...

class CopiedStrip(_message.Message):
    __slots__ = ("first_day", "last_day", "is_last", "position", "tail_first", "rows_total", "bytes_total", "deletions_seen")
    FIRST_DAY_FIELD_NUMBER: _ClassVar[int]
    LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIRST_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DELETIONS_SEEN_FIELD_NUMBER: _ClassVar[int]
    first_day: int
    last_day: int
    is_last: bool
    position: int
    tail_first: bool
    rows_total: int
    bytes_total: int
    deletions_seen: int
    def __init__(self, first_day: _Optional[int] = ..., last_day: _Optional[int] = ..., is_last: _Optional[bool] = ..., position: _Optional[int] = ..., tail_first: _Optional[bool] = ..., rows_total: _Optional[int] = ..., bytes_total: _Optional[int] = ..., deletions_seen: _Optional[int] = ...) -> None: ...

class CopiedSegment(_message.Message):
    __slots__ = ("info", "file_bytes")
    INFO_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    info: bytes
    file_bytes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, info: _Optional[bytes] = ..., file_bytes: _Optional[_Iterable[int]] = ...) -> None: ...

class CopiedRows(_message.Message):
    __slots__ = ("arrow_ipc",)
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    arrow_ipc: bytes
    def __init__(self, arrow_ipc: _Optional[bytes] = ...) -> None: ...

class CopiedEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TailLogRequest(_message.Message):
    __slots__ = ("moved", "position", "deletions_seen", "wait_ms")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DELETIONS_SEEN_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    position: int
    deletions_seen: int
    wait_ms: int
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., position: _Optional[int] = ..., deletions_seen: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class TailLogResponse(_message.Message):
    __slots__ = ("position", "rows", "deletion", "end_position", "held_version")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DELETION_FIELD_NUMBER: _ClassVar[int]
    END_POSITION_FIELD_NUMBER: _ClassVar[int]
    HELD_VERSION_FIELD_NUMBER: _ClassVar[int]
    position: int
    rows: CopiedRows
    deletion: CopiedDeletion
    end_position: int
    held_version: int
    def __init__(self, position: _Optional[int] = ..., rows: _Optional[_Union[CopiedRows, _Mapping]] = ..., deletion: _Optional[_Union[CopiedDeletion, _Mapping]] = ..., end_position: _Optional[int] = ..., held_version: _Optional[int] = ...) -> None: ...

class CopiedDeletion(_message.Message):
    __slots__ = ("seq", "operation", "users", "horizon_ms")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    operation: str
    users: _containers.RepeatedScalarFieldContainer[str]
    horizon_ms: int
    def __init__(self, seq: _Optional[int] = ..., operation: _Optional[str] = ..., users: _Optional[_Iterable[str]] = ..., horizon_ms: _Optional[int] = ...) -> None: ...

class CopyHeldKeysRequest(_message.Message):
    __slots__ = ("moved", "known")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    known: _containers.RepeatedCompositeFieldContainer[HeldKeyName]
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., known: _Optional[_Iterable[_Union[HeldKeyName, _Mapping]]] = ...) -> None: ...

class HeldKeyName(_message.Message):
    __slots__ = ("key", "nonce", "sealed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    key: KeyOfDay
    nonce: str
    sealed: bool
    def __init__(self, key: _Optional[_Union[KeyOfDay, _Mapping]] = ..., nonce: _Optional[str] = ..., sealed: _Optional[bool] = ...) -> None: ...

class CopyHeldKeysResponse(_message.Message):
    __slots__ = ("name", "has_hot_rows", "arrow_ipc")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HAS_HOT_ROWS_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    name: HeldKeyName
    has_hot_rows: bool
    arrow_ipc: bytes
    def __init__(self, name: _Optional[_Union[HeldKeyName, _Mapping]] = ..., has_hot_rows: _Optional[bool] = ..., arrow_ipc: _Optional[bytes] = ...) -> None: ...

class FenceSlotsRequest(_message.Message):
    __slots__ = ("moved", "epoch")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    epoch: int
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class FenceSlotsResponse(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: int
    def __init__(self, position: _Optional[int] = ...) -> None: ...

class LiftFenceRequest(_message.Message):
    __slots__ = ("moved",)
    MOVED_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ...) -> None: ...

class LiftFenceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDigestRequest(_message.Message):
    __slots__ = ("moved", "position", "with_cells", "agreed_files", "tell_files")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    WITH_CELLS_FIELD_NUMBER: _ClassVar[int]
    AGREED_FILES_FIELD_NUMBER: _ClassVar[int]
    TELL_FILES_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    position: int
    with_cells: bool
    agreed_files: _containers.RepeatedScalarFieldContainer[bytes]
    tell_files: bool
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., position: _Optional[int] = ..., with_cells: _Optional[bool] = ..., agreed_files: _Optional[_Iterable[bytes]] = ..., tell_files: _Optional[bool] = ...) -> None: ...

class DigestCell(_message.Message):
    __slots__ = ("slot", "day", "rows", "digest", "digest_high")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_HIGH_FIELD_NUMBER: _ClassVar[int]
    slot: int
    day: int
    rows: int
    digest: int
    digest_high: int
    def __init__(self, slot: _Optional[int] = ..., day: _Optional[int] = ..., rows: _Optional[int] = ..., digest: _Optional[int] = ..., digest_high: _Optional[int] = ...) -> None: ...

class GetDigestResponse(_message.Message):
    __slots__ = ("ready", "rows", "digest", "digest_high", "state_digest", "log_position", "cells", "files")
    READY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_HIGH_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOG_POSITION_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    rows: int
    digest: int
    digest_high: int
    state_digest: int
    log_position: int
    cells: _containers.RepeatedCompositeFieldContainer[DigestCell]
    files: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, ready: _Optional[bool] = ..., rows: _Optional[int] = ..., digest: _Optional[int] = ..., digest_high: _Optional[int] = ..., state_digest: _Optional[int] = ..., log_position: _Optional[int] = ..., cells: _Optional[_Iterable[_Union[DigestCell, _Mapping]]] = ..., files: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CompareSlotsRequest(_message.Message):
    __slots__ = ("moved", "step", "position", "agreed_files", "tell_files")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    AGREED_FILES_FIELD_NUMBER: _ClassVar[int]
    TELL_FILES_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    step: CompareStep
    position: int
    agreed_files: _containers.RepeatedScalarFieldContainer[bytes]
    tell_files: bool
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., step: _Optional[_Union[CompareStep, str]] = ..., position: _Optional[int] = ..., agreed_files: _Optional[_Iterable[bytes]] = ..., tell_files: _Optional[bool] = ...) -> None: ...

class CompareSlotsResponse(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: GetDigestResponse
    def __init__(self, digest: _Optional[_Union[GetDigestResponse, _Mapping]] = ...) -> None: ...

class EndFollowingRequest(_message.Message):
    __slots__ = ("moved",)
    MOVED_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ...) -> None: ...

class EndFollowingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DropSlotsRequest(_message.Message):
    __slots__ = ("moved", "epoch")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    moved: MovedSlots
    epoch: int
    def __init__(self, moved: _Optional[_Union[MovedSlots, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class DropSlotsResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    def __init__(self, rows: _Optional[int] = ...) -> None: ...

class DropTenantRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class DropTenantResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    def __init__(self, rows: _Optional[int] = ...) -> None: ...
