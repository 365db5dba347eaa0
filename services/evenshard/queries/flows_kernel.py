"""Follows each user from the first anchor: forward in the order of his events, or backward."""

import numpy as np

from evenshard.kernels import kernel, view

ANCHOR, PART = np.uint64(1), np.uint64(2)
"""Bits of a row's mask: it may be the anchor; it may be on a path. Sessions look at rows without either, too."""
NAME_SHIFT = np.uint64(2)
"""Above them stands the number of its name."""
_1 = np.uint64(1)
_FEW = np.uint64(16)
"""As many are sorted by insertion."""


@kernel(f"void({view('int32')}, int64, int64, uint64[::1])")
def _sort_by_name(ranks, first, end, masks):  # type: ignore[no-untyped-def]
    own = np.empty(end - first, np.int32)
    for row in range(first, end):
        own[row - first] = ranks[masks[row] >> NAME_SHIFT]
    masks[first:end] = masks[first:end][np.argsort(own, kind="mergesort")]


@kernel(f"void({view('int64')}, {view('int64')}, {view('int32')}, uint64[::1])", counted=False)
def order_by_name(starts, times, ranks, masks):  # type: ignore[no-untyped-def]
    """Puts rows of one user and ms in the order of their names, by the ranks of these; those that agree keep theirs.

    starts, times: as ``UserRows`` has them; masks are moved.
    """
    for user in range(np.uint64(starts.size - 1)):
        first, stop = np.uint64(starts[user]), np.uint64(starts[user + _1])
        while first < stop:
            end = first + _1
            while end < stop and times[end] == times[first]:
                end += _1
            if end - first > _FEW:
                _sort_by_name(ranks, np.int64(first), np.int64(end), masks)
            elif end - first > _1:
                for row in range(first + _1, end):
                    mask, at = masks[row], np.uint64(row)
                    rank = ranks[mask >> NAME_SHIFT]
                    while at > first and ranks[masks[at - _1] >> NAME_SHIFT] > rank:
                        masks[at] = masks[at - _1]
                        at -= _1
                    masks[at] = mask
            first = end


@kernel(inline="always")
def _name(mask):  # type: ignore[no-untyped-def]
    return np.int64(mask >> NAME_SHIFT)


@kernel(inline="always")
def _anchor_of(first, end, times, masks, anchors_ms):  # type: ignore[no-untyped-def]
    """The first row that is an anchor within the intervals, or -1."""
    interval = 0
    for row in range(first, end):
        if masks[row] & ANCHOR:
            while interval < anchors_ms.size and anchors_ms[interval + 1] <= times[row]:
                interval += 2
            if interval == anchors_ms.size:
                break
            if anchors_ms[interval] <= times[row]:
                return row
    return -1


_ROWS = ", ".join([view("int64"), view("int64"), view("uint64"), view("int64")])


@kernel(
    f"UniTuple(int64, 2)({_ROWS}, int64, int64, int64, int64, boolean, boolean, int64, int64, int64[::1])",
    counted=False,
)
def flow_hops(  # type: ignore[no-untyped-def]
    starts, times, masks, anchors_ms, name_count, steps, window_ms, gap_ms, backward, collapse, start_ms,
    end_ms, hops,
):  # fmt: skip
    """Writes the hops of all paths; returns how many, and how many paths may go on beyond ``[start_ms, end_ms)``.

    The hop to step s is (s · name_count + from) · name_count + to; that to the anchor, step 0, is from 0. window_ms: -1
    for sessions, which end where ``gap_ms`` pass without any row; only they may go on beyond what was read.

    starts, times, masks: as ``UserRows`` has them, in the whole order of events.
    anchors_ms, steps: as ``FlowsScan`` has them. hops: written, as long as there are rows.
    """
    count, cut_short = 0, 0
    step_of_row = -1 if backward else 1
    for user in range(starts.size - 1):
        first, end = starts[user], starts[user + 1]
        anchor = _anchor_of(first, end, times, masks, anchors_ms)
        if anchor < 0:
            continue
        name = _name(masks[anchor])
        hops[count] = name
        count += 1
        step, ended = 0, False
        row = anchor + step_of_row
        while step < steps and first <= row < end:
            if window_ms >= 0:
                ended = abs(times[row] - times[anchor]) > window_ms
            else:
                ended = abs(times[row] - times[row - step_of_row]) > gap_ms
            if ended:
                break
            if masks[row] & PART and not (collapse and _name(masks[row]) == name):
                step += 1
                hops[count] = (step * name_count + name) * name_count + _name(masks[row])
                count += 1
                name = _name(masks[row])
            row += step_of_row
        if step < steps and not ended and window_ms < 0:
            outermost = times[row - step_of_row]
            cut_short += outermost - gap_ms < start_ms if backward else outermost + gap_ms >= end_ms
    return count, cut_short
