"""The compaction plan: postconditions over random histories of a tenant, on a model that only counts rows."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from evenshard.storage.compaction.plan import (
    GROWTH,
    RUNS_MAX,
    SHARED_ROWS_MAX,
    SMALL_ROWS,
    Range,
    Run,
    Task,
    cut_days,
    plan,
    storage_day,
)
from hypothesis import given, settings
from hypothesis import strategies as st

Days = dict[int, int]

RANGES_A_GROUP_MAX = 8
"""Ranges among which one outweighs the others, those on either side of it likewise, down to what is small."""


@dataclass
class Model:
    """Segments as row counts by day: what ``compact`` would leave behind, with a segment a run."""

    next_id: int = 1
    days_of: dict[int, Days] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    rewritten_rows: int = 0

    def compact(self, tail: Days, now_day: int) -> tuple[Task, ...]:
        tasks = plan(self.ranges, tail, now_day)
        left = dict(tail)
        ranges = {(r.first_day, r.last_day): list(r.runs) for r in self.ranges}
        for task in tasks:
            rows: Days = {day: left.pop(day) for day in list(left) if task.first_day <= day <= task.last_day}
            for segment in task.inputs:
                for day, count in self.days_of.pop(segment).items():
                    rows[day] = rows.get(day, 0) + count
            for key, runs in list(ranges.items()):
                kept = [run for run in runs if run.segments[0] not in task.inputs]
                assert len(kept) == len(runs) or task.first_day <= key[0] <= key[1] <= task.last_day
                if kept:
                    ranges[key] = kept
                else:
                    del ranges[key]
            total = sum(rows.values())
            self.rewritten_rows += total
            whole = ((task.first_day, task.last_day),)
            for first, last in cut_days(rows) if task.run == 0 and total > SHARED_ROWS_MAX else whole:
                piece = {day: count for day, count in rows.items() if first <= day <= last}
                run = Run(task.run, sum(piece.values()), now_day, (self.next_id,))
                self.days_of[self.next_id] = piece
                self.next_id += 1
                runs = ranges.setdefault((first, last), [])
                assert run.number not in [other.number for other in runs]
                runs.append(run)
        assert not left, "tail rows without a place"
        self.ranges = tuple(
            Range(first, last, tuple(sorted(runs, key=lambda run: run.number)))
            for (first, last), runs in sorted(ranges.items())
        )
        return tasks

    def check(self) -> None:
        for before, after in zip(self.ranges, self.ranges[1:], strict=False):
            assert before.last_day < after.first_day
        for of_days in self.ranges:
            assert of_days.first_day <= of_days.last_day
            assert of_days.runs[0].number == 0
            assert len(of_days.runs) <= RUNS_MAX
            for run in of_days.runs:
                days = self.days_of[run.segments[0]]
                assert of_days.first_day <= min(days) <= max(days) <= of_days.last_day
                assert run.rows == sum(days.values())

    def total(self) -> Days:
        days: Days = {}
        for of_segment in self.days_of.values():
            for day, rows in of_segment.items():
                days[day] = days.get(day, 0) + rows
        return days


batches = st.lists(
    st.tuples(
        st.dictionaries(
            st.integers(0, 30),
            st.one_of(st.integers(1, 1000), st.integers(1, SMALL_ROWS), st.integers(1, 3 * SHARED_ROWS_MAX)),
            max_size=8,
        ),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=25,
)


@given(batches)
@settings(max_examples=300, deadline=None)
def test_ranges_stay_disjoint_and_every_row_has_a_place(history: list[tuple[Days, int]]) -> None:
    model, expected, now_day = Model(), dict[int, int](), 30
    for tail, days_passed in history:
        now_day += days_passed
        model.compact(tail, now_day)
        model.check()
        for day, rows in tail.items():
            expected[day] = expected.get(day, 0) + rows
        assert model.total() == expected


@given(batches)
@settings(max_examples=300, deadline=None)
def test_without_new_rows_it_settles_in_few_files(history: list[tuple[Days, int]]) -> None:
    model, now_day = Model(), 30
    for tail, days_passed in history:
        now_day += days_passed
        model.compact(tail, now_day)
    for _ in range(3):
        model.compact({}, now_day)
    assert model.compact({}, now_day) == ()
    assert len(model.ranges) <= RANGES_A_GROUP_MAX * (2 * rows_of(model) / SHARED_ROWS_MAX + 1)
    for weeks in range(5, 10):
        model.compact({}, now_day + 8 * weeks)
    assert model.compact({}, now_day + 100) == ()
    assert all(len(of_days.runs) == 1 for of_days in model.ranges)
    for before, after in pairwise(model.ranges):
        assert before.rows + after.rows > SHARED_ROWS_MAX


def test_ten_years_come_day_by_day_and_each_row_is_rewritten_few_times() -> None:
    """A tenant of 700 rows a day, asked each day; and one of 70,000."""
    for rows_a_day in (700, 70_000):
        model = Model()
        first, years = 10_000, 10
        most = 0
        for day in range(first, first + years * 365):
            model.compact({day: rows_a_day}, day)
            model.compact({}, day + 1)
            if day % 50 == 0:
                model.check()
            most = max(most, len(model.ranges) - rows_of(model) // (SHARED_ROWS_MAX // 2))
        assert most <= RANGES_A_GROUP_MAX
        written = model.rewritten_rows / rows_of(model)
        print(f"{rows_a_day} rows a day: {written:.1f} times written, {len(model.ranges)} ranges, {most} beyond")
        assert written <= 2 + math.log(SHARED_ROWS_MAX / min(rows_a_day, SMALL_ROWS), 1 + 1 / GROWTH)


def test_rows_that_trickle_in_each_minute_are_rewritten_few_times() -> None:
    """Some rows a minute for five days: 20 of today, and one of any day of the last month."""
    random, model, compactions = Random(3), Model(), 0
    model.compact(dict.fromkeys(range(1_000, 1_030), 25_000), 1_030)
    model.rewritten_rows, before = 0, rows_of(model)
    for minute in range(5 * 1440):
        now_day = 1_030 + minute // 1440
        model.compact({now_day: 20, now_day - random.randrange(1, 30): 1}, now_day)
        compactions += 1
        assert all(len(of_days.runs) <= RUNS_MAX for of_days in model.ranges)
    new = rows_of(model) - before
    closings = before  # ranges whose late rows are a tenth of them: each at most once a week
    small = compactions * SMALL_ROWS / 2
    print(f"{model.rewritten_rows / compactions:.0f} rows written a compaction, {new / compactions:.0f} of them new")
    assert model.rewritten_rows <= 6 * new + closings + small
    assert len(model.ranges) <= 2 * RANGES_A_GROUP_MAX


def test_an_open_day_does_not_take_its_neighbours_along() -> None:
    model = Model()
    model.compact({9: 100_000}, 10)
    model.compact({10: 90_000}, 10)
    assert [(r.first_day, r.last_day) for r in model.ranges] == [(9, 9), (10, 10)]
    (task,) = model.compact({}, 11)
    assert task == Task(9, 10, 0, (1, 2))


def test_a_day_is_closed_into_one_run_when_it_is_over() -> None:
    model = Model()
    model.compact({10: 2_000_000}, 10)
    model.compact({10: 1_000}, 10)
    model.compact({10: 1_000}, 10)
    assert model.compact({}, 10) == ()
    assert model.compact({}, 11) == (Task(10, 10, 0, (1, 2, 3)),)
    assert model.compact({}, 11) == ()


def test_a_day_ends_a_quarter_of_an_hour_after_midnight() -> None:
    day_ms, quarter_ms = 86_400_000, 900_000
    assert [storage_day(20_000 * day_ms + later_ms) for later_ms in (0, quarter_ms - 1, quarter_ms)] == [
        19_999, 19_999, 20_000,
    ]  # fmt: skip


def rows_of(model: Model) -> int:
    return sum(of_days.rows for of_days in model.ranges)


def test_sixteen_sparse_years_become_one_range_a_tenant() -> None:
    random = Random(1)
    model = Model()
    for _ in range(12):
        model.compact({random.randrange(5844): random.randrange(1, 20) for _ in range(900)}, 20_000)
        assert len(model.ranges) <= 3
    model.compact({}, 20_008)
    (whole,) = model.ranges
    assert len(whole.runs) == 1


@pytest.mark.parametrize("rows", [100_000, 2_000_000])
def test_a_day_that_fills_up_is_rewritten_few_times(rows: int) -> None:
    model = Model()
    for _ in range(60):
        model.compact({10: rows}, 10)
        assert len(model.ranges[0].runs) <= RUNS_MAX
    assert model.rewritten_rows <= 6 * 60 * rows
    model.compact({}, 11)
    assert len(model.ranges[0].runs) == 1


def test_a_few_late_rows_do_not_rewrite_a_large_range() -> None:
    model = Model()
    model.compact({10: 5_000_000}, 11)
    (task,) = model.compact({10: 1000}, 12)
    assert task == Task(10, 10, 1, ())
    assert model.compact({}, 13) == ()
    (task,) = model.compact({}, 19)
    assert (task.run, len(task.inputs)) == (0, 2)


def test_late_rows_beyond_a_tenth_are_merged_when_the_day_is_over() -> None:
    model = Model()
    model.compact({10: 2_000_000}, 11)
    model.compact({10: 100_000}, 11)
    assert model.compact({}, 11) == model.compact({}, 12) == ()
    model.compact({10: 150_000}, 12)
    assert model.compact({}, 12) == ()
    (task,) = model.compact({}, 13)
    assert (task.run, len(task.inputs)) == (0, 3)


def test_a_rewritten_range_is_cut_at_days() -> None:
    assert cut_days({5: 400_000, 6: 400_000, 7: 400_000, 9: 10, 30: 5_000_000, 31: 1}) == (
        (5, 6),
        (7, 9),
        (30, 30),
        (31, 31),
    )
