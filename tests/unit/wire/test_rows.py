"""Rows on the wire: each kind of value, what is refused, and the numbers the reader was built with."""

import math
from typing import Any

import pytest
from evenshard.api.v1 import ingest_pb2
from evenshard.errors import EvenshardError
from evenshard.events.rejects import Decoded
from evenshard.events.rows_codec import decode_rows
from evenshard.wire import rows_kernel
from evenshard.wire.rows import PROPERTIES_MAX, rows_of

NOW_MS = 1_800_000_000_000
START_MS = 1_700_000_000_000


def row(properties: list[tuple[str, dict[str, Any] | None]] | None = None, **fields: Any) -> ingest_pb2.EventRow:
    return ingest_pb2.EventRow(
        **{"event": "view", "distinct_id": "u", "time_ms": START_MS, "insert_id": "i", **fields},
        properties=[
            ingest_pb2.Property(name=name, value=None if value is None else ingest_pb2.Value(**value))
            for name, value in properties or []
        ],
    )


def decoded(*rows: ingest_pb2.EventRow, strict: bool = False) -> Decoded:
    message = ingest_pb2.EventRows(rows=rows).SerializeToString()
    return decode_rows(rows_of(message), tenant="acme", strict=strict, now_ms=NOW_MS)


def only_row(*rows: ingest_pb2.EventRow) -> dict[str, Any]:
    found = decoded(*rows)
    assert (list(found.rejects), len(found.batches)) == ([], 1)
    (read,) = found.batches[0].batch.record.to_pylist()
    return {name: value for name, value in read.items() if ":" in name}


def test_every_kind_of_value_keeps_its_type() -> None:
    assert only_row(
        row(
            [
                ("null", {"null": True}), ("nothing", None), ("yes", {"bool": True}), ("no", {"bool": False}),
                ("low", {"int64": -(1 << 63)}), ("zero", {"int64": 0}), ("half", {"double": -0.5}),
                ("text", {"string": "ü\n"}), ("none", {"string": ""}), ("list", {"json": ' [1,\n{"a": 2.0}] '}),
                ("object", {"json": "{}"}), ("json text", {"json": '"\\u00fc"'}), ("json int", {"json": "3"}),
                ("json double", {"json": "3e0"}), ("json bool", {"json": "false"}), ("json null", {"json": "null"}),
            ]
        )
    ) == {
        "b:yes": True, "b:no": False, "b:json bool": False, "i:low": -(1 << 63), "i:zero": 0, "i:json int": 3,
        "d:half": -0.5, "d:json double": 3.0, "s:text": "ü\n", "s:none": "", "s:json text": "ü",
        "j:list": '[1,{"a":2.0}]', "j:object": "{}",
    }  # fmt: skip


def test_of_a_name_given_twice_the_last_counts() -> None:
    assert only_row(row([("a", {"int64": 1}), ("b", {"int64": 2}), ("a", {"string": "x"}), ("b", {"null": True})])) == {
        "s:a": "x"
    }


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"double": math.nan}, "NUMBER_NOT_FINITE"),
        ({"double": -math.inf}, "NUMBER_NOT_FINITE"),
        ({"json": ""}, "INVALID_JSON"),
        ({"json": "{"}, "INVALID_JSON"),
        ({"json": "1, 2"}, "INVALID_JSON"),
        ({"json": "NaN"}, "INVALID_JSON"),
        ({"json": '"\\ud800"'}, "INVALID_UTF8"),
        ({"json": "[[[[1]]]]"}, "PROPERTIES_TOO_DEEP"),
        ({"json": "[" * 100_000}, "PROPERTIES_TOO_DEEP"),
        ({"json": "9223372036854775808"}, "NUMBER_OUT_OF_RANGE"),
        ({"json": "[1e999]"}, "NUMBER_OUT_OF_RANGE"),
    ],
)
def test_a_value_that_cannot_be_stored_rejects_its_event_alone_and_is_named(value: dict[str, Any], code: str) -> None:
    found = decoded(row(), row([("fine", {"int64": 1}), ("bad", value)], insert_id="i-1"), row())
    assert [(each.index, each.tenant, each.insert_id, each.field, each.code) for each in found.rejects] == [
        (1, "acme", "i-1", "bad", code)
    ]
    assert (found.batches[0].batch.rows, found.batches[0].batch.record.schema.names[4:]) == (2, [])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"event": ""}, "EVENT_MISSING"),
        ({"time_ms": 0}, "TIME_MISSING"),
        ({"time_ms": 1}, "TIME_TOO_OLD"),
        ({"time_ms": -1}, "TIME_TOO_OLD"),
        ({"insert_id": "ü"}, "INSERT_ID_INVALID"),
        ({"properties": [(f"p{at}", {"int64": 1}) for at in range(256)]}, "PROPERTIES_TOO_MANY"),
        ({"properties": [("p", {"string": "x" * 999_994})]}, "EVENT_TOO_LARGE"),
        ({"properties": [("p", {"json": '["' + "x" * 999_990 + '"]'})]}, "EVENT_TOO_LARGE"),
    ],
)
def test_fields_obey_the_rules_of_every_codec(fields: dict[str, Any], code: str) -> None:
    assert [each.code for each in decoded(row(**fields)).rejects] == [code]


def test_the_largest_event_is_stored() -> None:
    assert not decoded(row([("p", {"string": "x" * 999_993})])).rejects
    assert not decoded(row([(f"p{at}", {"int64": 1}) for at in range(255)])).rejects


def test_a_property_named_like_a_field_is_not_stored_and_said() -> None:
    found = decoded(row([("time", {"int64": 3}), ("$insert_id", {"string": "x"})]), row([("event", {"int64": 3})]))
    assert [(each.code, each.count) for each in found.warnings] == [("FIELD_IGNORED", 1)]
    assert found.batches[0].batch.record.schema.names[4:] == ["i:event"]
    assert found.batches[0].batch.record.column("insert_id").to_pylist() == ["i", "i"]


def test_more_names_than_columns_are_folded_and_kept() -> None:
    rows = [row([(f"p{at:04}", {"string" if at % 2 else "double": "x" if at % 2 else 0.5})]) for at in range(1200)]
    record = decoded(*rows).batches[0].batch.record
    assert (record.schema.names[-1], record.num_columns) == ("rest", 4 + 1000 + 1)
    assert sum(array.is_valid().to_pylist().count(True) for array in record.columns[4:]) == 1200


def test_what_is_no_message_or_too_much_is_refused() -> None:
    whole = ingest_pb2.EventRows(rows=[row([("a", {"string": "b"})])]).SerializeToString()
    for damaged in (whole[:-1], b"\x0a", b"\x0b\x0c", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff" * 11):
        with pytest.raises(EvenshardError) as caught:
            rows_of(damaged)
        assert caught.value.code == "PAYLOAD_INVALID"
    for many in (b"\x0a\x00" * ((1 << 20) + 1), b"\x0a\x82\x80\x80\x04" + b"\x2a\x00" * (PROPERTIES_MAX + 1)):
        with pytest.raises(EvenshardError) as caught:
            rows_of(many)
        assert caught.value.code == "REQUEST_TOO_LARGE"


def test_unknown_fields_are_passed_over() -> None:
    unknown = b"\x78\x96\x01" + b"\x79" + bytes(8) + b"\x7a\x03abc" + b"\x7d" + bytes(4) + b"\x08\x05"
    inner = row([("a", {"string": "b"})]).SerializeToString() + unknown
    message = unknown + b"\x0a" + bytes([len(inner)]) + inner
    found = decode_rows(rows_of(message), tenant="acme", strict=False, now_ms=NOW_MS)
    assert found.batches[0].batch.record.to_pylist()[0]["s:a"] == "b"


def test_tags_are_those_of_the_messages() -> None:
    wire_types = {"bool": 0, "int64": 0, "double": 1, "string": 2, "bytes": 2}
    names = {
        "EventRows": {"rows": "ROWS_TAG"},
        "EventRow": {"event": "EVENT_TAG", "distinct_id": "ID_TAG", "time_ms": "TIME_TAG", "insert_id": "INSERT_TAG",
                     "properties": "PROPERTY_TAG"},
        "Property": {"name": "NAME_TAG", "value": "VALUE_TAG"},
        "Value": {"null": "NULL_TAG", "bool": "BOOL_TAG", "int64": "INT_TAG", "double": "DOUBLE_TAG",
                  "string": "STRING_TAG", "json": "JSON_TAG"},
    }  # fmt: skip
    for message, tags in names.items():
        fields = ingest_pb2.DESCRIPTOR.message_types_by_name[message].fields
        types = {fields[0].TYPE_BOOL: "bool", fields[0].TYPE_INT64: "int64", fields[0].TYPE_DOUBLE: "double"}
        found = {each.name: each.number << 3 | wire_types[types.get(each.type, "bytes")] for each in fields}
        assert found == {field: int(getattr(rows_kernel, tag)) for field, tag in tags.items()}
