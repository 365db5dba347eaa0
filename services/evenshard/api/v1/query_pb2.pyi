from evenshard.api.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueryOptions(_message.Message):
    __slots__ = ("include_duplicates", "allow_partial")
    INCLUDE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    include_duplicates: bool
    allow_partial: bool
    def __init__(self, include_duplicates: _Optional[bool] = ..., allow_partial: _Optional[bool] = ...) -> None: ...

class QuerySegmentationRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "events", "unit", "measure", "where", "by", "limit", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    events: _containers.RepeatedScalarFieldContainer[str]
    unit: str
    measure: str
    where: str
    by: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., events: _Optional[_Iterable[str]] = ..., unit: _Optional[str] = ..., measure: _Optional[str] = ..., where: _Optional[str] = ..., by: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

class GroupValue(_message.Message):
    __slots__ = ("string_value", "bool_value", "int64_value", "double_value", "json_value")
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_VALUE_FIELD_NUMBER: _ClassVar[int]
    string_value: str
    bool_value: bool
    int64_value: int
    double_value: float
    json_value: str
    def __init__(self, string_value: _Optional[str] = ..., bool_value: _Optional[bool] = ..., int64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., json_value: _Optional[str] = ...) -> None: ...

class SegmentationSeries(_message.Message):
    __slots__ = ("by", "values", "overall")
    BY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    by: _containers.RepeatedCompositeFieldContainer[GroupValue]
    values: _containers.RepeatedScalarFieldContainer[int]
    overall: int
    def __init__(self, by: _Optional[_Iterable[_Union[GroupValue, _Mapping]]] = ..., values: _Optional[_Iterable[int]] = ..., overall: _Optional[int] = ...) -> None: ...

class QuerySegmentationResponse(_message.Message):
    __slots__ = ("buckets", "series", "meta")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedScalarFieldContainer[str]
    series: _containers.RepeatedCompositeFieldContainer[SegmentationSeries]
    meta: _common_pb2.Meta
    def __init__(self, buckets: _Optional[_Iterable[str]] = ..., series: _Optional[_Iterable[_Union[SegmentationSeries, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class FunnelStep(_message.Message):
    __slots__ = ("events", "where")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[str]
    where: str
    def __init__(self, events: _Optional[_Iterable[str]] = ..., where: _Optional[str] = ...) -> None: ...

class QueryFunnelRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "steps", "window_ms", "order", "attempt", "count_mode", "by", "by_step", "limit", "where", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    COUNT_MODE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    BY_STEP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    steps: _containers.RepeatedCompositeFieldContainer[FunnelStep]
    window_ms: int
    order: str
    attempt: str
    count_mode: str
    by: _containers.RepeatedScalarFieldContainer[str]
    by_step: str
    limit: int
    where: str
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[FunnelStep, _Mapping]]] = ..., window_ms: _Optional[int] = ..., order: _Optional[str] = ..., attempt: _Optional[str] = ..., count_mode: _Optional[str] = ..., by: _Optional[_Iterable[str]] = ..., by_step: _Optional[str] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

class FunnelStepResult(_message.Message):
    __slots__ = ("step", "name", "count", "conversion_from_previous", "conversion_from_first", "avg_seconds_from_previous", "median_seconds_from_previous", "avg_seconds_from_first", "median_seconds_from_first")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    AVG_SECONDS_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SECONDS_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    AVG_SECONDS_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SECONDS_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    step: int
    name: str
    count: int
    conversion_from_previous: float
    conversion_from_first: float
    avg_seconds_from_previous: float
    median_seconds_from_previous: float
    avg_seconds_from_first: float
    median_seconds_from_first: float
    def __init__(self, step: _Optional[int] = ..., name: _Optional[str] = ..., count: _Optional[int] = ..., conversion_from_previous: _Optional[float] = ..., conversion_from_first: _Optional[float] = ..., avg_seconds_from_previous: _Optional[float] = ..., median_seconds_from_previous: _Optional[float] = ..., avg_seconds_from_first: _Optional[float] = ..., median_seconds_from_first: _Optional[float] = ...) -> None: ...

class FunnelSteps(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[FunnelStepResult]
    def __init__(self, steps: _Optional[_Iterable[_Union[FunnelStepResult, _Mapping]]] = ...) -> None: ...

class FunnelGroup(_message.Message):
    __slots__ = ("by", "steps")
    BY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    by: _containers.RepeatedCompositeFieldContainer[GroupValue]
    steps: _containers.RepeatedCompositeFieldContainer[FunnelStepResult]
    def __init__(self, by: _Optional[_Iterable[_Union[GroupValue, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[FunnelStepResult, _Mapping]]] = ...) -> None: ...

class QueryFunnelResponse(_message.Message):
    __slots__ = ("overall", "groups", "meta")
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    overall: FunnelSteps
    groups: _containers.RepeatedCompositeFieldContainer[FunnelGroup]
    meta: _common_pb2.Meta
    def __init__(self, overall: _Optional[_Union[FunnelSteps, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[FunnelGroup, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class ExportEventsRequest(_message.Message):
    __slots__ = ("tenant", "start_ms", "end_ms", "events", "format", "include_duplicates", "cursor")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    start_ms: int
    end_ms: int
    events: _containers.RepeatedScalarFieldContainer[str]
    format: str
    include_duplicates: bool
    cursor: str
    def __init__(self, tenant: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., events: _Optional[_Iterable[str]] = ..., format: _Optional[str] = ..., include_duplicates: _Optional[bool] = ..., cursor: _Optional[str] = ...) -> None: ...

class ExportEventsResponse(_message.Message):
    __slots__ = ("payload", "rows", "cursor", "warnings", "complete", "trace_id")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    rows: int
    cursor: str
    warnings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Warning]
    complete: bool
    trace_id: str
    def __init__(self, payload: _Optional[bytes] = ..., rows: _Optional[int] = ..., cursor: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[_common_pb2.Warning, _Mapping]]] = ..., complete: _Optional[bool] = ..., trace_id: _Optional[str] = ...) -> None: ...
