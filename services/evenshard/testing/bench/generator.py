"""Seeded events of a few columns, made batch by batch with numpy and Arrow: the same seed gives the same bytes."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

START_MS: Final = 1_767_225_600_000  # 2026-01-01
DAYS: Final = 30
FROM_DATE: Final = "2026-01-01"
TO_DATE: Final = "2026-01-30"

_EVENT_NAMES: Final = pa.array(
    ["view", "click", "search", "add to cart", "remove from cart", "checkout", "buy", "sign up", "log in", "log out"]
)
_PAGES: Final = pa.array([f"/shop/department-{number % 20}/page-{number}" for number in range(1_000)])
_USERS: Final = 1_000_000
_BUSY_USERS: Final = 10_000
_BUSY_SHARE: Final = 0.1
_END_MS: Final = START_MS + DAYS * 86_400_000
_SESSION_EVENTS: Final = 8
_EVENTS_A_USER: Final = 20
_GAP_MS: Final = 20_000
_SESSION_SHARES: Final = (40, 20, 14, 10, 2, 5, 3, 1, 3, 2)
"""How often each of the event names occurs in sessions."""
_COUNTRIES_COUNT: Final = 40
COUNTRIES: Final = pa.array([f"country-{number:02}" for number in range(_COUNTRIES_COUNT)])
_SCATTER: Final = 0x9E3779B97F4A7C15 >> 1 | 1  # odd, so that multiplying by it is a bijection of 63 bits

BAD_SHARE: Final = 0.01
_TIME: Final = str(START_MS)


def _line(event: str = '"view"', user: str = '"u"', time: str = _TIME, more: str = "") -> str:
    return f'{{"event":{event},"properties":{{"distinct_id":{user},"time":{time},"$insert_id":"bad"{more}}}}}'


BAD_LINES: Final[Mapping[str, Sequence[bytes]]] = {
    "INVALID_JSON": [b"{not json", b"[1,2]", _line(more=',"x":NaN').encode()],
    "INVALID_UTF8": [
        _line(more=',"x":"@"').encode().replace(b"@", b"\xff\xfe"),
        _line(more=',"x":"\\ud800"').encode(),
    ],
    "EVENT_MISSING": [_line(event="null").encode()],
    "EVENT_TYPE": [_line(event="7").encode()],
    "EVENT_TOO_LONG": [_line(event='"' + "x" * 256 + '"').encode()],
    "EVENT_NAME_RESERVED": [_line(event='"$hotshard_record"').encode()],
    "DISTINCT_ID_TYPE": [_line(user="[1]").encode()],
    "DISTINCT_ID_TOO_LONG": [_line(user='"' + "x" * 256 + '"').encode()],
    "DISTINCT_ID_PLACEHOLDER": [_line(user='"null"').encode()],
    "TIME_MISSING": [_line(time="null").encode()],
    "TIME_INVALID": [_line(time='"yesterday"').encode()],
    "TIME_TOO_OLD": [_line(time='"1969-06-01T00:00:00Z"').encode()],
    "TIME_IN_FUTURE": [_line(time='"2126-01-01T00:00:00Z"').encode()],
    "INSERT_ID_MISSING": [_line().replace(',"$insert_id":"bad"', "").encode()],
    "INSERT_ID_INVALID": [_line().replace('"bad"', '"' + "x" * 65 + '"').encode()],
    "PROPERTIES_TYPE": [b'{"event":"view","properties":[1]}'],
    "PROPERTIES_TOO_MANY": [_line(more="".join(f',"p{number}":1' for number in range(300))).encode()],
    "PROPERTIES_TOO_DEEP": [_line(more=',"x":[[[[1]]]]').encode()],
    "NUMBER_OUT_OF_RANGE": [_line(more=',"x":9223372036854775808').encode(), _line(more=',"x":1e999').encode()],
    "TENANT_MISMATCH": [_line().replace("{", '{"tenant":"another",', 1).encode()],
}
"""Of every code a line can cause in a strict import whose call names the tenant, but for the one of size."""
LARGE_LINE: Final = _line(more=f',"x":"{"x" * 1_000_000}"').encode()
"""``EVENT_TOO_LARGE``. One line in ``LARGE_EVERY``, for else these would be most of what is sent."""
LARGE_EVERY: Final = 100_000
NOT_OF_LINES: Final[Mapping[str, str]] = {
    "NUMBER_NOT_FINITE": "JSON text has no such number: it is INVALID_JSON or NUMBER_OUT_OF_RANGE",
    "TENANT_MISSING": "the call names the tenant",
    "TENANT_NOT_FOUND": "the call names the tenant",
    "TENANT_NAME_INVALID": "the call names the tenant",
    "DISTINCT_ID_BLOCKED": "somebody has to have blocked it before",
    "SHARD_UNAVAILABLE": "a shard's, not a line's",
}
"""Codes of events that no line causes here, and why."""
_BAD_KINDS: Final = [line for lines in BAD_LINES.values() for line in lines]


def record_of(seed: int, first: int, rows: int, *, every_ms: int = 50) -> pa.RecordBatch:
    """Events ``first`` to ``first + rows`` of the stream of this seed: event, distinct_id, time (ms, rising by
    ``every_ms`` but for jitter, from the first day again after the last), insert_id, page (string), amount (int64)."""
    chance = np.random.default_rng([seed, first])
    numbers = np.arange(first, first + rows, dtype=np.uint64)
    users = chance.integers(0, _USERS, rows)
    busy = chance.random(rows) < _BUSY_SHARE
    users[busy] %= _BUSY_USERS
    span_ms = DAYS * 86_400_000
    times = START_MS + ((first + np.arange(rows)) * every_ms + chance.integers(0, 60_000, rows)) % span_ms
    ids = (numbers * np.uint64(_SCATTER)) & np.uint64((1 << 63) - 1)
    return pa.RecordBatch.from_pydict(
        {
            "event": pa.DictionaryArray.from_arrays(
                pa.array(chance.integers(0, len(_EVENT_NAMES), rows), pa.int32()), _EVENT_NAMES
            ),
            "distinct_id": _joined("user-", pa.array(users)),
            "time": pa.array(times),
            "insert_id": _joined("e", pa.array(ids)),
            "page": pa.DictionaryArray.from_arrays(pa.array(chance.integers(0, len(_PAGES), rows), pa.int32()), _PAGES),
            "amount": pa.array(chance.integers(0, 10_000, rows)),
        }
    )


def sessions_of(seed: int, first: int, rows: int, *, of: int) -> pa.RecordBatch:
    """Events ``first`` to ``first + rows`` of a stream of ``of`` events over all days, in sessions: runs of one user's
    events seconds apart, about twenty events a user and month, most of them views. Columns as ``record_of`` has them,
    and country (string, the user's own)."""
    chance = np.random.default_rng([seed, first, 3])
    session = np.repeat(np.arange(rows), chance.geometric(1 / _SESSION_EVENTS, rows))[:rows]
    users_of_all = max(_COUNTRIES_COUNT, of // _EVENTS_A_USER)
    users = chance.integers(0, users_of_all, rows)
    busy = chance.random(rows) < _BUSY_SHARE
    users[busy] %= max(1, users_of_all // 100)
    users = users[session]
    window_ms = max(1, DAYS * 86_400_000 * rows // of)
    begun = START_MS + DAYS * 86_400_000 * first // of + chance.integers(0, window_ms, rows)[session]
    passed = np.cumsum(chance.exponential(_GAP_MS, rows)).astype(np.int64)
    times = np.minimum(begun + passed - passed[np.searchsorted(session, session)], _END_MS - 1)
    ids = (np.arange(first, first + rows, dtype=np.uint64) * np.uint64(_SCATTER)) & np.uint64((1 << 63) - 1)
    names = np.searchsorted(np.cumsum(_SESSION_SHARES), chance.random(rows) * sum(_SESSION_SHARES), side="right")
    return pa.RecordBatch.from_pydict(
        {
            "event": pa.DictionaryArray.from_arrays(pa.array(names, pa.int32()), _EVENT_NAMES),
            "distinct_id": _joined("user-", pa.array(users)),
            "time": pa.array(times),
            "insert_id": _joined("e", pa.array(ids)),
            "page": pa.DictionaryArray.from_arrays(pa.array(chance.integers(0, len(_PAGES), rows), pa.int32()), _PAGES),
            "amount": pa.array(chance.integers(0, 10_000, rows)),
            "country": pa.DictionaryArray.from_arrays(pa.array(users % _COUNTRIES_COUNT, pa.int32()), COUNTRIES),
        }
    )


def lines_of(seed: int, first: int, rows: int, *, bad_share: float = 0.0) -> tuple[bytes, int]:
    """The same events as NDJSON lines, and how many of the lines are bad: each of those stands in an event's place."""
    record = record_of(seed, first, rows)
    lines = pc.binary_join_element_wise(
        '{"event":"', record.column("event").cast(pa.utf8()),
        '","properties":{"distinct_id":"', record.column("distinct_id"),
        '","time":', record.column("time").cast(pa.utf8()),
        ',"$insert_id":"', record.column("insert_id"),
        '","page":"', record.column("page").cast(pa.utf8()),
        '","amount":', record.column("amount").cast(pa.utf8()),
        "}}\n", "",
    ).cast(pa.binary())  # fmt: skip
    bad = 0
    if bad_share:
        chance = np.random.default_rng([seed, first, 1])
        where = chance.random(rows) < bad_share
        bad = int(where.sum())
        chosen = chance.integers(0, len(_BAD_KINDS), bad)
        if first % LARGE_EVERY == 0:
            chosen[:1] = len(_BAD_KINDS)
        kinds = pa.array([line + b"\n" for line in [*_BAD_KINDS, LARGE_LINE]]).take(pa.array(chosen))
        lines = pc.replace_with_mask(lines, pa.array(where), kinds)
    _, offsets, data = lines.buffers()
    end = int(np.frombuffer(offsets, np.int32)[rows])
    return bytes(memoryview(data)[:end]), bad


def _joined(prefix: str, numbers: pa.Array) -> pa.StringArray:
    return pc.binary_join_element_wise(prefix, numbers.cast(pa.utf8()), "")
