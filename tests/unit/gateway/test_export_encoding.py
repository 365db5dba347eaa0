"""Exported bytes read back as the rows they came from."""

from typing import Any

import orjson
import pyarrow as pa
from evenshard.gateway.encode import encode_arrow, encode_lines
from evenshard.testing.reference import Row
from evenshard.testing.scanned import event_record
from hypothesis import given, settings
from hypothesis import strategies as st

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(['"', "\\", "a\n", ""])
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.just([1, {"a": "b"}]),
    st.just({}),
)
rows = st.fixed_dictionaries(
    {
        "event": texts,
        "distinct_id": texts,
        "time": st.integers(0, 2**45),
        "insert_id": st.one_of(st.none(), st.sampled_from(["x", '"y"'])),
        "duplicate": st.booleans(),
        "properties": st.dictionaries(texts, values, max_size=4),
    }
)


def exact(value: Any) -> str:
    """Tells 3 from 3.0."""
    if isinstance(value, dict):
        return str(sorted((name, exact(each)) for name, each in value.items()))
    return repr(value)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(st.lists(rows, min_size=1, max_size=6), st.booleans(), st.integers(0, 5), st.booleans())
def test_what_is_exported_reads_back(some: list[Row], rest: bool, first: int, show: bool) -> None:
    record = event_record(some, rest=rest).slice(first)
    expected = []
    for row in some[first:]:
        own = {name: value for name, value in row["properties"].items() if value is not None}
        fields = {"distinct_id": row["distinct_id"], "time": row["time"]}
        if row["insert_id"] is not None:
            fields["$insert_id"] = row["insert_id"]
        expected.append((row, fields, own))
    if not expected:
        assert encode_lines(record, show) == b""
    lines = encode_lines(record, show)
    assert lines.count(b"\n") == len(expected)
    for line, (row, fields, own) in zip(lines.splitlines(), expected, strict=True):
        wanted: dict[str, Any] = {"event": row["event"], "properties": {**own, **fields}}
        if row["duplicate"] and show:
            wanted["duplicate"] = True
        if not own.keys() & fields.keys():
            assert exact(orjson.loads(line)) == exact(wanted)
    table = pa.ipc.open_stream(encode_arrow(record, show)).read_all()
    read = table.to_pylist()
    assert len(read) == len(expected)
    for got, (row, _, own) in zip(read, expected, strict=True):
        assert exact(orjson.loads(got.pop("properties_json"))) == exact(own)
        names = ["event", "distinct_id", "time", "insert_id", *(["duplicate"] if show else [])]
        assert got == {name: row[name] for name in names}
