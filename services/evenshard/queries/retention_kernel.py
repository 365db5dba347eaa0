"""Finds each user's birth, and the buckets in which he returned: one walk over his rows."""

import numpy as np

from evenshard.kernels import kernel, view

_1 = np.uint64(1)
BIRTH, RETURN = np.uint8(1), np.uint8(2)
"""Bits of a row's mask."""
_NEVER = 1 << 62


@kernel(inline="always")
def _interval_of(bounds, time):  # type: ignore[no-untyped-def]
    """The interval of ``bounds`` that holds ``time``, or -1. They are about equally long: it is guessed first."""
    last = bounds.size - 1
    if time < bounds[0] or time >= bounds[last]:
        return -1
    at = min(last - 1, int((time - bounds[0]) / (bounds[last] - bounds[0]) * last))
    while bounds[at] > time:
        at -= 1
    while bounds[at + 1] <= time:
        at += 1
    return at


@kernel(inline="always")
def _birth_of(first, end, times, masks, births_ms, cohort_of, lifetime):  # type: ignore[no-untyped-def]
    """The row of a birth in a cohort, and the cohort; or ``end``, -1."""
    for row in range(first, end):
        if masks[row] & BIRTH:
            at = _interval_of(births_ms, times[row])
            if at >= 0 and cohort_of[np.uint64(at)] >= 0:
                return row, cohort_of[np.uint64(at)]
            if lifetime:
                break
    return end, -1


@kernel(inline="always")
def _bucket_at(now, born_ms, unit_ms, units_ms, unit_of, cohort_unit, buckets):  # type: ignore[no-untyped-def]
    """The bucket of a return, and until when later ones have the same."""
    if unit_ms:
        bucket = (now - born_ms) // unit_ms
        return bucket, _NEVER if bucket >= buckets else born_ms + (bucket + 1) * unit_ms
    at = _interval_of(units_ms, now)
    if at < 0:
        return buckets, _NEVER
    # A clock that is put back across midnight shows the unit before the birth's again.
    return max(0, unit_of[at] - cohort_unit), units_ms[at + 1]


_ROWS = ", ".join([view("int64"), view("int64"), view("uint8"), view("int32")])
_PLAN = ", ".join(view("int64") for _ in range(5))


@kernel(
    f"int64({_ROWS}, {_PLAN}, int64, int64, boolean, boolean, int64[::1], int64[::1])",
    counted=False,
)
def retention_cells(  # type: ignore[no-untyped-def]
    starts, times, masks, groups, births_ms, cohort_of, units_ms, unit_of, cohort_units, unit_ms, buckets,
    on_or_after, lifetime, seen, cells,
):  # fmt: skip
    """Writes a cell for each birth and one for each bucket in which its user returned; returns how many.

    The cell of bucket b is ((group · cohorts + cohort) · (buckets + 1)) + b + 1, that of a birth as if b were -1. With
    ``on_or_after`` a user has at most one bucket, the last; what lies beyond all is the last. Users who have several
    returns in one bucket count once.

    starts, times, masks: as ``UserRows`` has them; groups: of each row, or empty. The rest: as ``RetentionScan`` has
    it. seen: scratch, one a bucket; cells: written, as long as there are rows.
    """
    count = np.uint64(0)
    seen[:] = -1
    for user in range(np.uint64(starts.size - 1)):
        first, end = np.uint64(starts[user]), np.uint64(starts[user + _1])
        born, cohort = _birth_of(first, end, times, masks, births_ms, cohort_of, lifetime)
        if cohort < 0:
            continue
        group = groups[born] if groups.size else 0
        base = (group * cohort_units.size + cohort) * (buckets + 1)
        cells[count] = base
        count += _1
        born_ms, born_unit = times[born], cohort_units[np.uint64(cohort)]
        row = born
        while row > first and times[row - _1] == born_ms:
            row -= _1
        until_ms, furthest = born_ms, -1
        while row < end:
            now = times[row]
            # All times up to until_ms have the bucket of the return before.
            if now >= until_ms and masks[row] & RETURN and row != born:
                bucket, until_ms = _bucket_at(now, born_ms, unit_ms, units_ms, unit_of, born_unit, buckets)
                furthest = max(furthest, min(bucket, buckets - 1))
                if bucket < buckets and not on_or_after and seen[np.uint64(bucket)] != np.int64(user):
                    seen[np.uint64(bucket)] = np.int64(user)
                    cells[count] = base + bucket + 1
                    count += _1
            row += _1
        if on_or_after and furthest >= 0:
            cells[count] = base + furthest + 1
            count += _1
    return np.int64(count)
