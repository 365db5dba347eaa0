"""A question answered by parts out of the cache, users numbered by storage, is answered as by rows read one by one:
whatever was appended, indexed, sorted, deleted or is hot, whatever slots are owned, whatever fits into the cache."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.hashing import SLOT_COUNT
from evenshard.events.scan import Parts, ScannedRows
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.queries import answer, funnel_answer, scans, user_chunks
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.steps import parse_step
from evenshard.storage.columns import segment
from evenshard.storage.columns.scan import Wanted
from evenshard.storage.segment import writer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.storage.tail import runs
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

ACME = TenantId("acme")
HOUR_MS = 3_600_000
BASE_MS = 1_704_067_200_000
USERS = ["", "ann", "bob", "cy", "größe"]

events = st.builds(
    Event,
    st.sampled_from(["view", "view", "buy", "click"]),
    st.sampled_from(USERS),
    st.integers(0, 3 * 24).map(lambda hour: BASE_MS + hour * HOUR_MS),
    st.sampled_from([None, "x", "y"]),
    st.sampled_from([{}, {"i:n": 1}, {"s:n": "text"}, {"s:n": "other"}, {"s:n": "other", "b:long name": True}]),
)
acts = st.one_of(
    st.tuples(st.just("append"), st.lists(events, min_size=1, max_size=40), st.booleans()),
    st.sampled_from([("compact",), ("sort",)]),
    st.tuples(st.just("delete"), st.sampled_from(USERS[1:])),
)
dates = st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-03"])
segmentations = st.fixed_dictionaries(
    {
        "events": st.sampled_from([[], ["view"], ["view", "buy"], ["nothing"]]),
        "by": st.sampled_from([[], ["n"], ["n"], ["$event"], ["$distinct_id"], ["n", "long name"], ["nothing"]]),
        "measure": st.sampled_from(["total", "unique"]),
        "unit": st.sampled_from(["hour", "day", "week"]),
        "where": st.sampled_from(["", 'n == "other"', '$distinct_id != "ann"']),
        "limit": st.integers(1, 3),
        "include_duplicates": st.booleans(),
    }
)
steps = st.lists(st.sampled_from(["view", "buy", "view|buy", "*", 'click where n == "text"']), min_size=2, max_size=3)


def by_rows(snapshot: Snapshot, scan: bytes) -> tuple[bytes, Any]:
    needed, view = scans.columns_needed(scan), scans.view_for(scan)
    found = snapshot.scan_to_show(needed.fields_without_users, needed.properties, needed.start_ms, needed.end_ms)
    partial, stats = scans.run(scan, _shown(found, view))
    return partial, replace(stats, hot_events_rewritten=view.rewritten, bytes_scanned=0)


def _shown(found: Iterator[ScannedRows], view: Any) -> Iterator[ScannedRows]:
    return (view.show(some) for some in found)


def by_parts(snapshot: Snapshot, scan: bytes) -> tuple[bytes, Any]:
    needed, view = scans.columns_needed(scan), scans.view_for(scan)
    wanted = Wanted(needed.fields, needed.properties, needed.start_ms, needed.end_ms, needed.users)
    found = snapshot.parts(wanted)
    parts = [replace(part, read=lambda part=part: view.show(part.read())) for part in found.parts]  # type: ignore[misc]
    partial, stats = scans.run(scan, Parts(parts, found.people))
    return partial, replace(stats, hot_events_rewritten=view.rewritten, bytes_scanned=0)


def comparable(partial: bytes) -> list[Any]:
    """Rows in any order; a funnel's times in any order within a level."""
    table = scans.read_partial(partial)
    rows = [
        {name: sorted(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
    return [sorted(map(repr, rows)), table.schema.metadata]


@settings(max_examples=80, deadline=None, print_blob=True, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(
    st.lists(acts, max_size=8), segmentations, steps, st.sampled_from([1, 24, 1000]), dates, dates,
    st.integers(0, 1 << 20), st.sampled_from([3_000, 1 << 20]), st.integers(1, 20),
)  # fmt: skip
def test_parts_answer_as_rows_do(
    done: list[tuple[Any, ...]], question: dict[str, Any], names: list[str], window_hours: int,
    first: str, last: str, seed: int, cache_bytes: int, group_rows: int,
) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "LOOSE_BLOCKS_MAX", 2)
        patch.setattr(writer, "ROW_GROUP_ROWS", group_rows)
        patch.setattr(segment, "PART_ROWS_MAX", 2 * group_rows)
        patch.setattr(user_chunks, "CHUNK_ROWS", group_rows)
        store = Store.open(
            MemoryDisk(), ManualClock(), ShardId("s"), StorageSettings(column_cache_bytes=cache_bytes), lambda _: None
        )
        for number, act in enumerate(done):
            match act:
                case ("append", batch, hot):
                    bits = np.array([hot and event.distinct_id == "bob" for event in batch])
                    store.append([replace(append_of(batch), hot=bits if bits.any() else None)])
                case ("compact",):
                    store.compact(ACME)
                case ("sort",):
                    store.sort_tail(ACME)
                case ("delete", user):
                    store.hide_users(ACME, Epoch(1), f"op-{number}", [user])
        first, last = min(first, last), max(first, last)
        segmented = answer.plan_segmentation(
            segmentation_query(from_date=first, to_date=last, **question), ZoneInfo("Europe/Berlin"), dedupe=True
        )
        kept = segmented.keeping([("n",), ("sother",)]) if question["by"] == ["n"] else segmented
        funnel = funnel_answer.plan_funnel(
            funnel_query(
                steps=[parse_step(name) for name in names], from_date=first, to_date=last,
                window_ms=window_hours * HOUR_MS, include_duplicates=question["include_duplicates"],
            ),
            ZoneInfo("UTC"),
            dedupe=True,
        )  # fmt: skip
        owned = np.random.default_rng(seed).random(SLOT_COUNT) < 0.5 if seed % 3 else None
        with store.snapshot(ACME, owned) as snapshot:
            for plan in (segmented.scan, kept.scan, funnel):
                scan = plan.to_json()
                (one, one_stats), (other, other_stats) = by_parts(snapshot, scan), by_rows(snapshot, scan)
                assert comparable(one) == comparable(other)
                assert one_stats == other_stats
                assert comparable(by_parts(snapshot, scan)[0]) == comparable(other)
        store.close()


def test_users_of_one_hash_are_told_apart_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    from evenshard.events import users

    def clash(offsets: Any, data: Any, out: Any) -> None:
        out[:] = 7

    monkeypatch.setattr(users, "hash_strings", clash)
    lists = [["b", "a", "b"], ["c", "a"], ["a" * 9, "a" * 8, "a" * 9 + "b"]]
    own = [users.listed(pa.array(ids)) for ids in lists]
    found = users.united(users.NO_PEOPLE, [each.people for each in own])
    numbers = [np.asarray(numbers)[each.places].tolist() for numbers, each in zip(found.numbers[1:], own, strict=True)]
    assert numbers == [[4, 0, 4], [5, 0], [2, 1, 3]]
    assert found.people.find(pa.array(["c", "nobody", "a" * 8])).tolist() == [5, -1, 1]
    again = users.united(found.people, [users.listed(pa.array(["ab", "b"])).people])
    assert [None if each is None else each.tolist() for each in again.numbers] == [[0, 1, 2, 3, 5, 6], [4, 5]]
