"""Plain funnels on a shard, some users at a time: those whose steps alone decide, without values to group users by.

Partial and account are those of ``funnel``.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import parse
from evenshard.queries.funnel_kernel import best_attempts
from evenshard.queries.funnel_plain_kernel import STEPS_MAX, by_level, follow, since_entry
from evenshard.queries.groups import Integers
from evenshard.queries.plan import FunnelScan, ScanStats
from evenshard.queries.step_masks import StepMatcher, bits_of, masks_of, matches_any
from evenshard.queries.user_chunks import follow_users
from evenshard.queries.user_rows import AnyMasks, Choice, Coded, Kept, Masks, Needs, SmallMasks, UserRows
from evenshard.queries.values import encoded


def scan_parts(plan: FunnelScan, parts: Parts, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    """Of a plan that ``is_plain`` the partial and the account. ``check`` raises if nobody waits any more."""
    running = _Scan(plan)
    kind = np.uint8 if running.apart else np.uint64
    return follow_users(running, kind, parts, check, skip_duplicates=plan.skip_duplicates)


class _Scan:
    """The state of one pass: for each level the times of the users that reached it and no further one."""

    def __init__(self, plan: FunnelScan) -> None:
        self.plan = plan
        self.where = parse(plan.where) if plan.where else None
        self.step_wheres = [parse(step.where) if step.where else None for step in plan.steps]
        names = {name for step in plan.steps for name in step.events}
        self.apart = all(step.events for step in plan.steps) and len(names) == sum(
            len(set(step.events)) for step in plan.steps
        )
        """No event matches two steps, so a row's mask is the number of its step."""
        self.matcher = StepMatcher(enumerate(plan.steps), plan.where)
        """Where they may match several."""
        self.needs = Needs(opens=self._opens)
        self.latest = np.empty(STEPS_MAX + 1, np.int64)
        self.entries = np.array(plan.entries_ms, np.int64)
        self.users = np.zeros(STEPS_MAX + 1, np.int64)
        self.times: list[list[Integers]] = [[] for _ in range(len(plan.steps) + 1)]

    def _opens(self, masks: AnyMasks) -> Kept:
        """Without step 1 there is no attempt."""
        opens: Kept = masks == 1 if self.apart else masks & np.uint64(1) != 0
        return opens

    def choose(self, some: ScannedRows) -> Choice | None:
        """The steps that each row matches; one bit a step."""
        if not self.apart:
            choice = self.matcher.choice(some.record)
            return choice if matches_any(choice) else None
        record = some.record
        codes, names = encoded(record.column("event"))
        every = bits_of(list(enumerate(self.plan.steps)), names)
        if not every.any():
            return None
        numbers = self._numbers(record, codes, every)
        if self.where is not None:
            numbers = masks_of(numbers)
            numbers[~evaluate(self.where, record)] = 0
        return numbers

    def _numbers(self, record: pa.RecordBatch, codes: Integers, every: Masks) -> Choice:
        """The step of each row, from 1."""
        numbers = np.zeros(len(every), np.uint8)
        numbers[every != 0] = np.log2(every[every != 0]).astype(np.uint8) + 1
        if all(where is None for where in self.step_wheres):
            return Coded(codes, numbers)
        steps: SmallMasks = numbers[codes]
        for number, where in enumerate(self.step_wheres, 1):
            if where is not None:
                own = steps == number
                if own.any():
                    steps[own & ~evaluate(where, record)] = 0
        return steps

    def follow(self, rows: UserRows) -> None:
        """Follows each user of a chunk."""
        levels, times = np.empty(len(rows.starts) - 1, np.int8), np.empty(len(rows.times), np.int64)
        how = (len(self.plan.steps), self.plan.window_ms, self.entries)
        if self.apart:
            total = follow(rows.starts, rows.times, rows.masks, *how, self.latest, levels, times)
        else:
            filled = np.empty(len(rows.times), np.int32)
            found = best_attempts(rows.starts, rows.times, rows.masks, *how, levels, filled)
            total = since_entry(levels, filled[:found], rows.times, times)
        users, sorted_times = np.zeros(STEPS_MAX + 1, np.int64), np.empty(total, np.int64)
        by_level(levels, times[:total], users, sorted_times)
        at = 0
        for level in range(2, len(self.plan.steps) + 1):
            size = int(users[level]) * (level - 1)
            if size:
                self.times[level].append(sorted_times[at : at + size])
            at += size
        self.users += users

    def partial(self) -> pa.Table:
        levels = [level for level in range(1, len(self.plan.steps) + 1) if self.users[level]]
        flat = [times for level in levels for times in self.times[level]]
        sizes = [int(self.users[level]) * (level - 1) for level in levels]
        columns = {
            "level": pa.array(levels, pa.int32()),
            "users": pa.array(self.users[levels]),
            "times": pa.LargeListArray.from_arrays(
                pa.array(np.cumsum([0, *sizes], dtype=np.int64)),
                pa.array(np.concatenate([np.zeros(0, np.int64), *flat])),
            ),
        }
        return pa.table(columns)
