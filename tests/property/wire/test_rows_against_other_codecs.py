"""The same events give the same answer as rows, as NDJSON and as Arrow; no bytes make the reader read beyond them."""

import json
from typing import Any

import pyarrow as pa
from evenshard.api.v1 import ingest_pb2
from evenshard.errors import EvenshardError
from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.json_kernel import AT, END, KEY, KIND, ROW
from evenshard.events.limits import TIME_AHEAD_MAX_MS, TIME_MIN_MS
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.events.rejects import Decoded
from evenshard.events.rows_codec import decode_rows
from evenshard.wire.rows import rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

NOW_MS = 1_800_000_000_000
INT64_MAX = (1 << 63) - 1

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
numbers = st.one_of(
    st.integers(-INT64_MAX - 1, INT64_MAX), st.integers(-3, 300), st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, st.sampled_from(["3", "true", ""]))
nested = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
names = st.sampled_from(["a", "b", "c", "ü", "", "event", "insert_id", 'q"\\', "long" * 70])
times = st.one_of(
    st.integers(TIME_MIN_MS, NOW_MS + 2 * TIME_AHEAD_MAX_MS),
    st.sampled_from([TIME_MIN_MS, NOW_MS + TIME_AHEAD_MAX_MS, NOW_MS + TIME_AHEAD_MAX_MS + 1, INT64_MAX]),
)
events = st.fixed_dictionaries(
    {
        "event": st.one_of(texts, st.sampled_from(["view", "v" * 255, "v" * 256, "$hotshard_events"])),
        "distinct_id": st.one_of(texts, st.sampled_from(["u", "undefined", "i" * 255, "ü" * 128])),
        "time": times,
        "insert_id": st.one_of(st.sampled_from(["", "i-1", "x" * 64, "x" * 65, "\n", "$auto-1"]), texts),
        "properties": st.lists(st.tuples(names, st.booleans(), nested), max_size=5),
    }
)


def value_of(value: Any, as_json: bool) -> ingest_pb2.Value:
    """A value as a message; as JSON text where its type is no other, or where asked for."""
    if as_json or isinstance(value, list | dict):
        return ingest_pb2.Value(json=json.dumps(value))
    if value is None:
        return ingest_pb2.Value(null=True)
    if isinstance(value, bool):
        return ingest_pb2.Value(bool=value)
    if isinstance(value, int):
        return ingest_pb2.Value(int64=value)
    return ingest_pb2.Value(double=value) if isinstance(value, float) else ingest_pb2.Value(string=value)


def message_of(given_events: list[dict[str, Any]]) -> bytes:
    rows = [
        ingest_pb2.EventRow(
            event=each["event"],
            distinct_id=each["distinct_id"],
            time_ms=each["time"],
            insert_id=each["insert_id"],
            properties=[
                ingest_pb2.Property(name=name, value=value_of(value, as_json))
                for name, as_json, value in each["properties"]
            ],
        )
        for each in given_events
    ]
    return ingest_pb2.EventRows(rows=rows).SerializeToString()


def object_of(properties: list[tuple[str, bool, Any]]) -> str:
    """JSON in which a name may stand twice."""
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, _, value in properties) + "}"


def line_of(each: dict[str, Any]) -> str:
    fields = {name: each[name] for name in ("event", "distinct_id", "time", "insert_id")}
    return f'{json.dumps(fields)[:-1]},"properties":{object_of(each["properties"])}}}'


def table_of(given_events: list[dict[str, Any]]) -> bytes:
    columns = {name: [each[name] for each in given_events] for name in ("event", "distinct_id", "time", "insert_id")}
    columns["properties_json"] = [object_of(each["properties"]) for each in given_events]
    types = [pa.utf8(), pa.utf8(), pa.int64(), pa.utf8(), pa.utf8()]
    table = pa.table([pa.array(values, kind) for values, kind in zip(columns.values(), types, strict=True)], [*columns])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def answer(decoded: Decoded) -> Any:
    """All of it but the words."""
    return (
        [
            (
                rows.tenant,
                rows.batch.record.schema,
                rows.batch.record.to_pylist(),
                rows.indices is None or [*rows.indices],
            )
            for rows in decoded.batches
        ],
        [(each.index, each.tenant, each.insert_id, each.code) for each in decoded.rejects],
        decoded.rows,
        [(each.code, each.message, each.count) for each in decoded.warnings],
    )


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.lists(events, max_size=6), st.booleans())
def test_rows_ndjson_and_arrow_give_the_same_answer(given_events: list[dict[str, Any]], strict: bool) -> None:
    rows = decode_rows(rows_of(message_of(given_events)), tenant="t", strict=strict, now_ms=NOW_MS)
    lines = "\n".join(map(line_of, given_events)).encode()
    assert answer(rows) == answer(decode_ndjson(lines, tenant="t", strict=strict, now_ms=NOW_MS))
    if given_events:
        assert answer(rows) == answer(decode_arrow(table_of(given_events), tenant="t", strict=strict, now_ms=NOW_MS))


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.data())
def test_damaged_rows_are_refused_or_read_within_their_bounds(data: st.DataObject) -> None:
    message = bytearray(message_of(data.draw(st.lists(events, min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(message[: data.draw(st.integers(0, len(message)))])
    try:
        found = rows_of(damaged)
    except EvenshardError:
        return
    texts_end = found.data.size - 32
    assert ((found.tokens[AT] >= 0) & (found.tokens[AT] <= found.tokens[END])).all()
    assert (found.tokens[END] <= texts_end).all()
    assert ((found.tokens[ROW] >= 0) & (found.tokens[ROW] < found.rows)).all()
    assert (found.tokens[KEY] < found.names.shape[1]).all()
    assert (found.tokens[KIND] <= 6).all()
    assert (found.names[1] <= texts_end).all()
    try:
        parsed = ingest_pb2.EventRows.FromString(damaged)
    except Exception:  # noqa: BLE001 - protobuf's own error has no stable type
        return
    assert found.rows == len(parsed.rows)
    decode_rows(rows_of(parsed.SerializeToString()), tenant="t", strict=False, now_ms=NOW_MS)
