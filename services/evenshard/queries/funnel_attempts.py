"""The attempts at a funnel that count, of rows by user: which kernel follows them, and which of several are taken."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.queries.funnel_any import any_order_attempts
from evenshard.queries.funnel_exclusions import DROPPED, best_attempts_excluding
from evenshard.queries.funnel_in_turn import attempts_in_turn
from evenshard.queries.funnel_kernel import best_attempts
from evenshard.queries.funnel_plain_kernel import STEPS_MAX, follow
from evenshard.queries.funnel_strict import BEST, FIRST, TOTAL, strict_attempts
from evenshard.queries.funnel_units import Units, split_by_value, users_or_sessions
from evenshard.queries.groups import Integers
from evenshard.queries.plan import FunnelScan
from evenshard.queries.user_rows import UserRows


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts and the rows that fill their steps."""

    levels: npt.NDArray[np.int64]
    """How many steps each reached, at least 1."""
    filled: Integers
    """Places of rows: those of the first attempt's steps in order, of the second's, and so on."""
    users: Integers
    """For each attempt the number of its user."""

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where the rows of each attempt begin in ``filled``."""
        return np.cumsum(self.levels) - self.levels


@dataclass(frozen=True, slots=True)
class _Found:
    """What a kernel found: of each attempt its level and unit, of each unit whether an exclusion ended any."""

    levels: npt.NDArray[np.int64]
    units: Integers
    filled: Integers
    excluded: npt.NDArray[np.bool_]


def attempts_that_count(plan: FunnelScan, rows: UserRows, holds: npt.NDArray[np.int32] | None) -> Attempts:
    """Of each user or session the attempt that counts, or all of them (``total``).

    rows: masks as in ``funnel_moment``, or (uint8) numbers of steps, where these decide. holds: the held value of each
    row; None where nothing is held constant. Raises ``QUERY_INVALID`` where held values make too many rows.
    """
    units = users_or_sessions(rows, plan.count_mode == "session")
    split = holds is not None and plan.order != "strict"
    if holds is not None and split:
        units = split_by_value(units, holds, any_order=plan.order == "any")
    found = _found(plan, units, holds)
    filled = found.filled if units.places is None else units.places[found.filled]
    kept = np.ones(len(found.levels), np.bool_)
    owners = units.owners[found.units]
    if split and plan.count_mode != "total":
        kept = _one_of_each(plan, owners, found.levels, filled)
    if plan.exclude_user:
        ending = found.excluded
        if plan.attempt == "first" and plan.count_mode != "total":
            # Only the attempts that count are looked at.
            ending = np.zeros_like(ending)
            ending[found.units[kept]] = found.excluded[found.units[kept]]
        dropped = np.unique(units.users[ending])
        kept &= ~np.isin(units.users[found.units], dropped)
    users = units.users[found.units]
    if kept.all():
        return Attempts(found.levels, filled, users)
    return Attempts(found.levels[kept], filled[np.repeat(kept, found.levels)], users[kept])


def _one_of_each(
    plan: FunnelScan, owners: Integers, levels: npt.NDArray[np.int64], filled: Integers
) -> npt.NDArray[np.bool_]:
    """Of the attempts of each user or session the one that counts: places of rows are in the order of time."""
    entries = filled[np.cumsum(levels) - levels]
    keys = (entries, owners) if plan.attempt == "first" else (entries, -levels, owners)
    order = np.lexsort(keys)
    first = np.append(True, owners[order][1:] != owners[order][:-1])[: len(order)]
    kept = np.zeros(len(owners), np.bool_)
    kept[order[first]] = True
    return kept


def _found(plan: FunnelScan, units: Units, holds: npt.NDArray[np.int32] | None) -> _Found:
    entries = np.array(plan.entries_ms, np.int64)
    funnel = (units.starts, units.times, units.masks, len(plan.steps), plan.window_ms, entries)
    spans = (
        np.array([each.after_step for each in plan.exclusions], np.int64),
        np.array([each.before_step for each in plan.exclusions], np.int64),
    )
    count, rows = len(units.starts) - 1, len(units.times)
    filled, excluded = np.empty(rows, np.int32), np.zeros(count, np.bool_)
    total, first = plan.count_mode == "total", plan.attempt == "first"
    if plan.order == "ordered" and not total and not first:
        levels = np.empty(count, np.int8)
        if units.masks.dtype == np.uint8:
            latest, no_times = np.empty(STEPS_MAX + 1, np.int64), np.zeros(0, np.int64)
            size = follow(*funnel, latest, levels, no_times, filled)
        elif plan.exclusions or plan.strict_increase:
            size = best_attempts_excluding(*funnel, *spans, plan.strict_increase, plan.exclude_user, levels, filled)
        else:
            size = best_attempts(*funnel, levels, filled)
        reached = np.flatnonzero(levels > 0)
        return _Found(levels[reached].astype(np.int64), reached, filled[:size], levels == DROPPED)
    levels, of_unit = np.empty(rows, np.int8), np.empty(rows, np.int32)
    which = TOTAL if total else FIRST if first else BEST
    if plan.order == "any":
        size = any_order_attempts(*funnel, which, levels, of_unit, filled)
    elif plan.order == "strict":
        held = np.zeros(rows, np.int32) if holds is None else holds
        size = strict_attempts(
            *funnel, held, *spans, plan.strict_increase, plan.exclude_user, which, levels, of_unit, filled, excluded
        )
    else:
        size = attempts_in_turn(*funnel, *spans, plan.strict_increase, total, levels, of_unit, filled, excluded)
    found = levels[:size].astype(np.int64)
    return _Found(found, of_unit[:size], filled[: int(found.sum())], excluded)
