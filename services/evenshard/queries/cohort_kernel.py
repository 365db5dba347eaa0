"""Kernels of cohorts: how often users matched each step, and which rows are of users who belong."""

import numpy as np

from evenshard.kernels import kernel, view


@kernel(f"void({view('int64')}, {view('uint64')}, int64[:, ::1])", counted=False)
def count_steps(starts, masks, counts):  # type: ignore[no-untyped-def]
    """Adds to counts[user, step] the rows of each user that have the bit of the step."""
    steps = np.uint64(counts.shape[1])
    for user in range(starts.size - 1):
        for row in range(starts[user], starts[user + 1]):
            for step in range(steps):
                counts[user, step] += np.int64((masks[row] >> step) & np.uint64(1))


@kernel(
    f"void({view('int32')}, {view('int32')}, {view('int32')}, {view('int32')}, {view('bool_')}, bool_[::1])",
    counted=False,
)
def mark_rows(starts, ends, numbers, order, belongs, out):  # type: ignore[no-untyped-def]
    """Sets ``out`` for rows whose user belongs; the others stay as they are. Runs: see ``UserRuns``; ``order`` may be
    empty."""
    ordered = order.size > 0
    for run in range(starts.size):
        if belongs[numbers[run]]:
            for place in range(starts[run], ends[run]):
                out[order[place] if ordered else place] = True
