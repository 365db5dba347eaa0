"""Plain funnels on a shard, some users at a time: those whose steps alone decide, without values to group users by.

Partial and account are those of ``funnel``.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries.funnel_kernel import best_attempts
from evenshard.queries.funnel_plain_kernel import STEPS_MAX, by_level, follow, since_entry
from evenshard.queries.groups import Integers
from evenshard.queries.plan import FunnelScan, ScanStats
from evenshard.queries.step_masks import StepMatcher, matches_any
from evenshard.queries.step_numbers import StepNumbers, are_apart
from evenshard.queries.user_chunks import follow_users
from evenshard.queries.user_rows import AnyMasks, Choice, Kept, Needs, UserRows

_NO_ROWS: Final = np.zeros(0, np.int32)


def scan_parts(plan: FunnelScan, parts: Parts, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    """Of a plan that ``is_plain`` the partial and the account. ``check`` raises if nobody waits any more."""
    running = _Scan(plan)
    kind = np.uint8 if running.apart else np.uint64
    return follow_users(running, kind, parts, check, skip_duplicates=plan.skip_duplicates)


class _Scan:
    """The state of one pass: for each level the times of the users that reached it and no further one."""

    def __init__(self, plan: FunnelScan) -> None:
        self.plan = plan
        self.apart = are_apart(plan.steps)
        """No event matches two steps, so a row's mask is the number of its step."""
        self.numbers = StepNumbers(plan.steps, plan.where)
        """Where that is so."""
        self.matcher = StepMatcher(enumerate(plan.steps), plan.where)
        """Where they may match several."""
        self.needs = Needs(opens=self._opens)
        self.latest = np.empty(STEPS_MAX + 1, np.int64)
        self.entries = np.array(plan.entries_ms, np.int64)
        self.users = np.zeros(STEPS_MAX + 1, np.int64)
        self.kind = np.uint32 if plan.has_short_times else np.int64
        """Of times as they travel."""
        self.times: list[list[Integers]] = [[] for _ in range(len(plan.steps) + 1)]

    def _opens(self, masks: AnyMasks) -> Kept:
        """Without step 1 there is no attempt."""
        opens: Kept = masks == 1 if self.apart else masks & np.uint64(1) != 0
        return opens

    def choose(self, some: ScannedRows) -> Choice | None:
        """The steps that each row matches; one bit a step."""
        if self.apart:
            return self.numbers.choice(some.record)
        choice = self.matcher.choice(some.record)
        return choice if matches_any(choice) else None

    def follow(self, rows: UserRows) -> None:
        """Follows each user of a chunk."""
        levels, times = np.empty(len(rows.starts) - 1, np.int8), np.empty(len(rows.times), np.int64)
        how = (len(self.plan.steps), self.plan.window_ms, self.entries)
        if self.apart:
            total = follow(rows.starts, rows.times, rows.masks, *how, self.latest, levels, times, _NO_ROWS)
        else:
            filled = np.empty(len(rows.times), np.int32)
            found = best_attempts(rows.starts, rows.times, rows.masks, *how, levels, filled)
            total = since_entry(levels, filled[:found], rows.times, times)
        users, sorted_times = np.zeros(STEPS_MAX + 1, np.int64), np.empty(total, self.kind)
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
                pa.array(np.concatenate([np.zeros(0, self.kind), *flat])),
            ),
        }
        return pa.table(columns)
