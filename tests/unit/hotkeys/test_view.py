"""How hot rows are shown: their originals in two properties, all else intact."""

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.events.scan import HOT, ScannedRows
from evenshard.hotkeys.view import View
from evenshard.testing.scanned import scanned_rows

FIELDS = ("event", "distinct_id", "time", "insert_id")


def row(event: str, distinct_id: str, time: int, duplicate: bool = False, **properties: Any) -> dict[str, Any]:
    return {
        "event": event,
        "distinct_id": distinct_id,
        "time": time,
        "insert_id": f"{event}-{time}",
        "properties": properties,
        "duplicate": duplicate,
    }


def with_hot(rows: Sequence[dict[str, Any]], hot: Sequence[bool], **kinds: bool) -> ScannedRows:
    plain = scanned_rows(rows, **kinds)
    return ScannedRows(plain.record.append_column(HOT, pa.array(hot)), plain.indexed, plain.bytes_read)


def values(record: pa.RecordBatch) -> list[dict[str, Any]]:
    return [{name: value for name, value in found.items() if value is not None} for found in record.to_pylist()]


ROWS = [
    row("view", "ann", 1, plan="pro"),
    row("view", "bob", 2, plan="free"),
    row("sale", "bob", 3, duplicate=True),
    row("sale", "bob", 4, mp_original_event_name=7, mp_original_distinct_id="x"),
]
HOT_ROWS = [False, True, True, True]


@pytest.mark.parametrize("dictionaries", [False, True])
def test_hot_rows_are_rewritten_and_others_untouched(dictionaries: bool) -> None:
    shown = View(FIELDS, None).show(with_hot(ROWS, HOT_ROWS, dictionaries=dictionaries))

    def rewritten(event: str, time: int, **others: Any) -> dict[str, Any]:
        return {
            "event": "$hotshard_events",
            "distinct_id": "",
            "time": time,
            "insert_id": f"{event}-{time}",
            "s:mp_original_event_name": event,
            "s:mp_original_distinct_id": "bob",
            **others,
        }

    assert values(shown.record) == [
        {
            "event": "view",
            "distinct_id": "ann",
            "time": 1,
            "insert_id": "view-1",
            "s:plan": "pro",
            "duplicate": False,
        },
        rewritten("view", 2, duplicate=False) | {"s:plan": "free"},
        rewritten("sale", 3, duplicate=True),
        rewritten("sale", 4, duplicate=False),
    ]
    assert shown.record.schema.names[-1] == "duplicate"


def test_originals_in_rest_give_way_too() -> None:
    rest = {"mp_original_event_name": "old", "other": 1}
    plain = with_hot(ROWS[:2], HOT_ROWS[:2])
    texts = [orjson.dumps(rest).decode(), orjson.dumps(rest).decode()]
    record = plain.record.append_column("rest", pa.array(texts, pa.utf8()))
    shown = View(FIELDS, None).show(ScannedRows(record, plain.indexed, plain.bytes_read)).record
    assert [orjson.loads(text) for text in shown.column("rest").to_pylist()] == [rest, {"other": 1}]


def test_only_what_was_asked_for_is_shown() -> None:
    scanned = with_hot(ROWS, HOT_ROWS)
    shown = View(("time",), ("mp_original_distinct_id",)).show(
        ScannedRows(scanned.record.select(["event", "distinct_id", "time", HOT, "duplicate"]), False, 0)
    )
    assert shown.record.schema.names == ["time", "s:mp_original_distinct_id", "duplicate"]
    assert shown.record.column(1).to_pylist() == [None, "bob", "bob", "bob"]


def test_rows_without_hot_ones_are_as_they_are() -> None:
    plain = scanned_rows(ROWS)
    assert View(FIELDS, None).show(plain) is plain
    none_hot = View(FIELDS, None).show(with_hot(ROWS, [False] * 4))
    assert none_hot.record.equals(plain.record)


@pytest.mark.parametrize(
    ("events", "ranges_ms", "skip_duplicates", "expected"),
    [
        ((), (), True, 2),
        ((), (), False, 3),
        (("sale",), (), True, 1),
        (("$hotshard_events",), (), True, 0),
        ((), ((0, 3), (4, 4)), True, 1),
    ],
)
def test_rewritten_rows_are_counted_by_their_original_names(
    events: Sequence[str], ranges_ms: Sequence[tuple[int, int]], skip_duplicates: bool, expected: int
) -> None:
    view = View(FIELDS, (), events=events, ranges_ms=ranges_ms, skip_duplicates=skip_duplicates)
    view.show(with_hot(ROWS, HOT_ROWS))
    assert view.rewritten == expected
