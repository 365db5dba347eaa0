"""Which rows of a segment's part or of a block are whose, before users are numbered over all of them. Pure."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import UserRuns
from evenshard.events.users import Int32, Int64, People, first_of_runs, listed


@dataclass(frozen=True, slots=True, eq=False)
class OwnRuns:
    """``UserRuns`` whose numbers are places in ``people``."""

    runs: UserRuns
    people: People


def own_runs(ids: pa.Array, times: Int64) -> OwnRuns:
    """``ids``: the distinct_id of each row, plain or dictionary-encoded. Rows mostly come in the order of segments, each
    user's in one piece and by time; where they do not they get an ``order``."""
    firsts, codes, dictionary = _firsts(ids)
    ends = np.append(firsts[1:], np.int32(len(ids))).astype(np.int32)
    found = dictionary.take(pa.array(codes))
    somebody = pc.not_equal(found, "").to_numpy(zero_copy_only=False)
    if not somebody.all():
        firsts, ends, found = firsts[somebody], ends[somebody], found.filter(pa.array(somebody))
    users = listed(found)
    places = users.places
    if (np.diff(places) > 0).all() and _by_time(firsts, ends, times):
        return OwnRuns(UserRuns(firsts, ends, places), users.people)
    lengths = ends - firsts
    rows = np.repeat(firsts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
    of_rows = np.repeat(places, lengths)
    order = np.lexsort((times[rows], of_rows))
    of_rows = of_rows[order]
    begins = np.flatnonzero(np.append(True, of_rows[1:] != of_rows[:-1])).astype(np.int32)
    stops = np.append(begins[1:], np.int32(len(of_rows)))
    return OwnRuns(UserRuns(begins, stops, of_rows[begins], rows[order].astype(np.int32)), users.people)


def _firsts(ids: pa.Array) -> tuple[Int32, Int32, pa.StringArray]:
    """The first row of each run of equal ids, the code of each run, and what codes stand for."""
    if not pa.types.is_dictionary(ids.type):
        firsts = first_of_runs(ids)
        return firsts, np.arange(len(firsts), dtype=np.int32), ids.take(pa.array(firsts))
    codes = ids.indices.to_numpy()
    firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)]).astype(np.int32)
    return firsts, codes[firsts], ids.dictionary


def _by_time(firsts: Int32, ends: Int32, times: Int64) -> bool:
    """Whether times rise within each run."""
    falls = np.flatnonzero(times[1:] < times[:-1]) + 1
    if not falls.size:
        return True
    run = np.searchsorted(firsts, falls, "right") - 1
    inside = (run >= 0) & (falls > firsts[run]) & (falls < ends[run])
    return not inside.any()
