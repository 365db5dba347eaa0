"""Every limit of an event and of a payload, with its unit (SEMANTICS §1)."""

EVENT_BYTES_MAX = 255
"""An event's name, in UTF-8."""
DISTINCT_ID_BYTES_MAX = 255
INSERT_ID_BYTES_MAX = 64

TIME_MIN_MS = 31_536_000_000
"""1971-01-01; a JSON number below it is read as seconds, so it is also where seconds end and ms begin."""
TIME_AHEAD_MAX_MS = 3_600_000
"""How far an event's time may be ahead of the clock."""

PROPERTIES_MAX = 255
"""Properties of one event that are set."""
PROPERTY_DEPTH_MAX = 3
"""Nesting of a property's value: ``[1]`` is 1, ``[[1]]`` is 2."""
EVENT_SIZE_BYTES_MAX = 1_000_000
"""UTF-8 bytes of an event's strings, property names and JSON texts; a number or bool counts 1."""

ROWS_MAX = 1 << 20
"""Events in one payload, so that columns that cost no bytes (of nulls) cost no memory either."""
DECODED_BYTES_MAX = 256 << 20
"""A payload's columns once decompressed and out of their dictionaries."""
PAYLOAD_BYTES_MAX = (1 << 31) - 1
"""An uncompressed payload: strings have 32-bit offsets."""

GENERATED_INSERT_ID_PREFIX = "$auto-"
"""Begins the insert_ids that the client makes; in strict mode they count as none."""

HOT_EVENT = "$hotshard_events"
"""The name under which hot events are shown."""
ORIGINAL_EVENT = "mp_original_event_name"
"""The property that then holds their name."""
ORIGINAL_ID = "mp_original_distinct_id"
"""The property that then holds their distinct_id."""
RECORD_EVENT = "$hotshard_record"
"""The audit event of a key that became hot; only who names it meets it."""
RESERVED_EVENTS = (HOT_EVENT, RECORD_EVENT)
"""Names only this service writes."""

PLACEHOLDER_IDS = (
    "0",
    "-1",
    "[]",
    "{}",
    "na",
    "n/a",
    "nil",
    "nan",
    "null",
    "none",
    "anon",
    "true",
    "false",
    "(null)",
    "unknown",
    "undefined",
    "anonymous",
    "[object object]",
    "00000000-0000-0000-0000-000000000000",
)
"""What SDK bugs send as distinct_id, in lower case; compared without regard to case."""
