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

class ListTracesRequest(_message.Message):
    __slots__ = ("trace_ids", "limit", "failed", "background", "own")
    TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    trace_ids: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    failed: bool
    background: bool
    own: bool
    def __init__(self, trace_ids: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., failed: _Optional[bool] = ..., background: _Optional[bool] = ..., own: _Optional[bool] = ...) -> None: ...

class AttributeValue(_message.Message):
    __slots__ = ("string_value", "int_value", "double_value", "bool_value")
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    string_value: str
    int_value: int
    double_value: float
    bool_value: bool
    def __init__(self, string_value: _Optional[str] = ..., int_value: _Optional[int] = ..., double_value: _Optional[float] = ..., bool_value: _Optional[bool] = ...) -> None: ...

class SpanLink(_message.Message):
    __slots__ = ("trace_id", "span_id")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    span_id: str
    def __init__(self, trace_id: _Optional[str] = ..., span_id: _Optional[str] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("trace_id", "span_id", "parent_span_id", "name", "service", "start_unix_ns", "end_unix_ns", "failed", "attributes", "links")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AttributeValue, _Mapping]] = ...) -> None: ...
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    END_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    service: str
    start_unix_ns: int
    end_unix_ns: int
    failed: bool
    attributes: _containers.MessageMap[str, AttributeValue]
    links: _containers.RepeatedCompositeFieldContainer[SpanLink]
    def __init__(self, trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., parent_span_id: _Optional[str] = ..., name: _Optional[str] = ..., service: _Optional[str] = ..., start_unix_ns: _Optional[int] = ..., end_unix_ns: _Optional[int] = ..., failed: _Optional[bool] = ..., attributes: _Optional[_Mapping[str, AttributeValue]] = ..., links: _Optional[_Iterable[_Union[SpanLink, _Mapping]]] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("trace_id", "root", "duration_ms", "spans", "linked")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    LINKED_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    root: str
    duration_ms: float
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    linked: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, trace_id: _Optional[str] = ..., root: _Optional[str] = ..., duration_ms: _Optional[float] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., linked: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class ListTracesResponse(_message.Message):
    __slots__ = ("traces", "missing")
    TRACES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[Trace]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, traces: _Optional[_Iterable[_Union[Trace, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class KeepTracesRequest(_message.Message):
    __slots__ = ("span_ids",)
    SPAN_IDS_FIELD_NUMBER: _ClassVar[int]
    span_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, span_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class KeepTracesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
