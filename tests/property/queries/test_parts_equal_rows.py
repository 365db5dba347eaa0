"""A question answered by parts out of the cache, users numbered by storage, is answered as by rows read one by one:
whatever was appended, indexed, sorted, deleted or is hot, whatever slots are owned, whatever fits into the cache, and
whatever was asked before."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.hashing import SLOT_COUNT
from evenshard.events.scan import Parts, ScannedRows
from evenshard.ids import ShardId, TenantId
from evenshard.queries import (
    answer,
    flows_answer,
    funnel_answer,
    retention_answer,
    scans,
    segmentation_users,
    user_chunks,
    user_marks,
)
from evenshard.queries.cohort_model import Did, cohort_query
from evenshard.queries.cohort_plan import plan_cohort, with_cohorts
from evenshard.queries.flows_model import flows_query
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.queries.retention_model import retention_query
from evenshard.queries.steps import Step, parse_step
from evenshard.queries.views import view_for
from evenshard.storage.columns import loom, segment
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.segment import writer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.storage.tail import runs
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, act_on
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
        "measured": st.sampled_from(
            [{"measure": name} for name in ("total", "unique", "average")]
            + [{"measure": name, "property": "n"} for name in ("sum", "max", "avg", "p90")]
        ),
        "unit": st.sampled_from(["hour", "day", "week"]),
        "where": st.sampled_from(["", 'n == "other"', '$distinct_id != "ann"']),
        "limit": st.integers(1, 3),
        "include_duplicates": st.booleans(),
    }
)
steps = st.lists(st.sampled_from(["view", "buy", "view|buy", "*", 'click where n == "text"']), min_size=2, max_size=3)


places = st.sampled_from(["view", "buy", "view|buy", "*", 'click where n == "text"'])
retentions = st.fixed_dictionaries(
    {
        "birth": places,
        "returning": st.sampled_from([None, "buy", "view", "*"]),
        "unit": st.sampled_from(["day", "week"]),
        "buckets": st.integers(1, 3),
        "mode": st.sampled_from(["on", "on_or_after"]),
        "align": st.sampled_from(["rolling", "calendar"]),
        "birth_scope": st.sampled_from(["range", "lifetime"]),
        "by": st.sampled_from([[], ["n"], ["$insert_id"], ["n", "long name"]]),
    }
)
flowing = st.fixed_dictionaries(
    {
        "anchor": places,
        "direction": st.sampled_from(["forward", "backward"]),
        "steps": st.integers(1, 3),
        "collapse_repeats": st.booleans(),
        "window": st.sampled_from([{"session": True}, {"window_ms": 2 * HOUR_MS}, {"window_ms": 50 * HOUR_MS}]),
    }
)
funnels = st.fixed_dictionaries(
    {
        "order": st.sampled_from(["ordered", "strict", "any"]),
        "attempt": st.sampled_from(["best", "first"]),
        "count_mode": st.sampled_from(["unique", "total", "session"]),
        "hold_constant": st.sampled_from([[], ["n"], ["n", "long name"]]),
        "by": st.sampled_from([[], ["n"], ["$event"], ["$distinct_id", "n"]]),
        "by_step": st.sampled_from(["first", "last", "2"]),
        "explain_user": st.sampled_from(["", "", "ann", "bob", "nobody"]),
    }
)
wheres = st.sampled_from(["", 'n == "other"', '$distinct_id != "ann"', "$insert_id is set"])
did = st.sampled_from(
    [
        {"did": [Did(Step(("view",)), 2)]},
        {"did_not": [Step(("buy",))]},
        {"did": [Did(Step((), 'n == "other"'), 1)], "did_not": [Step(("click",))]},
        {"reached": 2},
        {"reached": 1, "did_not": [Step(("buy",))]},
    ]
)


def by_rows(snapshot: Snapshot, scan: bytes) -> tuple[bytes, Any]:
    views = []

    def read(one: bytes) -> Iterator[ScannedRows]:
        needed, view = scans.columns_needed(one), view_for(one)
        views.append(view)
        found = snapshot.scan_to_show(needed.fields_without_users, needed.properties, needed.start_ms, needed.end_ms)
        return map(view.show, found)

    partial, stats = scans.run_with_cohorts(scan, read)
    return partial, replace(stats, hot_events_rewritten=views[-1].rewritten, bytes_scanned=0)


def by_parts(snapshot: Snapshot, scan: bytes) -> tuple[bytes, Any]:
    views = []

    def read(one: bytes) -> Parts:
        needed, view = scans.columns_needed(one), view_for(one)
        views.append(view)
        wanted = Wanted(
            needed.fields, needed.properties, needed.start_ms, needed.end_ms, needed.users, late=needed.late,
            copies_apart=scans.copies_are_only_counted(one),
        )  # fmt: skip
        found = snapshot.parts(wanted)
        parts = [replace(part, read=lambda part=part: view.show(part.read())) for part in found.parts]  # type: ignore[misc]
        return Parts(parts, found.people)

    partial, stats = scans.run_with_cohorts(scan, read)
    return partial, replace(stats, hot_events_rewritten=views[-1].rewritten, bytes_scanned=0)


def comparable(partial: bytes) -> list[Any]:
    """Rows in any order; a funnel's times in any order within a level."""
    table = read_partial(partial)
    rows = [
        {name: sorted(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
    return [sorted(map(repr, rows)), table.schema.metadata]


def store_of(cache_bytes: int) -> Store:
    kept = StorageSettings(column_cache_bytes=cache_bytes)
    return Store.open(MemoryDisk(), ManualClock(), ShardId("s"), kept, lambda _: None)


def assert_alike(
    done: list[tuple[Any, ...]], scanned: list[bytes], seed: int, cache_bytes: int, group_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "LOOSE_BLOCKS_MAX", 2)
        patch.setattr(writer, "ROW_GROUP_ROWS", group_rows)
        patch.setattr(segment, "PART_ROWS_MAX", 2 * group_rows)
        patch.setattr(user_chunks, "CHUNK_ROWS", group_rows)
        patch.setattr(loom, "ROWS_MIN", 1)
        patch.setattr(segmentation_users, "BITS_MAX", (0, 8, 1024)[seed % 3])
        patch.setattr(user_marks, "MARKS_BYTES", 8 << seed % 5)
        store = store_of(cache_bytes)
        owned = np.random.default_rng(seed).random(SLOT_COUNT) < 0.5 if seed % 3 else None
        for number, act in enumerate(done):
            if number == seed % 8:  # what is kept then has to be known for old
                with store.snapshot(ACME, owned) as snapshot:
                    for scan in scanned:
                        by_parts(snapshot, scan)
                        by_parts(snapshot, scan)
            act_on(store, ACME, number, act)
        with store.snapshot(ACME, owned) as snapshot:
            for scan in scanned:
                (one, one_stats), (other, other_stats) = by_parts(snapshot, scan), by_rows(snapshot, scan)
                assert comparable(one) == comparable(other)
                assert one_stats == other_stats
                for _ in range(2):  # what is asked again is woven
                    again, again_stats = by_parts(snapshot, scan)
                    assert comparable(again) == comparable(other)
                    assert again_stats == other_stats
        store.close()


CASES = (st.lists(acts, max_size=8), st.integers(0, 1 << 20), st.sampled_from([3_000, 1 << 20]), st.integers(1, 20))
UTC = ZoneInfo("UTC")


@settings(max_examples=60, deadline=None, print_blob=True, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(*CASES, segmentations, steps, st.sampled_from([1, 24, 1000]), dates, dates)
def test_parts_answer_as_rows_do(
    done: list[tuple[Any, ...]], seed: int, cache_bytes: int, group_rows: int,
    question: dict[str, Any], names: list[str], window_hours: int, first: str, last: str,
) -> None:  # fmt: skip
    first, last = min(first, last), max(first, last)
    measured = {**question, **question["measured"]}
    del measured["measured"]
    segmented = answer.plan_segmentation(
        segmentation_query(from_date=first, to_date=last, **measured), ZoneInfo("Europe/Berlin"), dedupe=True
    )
    kept = segmented.keeping([("n",), ("sother",)]) if question["by"] == ["n"] else segmented
    funnel = funnel_answer.plan_funnel(
        funnel_query(
            steps=[parse_step(name) for name in names], from_date=first, to_date=last,
            window_ms=window_hours * HOUR_MS, include_duplicates=question["include_duplicates"],
        ),
        UTC,
        dedupe=True,
    )  # fmt: skip
    assert_alike(done, [plan.to_json() for plan in (segmented.scan, kept.scan, funnel)], seed, cache_bytes, group_rows)


@settings(max_examples=60, deadline=None, print_blob=True, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(*CASES, retentions, flowing, funnels, steps, wheres, did, dates, dates, st.booleans())
def test_parts_are_followed_user_by_user_as_rows_are(
    done: list[tuple[Any, ...]], seed: int, cache_bytes: int, group_rows: int, retaining: dict[str, Any],
    flow: dict[str, Any], options: dict[str, Any], names: list[str], where: str, definition: dict[str, Any],
    first: str, last: str, include_duplicates: bool,
) -> None:  # fmt: skip
    first, last = min(first, last), max(first, last)
    common = {"from_date": first, "to_date": last, "where": where, "include_duplicates": include_duplicates}
    followed = {name: parse_step(retaining[name]) for name in ("birth", "returning") if retaining[name]}
    retained = retention_answer.plan_retention(retention_query(**{**retaining, **followed}, **common), UTC, dedupe=True)
    windows = flow.pop("window") if "window" in flow else {}
    query = flows_query(**{**flow, "anchor": parse_step(flow["anchor"])}, **windows, **common)
    flowed = flows_answer.plan_flows(query, UTC, dedupe=True)
    asked = funnel_query(steps=[parse_step(name) for name in names], window_ms=24 * HOUR_MS, **options, **common)
    followed_steps = funnel_answer.plan_funnel(asked, UTC, dedupe=True)
    came = replace(asked, by=(), explain_user="")
    cohort = cohort_query(from_date=first, to_date=last, funnel=came if "reached" in definition else None, **definition)
    cohorts = [plan_cohort("c", cohort, UTC, dedupe=True)]
    segmented = answer.plan_segmentation(
        segmentation_query(from_date=first, to_date=last, measure="unique", by=["$cohort:c"]), UTC, dedupe=True
    )
    within = retention_answer.plan_retention(
        retention_query(**{**retaining, **followed}, **{**common, "where": "`$cohort:c`== false"}), UTC, dedupe=True
    )
    scanned = [plan.to_json() for plan in (retained.scan, flowed, followed_steps)]
    scanned += [with_cohorts(plan.to_json(), cohorts) for plan in (segmented.scan, within.scan)]
    assert_alike(done, scanned, seed, cache_bytes, group_rows)


def test_users_of_one_hash_are_told_apart_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    from evenshard.events import users
    from evenshard.events.united import united

    def clash(offsets: Any, data: Any, out: Any) -> None:
        out[:] = 7

    monkeypatch.setattr(users, "hash_strings", clash)
    lists = [["b", "a", "b"], ["c", "a"], ["a" * 9, "a" * 8, "a" * 9 + "b"]]
    own = [users.listed(pa.array(ids)) for ids in lists]
    found = united(users.NO_PEOPLE, [each.people for each in own])
    numbers = [np.asarray(numbers)[each.places].tolist() for numbers, each in zip(found.numbers[1:], own, strict=True)]
    assert numbers == [[4, 0, 4], [5, 0], [2, 1, 3]]
    assert found.people.find(pa.array(["c", "nobody", "a" * 8])).tolist() == [5, -1, 1]
    again = united(found.people, [users.listed(pa.array(["ab", "b"])).people])
    assert [None if each is None else each.tolist() for each in again.numbers] == [[0, 1, 2, 3, 5, 6], [4, 5]]
