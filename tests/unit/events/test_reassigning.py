"""Which distinct_id a property gives, and which events it leaves."""

import pyarrow as pa
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.reassigning import new_ids, with_ids
from evenshard.events.row_digest import Tally, tally_of
from evenshard.testing.events import Event, event_batch

EVENTS = [
    Event("e", "hot", at, f"i{at}", properties)
    for at, properties in enumerate(
        [
            {"s:mail": "ann"},
            {"i:mail": 42},
            {"s:mail": ""},
            {"s:mail": "hot"},
            {"s:mail": "x" * 256},
            {"d:mail": 1.5},
            {"b:mail": True},
            {"j:mail": "[1]"},
            {},
            {"s:mail": "blocked"},
            {"s:mail": "undefined"},
            {"s:mail": "größe"},
        ]
    )
]


def test_texts_and_integers_are_ids_and_all_else_is_left() -> None:
    record = event_batch(EVENTS).record
    left = [None] * 7
    assert new_ids(record, "mail").to_pylist() == ["ann", "42", *left, "blocked", "undefined", "größe"]
    found = new_ids(record, "mail", refused={"blocked"}, strict=True)
    assert found.to_pylist() == ["ann", "42", *left, None, None, "größe"]
    assert new_ids(record, "nothing").null_count == len(EVENTS)


def test_events_stay_as_they_are_under_their_new_ids() -> None:
    record = event_batch(EVENTS[:2]).record
    moved = with_ids(record, pa.array(["ann", "42"], pa.utf8()))
    assert moved.schema == record.schema
    assert moved.drop_columns(["distinct_id"]) == record.drop_columns(["distinct_id"])
    assert moved.column("distinct_id").to_pylist() == ["ann", "42"]


def test_a_tally_is_of_rows_in_any_order_and_of_all_that_can_be_seen() -> None:
    record = event_batch(EVENTS).record
    parts = [event_batch(EVENTS[at::3]).record for at in range(3)]
    assert sum(map(tally_of, parts), Tally()) == tally_of(record)
    other = event_batch([*EVENTS[:-1], Event("e", "hot", 11, "i11", {"s:mail": "grösse"})]).record
    assert tally_of(other).digest != tally_of(record).digest
    assert tally_of(record) - tally_of(parts[0]) == tally_of(parts[1]) + tally_of(parts[2])


def test_marked_rows_read_back_as_they_were_written() -> None:
    record = event_batch(EVENTS).record
    bits = pa.array([at % 2 == 0 for at in range(len(EVENTS))]).to_numpy(zero_copy_only=False)
    marked = MarkedRows(event_batch(EVENTS), bits, ~bits)
    again = MarkedRows.from_ipc(marked.to_ipc())
    assert again.batch.record == record
    assert (again.duplicate.tolist(), again.hot.tolist()) == (bits.tolist(), (~bits).tolist())
    joined = MarkedRows.joined([marked.slice(0, 5), marked.slice(5, 7)])
    assert tally_of(joined.batch.record) == tally_of(record)
