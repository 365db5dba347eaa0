from evenshard.api.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueryOptions(_message.Message):
    __slots__ = ("include_duplicates", "allow_partial", "restore_hot", "no_cache")
    INCLUDE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    RESTORE_HOT_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    include_duplicates: bool
    allow_partial: bool
    restore_hot: bool
    no_cache: bool
    def __init__(self, include_duplicates: _Optional[bool] = ..., allow_partial: _Optional[bool] = ..., restore_hot: _Optional[bool] = ..., no_cache: _Optional[bool] = ...) -> None: ...

class QuerySegmentationRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "events", "unit", "measure", "property", "where", "by", "limit", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    PROPERTY_FIELD_NUMBER: _ClassVar[int]
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
    property: str
    where: str
    by: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., events: _Optional[_Iterable[str]] = ..., unit: _Optional[str] = ..., measure: _Optional[str] = ..., property: _Optional[str] = ..., where: _Optional[str] = ..., by: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

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

class MeasureValue(_message.Message):
    __slots__ = ("int64_value", "double_value")
    INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    int64_value: int
    double_value: float
    def __init__(self, int64_value: _Optional[int] = ..., double_value: _Optional[float] = ...) -> None: ...

class SegmentationSeries(_message.Message):
    __slots__ = ("by", "values", "overall")
    BY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    by: _containers.RepeatedCompositeFieldContainer[GroupValue]
    values: _containers.RepeatedCompositeFieldContainer[MeasureValue]
    overall: MeasureValue
    def __init__(self, by: _Optional[_Iterable[_Union[GroupValue, _Mapping]]] = ..., values: _Optional[_Iterable[_Union[MeasureValue, _Mapping]]] = ..., overall: _Optional[_Union[MeasureValue, _Mapping]] = ...) -> None: ...

class QuerySegmentationResponse(_message.Message):
    __slots__ = ("buckets", "series", "meta", "incomplete_buckets")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedScalarFieldContainer[str]
    series: _containers.RepeatedCompositeFieldContainer[SegmentationSeries]
    meta: _common_pb2.Meta
    incomplete_buckets: int
    def __init__(self, buckets: _Optional[_Iterable[str]] = ..., series: _Optional[_Iterable[_Union[SegmentationSeries, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ..., incomplete_buckets: _Optional[int] = ...) -> None: ...

class FunnelStep(_message.Message):
    __slots__ = ("events", "where")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[str]
    where: str
    def __init__(self, events: _Optional[_Iterable[str]] = ..., where: _Optional[str] = ...) -> None: ...

class FunnelExclusion(_message.Message):
    __slots__ = ("events", "where", "after_step", "before_step")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    BEFORE_STEP_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[str]
    where: str
    after_step: int
    before_step: int
    def __init__(self, events: _Optional[_Iterable[str]] = ..., where: _Optional[str] = ..., after_step: _Optional[int] = ..., before_step: _Optional[int] = ...) -> None: ...

class QueryFunnelRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "steps", "window_ms", "order", "attempt", "count_mode", "strict_increase", "exclusions", "exclude_user", "hold_constant", "by", "by_step", "limit", "where", "options", "explain_user")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    COUNT_MODE_FIELD_NUMBER: _ClassVar[int]
    STRICT_INCREASE_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_USER_FIELD_NUMBER: _ClassVar[int]
    HOLD_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    BY_STEP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_USER_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    steps: _containers.RepeatedCompositeFieldContainer[FunnelStep]
    window_ms: int
    order: str
    attempt: str
    count_mode: str
    strict_increase: bool
    exclusions: _containers.RepeatedCompositeFieldContainer[FunnelExclusion]
    exclude_user: bool
    hold_constant: _containers.RepeatedScalarFieldContainer[str]
    by: _containers.RepeatedScalarFieldContainer[str]
    by_step: str
    limit: int
    where: str
    options: QueryOptions
    explain_user: str
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[FunnelStep, _Mapping]]] = ..., window_ms: _Optional[int] = ..., order: _Optional[str] = ..., attempt: _Optional[str] = ..., count_mode: _Optional[str] = ..., strict_increase: _Optional[bool] = ..., exclusions: _Optional[_Iterable[_Union[FunnelExclusion, _Mapping]]] = ..., exclude_user: _Optional[bool] = ..., hold_constant: _Optional[_Iterable[str]] = ..., by: _Optional[_Iterable[str]] = ..., by_step: _Optional[str] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ..., explain_user: _Optional[str] = ...) -> None: ...

class HistogramBar(_message.Message):
    __slots__ = ("up_to_seconds", "count")
    UP_TO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    up_to_seconds: float
    count: int
    def __init__(self, up_to_seconds: _Optional[float] = ..., count: _Optional[int] = ...) -> None: ...

class FunnelStepResult(_message.Message):
    __slots__ = ("step", "name", "count", "conversion_from_previous", "conversion_from_first", "avg_seconds_from_previous", "median_seconds_from_previous", "avg_seconds_from_first", "median_seconds_from_first", "histogram")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CONVERSION_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    AVG_SECONDS_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SECONDS_FROM_PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    AVG_SECONDS_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SECONDS_FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    step: int
    name: str
    count: int
    conversion_from_previous: float
    conversion_from_first: float
    avg_seconds_from_previous: float
    median_seconds_from_previous: float
    avg_seconds_from_first: float
    median_seconds_from_first: float
    histogram: _containers.RepeatedCompositeFieldContainer[HistogramBar]
    def __init__(self, step: _Optional[int] = ..., name: _Optional[str] = ..., count: _Optional[int] = ..., conversion_from_previous: _Optional[float] = ..., conversion_from_first: _Optional[float] = ..., avg_seconds_from_previous: _Optional[float] = ..., median_seconds_from_previous: _Optional[float] = ..., avg_seconds_from_first: _Optional[float] = ..., median_seconds_from_first: _Optional[float] = ..., histogram: _Optional[_Iterable[_Union[HistogramBar, _Mapping]]] = ...) -> None: ...

class ExplainedEvent(_message.Message):
    __slots__ = ("event", "time_ms", "insert_id", "step", "reason")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    INSERT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    event: str
    time_ms: int
    insert_id: str
    step: int
    reason: str
    def __init__(self, event: _Optional[str] = ..., time_ms: _Optional[int] = ..., insert_id: _Optional[str] = ..., step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("overall", "groups", "meta", "explain")
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    overall: FunnelSteps
    groups: _containers.RepeatedCompositeFieldContainer[FunnelGroup]
    meta: _common_pb2.Meta
    explain: _containers.RepeatedCompositeFieldContainer[ExplainedEvent]
    def __init__(self, overall: _Optional[_Union[FunnelSteps, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[FunnelGroup, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ..., explain: _Optional[_Iterable[_Union[ExplainedEvent, _Mapping]]] = ...) -> None: ...

class QueryRetentionRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "birth", "unit", "buckets", "mode", "align", "birth_scope", "by", "limit", "where", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    BIRTH_FIELD_NUMBER: _ClassVar[int]
    RETURN_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ALIGN_FIELD_NUMBER: _ClassVar[int]
    BIRTH_SCOPE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    birth: FunnelStep
    unit: str
    buckets: int
    mode: str
    align: str
    birth_scope: str
    by: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    where: str
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., birth: _Optional[_Union[FunnelStep, _Mapping]] = ..., unit: _Optional[str] = ..., buckets: _Optional[int] = ..., mode: _Optional[str] = ..., align: _Optional[str] = ..., birth_scope: _Optional[str] = ..., by: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., where: _Optional[str] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ..., **kwargs) -> None: ...

class RetentionCohort(_message.Message):
    __slots__ = ("start", "size", "returned", "incomplete")
    START_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    start: str
    size: int
    returned: _containers.RepeatedScalarFieldContainer[int]
    incomplete: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, start: _Optional[str] = ..., size: _Optional[int] = ..., returned: _Optional[_Iterable[int]] = ..., incomplete: _Optional[_Iterable[bool]] = ...) -> None: ...

class RetentionShare(_message.Message):
    __slots__ = ("share",)
    SHARE_FIELD_NUMBER: _ClassVar[int]
    share: float
    def __init__(self, share: _Optional[float] = ...) -> None: ...

class RetentionGroup(_message.Message):
    __slots__ = ("by", "cohorts", "average")
    BY_FIELD_NUMBER: _ClassVar[int]
    COHORTS_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    by: _containers.RepeatedCompositeFieldContainer[GroupValue]
    cohorts: _containers.RepeatedCompositeFieldContainer[RetentionCohort]
    average: _containers.RepeatedCompositeFieldContainer[RetentionShare]
    def __init__(self, by: _Optional[_Iterable[_Union[GroupValue, _Mapping]]] = ..., cohorts: _Optional[_Iterable[_Union[RetentionCohort, _Mapping]]] = ..., average: _Optional[_Iterable[_Union[RetentionShare, _Mapping]]] = ...) -> None: ...

class QueryRetentionResponse(_message.Message):
    __slots__ = ("cohorts", "average", "groups", "meta")
    COHORTS_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    cohorts: _containers.RepeatedCompositeFieldContainer[RetentionCohort]
    average: _containers.RepeatedCompositeFieldContainer[RetentionShare]
    groups: _containers.RepeatedCompositeFieldContainer[RetentionGroup]
    meta: _common_pb2.Meta
    def __init__(self, cohorts: _Optional[_Iterable[_Union[RetentionCohort, _Mapping]]] = ..., average: _Optional[_Iterable[_Union[RetentionShare, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[RetentionGroup, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class QueryFlowsRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "anchor", "direction", "steps", "window_ms", "session", "top", "collapse_repeats", "where", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    COLLAPSE_REPEATS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    anchor: FunnelStep
    direction: str
    steps: int
    window_ms: int
    session: bool
    top: int
    collapse_repeats: bool
    where: str
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., anchor: _Optional[_Union[FunnelStep, _Mapping]] = ..., direction: _Optional[str] = ..., steps: _Optional[int] = ..., window_ms: _Optional[int] = ..., session: _Optional[bool] = ..., top: _Optional[int] = ..., collapse_repeats: _Optional[bool] = ..., where: _Optional[str] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

class FlowNode(_message.Message):
    __slots__ = ("step", "name", "count", "dropoff")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPOFF_FIELD_NUMBER: _ClassVar[int]
    step: int
    name: str
    count: int
    dropoff: int
    def __init__(self, step: _Optional[int] = ..., name: _Optional[str] = ..., count: _Optional[int] = ..., dropoff: _Optional[int] = ...) -> None: ...

class FlowEdge(_message.Message):
    __slots__ = ("step", "to", "count")
    STEP_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    step: int
    to: str
    count: int
    def __init__(self, step: _Optional[int] = ..., to: _Optional[str] = ..., count: _Optional[int] = ..., **kwargs) -> None: ...

class QueryFlowsResponse(_message.Message):
    __slots__ = ("anchors", "nodes", "edges", "meta")
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    anchors: int
    nodes: _containers.RepeatedCompositeFieldContainer[FlowNode]
    edges: _containers.RepeatedCompositeFieldContainer[FlowEdge]
    meta: _common_pb2.Meta
    def __init__(self, anchors: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[FlowNode, _Mapping]]] = ..., edges: _Optional[_Iterable[_Union[FlowEdge, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class GetTimelineRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "user", "where", "page_size", "page_token", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    user: str
    where: str
    page_size: int
    page_token: str
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., user: _Optional[str] = ..., where: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

class GetTimelineResponse(_message.Message):
    __slots__ = ("events", "next_page_token", "meta")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    meta: _common_pb2.Meta
    def __init__(self, events: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class GetSchemaRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "include_hidden", "options")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_HIDDEN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    include_hidden: bool
    options: QueryOptions
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., include_hidden: _Optional[bool] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ...) -> None: ...

class SchemaEvent(_message.Message):
    __slots__ = ("name", "display_name", "count", "hidden")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    count: int
    hidden: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., count: _Optional[int] = ..., hidden: _Optional[bool] = ...) -> None: ...

class SchemaProperty(_message.Message):
    __slots__ = ("name", "display_name", "types", "top_values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    TOP_VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    types: _containers.RepeatedScalarFieldContainer[str]
    top_values: _containers.RepeatedCompositeFieldContainer[GroupValue]
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., top_values: _Optional[_Iterable[_Union[GroupValue, _Mapping]]] = ...) -> None: ...

class GetSchemaResponse(_message.Message):
    __slots__ = ("events", "properties", "meta")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[SchemaEvent]
    properties: _containers.RepeatedCompositeFieldContainer[SchemaProperty]
    meta: _common_pb2.Meta
    def __init__(self, events: _Optional[_Iterable[_Union[SchemaEvent, _Mapping]]] = ..., properties: _Optional[_Iterable[_Union[SchemaProperty, _Mapping]]] = ..., meta: _Optional[_Union[_common_pb2.Meta, _Mapping]] = ...) -> None: ...

class CohortDid(_message.Message):
    __slots__ = ("step", "at_least")
    STEP_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    step: FunnelStep
    at_least: int
    def __init__(self, step: _Optional[_Union[FunnelStep, _Mapping]] = ..., at_least: _Optional[int] = ...) -> None: ...

class CohortFunnel(_message.Message):
    __slots__ = ("funnel", "reached")
    FUNNEL_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    funnel: QueryFunnelRequest
    reached: int
    def __init__(self, funnel: _Optional[_Union[QueryFunnelRequest, _Mapping]] = ..., reached: _Optional[int] = ...) -> None: ...

class CohortDefinition(_message.Message):
    __slots__ = ("from_date", "to_date", "did", "did_not", "funnel")
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    DID_FIELD_NUMBER: _ClassVar[int]
    DID_NOT_FIELD_NUMBER: _ClassVar[int]
    FUNNEL_FIELD_NUMBER: _ClassVar[int]
    from_date: str
    to_date: str
    did: _containers.RepeatedCompositeFieldContainer[CohortDid]
    did_not: _containers.RepeatedCompositeFieldContainer[FunnelStep]
    funnel: CohortFunnel
    def __init__(self, from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., did: _Optional[_Iterable[_Union[CohortDid, _Mapping]]] = ..., did_not: _Optional[_Iterable[_Union[FunnelStep, _Mapping]]] = ..., funnel: _Optional[_Union[CohortFunnel, _Mapping]] = ...) -> None: ...

class Cohort(_message.Message):
    __slots__ = ("name", "version", "definition", "users")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    definition: CohortDefinition
    users: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., definition: _Optional[_Union[CohortDefinition, _Mapping]] = ..., users: _Optional[int] = ...) -> None: ...

class SaveCohortRequest(_message.Message):
    __slots__ = ("tenant", "name", "definition")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    definition: CohortDefinition
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., definition: _Optional[_Union[CohortDefinition, _Mapping]] = ...) -> None: ...

class SaveCohortResponse(_message.Message):
    __slots__ = ("cohort",)
    COHORT_FIELD_NUMBER: _ClassVar[int]
    cohort: Cohort
    def __init__(self, cohort: _Optional[_Union[Cohort, _Mapping]] = ...) -> None: ...

class ListCohortsRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class ListCohortsResponse(_message.Message):
    __slots__ = ("cohorts",)
    COHORTS_FIELD_NUMBER: _ClassVar[int]
    cohorts: _containers.RepeatedCompositeFieldContainer[Cohort]
    def __init__(self, cohorts: _Optional[_Iterable[_Union[Cohort, _Mapping]]] = ...) -> None: ...

class DeleteCohortRequest(_message.Message):
    __slots__ = ("tenant", "name")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteCohortResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportEventsRequest(_message.Message):
    __slots__ = ("tenant", "start_ms", "end_ms", "events", "format", "include_duplicates", "cursor", "restore_hot")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RESTORE_HOT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    start_ms: int
    end_ms: int
    events: _containers.RepeatedScalarFieldContainer[str]
    format: str
    include_duplicates: bool
    cursor: str
    restore_hot: bool
    def __init__(self, tenant: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., events: _Optional[_Iterable[str]] = ..., format: _Optional[str] = ..., include_duplicates: _Optional[bool] = ..., cursor: _Optional[str] = ..., restore_hot: _Optional[bool] = ...) -> None: ...

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
