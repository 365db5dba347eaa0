"""The slow path of JSON: one odd line becomes a trusted one, or a fault. Both paths then share the columns' rules.

A trusted line is what ``orjson`` writes: no key twice, no nulls, numbers that fit, arrays and objects in compact form.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from evenshard.events import faults, limits
from evenshard.events.faults import FINE, Detail
from evenshard.events.json_values import INT64_MAX, INT64_MIN, HugeInteger, value_fault

_OUTER_FIELDS = ("tenant", "event", "distinct_id", "time", "insert_id", "$insert_id")
_INNER_FIELDS = frozenset(("distinct_id", "time", "$insert_id"))
_OUTER = frozenset((*_OUTER_FIELDS, "properties", "duplicate"))
_HUGE = b"0" * 20
_HUGE_NEGATIVE = b"-" + b"0" * 19
"""orjson makes doubles of integers that fit neither uint64 nor int64; these may be such, whatever their digits are."""
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A trusted line, holding at least the fields that could be read; and what is wrong with the original."""

    line: bytes
    fault: Detail | None = None


def _integer(text: str) -> int | HugeInteger:
    return int(text) if len(text) <= 20 else HugeInteger(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _load_exactly(text: str) -> Any:
    """Standard JSON in which integers of any size keep their digits. Raises ``ValueError``, ``RecursionError``."""
    return json.loads(text, parse_int=_integer, parse_constant=_no_constant)


def _load(line: bytes) -> tuple[Any, int]:
    """The document, and the fault of its text; None where there is no document."""
    digits = line.translate(_DIGITS_AS_ZEROS)
    if _HUGE not in digits and _HUGE_NEGATIVE not in digits:
        try:
            return orjson.loads(line), FINE
        except orjson.JSONDecodeError:
            pass  # why, the standard parser shows
    fault = FINE
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text, fault = line.decode(errors="replace"), faults.INVALID_UTF8
    try:
        document = _load_exactly(text)
    except RecursionError:
        return None, faults.PROPERTIES_TOO_DEEP
    except ValueError:
        return None, faults.INVALID_JSON
    return document, fault if _is_unicode(document) else faults.INVALID_UTF8


def load_value(text: bytes) -> tuple[Any, int]:
    """One JSON value, and the fault of its text; its numbers are not judged. Raises nothing."""
    try:
        value, fault = _load(text)
    except RecursionError:
        return None, faults.PROPERTIES_TOO_DEEP
    if value is None and fault == FINE and text.strip() != b"null":
        fault = faults.INVALID_JSON
    return value, fault


def _is_unicode(value: Any) -> bool:
    """No lone surrogate in any string or key."""
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return all(_is_unicode(key) and _is_unicode(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_is_unicode, value))
    return True


def _scrub(value: Any) -> Any:
    """With lone surrogates replaced, so that the fields of a refused event can be shown."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_scrub(key): _scrub(each) for key, each in value.items()}
    return False if isinstance(value, list) else value


def _time(value: Any) -> Any:
    """A time as the kernel reads it: doubles become whole ms, exactly as their decimal text says."""
    if type(value) is int:
        return min(max(value, INT64_MIN), INT64_MAX)
    if isinstance(value, HugeInteger):
        return 0 if value.startswith("-") else INT64_MAX
    if not isinstance(value, float):
        return value if isinstance(value, str) else False
    if math.isinf(value):
        return INT64_MAX if value > 0 else 0
    exact = Decimal(repr(value))
    ms = int(exact * 1000 if exact < limits.TIME_MIN_MS else exact)
    # What was less than 1971 in seconds must not be taken for seconds once it is ms.
    return min(ms, INT64_MAX) if ms >= limits.TIME_MIN_MS else 0


def _field(name: str, value: Any) -> Any:
    """A field's value, or something of a type the field's rule refuses."""
    if name == "time":
        return _time(value)
    if type(value) is str:
        return value
    if isinstance(value, str) and not (isinstance(value, HugeInteger) and name != "distinct_id"):
        return str(value)
    if name == "distinct_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return False


def _size(event: dict[str, Any]) -> int:
    """As ``limits.EVENT_SIZE_BYTES_MAX`` counts."""
    total = 0
    for name, value in event.items():
        if name == "properties":
            total += _size(value)
            continue
        total += 0 if name in _OUTER_FIELDS else len(name.encode())
        if isinstance(value, str):
            total += len(value.encode())
        else:
            total += len(orjson.dumps(value)) if isinstance(value, list | dict) else 1
    return total


def _properties(found: dict[str, Any], out: dict[str, Any]) -> Detail | None:
    """Copies what is set into ``out``, the fields even if another property is at fault."""
    count, worst, where = 0, FINE, ""
    for name, value in found.items():
        if value is None:
            continue
        if name in _INNER_FIELDS:
            out[name] = _field(name, value)
            continue
        count += 1
        out[name] = value
        if type(value) is str:
            continue
        fault = value_fault(value)
        if fault == faults.NUMBER_NOT_FINITE:
            # JSON text has no infinities: this double was too large.
            fault = faults.NUMBER_OUT_OF_RANGE
        if fault < worst:
            worst, where = fault, name
    if count > limits.PROPERTIES_MAX:
        worst, where = faults.PROPERTIES_TOO_MANY, "properties"
    if worst == FINE:
        return None
    for name in [name for name in out if name not in _INNER_FIELDS]:
        del out[name]
    return Detail(worst, where, "")


def rewrite(line: bytes, ignored: Counter[str]) -> Rewritten:
    """One odd line as a trusted one. Outer keys that mean nothing are counted in ``ignored``. Raises nothing."""
    try:
        return _rewrite_line(line, ignored)
    except RecursionError:
        return Rewritten(b"{}", Detail(faults.PROPERTIES_TOO_DEEP, "properties", ""))


def _rewrite_line(line: bytes, ignored: Counter[str]) -> Rewritten:
    document, text_fault = _load(line)
    if type(document) is not dict:
        number = text_fault if text_fault == faults.PROPERTIES_TOO_DEEP else faults.INVALID_JSON
        return Rewritten(b"{}", Detail(number, "", ""))
    if text_fault != FINE:
        document = _scrub(document)
    return _rewrite(document, text_fault, len(line) > limits.EVENT_SIZE_BYTES_MAX, ignored)


def _rewrite(document: dict[str, Any], text_fault: int, large: bool, ignored: Counter[str]) -> Rewritten:
    event: dict[str, Any] = {}
    for name, value in document.items():
        if name in _OUTER_FIELDS:
            if value is not None:
                event[name] = _field(name, value)
        elif name not in _OUTER:
            ignored[name] += 1
    found = document.get("properties")
    fault = None if text_fault == FINE else Detail(text_fault, "", "")
    properties: dict[str, Any] = {}
    if type(found) is dict:
        fault = fault or _properties(found, properties)
        if fault is not None and fault.number == faults.INVALID_UTF8:
            properties = {name: _field(name, found[name]) for name in _INNER_FIELDS if found.get(name) is not None}
    elif found is not None:
        fault = fault or Detail(faults.PROPERTIES_TYPE, "properties", "")
    if properties:
        event["properties"] = properties
    if large and fault is None and _size(event) > limits.EVENT_SIZE_BYTES_MAX:
        fault = Detail(faults.EVENT_TOO_LARGE, "", "")
        event["properties"] = {name: properties[name] for name in _INNER_FIELDS if name in properties}
    return Rewritten(orjson.dumps(event), fault)


def rewrite_object(text: bytes, _ignored: Counter[str]) -> Rewritten:
    """As ``rewrite``, of a properties object alone (a ``properties_json`` of Arrow)."""
    try:
        return _rewrite_object(text)
    except RecursionError:
        return Rewritten(b"{}", Detail(faults.PROPERTIES_TOO_DEEP, "properties_json", ""))


def _rewrite_object(text: bytes) -> Rewritten:
    document, text_fault = _load(text)
    if text.strip() == b"null":
        return Rewritten(b"{}")
    if type(document) is not dict:
        number = text_fault if text_fault == faults.PROPERTIES_TOO_DEEP else faults.INVALID_JSON
        number = faults.PROPERTIES_TYPE if document is not None else number
        return Rewritten(b"{}", Detail(number, "properties_json", ""))
    if text_fault != FINE:
        return Rewritten(b"{}", Detail(faults.INVALID_UTF8, "properties_json", ""))
    out: dict[str, Any] = {}
    fault = _properties(document, out)
    return Rewritten(orjson.dumps(out), fault)
