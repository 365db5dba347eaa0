"""Unique users by parts are those by rows: however parts cut the rows, in whatever order they are, whoever has several
runs, whatever is left out, by bits (all users at once or a few at a time) and in the order of users."""

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.scan import DUPLICATE, Part, Parts, ScannedRows
from evenshard.events.united import united
from evenshard.events.users import NO_PEOPLE
from evenshard.queries import segmentation, segmentation_users, user_marks
from evenshard.queries.plan import SegmentationScan
from evenshard.queries.segmentation_parts import clock_for
from evenshard.storage.columns.runs import own_runs

SPAN_MS = 1000


def rows_of(chance: np.random.Generator, nobody: float) -> ScannedRows:
    count = int(chance.integers(0, 40))
    users = np.array(["", "ann", "bob", "cy", "dee", "größe"])[
        np.where(chance.random(count) < nobody, 0, chance.integers(1, 6, count))
    ]
    record = pa.record_batch(
        {
            "event": pa.array(chance.choice(["view", "buy"], count), pa.utf8()).dictionary_encode(),
            "distinct_id": pa.array(users, pa.utf8()),
            "time": pa.array(chance.integers(-200, SPAN_MS + 200, count)),
            "s:n": pa.array(chance.choice(["one", "two", "three"], count), pa.utf8()).dictionary_encode(),
            DUPLICATE: pa.array(chance.random(count) < chance.choice([0.0, 0.3])),
        }
    )
    if chance.random() < 0.5:  # as segments have them
        record = record.sort_by([("distinct_id", "ascending"), ("time", "ascending")])
    times = record.column("time").to_numpy()
    keep = (times >= 0) & (times < SPAN_MS)
    if chance.random() < 0.3:
        keep &= chance.random(count) < 0.7
    return ScannedRows(record, bool(chance.random() < 0.5), 7, None if keep.all() else keep)


def parts_of(chance: np.random.Generator, batches: list[ScannedRows]) -> Parts:
    """Of some it is not known whose they are."""
    known = [some for some in batches if some.record.num_rows and chance.random() < 0.8]
    own = [own_runs([some.record.column("distinct_id")], some.record.column("time").to_numpy()) for some in known]
    found = united(NO_PEOPLE, [each.people for each in own])
    parts = [Part.of(some) for some in batches if not any(some is one for one in known)]
    for some, mine, numbers in zip(known, own, found.numbers[1:], strict=True):
        assert numbers is not None
        runs = mine.runs
        users = type(runs)(runs.starts, runs.ends, numbers[runs.numbers].astype(np.int32), runs.order)
        parts.append(Part(some.record.num_rows, lambda some=some: some, users))  # type: ignore[misc]
    return Parts(parts, found.people)


def plan_of(chance: np.random.Generator, by: tuple[str, ...]) -> SegmentationScan:
    inner = sorted(set(chance.integers(1, SPAN_MS, int(chance.integers(0, 30))).tolist()))
    bounds = (0, *inner, SPAN_MS)
    bucket_of = tuple(range(len(bounds) - 1))
    return SegmentationScan(
        bounds_ms=bounds,
        bucket_of=bucket_of,
        buckets=len(bucket_of),
        events=((), ("view",), ("view", "buy"))[int(chance.integers(0, 3))],
        where=str(chance.choice(["", 'n != "two"'])),
        by=by,
        measure=str(chance.choice(["unique", "average"])),  # type: ignore[arg-type]
        limit=3,
        skip_duplicates=bool(chance.random() < 0.7),
        keep=None,
    )


@pytest.mark.parametrize("seed", range(150))
def test_parts_have_the_users_that_rows_have(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(seed)
    monkeypatch.setattr(segmentation_users, "BITS_MAX", int(chance.choice([0, 16, 1024])))
    monkeypatch.setattr(user_marks, "MARKS_BYTES", int(chance.choice([8, 32, 1 << 20])))
    plan = plan_of(chance, () if seed % 2 else ("n",))
    batches = [rows_of(chance, float(chance.choice([0.0, 0.2]))) for _ in range(int(chance.integers(0, 5)))]
    expected, expected_stats = segmentation.scan_rows(plan, [some.kept() for some in batches])
    clock = clock_for(plan)
    assert clock is not None
    found, stats = segmentation_users.scan_parts(plan, clock, parts_of(chance, batches), lambda: None)
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
    assert stats == expected_stats
