"""Merges how often pairs occur, without a copy beside what is merged and what comes of it."""

from evenshard.kernels import kernel, view

_IN = f"{view('int64')}, {view('int64')}, {view('int64')}"


@kernel(f"int64({_IN}, {_IN}, int64[::1], int64[::1], int64[::1])", counted=False)
def merge_pairs(cells, keys, counts, more_cells, more_keys, more_counts, to_cells, to_keys, to_counts):  # type: ignore[no-untyped-def]
    """Distinct pairs of a cell and a key, ascending, of two such lists, with their counts or the sums of these, written
    into arrays that have room for both; returns how many there are."""
    at, more, count = 0, 0, 0
    while at < cells.size or more < more_cells.size:
        ours, theirs = at < cells.size, more < more_cells.size
        if ours and theirs:
            ours = cells[at] < more_cells[more] or (cells[at] == more_cells[more] and keys[at] <= more_keys[more])
            theirs = not ours or (cells[at] == more_cells[more] and keys[at] == more_keys[more])
        to_counts[count] = 0
        if ours:
            to_cells[count], to_keys[count] = cells[at], keys[at]
            to_counts[count] += counts[at]
            at += 1
        if theirs:
            to_cells[count], to_keys[count] = more_cells[more], more_keys[more]
            to_counts[count] += more_counts[more]
            more += 1
        count += 1
    return count
