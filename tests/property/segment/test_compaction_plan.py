"""The compaction plan: postconditions over random histories of a tenant, on a model that only counts rows."""

from dataclasses import dataclass, field
from random import Random

import pytest
from evenshard.storage.compaction.plan import (
    RUNS_MAX,
    SHARED_ROWS_MAX,
    SMALL_ROWS,
    Range,
    Run,
    Task,
    cut_days,
    plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

Days = dict[int, int]


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
    for before, after in zip(model.ranges, model.ranges[1:], strict=False):
        assert before.rows + after.rows > SHARED_ROWS_MAX
    for _ in range(3):
        model.compact({}, now_day + 8)
    assert model.compact({}, now_day + 8) == ()
    assert all(len(of_days.runs) == 1 for of_days in model.ranges)


def test_sixteen_sparse_years_become_one_range_a_tenant() -> None:
    random = Random(1)
    model = Model()
    for _ in range(12):
        model.compact({random.randrange(5844): random.randrange(1, 20) for _ in range(900)}, 20_000)
        assert len(model.ranges) == 1
        assert len(model.ranges[0].runs) == 1


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
    model.compact({10: 2_000_000}, 10)
    model.compact({10: 300_000}, 10)
    assert model.compact({}, 10) == ()
    (task,) = model.compact({}, 11)
    assert (task.run, len(task.inputs)) == (0, 2)


def test_a_rewritten_range_is_cut_at_days() -> None:
    assert cut_days({5: 400_000, 6: 400_000, 7: 400_000, 9: 10, 30: 5_000_000, 31: 1}) == (
        (5, 6),
        (7, 9),
        (30, 30),
        (31, 31),
    )
