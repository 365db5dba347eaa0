"""Rows gathered by user equal those of a list that is sorted: their order, codes, values and sessions; whatever parts
they come in, whether it is known whose they are, wherever users are cut into chunks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.scan import DUPLICATE, Part, Parts, ScannedRows
from evenshard.events.united import united
from evenshard.events.users import NO_PEOPLE
from evenshard.queries import user_chunks, user_rows
from evenshard.queries.gather_kernel import join_runs
from evenshard.queries.user_chunks import UserChunks
from evenshard.queries.user_rows import SESSION_GAP_MS, Coded, Matched, Needs, UserRows, Valued
from evenshard.storage.columns.runs import own_runs
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
            "held": st.sampled_from(["", "x", "y", "é"]),
            "kept": st.booleans(),
            "there": st.sampled_from([True, True, True, False]),
            "duplicate": st.sampled_from([False, False, False, True]),
        }
    ),
    max_size=25,
)  # fmt: skip
LATE = ("event", "insert_id")


def record_of(rows: list[Row], dictionaries: bool) -> pa.RecordBatch:
    names = ("distinct_id", "event", "insert_id", "held")
    arrays = {name: pa.array([row[name] for row in rows], pa.utf8()) for name in names}
    if dictionaries:
        arrays = {name: array.dictionary_encode() for name, array in arrays.items()}
    arrays["time"] = pa.array([row["time"] for row in rows], pa.int64())
    arrays["group"] = pa.array([row["group"] for row in rows], pa.int32())
    arrays["mask"] = pa.array([row["mask"] for row in rows], pa.uint64())
    arrays["kept"] = pa.array([row["kept"] for row in rows], pa.bool_())
    arrays[DUPLICATE] = pa.array([row["duplicate"] for row in rows], pa.bool_())
    return pa.RecordBatch.from_pydict(arrays)


def parts_of(batches: list[list[Row]], known: int, late: bool, dictionaries: bool) -> Parts:
    """Of the first ``known`` batches it is known whose the rows are; of these names are read late if ``late``."""
    found: list[ScannedRows] = []
    runs = []
    for number, rows in enumerate(batches):
        record = record_of(rows, dictionaries)
        keep = np.array([row["there"] for row in rows], np.bool_)
        if number < known:
            runs.append(own_runs([record.column("distinct_id")], record.column("time").to_numpy()))
        shown = record.drop_columns(list(LATE)) if late and number < known else record

        def read(name: str, record: pa.RecordBatch = record) -> tuple[pa.Array, int]:
            return record.column(name), 1

        found.append(ScannedRows(shown, number % 2 == 0, 10, None if keep.all() else keep, late=read))
    union = united(NO_PEOPLE, [each.people for each in runs]) if runs else None
    parts = [Part.of(some) for some in found]
    for number, each in enumerate(runs):
        assert union is not None
        numbers = union.numbers[1 + number]
        assert numbers is not None
        parts[number] = replace(parts[number], users=replace(each.runs, numbers=numbers[each.runs.numbers]))
    return Parts(parts, union.people if union else NO_PEOPLE)


def codes_of(record: pa.RecordBatch, wanted: Any) -> Mapping[str, Any]:
    held = record.column("held")
    held = held if pa.types.is_dictionary(held.type) else held.dictionary_encode()
    # Only what is wanted and matches is told; values of one text may have two codes.
    groups, rows = np.full(len(held), -1, np.int32), wanted.rows((1 << 64) - 1)
    groups[rows] = record.column("group").to_numpy()[rows]
    twice = held.indices.to_numpy() + np.int32(len(held.dictionary)) * (np.arange(len(held)) % 2).astype(np.int32)
    return {"group": groups, "held": Valued(twice, pa.concat_arrays([held.dictionary, held.dictionary]))}


def as_lists(found: list[UserRows], sessions: bool, chunks: UserChunks) -> dict[str, list[tuple[Any, ...]]]:
    """Each user's rows: time, mask, group, which rows of the user hold the same, session."""
    lists: dict[str, list[tuple[Any, ...]]] = {}
    for rows in found:
        for user in range(len(rows.starts) - 1):
            places = range(rows.starts[user], rows.starts[user + 1])
            if not places:
                continue
            (who,) = chunks.members([np.array([rows.first + user])]).ids().to_pylist()
            assert who not in lists
            held: dict[int, int] = {}
            lists[who] = [
                (
                    int(rows.times[at]),
                    int(rows.masks[at]),
                    int(rows.codes["group"][at]),
                    held.setdefault(int(rows.codes["held"][at]), len(held)),
                    int(rows.sessions[at]) if sessions else 0,
                )
                for at in places
            ]
    return lists


def expected_lists(
    rows: list[Row], needs: Needs, by_mask: bool, skip_duplicates: bool
) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    ranks = needs.rank_mask
    for row in rows:
        row["keep"] = bool(row["mask"]) if by_mask else row["kept"]
    alive = [row for row in rows if row["there"] and not (skip_duplicates and row["duplicate"])]
    for who in {row["distinct_id"] for row in rows} - {""}:
        mine = [row for row in alive if row["distinct_id"] == who and (row["keep"] or needs.sessions)]
        mine.sort(key=lambda row: row["time"])
        if needs.ties == "all":
            mine.sort(key=lambda row: (row["time"], row["event"].encode(), row["insert_id"] or ""))
        if ranks:
            mine.sort(key=lambda row: (row["time"], row["mask"] & ranks & -(row["mask"] & ranks) or 64))
        session, before = 0, mine[0]["time"] if mine else 0
        held: dict[str, int] = {}
        for row in mine:
            session += row["time"] - before > SESSION_GAP_MS
            before = row["time"]
            if row["keep"]:
                same = held.setdefault(row["held"], len(held))
                group = row["group"] if row["mask"] else -1
                shown = (row["time"], row["mask"], group, same, session if needs.sessions else 0)
                found.setdefault(who, []).append(shown)
    return found


@settings(max_examples=300, deadline=None, print_blob=True)
@given(
    ROWS, st.sampled_from(["any", "all"]), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.integers(1, 9), st.sampled_from([0, 1, 2, 100]), st.sampled_from([0, 2, 3]), st.integers(1, 9),
    st.sampled_from([0, 1, 1 << 63]), st.booleans(),
)  # fmt: skip
def test_rows_are_by_user_time_and_name(
    rows: list[Row], ties: Any, sessions: bool, by_mask: bool, dictionaries: bool, late: bool, skip_duplicates: bool,
    size: int, known: int, ranks: int, chunk_rows: int, opening: int, coded: bool,
) -> None:  # fmt: skip
    opens = (lambda masks: masks & np.uint64(opening) != 0) if opening else None
    needs = Needs(codes_of, ties, rank_mask=ranks, sessions=sessions, opens=opens)

    def choose(some: ScannedRows) -> Any:
        masks = some.record.column("mask").to_numpy()
        if coded:
            bits, codes = np.unique(masks, return_inverse=True)
            masks = Coded(codes.astype(np.int32), bits)
        return masks if by_mask else Matched(masks, some.record.column("kept").to_numpy(zero_copy_only=False))

    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    # What is not known comes behind.
    rows = [row for batch in batches for row in batch]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_chunks, "CHUNK_ROWS", chunk_rows)
        chunks = UserChunks(choose, np.uint64, skip_duplicates=skip_duplicates, check=lambda: None, needs=needs)
        found = list(chunks.of(parts_of(batches, known, late, dictionaries)))
    lists, expected = as_lists(found, sessions, chunks), expected_lists(rows, needs, by_mask, skip_duplicates)
    # Of users of no interest rows may be missing.
    of_interest = [who for who, mine in expected.items() if not opening or any(row[1] & opening for row in mine)]
    assert {**expected, **lists} == expected
    assert lists.keys() >= set(of_interest)
    there = [row for row in rows if row["there"]]
    assert chunks.rows == len(there)
    duplicates = sum(bool(row["mask"]) for row in there if row["duplicate"]) if skip_duplicates else 0
    assert sum(chunks.skipped.values()) == duplicates


def test_users_of_no_interest_are_left_out_where_few_are_of_interest() -> None:
    rows = [
        {
            "distinct_id": f"u{at // 2}", "time": at, "event": "a", "insert_id": None, "held": "", "group": 0,
            "mask": 3 if at in (4, 11) else 1, "kept": True, "there": True, "duplicate": False,
        }
        for at in range(20)
    ]  # fmt: skip
    for some, known in ((rows, 1), (rows[::-1], 1), (rows, 0)):
        chunks = UserChunks(
            lambda some: some.record.column("mask").to_numpy(), np.uint64, skip_duplicates=True, check=lambda: None,
            needs=Needs(codes_of, opens=lambda masks: masks & np.uint64(2) != 0),
        )  # fmt: skip
        found = as_lists(list(chunks.of(parts_of([some], known, False, True))), False, chunks)
        assert {who: [row[0] for row in mine] for who, mine in found.items()} == {"u2": [4, 5], "u5": [10, 11]}


def test_ties_are_ordered_only_where_bits_are_shared() -> None:
    rows = [
        {
            "distinct_id": "ann", "time": time, "event": event, "insert_id": None, "held": "", "group": group,
            "mask": mask, "kept": True, "there": True, "duplicate": False,
        }
        for time, event, group, mask in ((1, "b", 0, 1 | 4), (1, "a", 1, 2 | 4), (2, "b", 2, 1), (2, "a", 3, 1 | 4))
    ]  # fmt: skip
    chunks = UserChunks(
        lambda some: some.record.column("mask").to_numpy(), np.uint64, skip_duplicates=True, check=lambda: None,
        needs=Needs(codes_of, "shared", 1),
    )  # fmt: skip
    (found,) = chunks.of(parts_of([rows], 1, True, True))
    assert found.codes["group"].tolist() == [0, 1, 3, 2]
    assert chunks.bytes == 12, "names and insert_ids were read once, since that was needed"


def test_names_are_not_read_where_no_two_rows_share_a_ms() -> None:
    rows = [
        {
            "distinct_id": "ann", "time": time, "event": "a", "insert_id": None, "held": "", "group": 0, "mask": 1,
            "kept": True, "there": True, "duplicate": False,
        }
        for time in range(3)
    ]  # fmt: skip
    chunks = UserChunks(
        lambda some: some.record.column("mask").to_numpy(), np.uint64, skip_duplicates=True, check=lambda: None,
        needs=Needs(None, "all"),
    )  # fmt: skip
    (found,) = chunks.of(parts_of([rows], 1, True, True))
    assert (found.times.tolist(), chunks.bytes) == ([0, 1, 2], 10)


def test_more_rows_of_a_user_than_a_shard_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_rows, "ROWS_MAX", 1)
    rows = [
        {
            "distinct_id": "ann", "time": 1, "event": "a", "insert_id": None, "held": "", "group": 0, "mask": 1,
            "kept": True, "there": True, "duplicate": False,
        }
    ] * 2  # fmt: skip
    chunks = UserChunks(
        lambda some: some.record.column("mask").to_numpy(), np.uint64, skip_duplicates=True, check=lambda: None
    )
    with pytest.raises(EvenshardError, match="more than 1 events of one user take part"):
        list(chunks.of(parts_of([rows], 0, False, False)))


@pytest.mark.parametrize("kind", [np.uint64, np.uint8])
@pytest.mark.parametrize("placed", [True, False])
def test_joined_rows_are_by_user_and_time_and_stay_in_order_otherwise(kind: Any, placed: bool) -> None:
    seed = 3
    print(f"seed {seed}")
    chance = np.random.default_rng(seed)
    for runs in (0, 1, 50, 300):
        users, counts = chance.integers(0, 9, runs).astype(np.int32), chance.integers(0, 30, runs).astype(np.int32)
        rows, of_rows = int(counts.sum()), np.repeat(users, counts)
        times, masks = chance.integers(0, 20, rows), chance.integers(1, 200, rows).astype(kind)
        starts, places = np.empty(10, np.int64), np.empty(rows if placed else 0, np.int32)
        out_times, out_masks = np.empty(rows, np.int64), np.empty(rows, kind)
        join_runs(users, counts, times, masks, starts, out_times, out_masks, places)
        order = np.lexsort((times, of_rows))
        assert out_times.tolist() == times[order].tolist()
        assert out_masks.tolist() == masks[order].tolist()
        assert places.tolist() == (order.tolist() if placed else [])
        assert starts.tolist() == np.searchsorted(np.sort(of_rows), np.arange(10)).tolist()
