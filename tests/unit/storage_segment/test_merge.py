"""Merging tables of different columns: a union, the rarest properties in ``rest``."""

import json

import pyarrow as pa
import pytest
from evenshard.ids import TenantId
from evenshard.storage.compaction import merge
from evenshard.storage.compaction.merge import conformed, merge_sorted, merged_schema, sort_table
from evenshard.testing.tail_tables import DAY_MS, TailRow, in_segment_order, rows_of, tail_table

ACME = TenantId("acme")


def table(rows: list[TailRow], **properties: list[object]) -> pa.Table:
    made = tail_table(ACME, rows)
    for name, values in properties.items():
        made = made.append_column(name.replace("__", ":"), [values])
    return sort_table(made)


def rows(prefix: str, count: int, **values: object) -> list[TailRow]:
    return [TailRow("a", "u", 100 * DAY_MS + i, f"{prefix}{i}", **values) for i in range(count)]  # type: ignore[arg-type]


def test_columns_that_a_table_lacks_are_null() -> None:
    left, right = rows("l", 3, number=1), rows("r", 3, text="x")
    tables = [table(left), table(right)]
    merged = merge_sorted(tables, merged_schema([], tables))
    assert rows_of(merged) == in_segment_order(ACME, left + right)
    assert merged.column_names[4:] == ["i:number", "s:text", "placement_hash", "duplicate", "hot"]


def test_strings_are_encoded_as_the_schema_says() -> None:
    plain = table(rows("p", 4, text="x"))
    coded = plain.set_column(plain.column_names.index("s:text"), "s:text", plain.column("s:text").dictionary_encode())
    schema = merged_schema([(coded.schema, 4)], [plain])
    assert pa.types.is_dictionary(schema.field("s:text").type)
    assert schema.field("distinct_id").type == pa.utf8()
    assert rows_of(conformed(plain, schema)) == rows_of(plain)
    assert rows_of(conformed(coded, plain.schema)) == rows_of(plain)


def test_properties_beyond_the_limit_go_into_rest_and_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "PROPERTY_COLUMNS_MAX", 2)
    left = table(rows("l", 3), i__often=[1, 2, 3], s__rare=["x", None, None], i__some=[7, 8, None])
    right = table(rows("r", 2), i__often=[4, 5], j__other=["[1]", None])
    schema = merged_schema([(left.schema, 3)], [right])
    assert [name for name in schema.names if ":" in name or name == "rest"] == ["i:often", "i:some", "rest"]
    merged = merge_sorted([left, right], schema)
    found = {row["insert_id"]: (row["i:often"], row["i:some"], row["rest"]) for row in merged.to_pylist()}
    assert {key: (a, b, json.loads(c) if c else None) for key, (a, b, c) in found.items()} == {
        "l0": (1, 7, {"rare": "x"}),
        "l1": (2, 8, None),
        "l2": (3, None, None),
        "r0": (4, None, {"other": [1]}),
        "r1": (5, None, None),
    }
