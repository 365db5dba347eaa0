"""Decides which segments a compaction rewrites, so that a tenant's days lie in few, disjoint, well-filled ranges.

Properties, whatever came before:

* every tail row gets a place; ranges stay disjoint; a segment is rewritten with its whole run or not at all;
* a row is rewritten a logarithmic number of times: apart from what is small (``SMALL_ROWS``), a range is rewritten for
  others only where they bring at least half of its rows, when its day is over, or when it has rested for a week;
* so ranges widen with age. Neighbours are taken together up to ``SHARED_ROWS_MAX`` rows; in such a *group* one range
  may outweigh the others, and then those on either side of it are a group of their own. Groups number at most twice
  the rows over ``SHARED_ROWS_MAX``, plus one, and hold few ranges each. A week after it was written, a group is one
  range;
* a range has at most ``RUNS_MAX`` runs. Rows that come to a range larger than they are form runs of their own, merged
  among themselves by size;
* a day is *closed* when it is over: what was written of it until then becomes one run. Rows that come later are merged
  into that run when they exceed a tenth of it, the day after, or when they are a week old;
* without new rows, planning again soon changes nothing.

A day is over, and a new one begins, ``DAY_GRACE_MS`` after midnight, when its last rows have left the log.
"""

from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evenshard.storage.segment.info import MAIN_RUN, SegmentInfo, day_of

SHARED_ROWS_MAX = 1_000_000
"""Neighbouring days share a range up to so many rows; a single day may hold more."""
SMALL_ROWS = 16_384
"""A group of ranges up to so many rows is rewritten whenever rows come: that costs little more than writing them."""
GROWTH = 2
"""A range is rewritten for others that have at least its own rows divided by this."""
DAY_GRACE_MS = 15 * 60_000
"""By how much a day ends later: rows of its last minute are indexed by then."""
RUNS_MAX = 8
LATE_SHARE = 10
"""Late rows are merged when they exceed one in so many of the main run."""
LATE_DAYS_MAX = 7


def storage_day(now_ms: int) -> int:
    """The UTC day it is, as plans count days, in days since the epoch."""
    return day_of(now_ms - DAY_GRACE_MS)


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


def plan(
    ranges: Sequence[Range], tail: Mapping[int, int], now_day: int, *, spared: Container[int] = ()
) -> tuple[Task, ...]:
    """What to do, by day. ``tail``: rows not yet indexed by UTC day; ``now_day``: the UTC day it is (``storage_day``).

    ``spared``: segments that cannot be read. What would have rewritten one of them only takes in its tail rows.
    """
    tasks = []
    for task in _wanted(ranges, tail, now_day):
        if any(segment in spared for segment in task.inputs):
            tasks += _tail_alone(task, ranges, tail, spared)
        else:
            tasks.append(task)
    return tuple(tasks)


def _wanted(ranges: Sequence[Range], tail: Mapping[int, int], now_day: int) -> list[Task]:
    tasks = []
    for group in _grouped(_items(ranges, tail)):
        for part in _parts(group, now_day):
            if len(part) > 1 or part[0].existing is None:
                tasks.append(_rewrite(part))
            elif (task := _tend(part[0].existing, part[0].tail_rows, now_day)) is not None:
                tasks.append(task)
    return tasks


def _tail_alone(task: Task, ranges: Sequence[Range], tail: Mapping[int, int], spared: Container[int]) -> list[Task]:
    """Tasks that take in the tail rows of a task's days as runs of their own, and rewrite at most other such runs."""
    within = [existing for existing in ranges if task.first_day <= existing.first_day <= task.last_day]
    own = {day: rows for day, rows in tail.items() if task.first_day <= day <= task.last_day}
    tasks: list[Task] = []
    between: list[_Item] = []
    for item in [*_items(within, own), None]:
        if item is not None and item.existing is None:
            between.append(item)
            continue
        tasks += [_rewrite(group) for group in _grouped(between)]
        between = []
        if item is not None and item.existing is not None and item.tail_rows:
            tasks.append(_as_late_run(item.existing, item.tail_rows, spared))
    return tasks


def _as_late_run(existing: Range, tail_rows: int, spared: Container[int]) -> Task:
    """Tail rows as a run beside the others; of too many, some are merged with it: neither the main run nor any that
    is ``spared``."""
    readable = [run for run in existing.late if not any(segment in spared for segment in run.segments)]
    merged = _alike(readable, tail_rows) if len(existing.runs) >= RUNS_MAX else ()
    inputs = tuple(segment for run in merged for segment in run.segments)
    return Task(existing.first_day, existing.last_day, max(run.number for run in existing.runs) + 1, inputs)


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


def _parts(group: Sequence[_Item], now_day: int) -> list[Sequence[_Item]]:
    """Cuts a group into what is rewritten together and what stays by itself, in order."""
    if len(group) == 1 or sum(item.rows for item in group) <= SMALL_ROWS or _has_rested(group, now_day):
        return [group]
    open_from = next((at for at, item in enumerate(group) if item.last_day >= now_day), len(group))
    if 0 < open_from < len(group):  # a day that still fills up would take its neighbours along time and again
        return [*_parts(group[:open_from], now_day), *_parts(group[open_from:], now_day)]
    heavy = max(range(len(group)), key=lambda at: group[at].rows)
    others = sum(item.rows for item in group) - group[heavy].rows
    if group[heavy].existing is None or others * GROWTH >= group[heavy].rows:
        return [group]
    before, after = group[:heavy], group[heavy + 1 :]
    return [
        *(_parts(before, now_day) if before else []),
        [group[heavy]],
        *(_parts(after, now_day) if after else []),
    ]


def _has_rested(group: Sequence[_Item], now_day: int) -> bool:
    """Whether all of it was written a week ago or earlier, and nothing comes to it."""
    return all(
        item.existing is not None
        and not item.tail_rows
        and all(run.written_day + LATE_DAYS_MAX <= now_day for run in item.existing.runs)
        for item in group
    )


def _rewrite(group: Sequence[_Item]) -> Task:
    inputs = [segment for item in group if item.existing for run in item.existing.runs for segment in run.segments]
    return Task(group[0].first_day, group[-1].last_day, MAIN_RUN, tuple(inputs))


def _tend(existing: Range, tail_rows: int, now_day: int) -> Task | None:
    """What to do with a range that stays by itself."""
    if not tail_rows and not existing.late:
        return None
    whole = _Item(existing.first_day, existing.last_day, tail_rows, existing)
    main, late_rows = existing.runs[0], sum(run.rows for run in existing.late)
    if whole.rows <= SMALL_ROWS or _is_due(existing, now_day):
        return _rewrite([whole])
    if whole.rows <= SHARED_ROWS_MAX and (late_rows + tail_rows) * GROWTH >= main.rows:
        return _rewrite([whole])
    if not tail_rows:
        return None
    if len(existing.runs) >= RUNS_MAX and main in _alike(existing.runs, tail_rows):
        return _rewrite([whole])
    return _as_late_run(existing, tail_rows, ())


def _is_due(existing: Range, now_day: int) -> bool:
    """Whether the runs of a range are to become one, whatever comes to it."""
    if existing.last_day >= now_day or not existing.late:
        return False
    if any(run.written_day <= existing.last_day for run in existing.late):
        return True  # they are not late: the day was still filling up, now it is closed
    if any(run.written_day + LATE_DAYS_MAX <= now_day for run in existing.late):
        return True
    late_rows = sum(run.rows for run in existing.late)
    settled = all(run.written_day < now_day for run in existing.late)
    return settled and late_rows * LATE_SHARE > existing.runs[0].rows


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
