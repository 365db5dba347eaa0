"""Events without insert_id get one; those that have one, and what is no event, stay byte for byte."""

import json
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.client.insert_ids import InsertIds, add_to_lines, add_to_record, has_insert_id, hides_insert_id
from evenshard.events.ndjson_codec import decode_ndjson
from hypothesis import given, seed, settings
from hypothesis import strategies as st

KEPT = [
    b'{"event":"a","properties":{"distinct_id":"u","$insert_id":"x"}}',
    b'{"event":"a","properties":{"distinct_id":"u","$insert_id": "x"}}',
    b'{"event":"a","insert_id":"x","properties":{"distinct_id":"u"}}',
    b'{"event":"a","properties":{"distinct_id":"u"},"insert_id":"x"}',
    b'{"event":"a","distinct_id":"u","insert_id"  :  "x"}',
    b'{"event":"a","properties":{"\\u0024insert_id":"x"}}',
    b'{"event":"a","properties":{"$\\u0069nsert_id":"x"}}',
    b'{"event":"a","properties":{"deep":{"x":{}},"$insert_id":"x"}}',
    b'{"event":"a","properties":{"note":"say \\"$insert_id\\":\\"no\\"","$insert_id":"x"}}',
    b'{"event":"a","properties":{"$insert_id":7}}',
    b"",
    b"  ",
    b"{}",
    b"{ }",
    b"null",
    b"[1,2]",
    b"{not json",
    b'{"event":"a"',
    b'{"event":"a","insert_id"}',
    b'"insert_id":',
    b"\xff\xfe",
]
GIVEN = [
    b'{"event":"a","properties":{"distinct_id":"u"}}',
    b'{"event":"a"}',
    b' {"event":"a"} ',
    b'{"event":"a","properties":{}}',
    b'{"event":"a","properties":{"$insert_id":null}}',
    b'{"event":"a","$insert_id":""}',
    b'{"event":"a","insert_id":null}',
    b'{"event":"a","properties":{"$insert_id":"x","$insert_id":null}}',
    b'{"event":"a","properties":{"deep":{"$insert_id":"not mine"}}}',
    b'{"event":"a","properties":{"note":"say \\"$insert_id\\":\\"no\\""}}',
    b'{"event":"$insert_id","properties":{}}',
    b'{"event":"a\\u00e9\\ud83d\\ude00","properties":{"x":"}"}}',
    b'{"event":"a"}\r',
]


def ids_of(payload: bytes) -> list[Any]:
    return [event_id(line) for line in payload.split(b"\n")]


def event_id(line: bytes) -> Any:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict):
        return None
    return event.get("properties", {}).get("$insert_id") or event.get("$insert_id") or event.get("insert_id")


@pytest.mark.parametrize("line", KEPT)
def test_lines_that_have_an_insert_id_or_are_no_event_stay_as_they_are(line: bytes) -> None:
    for payload in (line, line + b"\n", GIVEN[0] + b"\n" + line + b"\n" + GIVEN[1]):
        assert line in add_to_lines(payload, InsertIds()).split(b"\n")


@pytest.mark.parametrize("line", GIVEN)
def test_events_without_insert_id_are_given_one(line: bytes) -> None:
    added = add_to_lines(line, InsertIds("t"))
    assert ids_of(added) == ["$auto-t-0"]
    event = orjson.loads(line)
    event["$insert_id"] = "$auto-t-0"
    assert orjson.loads(added) == event


def test_an_empty_insert_id_is_filled_where_it_stands() -> None:
    line = b'{"event":"a","properties":{"$insert_id" : "","x":"\\"$insert_id\\":\\"\\""}}'
    added = add_to_lines(GIVEN[0] + b"\n" + line + b"\n" + GIVEN[1], InsertIds("t")).split(b"\n")[1]
    assert added == line.replace(b': ""', b': "$auto-t-4"')


def test_the_cluster_reads_the_ids_that_were_given() -> None:
    fields = b'"time":1767225600000,"distinct_id":"u",'
    lines = [line.replace(b'{"event"', b"{" + fields + b'"event"') for line in GIVEN]
    lines.append(b"\xef\xbb\xbf" + lines[0])
    lines.reverse()
    decoded = decode_ndjson(add_to_lines(b"\n".join(lines), InsertIds("t")), tenant="t", strict=False, now_ms=2**41)
    assert (decoded.rows, decoded.rejects) == (len(lines), [])
    found = [text for each in decoded.batches for text in each.batch.record.column("insert_id").to_pylist()]
    assert len({text for text in found if text.startswith("$auto-t-")}) == len(lines)


def test_a_block_keeps_its_lines_and_gives_each_event_another_id() -> None:
    payload = b"\n".join([*GIVEN, *KEPT, *GIVEN]) + b"\n"
    added = add_to_lines(payload, InsertIds("t"))
    lines = added.split(b"\n")
    assert len(lines) == len(payload.split(b"\n"))
    assert lines[len(GIVEN) : len(GIVEN) + len(KEPT)] == KEPT
    made = ids_of(b"\n".join([*lines[: len(GIVEN)], *lines[-len(GIVEN) - 1 : -1]]))
    assert all(each.startswith("$auto-t-") for each in made)
    assert len(set(made)) == 2 * len(GIVEN)
    assert add_to_lines(added, InsertIds()) == added


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        ([b'{"event":"a","properties":{"$insert_id":"x","y":"insert_id"}}', b'{"event":"a","properties":{}}'], 1),
        ([b'{"event":"a","properties":{"o":{"$insert_id":"x"}}}', b'{"event":"a","$insert_id":"x"}'], 0),
        ([b'{"event":"a","properties":{"insert_id":"x"}}', b'{"event":"a","properties":{"$insert_id":"y"}}'], 0),
    ],
    ids=["two mentions in one line", "three braces in one line", "a key that is no field"],
)
def test_a_line_lacks_its_id_whatever_its_neighbours_have_too_much(lines: list[bytes], lacking: int) -> None:
    # In all of them the block has as many mentions as lines and two braces for each.
    added = add_to_lines(b"\n".join(lines), InsertIds("t")).split(b"\n")
    assert added[1 - lacking] == lines[1 - lacking]
    assert event_id(added[lacking]).startswith("$auto-t-")


def test_generated_ids_are_short_printable_and_nobody_elses() -> None:
    first, second = InsertIds(), InsertIds()
    made = {first.one(), second.one(), *first.many(10).to_pylist(), *second.many(10).to_pylist()}
    assert len(made) == 22
    far = InsertIds()
    far._next = 10**12
    assert all(len(each) <= 64 and each.isascii() and each.isprintable() for each in [*made, far.one()])


keys = st.sampled_from(["$insert_id", "insert_id", "event", "a{b", "}", 'q"', "é"]) | st.text(max_size=3)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.sampled_from(["insert_id", "}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(keys, values, max_size=4)
outer = st.dictionaries(keys, st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2), max_size=4)
lines_strategy = st.lists(
    st.tuples(
        st.one_of(
            st.builds(lambda event, properties: {**event, "properties": properties}, outer, objects), outer, values
        ),
        st.booleans(),
        st.sampled_from([(",", ":"), (", ", ": ")]),
    ),
    min_size=1,
    max_size=6,
)


@seed(20260101)
@settings(max_examples=150, deadline=None)
@given(lines_strategy)
def test_injection_equals_what_parsing_every_line_would_do(drawn: list[tuple[Any, bool, tuple[str, str]]]) -> None:
    documents = [document for document, _, _ in drawn]
    texts = [json.dumps(each, ensure_ascii=escaped, separators=form).encode() for each, escaped, form in drawn]
    added = add_to_lines(b"\n".join(texts), InsertIds("t")).split(b"\n")
    for document, text, line in zip(documents, texts, added, strict=True):
        if isinstance(document, dict) and document and not has_insert_id(document):
            found = orjson.loads(line)
            assert ids_of(line)[0].startswith("$auto-t-")
            for each in (found, document):
                each.pop("$insert_id", None)
                if hides_insert_id(document):
                    each["properties"] = {**each["properties"], "$insert_id": ""}
            assert found == document
        else:
            assert line == text


@pytest.mark.parametrize("kind", [pa.utf8(), pa.large_utf8(), pa.string_view(), pa.dictionary(pa.int32(), pa.utf8())])
@pytest.mark.parametrize("name", ["insert_id", "$insert_id"])
def test_missing_ids_of_a_record_are_filled(kind: pa.DataType, name: str) -> None:
    column = pa.array(["a", None, "", "d"]).cast(kind)
    record = pa.RecordBatch.from_arrays([pa.array([1, 2, 3, 4]), column], ["time", name])
    filled = add_to_record(record, InsertIds("t"))
    assert filled.schema.names == ["time", name]
    assert filled.column(1).to_pylist() == ["a", "$auto-t-1", "$auto-t-2", "d"]


def test_a_record_without_the_column_gets_one_and_a_full_one_stays() -> None:
    record = pa.RecordBatch.from_pydict({"time": [1, 2]})
    filled = add_to_record(record, InsertIds("t"))
    assert filled.to_pydict() == {"time": [1, 2], "insert_id": ["$auto-t-0", "$auto-t-1"]}
    assert add_to_record(filled, InsertIds()) is filled
    wrong = pa.RecordBatch.from_pydict({"insert_id": [1, None]})
    assert add_to_record(wrong, InsertIds()) is wrong
    nothing = pa.RecordBatch.from_arrays([pa.nulls(2)], ["insert_id"])
    assert add_to_record(nothing, InsertIds("t")).to_pydict() == {"insert_id": ["$auto-t-0", "$auto-t-1"]}
