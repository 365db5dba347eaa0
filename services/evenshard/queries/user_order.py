"""Kernels that put rows in the order of users, and number a user's sessions."""

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
