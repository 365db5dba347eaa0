"""Keys that were restored, as a view asks for them."""

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.limits import RECORD_EVENT
from evenshard.events.scan import ScannedRows
from evenshard.hotkeys.restored import NOTHING_RESTORED, Restored
from evenshard.hotkeys.view import View

DAY_MS = 86_400_000


@pytest.mark.parametrize("dictionary", [False, True])
def test_rows_of_restored_keys_are_told_by_user_and_day(dictionary: bool) -> None:
    restored = NOTHING_RESTORED.changed(("a", 1), restored=True).changed(("b", 2), restored=True)
    ids = pa.array(["a", "a", "b", "b", "c", "a"])
    times = np.array([1, 2, 1, 2, 1, 1], np.int64) * DAY_MS + 5
    found = restored.rows(ids.dictionary_encode() if dictionary else ids, times)
    assert found.tolist() == [True, False, False, True, False, True]
    assert restored.changed(("a", 1), restored=False).rows(ids, times).tolist() == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]


def test_versions_rise_with_changes_alone() -> None:
    assert (bool(NOTHING_RESTORED), NOTHING_RESTORED.version) == (False, 0)
    assert NOTHING_RESTORED.changed(("a", 1), restored=False) is NOTHING_RESTORED
    once = NOTHING_RESTORED.changed(("a", 1), restored=True)
    assert once.changed(("a", 1), restored=True) is once
    gone = once.changed(("a", 1), restored=False)
    assert (once.version, gone.version, bool(gone)) == (1, 2, False)


def scanned(*rows: tuple[str, str, int, bool]) -> ScannedRows:
    names = ["event", "distinct_id", "time", "hot", "duplicate"]
    columns = [list(column) for column in zip(*[(*row, False) for row in rows], strict=True)]
    return ScannedRows(pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=names), True, 0)


ROWS = (
    ("view", "calm", 5, False), ("view", "hot", 5, True), ("view", "back", 5, True), (RECORD_EVENT, "", 5, True),
    ("view", "back", 5 + DAY_MS, True),
)  # fmt: skip


def shown(view: View) -> list[tuple[str, str]]:
    record = view.show(scanned(*ROWS)).record
    assert record.schema.names == ["event", "distinct_id", "duplicate"]
    return list(zip(record.column("event").to_pylist(), record.column("distinct_id").to_pylist(), strict=True))


def test_restored_keys_are_shown_as_themselves_and_records_to_nobody() -> None:
    view = View(("event", "distinct_id"), (), restored=Restored([("back", 0)]))
    hidden = ("$hotshard_events", "")
    assert shown(view) == [("view", "calm"), hidden, ("view", "back"), hidden]
    assert view.rewritten == 2


def test_whoever_asks_for_it_sees_everything_as_it_came() -> None:
    view = View(("event", "distinct_id"), (), restored=None)
    assert shown(view) == [("view", "calm"), ("view", "hot"), ("view", "back"), ("view", "back")]
    assert view.rewritten == 0


def test_a_record_is_shown_as_it_is_to_who_names_it() -> None:
    view = View(("event", "distinct_id"), (), events=("view", RECORD_EVENT))
    assert (RECORD_EVENT, "") in shown(view)
    assert view.rewritten == 3
