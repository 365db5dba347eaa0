"""NDJSON against a reference that reads one line at a time; the fast and the slow path against each other."""

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from evenshard.events.json_lines import rewrite
from evenshard.events.json_tokens import JsonTokens
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.events.properties import typed_value
from evenshard.events.rejects import Decoded
from hypothesis import example, given, settings
from hypothesis import strategies as st

NOW_MS = 1_800_000_000_000
PLACEHOLDERS = {"null", "undefined", "none", "0", "00000000-0000-0000-0000-000000000000", "-1"}


class Refused(Exception):  # noqa: N818
    """An event's code."""


class Huge(str):
    """An integer beyond anything we keep."""


def _no_nan(_: str) -> None:
    raise ValueError


def _unicode(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _check_number(value: Any) -> None:
    if isinstance(value, Huge) or (type(value) is int and not -(2**63) <= value < 2**63):
        raise Refused("NUMBER_OUT_OF_RANGE")
    if type(value) is float and math.isinf(value):
        raise Refused("NUMBER_OUT_OF_RANGE")


def _depth(value: Any) -> int:
    if isinstance(value, list | dict):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | dict):
        return [leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(each)]
    return [value]


def _time(value: Any) -> int:
    if value is None:
        raise Refused("TIME_MISSING")
    if isinstance(value, bool | list | dict):
        raise Refused("TIME_INVALID")
    if isinstance(value, Huge):
        value = int(value)
    if isinstance(value, float) and math.isinf(value):
        raise Refused("TIME_IN_FUTURE" if value > 0 else "TIME_TOO_OLD")
    if isinstance(value, int | float):
        exact = Decimal(repr(value))
        ms = math.floor(exact * 1000) if exact < 31_536_000_000 else math.floor(exact)
    else:
        found = re.fullmatch(
            r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:[0-5]\d)", value, re.ASCII
        )
        if not found:
            raise Refused("TIME_INVALID")
        date, clock, fraction, zone = found.groups()
        try:
            moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}").astimezone(UTC)
        except ValueError as error:
            raise Refused("TIME_INVALID") from error
        ms = round(moment.timestamp()) * 1000 + int(((fraction or "") + "000")[:3])
    if ms < 31_536_000_000:
        raise Refused("TIME_TOO_OLD")
    if ms > NOW_MS + 3_600_000:
        raise Refused("TIME_IN_FUTURE")
    return ms


def _fields(  # noqa: C901
    document: dict[str, Any], properties: dict[str, Any], strict: bool
) -> tuple[str, str, int, str | None]:
    event = document.get("event")
    if event is not None and (not isinstance(event, str) or isinstance(event, Huge)):
        raise Refused("EVENT_TYPE")
    if not event:
        raise Refused("EVENT_MISSING")
    if len(event.encode()) > 255:
        raise Refused("EVENT_TOO_LONG")
    if event in ("$hotshard_events", "$hotshard_record"):
        raise Refused("EVENT_NAME_RESERVED")

    def pick(*places: tuple[dict[str, Any], str]) -> Any:
        return next((place[name] for place, name in places if place.get(name) is not None), None)

    distinct_id = pick((properties, "distinct_id"), (document, "distinct_id"))
    if type(distinct_id) is int or isinstance(distinct_id, Huge):
        distinct_id = str(distinct_id)
    distinct_id = "" if distinct_id is None else distinct_id
    if not isinstance(distinct_id, str):
        raise Refused("DISTINCT_ID_TYPE")
    if len(distinct_id.encode()) > 255:
        raise Refused("DISTINCT_ID_TOO_LONG")
    if strict and distinct_id.lower() in PLACEHOLDERS:
        raise Refused("DISTINCT_ID_PLACEHOLDER")
    time_ms = _time(pick((properties, "time"), (document, "time")))
    insert_id = pick((properties, "$insert_id"), (document, "$insert_id"), (document, "insert_id"))
    if insert_id is not None and (not isinstance(insert_id, str) or isinstance(insert_id, Huge)):
        raise Refused("INSERT_ID_INVALID")
    if insert_id and (len(insert_id) > 64 or not all(" " <= letter <= "~" for letter in insert_id)):
        raise Refused("INSERT_ID_INVALID")
    if strict and (not insert_id or insert_id.startswith("$auto-")):
        raise Refused("INSERT_ID_MISSING")
    return event, distinct_id, time_ms, insert_id or None


def reference(line: bytes, *, tenant: str, strict: bool) -> tuple[Any, ...]:  # noqa: C901
    """(tenant, event, distinct_id, time, insert_id, {property: (type, value)}) of a line, or raises its code."""
    try:
        document = json.loads(
            line.decode(errors="replace"),
            parse_int=lambda text: int(text) if len(text) <= 20 else Huge(text),
            parse_constant=_no_nan,
        )
    except ValueError as error:
        raise Refused("INVALID_JSON") from error
    if not isinstance(document, dict):
        raise Refused("INVALID_JSON")
    try:
        line.decode()
        _unicode(document)
    except UnicodeError as error:
        raise Refused("INVALID_UTF8") from error
    own = document.get("tenant")
    text = own if isinstance(own, str) and not isinstance(own, Huge) else ""
    if tenant:
        if own is not None and own != "" and text != tenant:
            raise Refused("TENANT_MISMATCH")
    elif (own is not None and not isinstance(own, str)) or isinstance(own, Huge) or not text:
        raise Refused("TENANT_MISSING")
    elif not re.fullmatch("[a-z0-9][a-z0-9_-]{0,62}", text):
        raise Refused("TENANT_NAME_INVALID")
    properties = document.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise Refused("PROPERTIES_TYPE")
    properties = properties or {}
    fields = _fields(document, properties, strict)
    rest = {
        name: value
        for name, value in properties.items()
        if value is not None and name not in ("distinct_id", "time", "$insert_id")
    }
    if len(rest) > 255:
        raise Refused("PROPERTIES_TOO_MANY")
    if any(_depth(value) > 3 for value in rest.values()):
        raise Refused("PROPERTIES_TOO_DEEP")
    for value in rest.values():
        for leaf in _leaves(value):
            _check_number(leaf)
    return tenant or text, *fields, {name: typed_value(value) for name, value in rest.items()}


def stored(decoded: Decoded) -> dict[int, tuple[Any, ...]]:
    """Every accepted event by its place, as ``reference`` gives it."""
    out: dict[int, tuple[Any, ...]] = {}
    for part in decoded.batches:
        part.batch.record.validate(full=True)
        places = range(part.batch.rows) if part.indices is None else part.indices.tolist()
        for place, row in zip(places, part.batch.record.to_pylist(), strict=True):
            properties = {
                name[2:]: (name[0], value) for name, value in row.items() if name[1:2] == ":" and value is not None
            }
            for name, value in json.loads(row.get("rest") or "{}").items():
                properties[name] = typed_value(value)
            assert int(place) not in out
            out[int(place)] = (
                part.tenant,
                row["event"],
                row["distinct_id"],
                row["time"],
                row["insert_id"],
                properties,
            )
    return out


def expected(text: bytes, *, tenant: str, strict: bool) -> tuple[dict[int, tuple[Any, ...]], dict[int, str]]:
    good: dict[int, tuple[Any, ...]] = {}
    bad: dict[int, str] = {}
    for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if line.strip(b" \t\r"):
            try:
                good[number] = reference(line, tenant=tenant, strict=strict)
            except Refused as error:
                bad[number] = str(error)
    return good, bad


def check(text: bytes, *, tenant: str = "t", strict: bool = False) -> None:
    decoded = decode_ndjson(text, tenant=tenant, strict=strict, now_ms=NOW_MS)
    good, bad = expected(text, tenant=tenant, strict=strict)
    assert {reject.index: reject.code for reject in decoded.rejects} == bad
    # repr tells 1 from 1.0 and True, and -0.0 from 0.0.
    assert repr(sorted(_sorted(stored(decoded)).items())) == repr(sorted(_sorted(good).items()))
    assert decoded.rows == len(good) + len(bad)


def _sorted(rows: dict[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {place: (*row[:-1], sorted(row[-1].items())) for place, row in rows.items()}


def slowly(text: bytes) -> bytes:
    """The same lines, but none plain: an array that nobody reads stands first."""
    return b"\n".join(
        re.sub(rb"^(\s*)\{(\s*)(\})?", lambda m: m[1] + b'{"duplicate":[]' + (b"}" if m[3] else b","), line)
        if line.lstrip(b" \t\r").startswith(b"{")
        else line
        for line in text.split(b"\n")
    )


ODD_TEXTS = [
    '""',
    '"a"',
    '"ü€😀"',
    r'"\u00fc\n\t\"\\\/\b\f\r"',
    r'"\ud83d\ude00"',
    r'"\ud800"',
    r'"\udc00x"',
    r'"\u0000"',
    r'"\u12g4"',
    r'"\x"',
    '"\t"',
    '"2026-01-01"',
    '"3"',
    '"null"',
    '"' + "y" * 300 + '"',
    '"' + "é" * 130 + '"',
    '"12345678',
    '"a\\',
]
ODD_NUMBERS = [
    "0",
    "3",
    "-3",
    "-0",
    "-0.0",
    "0.5",
    "-0.5",
    "3.0",
    "3.5",
    "1e5",
    "1E+5",
    "1e-7",
    "1e400",
    "-1e400",
    "1e30",
    "01",
    "1.",
    ".5",
    "+1",
    "1e",
    "123456789012345678",
    "1234567890123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890123",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
]
ODD_OTHERS = [
    "true",
    "false",
    "null",
    "nul",
    "truex",
    "[]",
    "{}",
    "[1,2]",
    '{"a":1}',
    "[[[1]]]",
    "[[[[1]]]]",
    '{"a":{"b":{"c":1}}}',
    '{"a":[{"b":{"c":1}}]}',
    '[1.0, "x\\u00e9", null, {"b": true}]',
    "[9223372036854775808]",
    '["\\ud800"]',
    "[NaN]",
    '{"a":1,"a":2}',
    "[",
    "]",
    "",
    "[123456789012345678901234567890]",
    "[1e400]",
]
TIMES = [
    "1767225600000",
    "1767225600",
    "1767225600.5",
    "1767225600.1239",
    "1767225600.1234567",
    "1767225600123.9",
    "31535999999",
    "31536000000",
    "31535999",
    "31536000",
    "31536000.5",
    "31535999.9999999",
    "1767225600e3",
    "1.767225600e9",
    "-5",
    "-5.5",
    "0",
    "1800003600000",
    "1800003600001",
    "4922640000",
    '"2026-01-01T00:00:00Z"',
    '"2026-01-01T00:00:00.9999Z"',
    '"2026-02-29T00:00:00Z"',
    '"2024-02-29t23:59:59z"',
    '"2026-01-01 00:00:00+05:30"',
    '"2026-01-01T00:00:00"',
    '"2026-01-01"',
    '"yesterday"',
    '"1969-12-31T23:59:59Z"',
    '"2126-01-01T00:00:00Z"',
    '"2026-01-01T24:00:00Z"',
    '"2026-13-01T00:00:00Z"',
    '"2026-01-01T00:00:00.Z"',
    '"2026-01-01T00:00:00-00:60"',
    '"2026-01-01T00:00\\u003a00Z"',
    "null",
    "true",
    "[]",
]
values = st.sampled_from(ODD_TEXTS + ODD_NUMBERS + ODD_OTHERS)
good_values = st.sampled_from(["3", '"3"', "3.5", "true", "null", '"a"', '"ü"', r'"\u00e9"', '["a"]', "-7", "1e5"])
names = st.sampled_from(
    [
        '"p"',
        '"q"',
        '"event"',
        '"time"',
        '"distinct_id"',
        '"$insert_id"',
        '"insert_id"',
        '"tenant"',
        '""',
        '"p\\u0070"',
        '"a\\"b"',
        '"ü"',
        '"\\n"',
    ]
)
space = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])


@st.composite
def event_lines(draw: st.DrawFn) -> bytes:
    """A line of an event, most of it good, any of it odd."""

    def mostly(good: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> str:
        return draw(odd) if draw(st.integers(0, 11)) == 0 else draw(good)

    def gap() -> str:
        return draw(space)

    inner = [
        ('"distinct_id"', mostly(st.sampled_from(['"u"', '"ü"', "17", '""']), values)),
        ('"time"', mostly(st.just("1767225600000"), st.sampled_from(TIMES))),
        ('"$insert_id"', mostly(st.sampled_from(['"i-1"', '"$auto-1"']), values)),
    ]
    inner += [
        (draw(names) if draw(st.integers(0, 5)) == 0 else f'"p{draw(st.integers(0, 5))}"', mostly(good_values, values))
        for _ in range(draw(st.integers(0, 4)))
    ]
    inner = draw(st.permutations(inner))
    outer: list[tuple[str, str]] = [('"event"', mostly(st.sampled_from(['"view"', '"ü"', '"a b"']), values))]
    if draw(st.integers(0, 3)) == 0:
        moved = draw(st.integers(0, len(inner)))
        outer += [pair for pair in inner[:moved] if draw(st.booleans())]
        inner = inner[moved:]
    body = ",".join(f"{gap()}{name}{gap()}:{gap()}{value}{gap()}" for name, value in inner)
    outer.append(('"properties"', mostly(st.just("{" + body + "}"), values)))
    if draw(st.integers(0, 2)) == 0:
        outer.append(('"tenant"', mostly(st.sampled_from(['"t"', '"t2"', '""']), values)))
    if draw(st.integers(0, 9)) == 0:
        outer.append((draw(names), draw(values)))
    outer = draw(st.permutations(outer))
    line = gap() + "{" + ",".join(f"{gap()}{name}{gap()}:{gap()}{value}{gap()}" for name, value in outer) + "}" + gap()
    data = line.encode("utf-8", "surrogatepass")
    match draw(st.integers(0, 20)):
        case 0:
            at = draw(st.integers(0, len(data) - 1))
            data = (
                data[:at]
                + draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"{", b'"', b",", b""]))
                + data[at + 1 :]
            )
        case 1:
            data = data[: draw(st.integers(0, len(data)))]
    return data.replace(b"\n", b" ")


payloads = st.builds(
    lambda mark, lines, end, last: mark + end.join(lines) + last,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]),
    st.lists(
        st.one_of(event_lines(), event_lines(), event_lines(), st.sampled_from([b"", b" \t", b"{}", b"[]", b"x"])),
        max_size=8,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n", b"\r\n\n"]),
)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(payloads, st.sampled_from(["t", ""]), st.booleans())
@example(b'{"event":"a","properties":{"time":1767225600000,"x":-0.0,"y":-0}}', "t", False)
def test_any_payload_is_answered_as_line_by_line(text: bytes, tenant: str, strict: bool) -> None:
    check(text, tenant=tenant, strict=strict)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(payloads, st.sampled_from(["t", ""]), st.booleans())
def test_the_slow_path_answers_as_the_fast_one(text: bytes, tenant: str, strict: bool) -> None:
    fast = decode_ndjson(text, tenant=tenant, strict=strict, now_ms=NOW_MS)
    slow = decode_ndjson(slowly(text), tenant=tenant, strict=strict, now_ms=NOW_MS)
    assert _sorted(stored(fast)) == _sorted(stored(slow))
    assert fast.rejects == slow.rejects


@pytest.mark.parametrize("value", ODD_TEXTS + ODD_NUMBERS + ODD_OTHERS)
@pytest.mark.parametrize("place", ["event", "distinct_id", "time", "$insert_id", "x", "properties", "tenant"])
def test_every_odd_value_in_every_place(place: str, value: str) -> None:
    inner = {"distinct_id": '"u"', "time": "1767225600000", "$insert_id": '"i"', "x": "1"}
    outer = {"event": '"e"'}
    (inner if place in inner else outer)[place] = value
    body = "{" + ",".join(f'"{name}":{each}' for name, each in inner.items()) + "}"
    if place != "properties":
        outer["properties"] = body
    line = ("{" + ",".join(f'"{name}":{each}' for name, each in outer.items()) + "}").encode()
    for tenant in ("t", ""):
        check(line, tenant=tenant)
        check(slowly(line), tenant=tenant)


@pytest.mark.parametrize("value", TIMES)
def test_every_form_of_time(value: str) -> None:
    line = f'{{"event":"e","properties":{{"time":{value}}}}}'.encode()
    check(line)
    check(slowly(line))


def test_plain_lines_take_the_fast_path() -> None:
    line = (
        rb'{"tenant":"t","event":"e","properties":{"time":1767225600,"a":"\u00fc \n","b":1.5,"c":true,"d":null,"e":-3}}'
    )
    assert JsonTokens(b"\n".join([line] * 10), bare=False, rewrite=rewrite).slow_rows == 0
    assert JsonTokens(slowly(line), bare=False, rewrite=rewrite).slow_rows == 1


def test_thousands_of_names_are_folded_and_none_is_lost() -> None:
    lines = [
        json.dumps({"event": "e", "properties": {"time": 1767225600, f"n{i}": i, f"m{i}": str(i), "both": i}}).encode()
        for i in range(1500)
    ]
    check(b"\n".join(lines))
    check(slowly(b"\n".join(lines)))
