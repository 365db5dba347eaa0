"""Decides which segments a compaction rewrites, so that a tenant's days lie in few, disjoint, well-filled ranges.

Properties, whatever came before:

* every tail row gets a place; ranges stay disjoint; a segment is rewritten with its whole run or not at all;
* small neighbours share a range: once all is settled, any two neighbouring ranges hold more than ``SHARED_ROWS_MAX``
  rows together, so ranges number at most twice the rows over that, plus one;
* a range has at most ``RUNS_MAX`` runs. Late rows of a small range are merged at once. Those of a larger one form late
  runs, merged among themselves by size (so that a row is rewritten a logarithmic number of times while a day fills
  up) and into the main run when the day is over and they exceed a tenth of it, or are a week old;
* without new rows, planning again soon changes nothing.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evenshard.storage.segment.info import MAIN_RUN, SegmentInfo

SHARED_ROWS_MAX = 1_000_000
"""Neighbouring days share a range up to so many rows; a single day may hold more."""
SMALL_ROWS = 131_072
"""A range up to so many rows is rewritten whenever rows come."""
RUNS_MAX = 8
LATE_SHARE = 10
"""Late rows are merged when they exceed one in so many of the main run."""
LATE_DAYS_MAX = 7


@dataclass(frozen=True, slots=True)
class Run:
    """A sorted run: its segments in order."""

    number: int
    rows: int
    written_day: int
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Days ``first_day`` to ``last_day`` and their runs, the main run first."""

    first_day: int
    last_day: int
    runs: tuple[Run, ...]

    @property
    def rows(self) -> int:
        return sum(run.rows for run in self.runs)

    @property
    def late(self) -> tuple[Run, ...]:
        return self.runs[1:]


@dataclass(frozen=True, slots=True)
class Task:
    """Replace ``inputs`` and take in the tail rows of days ``first_day`` to ``last_day``, as run ``run`` of that range.

    A main run may be cut into several ranges of whole days (``cut_days``).
    """

    first_day: int
    last_day: int
    run: int
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """An existing range, or a day that lies in none, with the tail rows that belong to it."""

    first_day: int
    last_day: int
    tail_rows: int
    existing: Range | None

    @property
    def rows(self) -> int:
        return self.tail_rows + (self.existing.rows if self.existing else 0)


def ranges_of(segments: Iterable[SegmentInfo]) -> tuple[Range, ...]:
    """A tenant's ranges, by day. Where every row of a main run was deleted, the lowest run that is left counts as it.
    Raises ``ValueError`` where ranges overlap."""
    runs: dict[tuple[int, int], dict[int, list[SegmentInfo]]] = {}
    for info in sorted(segments, key=lambda info: (info.first_day, info.run, info.slot_first, info.id)):
        runs.setdefault((info.first_day, info.last_day), {}).setdefault(info.run, []).append(info)
    ranges: list[Range] = []
    for (first, last), of_range in runs.items():
        if ranges and ranges[-1].last_day >= first:
            raise ValueError(f"the days {first}-{last} overlap the range before")
        ranges.append(Range(first, last, tuple(_run(number, infos) for number, infos in of_range.items())))
    return tuple(ranges)


def _run(number: int, infos: Sequence[SegmentInfo]) -> Run:
    return Run(
        number,
        sum(info.rows for info in infos),
        min(info.written_day for info in infos),
        tuple(info.id for info in infos),
    )


def plan(ranges: Sequence[Range], tail: Mapping[int, int], now_day: int) -> tuple[Task, ...]:
    """What to do, by day. ``tail``: rows not yet indexed by UTC day; ``now_day``: the UTC day it is."""
    tasks = []
    for group in _grouped(_items(ranges, tail)):
        if len(group) > 1 or group[0].existing is None:
            tasks.append(_rewrite(group))
        else:
            task = _tend(group[0].existing, group[0].tail_rows, now_day)
            if task is not None:
                tasks.append(task)
    return tuple(tasks)


def cut_days(rows_by_day: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """The ranges (first day, last day) in which a rewritten run is laid down."""
    items = [_Item(day, day, rows, None) for day, rows in sorted(rows_by_day.items()) if rows]
    return tuple((group[0].first_day, group[-1].last_day) for group in _grouped(items))


def _items(ranges: Sequence[Range], tail: Mapping[int, int]) -> list[_Item]:
    starts = [existing.first_day for existing in ranges]
    tail_rows = [0] * len(ranges)
    items = []
    for day, rows in tail.items():
        at = bisect_right(starts, day) - 1
        if at >= 0 and day <= ranges[at].last_day:
            tail_rows[at] += rows
        elif rows:
            items.append(_Item(day, day, rows, None))
    items += [_Item(r.first_day, r.last_day, rows, r) for r, rows in zip(ranges, tail_rows, strict=True)]
    return sorted(items, key=lambda item: item.first_day)


def _grouped(items: Sequence[_Item]) -> list[list[_Item]]:
    """Neighbours together while they hold ``SHARED_ROWS_MAX`` rows or fewer."""
    groups: list[list[_Item]] = []
    rows = 0
    for item in items:
        if groups and rows + item.rows <= SHARED_ROWS_MAX:
            groups[-1].append(item)
            rows += item.rows
        else:
            groups.append([item])
            rows = item.rows
    return groups


def _rewrite(group: Sequence[_Item]) -> Task:
    inputs = [segment for item in group if item.existing for run in item.existing.runs for segment in run.segments]
    return Task(group[0].first_day, group[-1].last_day, MAIN_RUN, tuple(inputs))


def _tend(existing: Range, tail_rows: int, now_day: int) -> Task | None:
    """What to do with a range that stays by itself."""
    if not tail_rows and not existing.late:
        return None
    whole = _Item(existing.first_day, existing.last_day, tail_rows, existing)
    main, late_rows = existing.runs[0], sum(run.rows for run in existing.late)
    if whole.rows <= SMALL_ROWS:
        return _rewrite([whole])
    if whole.rows <= SHARED_ROWS_MAX and (late_rows + tail_rows) * LATE_SHARE > main.rows:
        return _rewrite([whole])
    if existing.late:
        settled = existing.last_day < now_day and all(run.written_day < now_day for run in existing.late)
        old = any(run.written_day + LATE_DAYS_MAX <= now_day for run in existing.late)
        if old or (settled and late_rows * LATE_SHARE > main.rows):
            return _rewrite([whole])
    if not tail_rows:
        return None
    merged: tuple[Run, ...] = ()
    if len(existing.runs) == RUNS_MAX:
        merged = _alike(existing.runs, tail_rows)
        if main in merged:
            return _rewrite([whole])
    number = max(run.number for run in existing.runs) + 1
    inputs = tuple(segment for run in merged for segment in run.segments)
    return Task(existing.first_day, existing.last_day, number, inputs)


def _alike(runs: Sequence[Run], tail_rows: int) -> tuple[Run, ...]:
    """The runs to merge with the tail rows: the smallest, and on while the next is no larger than all before it."""
    taken: list[Run] = []
    rows = tail_rows
    for run in sorted(runs, key=lambda run: (run.rows, run.number)):
        if taken and run.rows > rows:
            break
        taken.append(run)
        rows += run.rows
    return tuple(sorted(taken, key=lambda run: run.number))
