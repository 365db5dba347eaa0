"""What is encoded decodes to the same events, from rows of every type; joining and folding batches loses nothing."""

from typing import Any

import orjson
import pyarrow as pa
from evenshard.events.batch import PROPERTY_COLUMNS_MAX, PROPERTY_TYPES, property_of, schema_of
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.events.ndjson_encode import encode_ndjson
from evenshard.events.properties import concat, fold, property_values, typed_value
from hypothesis import given, settings
from hypothesis import strategies as st

NOW_MS = 1_800_000_000_000
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), words
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(words, scalars, max_size=3))
names = words.filter(lambda name: name not in ("distinct_id", "time", "$insert_id"))
events = st.tuples(
    words.filter(lambda name: 0 < len(name.encode()) <= 255),
    words,
    st.integers(31_536_000_000, NOW_MS),
    st.one_of(st.none(), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)),
    st.dictionaries(names, values, max_size=5),
)


def record_of(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        for name, value in row[4].items():
            kind, stored = typed_value(value)
            columns.setdefault(f"{kind}:{name}", [None] * len(rows))[number] = stored
    schema = schema_of(columns)
    arrays = [
        pa.array([row[0] for row in rows], pa.utf8()).dictionary_encode(),
        pa.array([row[1] for row in rows], pa.utf8()),
        pa.array([row[2] for row in rows], pa.int64()),
        pa.array([row[3] for row in rows], pa.utf8()),
        *[pa.array(columns[name], PROPERTY_TYPES[name[0]]) for name in schema.names[4:]],  # type: ignore[index]
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def plain(record: pa.RecordBatch) -> list[Any]:
    """Rows as values; repr tells doubles from integers and bools."""
    out = []
    for row in record.to_pylist():
        properties = {name: value for name, value in row.items() if property_of(name) and value is not None}
        for name, value in orjson.loads(row.get("rest") or "{}").items():
            kind, stored = typed_value(value)
            properties[f"{kind}:{name}"] = stored
        out.append(repr((row["event"], row["distinct_id"], row["time"], row["insert_id"], sorted(properties.items()))))
    return out


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.lists(events, min_size=1, max_size=6), st.booleans())
def test_lines_decode_to_the_rows_they_were_made_of(rows: list[tuple[Any, ...]], with_tenant: bool) -> None:
    record = record_of(rows)
    lines = encode_ndjson(record, tenant="t" if with_tenant else None, mark_duplicates=False)
    for line, row in zip(lines.split(b"\n")[:-1], rows, strict=True):
        document = orjson.loads(line)
        assert list(document) == (["tenant"] if with_tenant else []) + ["event", "properties"]
        assert (document["event"], document["properties"]["distinct_id"]) == row[:2]
    decoded = decode_ndjson(lines, tenant="" if with_tenant else "t", strict=False, now_ms=NOW_MS)
    assert decoded.rejects == []
    assert plain(decoded.batches[0].batch.record) == plain(record)
    again = encode_ndjson(decoded.batches[0].batch.record, tenant="t" if with_tenant else None, mark_duplicates=False)
    assert again == lines


def test_duplicates_are_marked_beside_the_properties_and_import_again() -> None:
    record = record_of([("e", "u", NOW_MS, "i", {"x": 1}), ("e", "", NOW_MS, None, {})])
    marked = record.append_column("duplicate", pa.array([True, False]))
    lines = encode_ndjson(marked, tenant=None, mark_duplicates=True)
    assert lines == (
        b'{"event":"e","properties":{"distinct_id":"u","time":1800000000000,"$insert_id":"i","x":1},"duplicate":true}\n'
        b'{"event":"e","properties":{"distinct_id":"","time":1800000000000}}\n'
    )
    decoded = decode_ndjson(lines, tenant="t", strict=False, now_ms=NOW_MS)
    assert (plain(decoded.batches[0].batch.record), decoded.warnings) == (plain(record), [])


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.lists(st.lists(events, min_size=1, max_size=4), min_size=1, max_size=4))
def test_joined_batches_hold_the_rows_one_after_the_other(parts: list[list[tuple[Any, ...]]]) -> None:
    joined = concat([record_of(part) for part in parts])
    joined.validate(full=True)
    assert plain(joined) == [row for part in parts for row in plain(record_of(part))]
    properties = joined.schema.names[4:]
    assert properties == sorted(properties)


def test_columns_beyond_the_most_frequent_fold_into_rest_and_read_back() -> None:
    rows = [
        ("e", "u", NOW_MS, None, {"often": n, f"rare{n}": [n, str(n), n + 0.5, {"n": [n]}][n % 4]}) for n in range(1200)
    ]
    record = record_of(rows)
    folded = concat([record.slice(0, 700), record.slice(700)])
    assert len([name for name in folded.schema.names if property_of(name)]) == PROPERTY_COLUMNS_MAX
    assert plain(folded) == plain(record)
    assert property_values(folded, "often").arrays["i"].to_pylist() == list(range(1200))
    for n in (0, 1, 2, 3, 1196, 1197, 1198, 1199):
        kind, stored = typed_value(rows[n][4][f"rare{n}"])
        found = property_values(folded, f"rare{n}")
        assert {k: array.drop_null().to_pylist() for k, array in found.arrays.items()} == {kind: [stored]}
        assert found.is_set(1200).to_pylist().index(True) == n
    lines = encode_ndjson(folded, tenant=None, mark_duplicates=False)
    decoded = decode_ndjson(lines, tenant="t", strict=False, now_ms=NOW_MS)
    assert plain(decoded.batches[0].batch.record) == plain(record)


def test_folding_adds_to_the_rest_that_is_there() -> None:
    columns = {f"i:p{n:04}": pa.array([n, None]) for n in range(PROPERTY_COLUMNS_MAX + 1)}
    folded = fold(columns | {"rest": pa.array(['{"old":true}', None])}, 2)
    assert folded["rest"].to_pylist() == ['{"old":true,"p1000":1000}', None]


def test_a_property_that_no_row_has_has_no_values() -> None:
    assert property_values(record_of([("e", "u", NOW_MS, None, {"x": 1})]), "y").arrays == {}
