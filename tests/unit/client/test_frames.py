"""Frames of pandas and polars become the events they show."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from evenshard.client.sources import batches_of_table, is_table
from evenshard.errors import EvenshardError
from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.rejects import Decoded

NOW_MS = 1_800_000_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = 1_767_225_600_000
COLUMNS: dict[str, list[Any]] = {
    "event": ["a", "b", "a"],
    "distinct_id": ["u", "v", "w"],
    "time": [START] * 3,
    "insert_id": ["1", "2", "3"],
    "number": [1.5, None, 2.5],
    "count": [1, 2, 3],
    "ok": [True, False, True],
    "text": ["x", None, "y"],
    "when": [START, None, START],
    "tags": [["a", "b"], None, []],
}
WHEN = "2026-01-01T00:00:00.000000Z"
ROWS = [
    {"d:number": 1.5, "i:count": 1, "b:ok": True, "s:text": "x", "s:when": WHEN, "j:tags": '["a","b"]'},
    {"i:count": 2, "b:ok": False},
    {"d:number": 2.5, "i:count": 3, "b:ok": True, "s:text": "y", "s:when": WHEN, "j:tags": "[]"},
]  # fmt: skip


def pandas() -> Any:
    return pytest.importorskip("pandas", reason="SKIPPED: NO PANDAS (pip install evenshard[frames])")


def polars() -> Any:
    return pytest.importorskip("polars", reason="SKIPPED: NO POLARS (pip install evenshard[frames])")


def decoded(frame: Any) -> Decoded:
    (batch,) = batches_of_table(frame, ids=None)
    return decode_arrow(batch.payload, tenant="t", strict=False, now_ms=NOW_MS)


def properties(frame: Any) -> list[dict[str, Any]]:
    """What is set in each row, after the fields were seen to be those of ``COLUMNS``."""
    found = decoded(frame)
    assert list(found.rejects) == []
    rows = found.batches[0].batch.record.to_pylist()
    fields = [tuple(row.pop(name) for name in ("event", "distinct_id", "time", "insert_id")) for row in rows]
    assert fields == [("a", "u", START_MS, "1"), ("b", "v", START_MS, "2"), ("a", "w", START_MS, "3")]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def test_a_pandas_frame_is_its_rows_and_nan_is_not_set() -> None:
    frame = pandas().DataFrame(COLUMNS)
    assert frame["number"].isna().tolist() == [False, True, False]
    assert properties(frame) == ROWS
    indexed = frame.set_index(pandas().Index(["i", "j", "k"], name="key"))
    assert properties(indexed.astype({"event": "category", "text": "string"})) == ROWS


def test_infinities_in_a_pandas_frame_are_refused() -> None:
    frame = pandas().DataFrame({**COLUMNS, "number": [float("inf"), float("nan"), 1.0]})
    assert [(each.index, each.field, each.code) for each in decoded(frame).rejects] == [
        (0, "number", "NUMBER_NOT_FINITE")
    ]


def test_a_pandas_column_of_several_types_says_what_to_do() -> None:
    with pytest.raises(EvenshardError) as caught:
        decoded(pandas().DataFrame({**COLUMNS, "mixed": [3, "3", None]}))
    assert (caught.value.code, "mixed" in caught.value.message, "to_dict" in caught.value.hint) == (
        "COLUMN_TYPE",
        True,
        True,
    )


def test_a_polars_frame_is_its_rows() -> None:
    frame = polars().DataFrame(COLUMNS)
    assert properties(frame) == ROWS
    assert properties(frame.with_columns(polars().col("event", "text").cast(polars().Categorical))) == ROWS


def test_a_lazy_frame_is_to_be_collected() -> None:
    with pytest.raises(EvenshardError) as caught:
        decoded(polars().LazyFrame(COLUMNS))
    assert (caught.value.code, caught.value.hint) == ("PAYLOAD_INVALID", "collect() it first")


def test_frames_are_told_from_iterables_of_dicts() -> None:
    table = pa.table({"event": ["a"]})
    assert [is_table(each) for each in (table, table.to_batches()[0], table.to_reader())] == [True] * 3
    assert [is_table(each) for each in ([], ({} for _ in ()), {"event": "a"})] == [False] * 3
    assert is_table(pandas().DataFrame(COLUMNS))
    assert [is_table(each) for each in (polars().DataFrame(COLUMNS), polars().LazyFrame(COLUMNS))] == [True] * 2
