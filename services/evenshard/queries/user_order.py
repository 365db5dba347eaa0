"""Kernels that put rows in the order of users and of what they match, and number a user's sessions."""

import numpy as np

from evenshard.kernels import kernel, view


@kernel(f"void({view('int32')}, {view('int64')}, int64[::1], int32[::1])")
def order_by_user(users, times, starts, order):  # type: ignore[no-untyped-def]
    """Rows of user u become ``order[starts[u]:starts[u + 1]]``, by time; rows of one time keep their order.

    users: a number below len(starts) - 1 for each row; starts and order are written.
    """
    starts[:] = 0
    for row in range(users.size):
        starts[users[row] + 1] += 1
    for user in range(starts.size - 1):
        starts[user + 1] += starts[user]
    at = starts[:-1].copy()
    for row in range(users.size):
        order[at[users[row]]] = row
        at[users[row]] += 1
    for user in range(starts.size - 1):
        first, end = starts[user], starts[user + 1]
        sorted_already = True
        for place in range(first + 1, end):
            if times[order[place]] < times[order[place - 1]]:
                sorted_already = False
                break
        if not sorted_already:
            own = order[first:end].copy()
            order[first:end] = own[np.argsort(times[own], kind="mergesort")]


@kernel(inline=True)
def _rank(mask):  # type: ignore[no-untyped-def]
    """The number of the lowest bit; 64 where there is none."""
    rank = 0
    while rank < 64 and not mask & np.uint64(1):
        mask >>= np.uint64(1)
        rank += 1
    return rank


@kernel(f"void({view('int64')}, {view('int64')}, int64, int32[::1])")
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


@kernel(f"void({view('int64')}, {view('int64')}, {view('uint64')}, uint64, int32[::1])")
def order_by_rank(starts, times, masks, bits, order):  # type: ignore[no-untyped-def]
    """Sorts rows of one user and ms by the lowest of ``bits`` that they have, those with none last; equal ones keep
    their order.

    starts, times: as ``UserRows`` has them; masks: of the rows that ``order`` names, which is changed.
    """
    places = np.empty(66, np.int64)
    own = np.empty(16, np.int32)
    for user in range(starts.size - 1):
        row = starts[user]
        while row < starts[user + 1]:
            after = row + 1
            while after < starts[user + 1] and times[after] == times[row]:
                after += 1
            if after > row + 1:
                if own.size < after - row:
                    own = np.empty(2 * (after - row), np.int32)
                places[:] = 0
                for at in range(row, after):
                    places[_rank(masks[order[at]] & bits) + 1] += 1
                for rank in range(65):
                    places[rank + 1] += places[rank]
                own[: after - row] = order[row:after]
                for event in own[: after - row]:
                    rank = _rank(masks[event] & bits)
                    order[row + places[rank]] = event
                    places[rank] += 1
            row = after
