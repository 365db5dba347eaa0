"""Rows gathered by user equal those of a list that is sorted: their order, codes, values and sessions."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.queries import user_rows
from evenshard.queries.user_rows import SESSION_GAP_MS, UserRowGatherer, UserRows
from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "distinct_id": st.sampled_from(["", "ann", "bob", "dé"]),
            "time": st.one_of(
                st.integers(0, 3), st.integers(0, 6).map(lambda at: at * SESSION_GAP_MS + at % 2),
            ),
            "event": st.sampled_from(["view", "buy", "ä"]),
            "insert_id": st.sampled_from([None, "a", "b"]),
            "mask": st.sampled_from([0, 1, 2, 3, 1 << 63]),
            "group": st.integers(0, 2),
            "held": st.sampled_from([None, "x", "y", "é"]),
            "kept": st.booleans(),
            "alive": st.booleans(),
        }
    ),
    max_size=25,
)  # fmt: skip


def record_of(rows: list[Row], dictionaries: bool) -> pa.RecordBatch:
    arrays = {name: pa.array([row[name] for row in rows], pa.utf8()) for name in ("distinct_id", "event", "insert_id")}
    arrays["held"] = pa.array([row["held"] for row in rows], pa.utf8())
    if dictionaries:
        arrays = {name: array.dictionary_encode() for name, array in arrays.items()}
    arrays["time"] = pa.array([row["time"] for row in rows], pa.int64())
    arrays["group"] = pa.array([row["group"] for row in rows], pa.int32())
    return pa.RecordBatch.from_pydict(arrays)


def as_lists(rows: UserRows, sessions: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Each user's rows: time, mask, group, held value, session."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    held = rows.values["held"].to_pylist() if rows.values else []
    for user, who in enumerate(rows.ids.to_pylist()):
        for at in range(rows.starts[user], rows.starts[user + 1]):
            code = int(rows.codes["held"][at])
            found.setdefault(who, []).append(
                (
                    int(rows.times[at]),
                    int(rows.masks[at]),
                    int(rows.codes["group"][at]),
                    None if code < 0 else held[code],
                    int(rows.sessions[at]) if sessions else 0,
                )
            )
    return found


def expected_lists(
    rows: list[Row], ties: str, sessions: bool, by_mask: bool, ranks: int
) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        row["keep"] = bool(row["mask"]) if by_mask else row["kept"] and (row["alive"] or not sessions)
    for who in {row["distinct_id"] for row in rows} - {""}:
        mine = [row for row in rows if row["distinct_id"] == who and (row["keep"] or (sessions and row["alive"]))]
        mine.sort(key=lambda row: row["time"])
        if ties == "all":
            mine.sort(key=lambda row: (row["time"], row["event"].encode(), row["insert_id"] or ""))
        if ranks:
            mine.sort(key=lambda row: (row["time"], row["mask"] & ranks & -(row["mask"] & ranks) or 64))
        session, before = 0, mine[0]["time"] if mine else 0
        for row in mine:
            session += row["time"] - before > SESSION_GAP_MS
            before = row["time"]
            if row["keep"]:
                shown = (row["time"], row["mask"], row["group"], row["held"], session if sessions else 0)
                found.setdefault(who, []).append(shown)
    return found


@settings(max_examples=300, deadline=None, print_blob=True)
@given(
    ROWS,
    st.sampled_from(["any", "all"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 9),
    st.sampled_from([0, 2, 3]),
)
def test_rows_are_by_user_time_and_name(
    rows: list[Row], ties: Any, sessions: bool, by_mask: bool, dictionaries: bool, size: int, ranks: int
) -> None:
    if sessions and by_mask:
        rows = [row | {"alive": row["alive"] or bool(row["mask"])} for row in rows]
    gatherer = UserRowGatherer(
        lambda record, masks: {"group": record.column("group").to_numpy(), "held": record.column("held")},
        ties,
        rank_mask=ranks,
        sessions=sessions,
    )
    for at in range(0, len(rows), size):
        some = rows[at : at + size]
        masks = np.array([row["mask"] for row in some], np.uint64)
        alive = np.array([row["alive"] for row in some], np.bool_)
        kept = None if by_mask else np.array([row["kept"] for row in some], np.bool_)
        if kept is not None and sessions:
            kept &= alive
        gatherer.add(record_of(some, dictionaries), masks, kept, alive if sessions else None)
    assert as_lists(gatherer.gathered(), sessions) == expected_lists(rows, ties, sessions, by_mask, ranks)


def test_ties_are_ordered_only_where_bits_are_shared() -> None:
    rows = [
        {"distinct_id": "ann", "time": time, "event": event, "insert_id": None, "held": None, "group": group}
        for time, event, group in ((1, "b", 0), (1, "a", 1), (2, "b", 2), (2, "a", 3))
    ]
    gatherer = UserRowGatherer(lambda record, masks: {"group": record.column("group").to_numpy()}, "shared", 1)
    gatherer.add(record_of(rows, False), np.array([1 | 4, 2 | 4, 1, 1 | 4], np.uint64))
    assert gatherer.gathered().codes["group"].tolist() == [0, 1, 3, 2]


def test_more_rows_than_a_shard_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_rows, "ROWS_MAX", 1)
    rows = [{"distinct_id": "ann", "time": 1, "event": "a", "insert_id": None, "held": None, "group": 0}] * 2
    with pytest.raises(EvenshardError, match="more than 1 events of a shard take part"):
        UserRowGatherer().add(record_of(rows, False), np.ones(2, np.uint64))
