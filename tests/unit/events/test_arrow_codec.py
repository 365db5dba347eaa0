"""Arrow streams from outside: the precise code for each call and each event; the good rows as they came."""

import io
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.rejects import Decoded

TIME_MS = 1_767_225_600_000
NOW_MS = TIME_MS + 86_400_000
GOOD: dict[str, pa.Array] = {
    "event": pa.array(["a", "b", "a"]),
    "distinct_id": pa.array(["u", "", "w"]),
    "time": pa.array([TIME_MS, TIME_MS + 1, TIME_MS + 2]),
}


def stream(*batches: dict[str, pa.Array] | list[tuple[str, pa.Array]]) -> bytes:
    sink = io.BytesIO()
    records = []
    for columns in batches:
        pairs = list(columns.items()) if isinstance(columns, dict) else columns
        records.append(pa.RecordBatch.from_arrays([each for _, each in pairs], names=[name for name, _ in pairs]))
    with pa.ipc.new_stream(sink, records[0].schema) as writer:
        for record in records:
            writer.write_batch(record)
    return sink.getvalue()


def decode(data: bytes, *, strict: bool = False) -> Decoded:
    return decode_arrow(data, tenant="t", strict=strict, now_ms=NOW_MS)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    found = []
    for part in decoded.batches:
        part.batch.record.validate(full=True)
        found += [
            {name: value for name, value in row.items() if value is not None} for row in part.batch.record.to_pylist()
        ]
    return found


def codes(decoded: Decoded) -> dict[int, tuple[str, str]]:
    return {reject.index: (reject.code, reject.field) for reject in decoded.rejects}


def raw_text(values: list[bytes], kind: pa.DataType = pa.utf8()) -> pa.Array:  # noqa: B008
    offsets = np.cumsum([0, *map(len, values)]).astype(np.int64 if kind == pa.large_utf8() else np.int32)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))])


PLAIN = [
    {"event": "a", "distinct_id": "u", "time": TIME_MS},
    {"event": "b", "distinct_id": "", "time": TIME_MS + 1},
    {"event": "a", "distinct_id": "w", "time": TIME_MS + 2},
]


def test_the_smallest_stream_decodes() -> None:
    decoded = decode(stream(GOOD))
    assert (rows(decoded), decoded.rejects, decoded.rows, decoded.warnings) == (PLAIN, [], 3, [])
    assert decoded.batches[0].indices is None


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_utf8(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.utf8()),
        pa.dictionary(pa.uint32(), pa.large_utf8()),
    ],
    ids=str,
)
def test_text_of_any_encoding_is_the_same_text(kind: pa.DataType) -> None:
    columns = GOOD | {"insert_id": pa.array(["i", None, ""]), "p": pa.array(["x", None, "ü"])}
    cast = {name: array.cast(kind) if pa.types.is_string(array.type) else array for name, array in columns.items()}
    assert rows(decode(stream(cast))) == rows(decode(stream(columns)))
    assert rows(decode(stream(cast)))[2] == PLAIN[2] | {"s:p": "ü"}


def test_batches_of_one_stream_are_joined_and_dictionaries_unified() -> None:
    second = GOOD | {"event": pa.array(["c", "b", "c"])}
    both = [
        {name: array.dictionary_encode() if name == "event" else array for name, array in columns.items()}
        for columns in (GOOD, second)
    ]
    decoded = decode(stream(*both))
    assert [row["event"] for row in rows(decoded)] == ["a", "b", "a", "c", "b", "c"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int64(), pa.dictionary(pa.int32(), pa.int64())], ids=str)
def test_an_integer_distinct_id_is_its_decimal_text(kind: pa.DataType) -> None:
    ids = pa.array([7, None, 12], kind.value_type if pa.types.is_dictionary(kind) else kind)
    ids = ids.dictionary_encode() if pa.types.is_dictionary(kind) else ids
    assert [row["distinct_id"] for row in rows(decode(stream(GOOD | {"distinct_id": ids})))] == ["7", "", "12"]
    huge = GOOD | {"distinct_id": pa.array([2**64 - 1] * 3, pa.uint64())}
    assert rows(decode(stream(huge)))[0]["distinct_id"] == "18446744073709551615"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_a_timestamp_is_itself_and_fractions_of_a_ms_are_cut_off(unit: str, zone: str | None) -> None:
    factor = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    seconds = TIME_MS // 1000
    times = pa.array([seconds * factor + factor // 1000 * 9 + max(factor // 1000 - 1, 0)] * 3, pa.timestamp(unit, zone))
    expected = TIME_MS + (0 if unit == "s" else 9)
    assert {row["time"] for row in rows(decode(stream(GOOD | {"time": times})))} == {expected}


def test_an_int64_is_always_ms() -> None:
    decoded = decode(stream(GOOD | {"time": pa.array([1_767_225_600, 31_536_000_000, TIME_MS])}))
    assert codes(decoded) == {0: ("TIME_TOO_OLD", "time")}


def test_each_rule_has_its_code_and_the_good_rows_stay() -> None:
    good = {"event": "e", "distinct_id": "u", "time": TIME_MS, "insert_id": "i", "n": 1.5, "u": 1}
    bad: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({"event": None}, ("EVENT_MISSING", "event")),
        ({"event": ""}, ("EVENT_MISSING", "event")),
        ({"event": "x" * 256}, ("EVENT_TOO_LONG", "event")),
        ({"event": "$hotshard_events"}, ("EVENT_NAME_RESERVED", "event")),
        ({"event": "$hotshard_record"}, ("EVENT_NAME_RESERVED", "event")),
        ({"distinct_id": "é" * 128}, ("DISTINCT_ID_TOO_LONG", "distinct_id")),
        ({"time": None}, ("TIME_MISSING", "time")),
        ({"time": 31_535_999_999}, ("TIME_TOO_OLD", "time")),
        ({"time": NOW_MS + 3_600_001}, ("TIME_IN_FUTURE", "time")),
        ({"insert_id": "x" * 65}, ("INSERT_ID_INVALID", "insert_id")),
        ({"insert_id": "é"}, ("INSERT_ID_INVALID", "insert_id")),
        ({"n": float("nan")}, ("NUMBER_NOT_FINITE", "n")),
        ({"n": float("inf")}, ("NUMBER_NOT_FINITE", "n")),
        ({"u": 2**63}, ("NUMBER_OUT_OF_RANGE", "u")),
    ]
    events = [good]
    for change, _ in bad:
        events += [good | change, good]
    table = pa.Table.from_pylist(
        events,
        pa.schema(
            [
                ("event", "utf8"),
                ("distinct_id", "utf8"),
                ("time", "int64"),
                ("insert_id", "utf8"),
                ("n", "double"),
                ("u", "uint64"),
            ]
        ),
    )
    decoded = decode(stream({name: table.column(name).combine_chunks() for name in table.column_names}))
    assert codes(decoded) == {2 * i + 1: code for i, (_, code) in enumerate(bad)}
    assert decoded.batches[0].indices is not None
    assert decoded.batches[0].indices.tolist() == list(range(0, len(events), 2))
    stored = {"event": "e", "distinct_id": "u", "time": TIME_MS, "insert_id": "i", "d:n": 1.5, "i:u": 1}
    assert rows(decoded) == [stored] * (len(bad) + 1)
    assert decoded.batches[0].batch.record.column("event").dictionary.to_pylist() == ["e"]


def test_strict_mode_refuses_placeholders_and_missing_insert_ids() -> None:
    columns = {
        "event": pa.array(["e"] * 5),
        "distinct_id": pa.array(["NULL", "u", "u", "u", "0"]),
        "time": pa.array([TIME_MS] * 5),
        "insert_id": pa.array(["i", None, "", "$auto-1", "i"]),
    }
    decoded = decode(stream(columns), strict=True)
    assert {index: code for index, (code, _) in codes(decoded).items()} == {
        0: "DISTINCT_ID_PLACEHOLDER",
        1: "INSERT_ID_MISSING",
        2: "INSERT_ID_MISSING",
        3: "INSERT_ID_MISSING",
        4: "DISTINCT_ID_PLACEHOLDER",
    }
    assert decoded.batches == []
    lenient = decode(stream(columns))
    assert [(each.code, each.count) for each in lenient.warnings] == [("DISTINCT_ID_PLACEHOLDER", 2)]
    assert lenient.batches[0].batch.record.column("insert_id").to_pylist() == ["i", None, None, "$auto-1", "i"]


@pytest.mark.parametrize("kind", [pa.utf8(), pa.large_utf8()], ids=str)
@pytest.mark.parametrize("column", ["event", "distinct_id", "insert_id", "p"])
def test_bad_utf8_is_refused_for_its_row_only(column: str, kind: pa.DataType) -> None:
    columns = GOOD | {"insert_id": pa.array(["i", "j", "k"]), "p": pa.array(["x", "y", "z"])}
    columns[column] = raw_text([b"ok", b"\xff\xfe", b"\xc3\xa9" if column in ("event", "p") else b"fine"], kind)
    decoded = decode(stream(columns))
    assert codes(decoded) == {1: ("INVALID_UTF8", column)}
    assert len(rows(decoded)) == 2


def test_bad_utf8_in_a_dictionary_or_a_list_is_refused_for_its_rows_only() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), raw_text([b"\xff", b"a"]))
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 1, 2], pa.int32()), raw_text([b"a", b"\xff"]))
    decoded = decode(stream(GOOD | {"p": coded, "q": listed}))
    assert codes(decoded) == {1: ("INVALID_UTF8", "p"), 2: ("INVALID_UTF8", "q")}
    assert rows(decoded) == [PLAIN[0] | {"s:p": "a", "j:q": '["a"]'}]


def test_properties_keep_their_types() -> None:
    columns = GOOD | {
        "b": pa.array([True, None, False]),
        "i": pa.array([1, None, -3], pa.int16()),
        "f": pa.array([0.5, None, -0.0], pa.float32()),
        "t": pa.array([TIME_MS * 1000 + 1, None, 0], pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([20454, None, 0], pa.date32()),
        "l": pa.array([[1, 2], None, []]),
        "m": pa.array([{"x": 1, "y": ["é"]}, None, {"x": None, "y": None}]),
        "nothing": pa.nulls(3),
        "empty": pa.array([None, None, None], pa.utf8()),
    }
    decoded = decode(stream(columns))
    assert decoded.rejects == []
    assert rows(decoded) == [
        PLAIN[0]
        | {
            "b:b": True,
            "i:i": 1,
            "d:f": 0.5,
            "s:t": "2026-01-01T00:00:00.000001Z",
            "s:day": "2026-01-01",
            "j:l": "[1,2]",
            "j:m": '{"x":1,"y":["é"]}',
        },
        PLAIN[1],
        PLAIN[2]
        | {
            "b:b": False,
            "i:i": -3,
            "d:f": -0.0,
            "s:t": "1970-01-01T00:00:00.000000Z",
            "s:day": "1970-01-01",
            "j:l": "[]",
            "j:m": '{"x":null,"y":null}',
        },
    ]
    names = decoded.batches[0].batch.record.schema.names
    assert names[4:] == sorted(names[4:])


def test_properties_json_adds_properties_and_a_column_of_its_own_counts_first() -> None:
    objects = pa.array(
        [
            '{"plan":"pro","n":3,"tags":["a", 1.0]}',
            None,
            ' {"n":\n"3", "x":null,\r\n"plan":true} ',
            "",
            "[1]",
            "{",
            '{"n":1e400}',
            '{"time":5}',
            "null",
        ]
    )
    columns = {
        "event": pa.array(["e"] * 9),
        "distinct_id": pa.array(["u"] * 9),
        "time": pa.array([TIME_MS] * 9),
        "plan": pa.array(["own", *[None] * 8]),
        "properties_json": objects,
    }
    decoded = decode(stream(columns))
    assert {index: code for index, (code, _) in codes(decoded).items()} == {
        4: "PROPERTIES_TYPE",
        5: "INVALID_JSON",
        6: "NUMBER_OUT_OF_RANGE",
    }
    base = {"event": "e", "distinct_id": "u", "time": TIME_MS}
    assert rows(decoded) == [
        base | {"s:plan": "own", "i:n": 3, "j:tags": '["a",1.0]'},
        base,
        base | {"s:n": "3", "b:plan": True},
        base,
        base,
        base,
    ]
    assert [(each.code, each.count) for each in decoded.warnings] == [("FIELD_IGNORED", 1)]


def test_too_many_and_too_large_properties_are_refused() -> None:
    wide = {f"p{i}": pa.array([1, None if i else 1, None]) for i in range(256)}
    assert codes(decode(stream(GOOD | wide))) == {0: ("PROPERTIES_TOO_MANY", "properties")}
    large = GOOD | {"p": pa.array(["x" * 1_000_000, "x" * 600_000, None]), "q": pa.array(["y", "y" * 399_990, "z"])}
    assert {index: code for index, (code, _) in codes(decode(stream(large))).items()} == {0: "EVENT_TOO_LARGE"}
    deep = GOOD | {"p": pa.array([[[[1]]], [[[2]]], None], pa.list_(pa.list_(pa.list_(pa.int64()))))}
    assert codes(decode(stream(deep))) == {}
    deeper = GOOD | {"p": pa.array([[[[[1]]]], None, None], pa.list_(pa.list_(pa.list_(pa.list_(pa.int64())))))}
    assert codes(decode(stream(deeper))) == {0: ("PROPERTIES_TOO_DEEP", "p")}


def refused(data: bytes) -> str:
    with pytest.raises(EvenshardError) as caught:
        decode(data)
    return caught.value.code


def test_bad_calls_have_their_codes() -> None:
    pairs = list(GOOD.items())
    bomb = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int8)), pa.array(["x" * 100_000]))
    many = {name: pa.array([None], array.type).take(pa.array([0] * 100_000)) for name, array in GOOD.items()}
    assert {
        "no time": refused(stream([pair for pair in pairs if pair[0] != "time"])),
        "two times": refused(stream([*pairs, pairs[2]])),
        "two properties": refused(stream([*pairs, ("p", pa.nulls(3)), ("p", pa.nulls(3))])),
        "two insert_ids": refused(stream(GOOD | {"insert_id": pa.nulls(3), "$insert_id": pa.nulls(3)})),
        "time is text": refused(stream(GOOD | {"time": pa.array(["x"] * 3)})),
        "time is int32": refused(stream(GOOD | {"time": pa.array([1] * 3, pa.int32())})),
        "event is a number": refused(stream(GOOD | {"event": pa.array([1] * 3)})),
        "distinct_id is a double": refused(stream(GOOD | {"distinct_id": pa.array([1.0] * 3)})),
        "insert_id is a number": refused(stream(GOOD | {"insert_id": pa.array([1] * 3)})),
        "property is binary": refused(stream(GOOD | {"p": pa.array([b"x"] * 3)})),
        "property is a duration": refused(stream(GOOD | {"p": pa.array([1] * 3, pa.duration("s"))})),
        "no stream": refused(b"hello, this is not arrow at all"),
        "nothing": refused(b""),
        "dictionary of long texts": refused(
            stream({name: array.take(pa.array([0] * 100_000)) for name, array in GOOD.items()} | {"p": bomb})
        ),
        "rows without bytes": refused(stream(*[{name: pa.nulls(100_000) for name in many}] * 11)),
    } == {
        "no time": "COLUMN_MISSING",
        "two times": "COLUMN_DUPLICATED",
        "two properties": "COLUMN_DUPLICATED",
        "two insert_ids": "COLUMN_DUPLICATED",
        "time is text": "COLUMN_TYPE",
        "time is int32": "COLUMN_TYPE",
        "event is a number": "COLUMN_TYPE",
        "distinct_id is a double": "COLUMN_TYPE",
        "insert_id is a number": "COLUMN_TYPE",
        "property is binary": "COLUMN_TYPE",
        "property is a duration": "COLUMN_TYPE",
        "no stream": "PAYLOAD_INVALID",
        "nothing": "PAYLOAD_INVALID",
        "dictionary of long texts": "REQUEST_TOO_LARGE",
        "rows without bytes": "REQUEST_TOO_LARGE",
    }


def test_an_empty_batch_has_no_rows() -> None:
    for columns in (
        {name: array[:0] for name, array in GOOD.items()},
        {
            name: array[:0]
            for name, array in (GOOD | {"p": pa.array([1, 2, 3]), "properties_json": pa.array(["{}"] * 3)}).items()
        },
    ):
        decoded = decode(stream(columns))
        assert (decoded.batches, decoded.rejects, decoded.rows) == ([], [], 0)


def test_a_stream_cut_anywhere_is_refused() -> None:
    data = stream(GOOD, GOOD)
    assert {refused(data[:size]) for size in range(len(data))} == {"PAYLOAD_INVALID"}


def test_views_of_nulls_may_point_anywhere() -> None:
    views = pa.array(["a", None, "b" * 20], pa.string_view())
    buffers = views.buffers()
    stray = bytearray(buffers[1].to_pybytes())
    stray[16:32] = b"\xff" * 16
    array = pa.Array.from_buffers(views.type, 3, [buffers[0], pa.py_buffer(bytes(stray)), *buffers[2:]])
    assert [row.get("s:p") for row in rows(decode(stream(GOOD | {"p": array})))] == ["a", None, "b" * 20]


@pytest.mark.parametrize("known_seed", [None, 3351119437], ids=["any", "a dictionary of intervals"])
def test_flipped_bytes_are_refused_or_decode_to_valid_rows(known_seed: int | None) -> None:
    columns = GOOD | {
        "insert_id": pa.array(["i", None, "k"]),
        "p": pa.array(["a", "b", None]).dictionary_encode(),
        "q": pa.array([[1], None, [2]]),
        "d": pa.array([1.5, None, 2.0]),
        "large": pa.array(["a", None, "c"], pa.large_utf8()),
        "view": pa.array(["a", None, "b" * 20], pa.string_view()),
        "properties_json": pa.array(['{"a":1}', None, '{"b":[1]}']),
    }
    data = stream(columns)
    seed = random.randrange(1 << 32) if known_seed is None else known_seed
    print(f"seed {seed}")
    chance = random.Random(seed)
    outcomes = set()
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(data) - 8)] = chance.randrange(256)
        try:
            decoded = decode(bytes(damaged))
        except EvenshardError as error:
            outcomes.add(error.code)
        else:
            assert sum(part.batch.rows for part in decoded.batches) + len(decoded.rejects) == decoded.rows
            rows(decoded)
    assert "PAYLOAD_INVALID" in outcomes
