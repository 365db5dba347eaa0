"""Remediated events, as exports show them, are their originals again, whatever they come in."""

import io
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.events.rejects import Decoded
from evenshard.events.remediated import without_originals

NOW_MS = 1_767_225_600_000
BOTH = {"mp_original_event_name": "view", "mp_original_distinct_id": "ann"}


def event(name: str, distinct_id: str, number: int, **properties: Any) -> dict[str, Any]:
    own = {"distinct_id": distinct_id, "time": NOW_MS - number, "$insert_id": f"id-{number}", **properties}
    return {"event": name, "properties": own}


def by_lines(events: list[dict[str, Any]]) -> Decoded:
    lines = b"\n".join(orjson.dumps(each) for each in events)
    return decode_ndjson(lines, tenant="acme", strict=False, now_ms=NOW_MS)


def by_arrow(events: list[dict[str, Any]]) -> Decoded:
    record = pa.RecordBatch.from_pylist(
        [{"event": each["event"], **each["properties"]} for each in events],
        schema=pa.schema(
            [
                ("event", pa.utf8()),
                ("distinct_id", pa.utf8()),
                ("time", pa.int64()),
                ("$insert_id", pa.utf8()),
                ("mp_original_event_name", pa.utf8()),
                ("mp_original_distinct_id", pa.dictionary(pa.int32(), pa.utf8())),
                ("plan", pa.utf8()),
            ]
        ),
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return decode_arrow(sink.getvalue(), tenant="acme", strict=False, now_ms=NOW_MS)


@pytest.mark.parametrize("decode", [by_lines, by_arrow])
def test_both_originals_make_an_event_its_original(decode: Any) -> None:
    decoded = decode(
        [
            event("view", "bob", 1, plan="pro"),
            event("$hotshard_events", "", 2, plan="free", **BOTH),
            event("view", "bob", 3, **BOTH),
        ]
    )
    (rows,) = decoded.batches
    assert rows.remediated is not None
    assert rows.remediated.tolist() == [False, True, False]
    assert decoded.rejects == []
    fields = rows.batch.record.select(["event", "distinct_id", "insert_id", "s:plan"]).to_pylist()
    assert [tuple(each.values()) for each in fields] == [
        ("view", "bob", "id-1", "pro"),
        ("view", "ann", "id-2", "free"),
        ("view", "bob", "id-3", None),
    ]
    for name, value in BOTH.items():
        assert rows.batch.record.column(f"s:{name}").to_pylist() == [None, None, value]


@pytest.mark.parametrize("decode", [by_lines, by_arrow])
def test_without_both_the_name_stays_reserved(decode: Any) -> None:
    decoded = decode(
        [
            event("$hotshard_events", "ann", 1),
            event("$hotshard_events", "", 2, mp_original_event_name="view"),
            event("$hotshard_events", "", 3, mp_original_event_name="view", mp_original_distinct_id=""),
            event("$hotshard_events", "", 4, **{**BOTH, "mp_original_event_name": "$hotshard_record"}),
            event("$hotshard_events", "", 5, **BOTH),
        ]
    )
    assert [(reject.index, reject.code) for reject in decoded.rejects] == [
        (number, "EVENT_NAME_RESERVED") for number in range(4)
    ]
    (rows,) = decoded.batches
    assert rows.remediated is not None
    assert (rows.remediated.tolist(), rows.indices.tolist()) == ([True], [4])


def test_the_rules_hold_for_originals_too() -> None:
    decoded = by_lines(
        [
            event("$hotshard_events", "", 1, **{**BOTH, "mp_original_event_name": "e" * 256}),
            event("$hotshard_events", "", 2, **{**BOTH, "mp_original_distinct_id": "i" * 256}),
        ]
    )
    assert [reject.code for reject in decoded.rejects] == ["EVENT_TOO_LONG", "DISTINCT_ID_TOO_LONG"]


def test_originals_go_from_rest_too() -> None:
    text = orjson.dumps({**BOTH, "other": 1}).decode()
    columns = {"rest": pa.array([text, text, None], pa.utf8())}
    kept = without_originals(columns, pa.array([False, True, True]).to_numpy(zero_copy_only=False))
    assert kept["rest"].to_pylist() == [text, '{"other":1}', None]
