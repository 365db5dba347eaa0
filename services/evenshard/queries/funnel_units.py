"""Cuts users' rows into units: what is looked at by itself, a user, a session, or those of them that hold one value."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.kernels import kernel, view
from evenshard.queries import user_rows
from evenshard.queries.funnel_moment import EXCLUSION_BIT
from evenshard.queries.groups import Integers
from evenshard.queries.user_rows import AnyMasks, Int64, UserRows

_NOTHING = ((1, np.int64), (0, np.int64), (0, np.int32), (0, np.uint64))
_STEPS = np.uint64((1 << EXCLUSION_BIT) - 1)


@dataclass(frozen=True, slots=True)
class Units:
    """Rows by unit, in order within each."""

    starts: Int64
    """Where each unit's begin, and the end of all."""
    times: Int64
    masks: AnyMasks
    places: Integers | None
    """For each row its place in the ``UserRows``; None: it is the same."""
    owners: Integers
    """For each unit the number of the user or session that counts once."""
    users: Integers
    """For each unit the number of its user."""


def users_or_sessions(rows: UserRows, sessions: bool) -> Units:
    """A unit a user, or a session of one."""
    starts = rows.starts
    users: Integers = np.arange(len(starts) - 1)
    if sessions:
        of_row = np.repeat(users, np.diff(starts))
        changes = (of_row[1:] != of_row[:-1]) | (rows.sessions[1:] != rows.sessions[:-1])
        firsts = np.flatnonzero(np.append(True, changes)) if len(of_row) else np.zeros(0, np.int64)
        starts, users = np.append(firsts, len(of_row)), of_row[firsts]
    return Units(starts, rows.times, rows.masks, None, np.arange(len(users)), users)


@kernel(inline=True)
def _merge(own, excluding, holds, masks, value, places, out_masks, total):  # type: ignore[no-untyped-def]
    """Writes the rows of one value and those that exclude, in order; returns how many rows there are then."""
    steps = (np.uint64(1) << np.uint64(EXCLUSION_BIT)) - np.uint64(1)
    at = 0
    for row in excluding:
        if holds[row] == value:
            continue
        while at < own.size and own[at] < row:
            places[total], out_masks[total] = own[at], masks[own[at]]
            at += 1
            total += 1
        places[total], out_masks[total] = row, masks[row] & ~steps
        total += 1
    for row in own[at:]:
        places[total], out_masks[total] = row, masks[row]
        total += 1
    return total


@kernel(
    f"int64({view('int64')}, {view('uint64')}, {view('int32')}, uint64, boolean, int64[::1], int32[::1], uint64[::1], "
    "int64[::1], int64[::1])"
)
def _split(starts, masks, holds, opening, written, unit_of, places, out_masks, out_starts, sizes):  # type: ignore[no-untyped-def]
    """Splits units by held value; returns how many there are then.

    A value that no row with a bit of ``opening`` holds makes no unit. Each gets its own rows and, without their steps,
    those of other values that exclude. Unless ``written`` only sizes[0], the number of rows, is. unit_of: the unit
    that each was cut from; out_starts: where each begins.
    """
    count, total = 0, 0
    steps = (np.uint64(1) << np.uint64(EXCLUSION_BIT)) - np.uint64(1)
    for unit in range(starts.size - 1):
        first, end = starts[unit], starts[unit + 1]
        order = first + np.argsort(holds[first:end], kind="mergesort")
        excluding = first + np.flatnonzero(masks[first:end] > steps)
        low = 0
        while low < order.size:
            value = holds[order[low]]
            high, opens, of_others = low, False, excluding.size
            while high < order.size and holds[order[high]] == value:
                opens |= masks[order[high]] & opening != 0
                of_others -= masks[order[high]] > steps
                high += 1
            if opens:
                if written:
                    unit_of[count], out_starts[count] = unit, total
                    _merge(order[low:high], excluding, holds, masks, value, places, out_masks, total)
                total += high - low + of_others
                count += 1
            low = high
    if written:
        out_starts[count] = total
    sizes[0] = total
    return count


def split_by_value(units: Units, holds: npt.NDArray[np.int32], *, any_order: bool) -> Units:
    """Units whose rows hold one value each; those that exclude are in all of a user's. ``units``: whole users or
    sessions. Raises ``QUERY_INVALID`` where that makes too many rows."""
    opening = _STEPS if any_order else np.uint64(1)
    sizes, none, no_places, no_masks = (
        np.zeros(1, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.int32),
        units.masks[:0],
    )
    count = _split(units.starts, units.masks, holds, opening, False, none, no_places, no_masks.copy(), none, sizes)
    rows = int(sizes[0])
    if rows > user_rows.ROWS_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"with an exclusion looked for in every held value there are {rows} events to follow, more than "
            f"{user_rows.ROWS_MAX}",
            hint="ask for fewer days, filter with where, or hold a property with fewer values constant",
        )
    unit_of, places = np.empty(count, np.int64), np.empty(rows, np.int32)
    masks, starts = np.empty(rows, np.uint64), np.empty(count + 1, np.int64)
    _split(units.starts, units.masks, holds, opening, True, unit_of, places, masks, starts, sizes)
    return Units(starts, units.times[places], masks, places, units.owners[unit_of], units.users[unit_of])
