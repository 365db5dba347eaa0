"""What can be wrong with an event, as small numbers for whole columns: the lower number is the one that is reported.

So the answer does not depend on the codec, nor on which of its paths an event went.
"""

from dataclasses import dataclass
from typing import NamedTuple

from evenshard.events import limits

FINE = 255


class Fault(NamedTuple):
    """A fault's answer to the sender."""

    code: str
    field: str
    message: str


FAULTS = (
    Fault("INVALID_JSON", "", "the line is not a JSON object"),
    Fault("INVALID_UTF8", "", "the text is not valid UTF-8"),
    Fault("TENANT_MISSING", "tenant", "neither the call nor the line names a tenant"),
    Fault("TENANT_NAME_INVALID", "tenant", "a name is 1-63 of a-z 0-9 _ -, beginning with a letter or digit"),
    Fault("TENANT_MISMATCH", "tenant", "the line names another tenant than the call"),
    Fault("PROPERTIES_TYPE", "properties", "properties must be a JSON object"),
    Fault("EVENT_TYPE", "event", "the name must be a string"),
    Fault("EVENT_MISSING", "event", "an event needs a name"),
    Fault("EVENT_TOO_LONG", "event", f"a name is at most {limits.EVENT_BYTES_MAX} bytes of UTF-8"),
    Fault("EVENT_NAME_RESERVED", "event", "the name is reserved"),
    Fault("DISTINCT_ID_TYPE", "distinct_id", "distinct_id must be a string or an integer"),
    Fault(
        "DISTINCT_ID_TOO_LONG", "distinct_id", f"distinct_id is at most {limits.DISTINCT_ID_BYTES_MAX} bytes of UTF-8"
    ),
    Fault("DISTINCT_ID_PLACEHOLDER", "distinct_id", "distinct_id is a placeholder, not a user"),
    Fault("TIME_MISSING", "time", "an event needs a time"),
    Fault("TIME_INVALID", "time", "time must be seconds or ms since the epoch, or an RFC 3339 text with its offset"),
    Fault("TIME_TOO_OLD", "time", "the time is before 1971-01-01"),
    Fault("TIME_IN_FUTURE", "time", "the time is more than 1 h ahead"),
    Fault(
        "INSERT_ID_INVALID",
        "insert_id",
        f"insert_id must be a string of at most {limits.INSERT_ID_BYTES_MAX} printable ASCII characters",
    ),
    Fault("INSERT_ID_MISSING", "insert_id", "strict mode needs an insert_id of the sender's own"),
    Fault("PROPERTIES_TOO_MANY", "properties", f"an event has at most {limits.PROPERTIES_MAX} properties"),
    Fault("PROPERTIES_TOO_DEEP", "properties", f"values nest at most {limits.PROPERTY_DEPTH_MAX} deep"),
    Fault("NUMBER_NOT_FINITE", "properties", "NaN and infinities are not stored"),
    Fault("NUMBER_OUT_OF_RANGE", "properties", "the number does not fit: integers are int64, others double"),
    Fault("EVENT_TOO_LARGE", "", f"an event is at most {limits.EVENT_SIZE_BYTES_MAX} bytes"),
)

_NUMBERS = {fault.code: number for number, fault in enumerate(FAULTS)}

INVALID_JSON = _NUMBERS["INVALID_JSON"]
INVALID_UTF8 = _NUMBERS["INVALID_UTF8"]
TENANT_MISSING = _NUMBERS["TENANT_MISSING"]
TENANT_NAME_INVALID = _NUMBERS["TENANT_NAME_INVALID"]
TENANT_MISMATCH = _NUMBERS["TENANT_MISMATCH"]
PROPERTIES_TYPE = _NUMBERS["PROPERTIES_TYPE"]
EVENT_TYPE = _NUMBERS["EVENT_TYPE"]
EVENT_MISSING = _NUMBERS["EVENT_MISSING"]
EVENT_TOO_LONG = _NUMBERS["EVENT_TOO_LONG"]
EVENT_NAME_RESERVED = _NUMBERS["EVENT_NAME_RESERVED"]
DISTINCT_ID_TYPE = _NUMBERS["DISTINCT_ID_TYPE"]
DISTINCT_ID_TOO_LONG = _NUMBERS["DISTINCT_ID_TOO_LONG"]
DISTINCT_ID_PLACEHOLDER = _NUMBERS["DISTINCT_ID_PLACEHOLDER"]
TIME_MISSING = _NUMBERS["TIME_MISSING"]
TIME_INVALID = _NUMBERS["TIME_INVALID"]
TIME_TOO_OLD = _NUMBERS["TIME_TOO_OLD"]
TIME_IN_FUTURE = _NUMBERS["TIME_IN_FUTURE"]
INSERT_ID_INVALID = _NUMBERS["INSERT_ID_INVALID"]
INSERT_ID_MISSING = _NUMBERS["INSERT_ID_MISSING"]
PROPERTIES_TOO_MANY = _NUMBERS["PROPERTIES_TOO_MANY"]
PROPERTIES_TOO_DEEP = _NUMBERS["PROPERTIES_TOO_DEEP"]
NUMBER_NOT_FINITE = _NUMBERS["NUMBER_NOT_FINITE"]
NUMBER_OUT_OF_RANGE = _NUMBERS["NUMBER_OUT_OF_RANGE"]
EVENT_TOO_LARGE = _NUMBERS["EVENT_TOO_LARGE"]


@dataclass(frozen=True, slots=True)
class Detail:
    """What more is known of one event's fault; only shown if ``number`` is the fault that is reported."""

    number: int
    field: str
    message: str
