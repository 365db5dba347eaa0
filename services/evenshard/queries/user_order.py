"""Kernels that put rows of one moment in order, and number a user's sessions; rows are by (user, time)."""

import numpy as np

from evenshard.kernels import kernel, view

_FEW = 16
"""As many are sorted by insertion."""
_KINDS = ("uint64", "uint8")
_ROWS = f"{view('int64')}, {view('int64')}"


@kernel(f"void({_ROWS}, int64, int32[::1])", counted=False)
def number_sessions(starts, times, gap, sessions):  # type: ignore[no-untyped-def]
    """Numbers each user's sessions 0, 1, 2 …: a new one begins after more than ``gap`` ms without an event.

    starts, times: as ``UserRows`` has them; sessions (one a row) are written.
    """
    for user in range(starts.size - 1):
        session = 0
        for row in range(starts[user], starts[user + 1]):
            if row > starts[user] and times[row] - times[row - 1] > gap:
                session += 1
            sessions[row] = session


@kernel(
    *(f"int64({_ROWS}, {view(kind)}, uint64, boolean, boolean, int64[::1], int64[::1])" for kind in _KINDS),
    counted=False,
)
def contended_rows(starts, times, masks, bits, numbered, shared, places, moments):  # type: ignore[no-untyped-def]
    """Writes the places of rows that are not the only ones of their user and ms, and the number of that moment; with
    ``shared`` only of moments two of whose rows have one of ``bits`` in common. Returns how many there are.
    ``numbered``: a mask is the number of its only bit, from 1."""
    count, moment = 0, 0
    for user in range(starts.size - 1):
        row, end = starts[user], starts[user + 1]
        while row < end:
            after = row + 1
            while after < end and times[after] == times[row]:
                after += 1
            if after > row + 1:
                contended, union = not shared, np.uint64(0)
                for place in range(row, after):
                    mask = np.uint64(masks[place])
                    mine = ((np.uint64(1) << mask) >> np.uint64(1) if numbered else mask) & bits
                    contended |= union & mine != 0
                    union |= mine
                if contended:
                    for place in range(row, after):
                        places[count] = place
                        moments[count] = moment
                        count += 1
                    moment += 1
            row = after
    return count


@kernel(inline=True)
def _rank(mask):  # type: ignore[no-untyped-def]
    """The number of the lowest bit; 64 where there is none."""
    rank = 0
    while rank < 64 and not mask & np.uint64(1):
        mask >>= np.uint64(1)
        rank += 1
    return rank


@kernel(f"void({_ROWS}, uint64, uint64[::1], int32[::1])")
def order_by_rank(starts, times, bits, masks, places):  # type: ignore[no-untyped-def]
    """Sorts rows of one user and ms by the lowest of ``bits`` that they have, those with none last; equal ones keep
    their order.

    starts, times: as ``UserRows`` has them; masks and places (one a row) are moved.
    """
    for user in range(starts.size - 1):
        row, end = starts[user], starts[user + 1]
        while row < end:
            after = row + 1
            while after < end and times[after] == times[row]:
                after += 1
            if after - row > _FEW:
                ranks = np.empty(after - row, np.int64)
                for place in range(row, after):
                    ranks[place - row] = _rank(masks[place] & bits)
                order = np.argsort(ranks, kind="mergesort")
                masks[row:after] = masks[row:after][order]
                places[row:after] = places[row:after][order]
            else:
                for place in range(row + 1, after):
                    mask, came_from, to = masks[place], places[place], place
                    rank = _rank(mask & bits)
                    while to > row and _rank(masks[to - 1] & bits) > rank:
                        masks[to], places[to] = masks[to - 1], places[to - 1]
                        to -= 1
                    masks[to], places[to] = mask, came_from
            row = after
