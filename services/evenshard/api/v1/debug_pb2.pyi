from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListSlowQueriesRequest(_message.Message):
    __slots__ = ("by", "limit", "tenant", "each")
    BY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EACH_FIELD_NUMBER: _ClassVar[int]
    by: str
    limit: int
    tenant: str
    each: bool
    def __init__(self, by: _Optional[str] = ..., limit: _Optional[int] = ..., tenant: _Optional[str] = ..., each: _Optional[bool] = ...) -> None: ...

class SlowQuery(_message.Message):
    __slots__ = ("at_ms", "place", "tenant", "kind", "event", "rows", "wait_ms", "run_ms", "trace_id", "failed")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    RUN_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    place: str
    tenant: str
    kind: str
    event: str
    rows: int
    wait_ms: float
    run_ms: float
    trace_id: str
    failed: bool
    def __init__(self, at_ms: _Optional[int] = ..., place: _Optional[str] = ..., tenant: _Optional[str] = ..., kind: _Optional[str] = ..., event: _Optional[str] = ..., rows: _Optional[int] = ..., wait_ms: _Optional[float] = ..., run_ms: _Optional[float] = ..., trace_id: _Optional[str] = ..., failed: _Optional[bool] = ...) -> None: ...

class SlowQueryGroup(_message.Message):
    __slots__ = ("place", "tenant", "kind", "event", "count", "p99_ms", "max_ms", "wait_p99_ms", "run_p99_ms", "rows")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_P99_MS_FIELD_NUMBER: _ClassVar[int]
    RUN_P99_MS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    place: str
    tenant: str
    kind: str
    event: str
    count: int
    p99_ms: float
    max_ms: float
    wait_p99_ms: float
    run_p99_ms: float
    rows: int
    def __init__(self, place: _Optional[str] = ..., tenant: _Optional[str] = ..., kind: _Optional[str] = ..., event: _Optional[str] = ..., count: _Optional[int] = ..., p99_ms: _Optional[float] = ..., max_ms: _Optional[float] = ..., wait_p99_ms: _Optional[float] = ..., run_p99_ms: _Optional[float] = ..., rows: _Optional[int] = ...) -> None: ...

class ListSlowQueriesResponse(_message.Message):
    __slots__ = ("shards", "gateways", "queries", "missing")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[SlowQueryGroup]
    gateways: _containers.RepeatedCompositeFieldContainer[SlowQueryGroup]
    queries: _containers.RepeatedCompositeFieldContainer[SlowQuery]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, shards: _Optional[_Iterable[_Union[SlowQueryGroup, _Mapping]]] = ..., gateways: _Optional[_Iterable[_Union[SlowQueryGroup, _Mapping]]] = ..., queries: _Optional[_Iterable[_Union[SlowQuery, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...
