from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CountEventsRequest(_message.Message):
    __slots__ = ("tenant", "arrow_ipc", "count_min", "imports")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    COUNT_MIN_FIELD_NUMBER: _ClassVar[int]
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    arrow_ipc: bytes
    count_min: int
    imports: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenant: _Optional[str] = ..., arrow_ipc: _Optional[bytes] = ..., count_min: _Optional[int] = ..., imports: _Optional[_Iterable[str]] = ...) -> None: ...

class CountEventsResponse(_message.Message):
    __slots__ = ("arrow_ipc",)
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    arrow_ipc: bytes
    def __init__(self, arrow_ipc: _Optional[bytes] = ...) -> None: ...

class GetCountsRequest(_message.Message):
    __slots__ = ("tenant", "arrow_ipc")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    arrow_ipc: bytes
    def __init__(self, tenant: _Optional[str] = ..., arrow_ipc: _Optional[bytes] = ...) -> None: ...

class GetCountsResponse(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, counts: _Optional[_Iterable[int]] = ...) -> None: ...

class ListHotKeysRequest(_message.Message):
    __slots__ = ("tenant", "limit", "count_min", "hash_from")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    COUNT_MIN_FIELD_NUMBER: _ClassVar[int]
    HASH_FROM_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    limit: int
    count_min: int
    hash_from: int
    def __init__(self, tenant: _Optional[str] = ..., limit: _Optional[int] = ..., count_min: _Optional[int] = ..., hash_from: _Optional[int] = ...) -> None: ...

class KeyCount(_message.Message):
    __slots__ = ("tenant", "distinct_id", "date", "count", "count_error", "marked")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNT_ERROR_FIELD_NUMBER: _ClassVar[int]
    MARKED_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_id: str
    date: str
    count: int
    count_error: int
    marked: str
    def __init__(self, tenant: _Optional[str] = ..., distinct_id: _Optional[str] = ..., date: _Optional[str] = ..., count: _Optional[int] = ..., count_error: _Optional[int] = ..., marked: _Optional[str] = ...) -> None: ...

class ListHotKeysResponse(_message.Message):
    __slots__ = ("keys", "count_missing_max", "hash_next", "counted_from_ms", "listed_from")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    COUNT_MISSING_MAX_FIELD_NUMBER: _ClassVar[int]
    HASH_NEXT_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FROM_MS_FIELD_NUMBER: _ClassVar[int]
    LISTED_FROM_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyCount]
    count_missing_max: int
    hash_next: int
    counted_from_ms: int
    listed_from: int
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyCount, _Mapping]]] = ..., count_missing_max: _Optional[int] = ..., hash_next: _Optional[int] = ..., counted_from_ms: _Optional[int] = ..., listed_from: _Optional[int] = ...) -> None: ...

class ForgetUsersRequest(_message.Message):
    __slots__ = ("tenant", "distinct_ids")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_IDS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    distinct_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenant: _Optional[str] = ..., distinct_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ForgetUsersResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetHotKeyReportRequest(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ...) -> None: ...

class EventCount(_message.Message):
    __slots__ = ("event", "count")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    event: str
    count: int
    def __init__(self, event: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class StandingOut(_message.Message):
    __slots__ = ("property", "value_json", "share", "share_elsewhere")
    PROPERTY_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    SHARE_ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
    property: str
    value_json: str
    share: float
    share_elsewhere: float
    def __init__(self, property: _Optional[str] = ..., value_json: _Optional[str] = ..., share: _Optional[float] = ..., share_elsewhere: _Optional[float] = ...) -> None: ...

class HotKeyReport(_message.Message):
    __slots__ = ("distinct_id", "date", "mode", "threshold", "kept", "rewritten", "events", "stands_out", "likely_cause", "advice")
    DISTINCT_ID_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STANDS_OUT_FIELD_NUMBER: _ClassVar[int]
    LIKELY_CAUSE_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    distinct_id: str
    date: str
    mode: str
    threshold: int
    kept: int
    rewritten: int
    events: _containers.RepeatedCompositeFieldContainer[EventCount]
    stands_out: _containers.RepeatedCompositeFieldContainer[StandingOut]
    likely_cause: str
    advice: str
    def __init__(self, distinct_id: _Optional[str] = ..., date: _Optional[str] = ..., mode: _Optional[str] = ..., threshold: _Optional[int] = ..., kept: _Optional[int] = ..., rewritten: _Optional[int] = ..., events: _Optional[_Iterable[_Union[EventCount, _Mapping]]] = ..., stands_out: _Optional[_Iterable[_Union[StandingOut, _Mapping]]] = ..., likely_cause: _Optional[str] = ..., advice: _Optional[str] = ...) -> None: ...

class GetHotKeyReportResponse(_message.Message):
    __slots__ = ("tenant", "from_date", "to_date", "hot_keys", "more_hot_keys")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    TO_DATE_FIELD_NUMBER: _ClassVar[int]
    HOT_KEYS_FIELD_NUMBER: _ClassVar[int]
    MORE_HOT_KEYS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    from_date: str
    to_date: str
    hot_keys: _containers.RepeatedCompositeFieldContainer[HotKeyReport]
    more_hot_keys: int
    def __init__(self, tenant: _Optional[str] = ..., from_date: _Optional[str] = ..., to_date: _Optional[str] = ..., hot_keys: _Optional[_Iterable[_Union[HotKeyReport, _Mapping]]] = ..., more_hot_keys: _Optional[int] = ...) -> None: ...
