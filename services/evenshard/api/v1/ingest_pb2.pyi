from evenshard.api.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Compression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NONE: _ClassVar[Compression]
    GZIP: _ClassVar[Compression]
    ZSTD: _ClassVar[Compression]
NONE: Compression
GZIP: Compression
ZSTD: Compression

class ImportEventsRequest(_message.Message):
    __slots__ = ("tenant", "arrow_ipc", "ndjson", "rows", "compression", "strict")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    NDJSON_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    arrow_ipc: bytes
    ndjson: bytes
    rows: EventRows
    compression: Compression
    strict: bool
    def __init__(self, tenant: _Optional[str] = ..., arrow_ipc: _Optional[bytes] = ..., ndjson: _Optional[bytes] = ..., rows: _Optional[_Union[EventRows, _Mapping]] = ..., compression: _Optional[_Union[Compression, str]] = ..., strict: _Optional[bool] = ...) -> None: ...

class EventRows(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[EventRow]
    def __init__(self, rows: _Optional[_Iterable[_Union[EventRow, _Mapping]]] = ...) -> None: ...

class EventRow(_message.Message):
    __slots__ = ("event", "distinct_id", "time_ms", "insert_id", "properties")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    INSERT_ID_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    event: str
    distinct_id: str
    time_ms: int
    insert_id: str
    properties: _containers.RepeatedCompositeFieldContainer[Property]
    def __init__(self, event: _Optional[str] = ..., distinct_id: _Optional[str] = ..., time_ms: _Optional[int] = ..., insert_id: _Optional[str] = ..., properties: _Optional[_Iterable[_Union[Property, _Mapping]]] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: Value
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("null", "bool", "int64", "double", "string", "json")
    NULL_FIELD_NUMBER: _ClassVar[int]
    BOOL_FIELD_NUMBER: _ClassVar[int]
    INT64_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_FIELD_NUMBER: _ClassVar[int]
    STRING_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    null: bool
    bool: bool
    int64: int
    double: float
    string: str
    json: str
    def __init__(self, null: _Optional[bool] = ..., bool: _Optional[bool] = ..., int64: _Optional[int] = ..., double: _Optional[float] = ..., string: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class RejectedEvent(_message.Message):
    __slots__ = ("index", "tenant", "insert_id", "field", "code", "message", "retryable")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    INSERT_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    index: int
    tenant: str
    insert_id: str
    field: str
    code: str
    message: str
    retryable: bool
    def __init__(self, index: _Optional[int] = ..., tenant: _Optional[str] = ..., insert_id: _Optional[str] = ..., field: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class TenantCounts(_message.Message):
    __slots__ = ("tenant", "accepted", "duplicates", "hot_events_rewritten", "rejected")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    HOT_EVENTS_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    accepted: int
    duplicates: int
    hot_events_rewritten: int
    rejected: int
    def __init__(self, tenant: _Optional[str] = ..., accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., hot_events_rewritten: _Optional[int] = ..., rejected: _Optional[int] = ...) -> None: ...

class ImportEventsResponse(_message.Message):
    __slots__ = ("accepted", "duplicates", "hot_events_rewritten", "rejected", "errors", "by_tenant", "warnings", "trace_id", "retry_after_ms")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    HOT_EVENTS_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    BY_TENANT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    duplicates: int
    hot_events_rewritten: int
    rejected: int
    errors: _containers.RepeatedCompositeFieldContainer[RejectedEvent]
    by_tenant: _containers.RepeatedCompositeFieldContainer[TenantCounts]
    warnings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Warning]
    trace_id: str
    retry_after_ms: int
    def __init__(self, accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., hot_events_rewritten: _Optional[int] = ..., rejected: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[RejectedEvent, _Mapping]]] = ..., by_tenant: _Optional[_Iterable[_Union[TenantCounts, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[_common_pb2.Warning, _Mapping]]] = ..., trace_id: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
