"""Which rows of a segment's part or of a block are whose, before users are numbered over all of them. Pure."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.user_runs import UserRuns, runs_of
from evenshard.events.users import Int32, Int64, People, first_of_runs, listed


@dataclass(frozen=True, slots=True, eq=False)
class OwnRuns:
    """``UserRuns`` whose numbers are places in ``people``."""

    runs: UserRuns
    people: People

    @property
    def bytes(self) -> int:
        """Memory."""
        return self.runs.bytes + self.people.bytes


def own_runs(ids: pa.Array, times: Int64) -> OwnRuns:
    """``ids``: the distinct_id of each row, plain or dictionary-encoded. Rows mostly come in the order of segments,
    each user's in one piece and by time; where they do not they get an ``order``."""
    firsts, codes, dictionary = _firsts(ids)
    ends = np.append(firsts[1:], np.int32(len(ids))).astype(np.int32)
    found = dictionary.take(pa.array(codes))
    somebody = pc.not_equal(found, "").to_numpy(zero_copy_only=False)
    if not somebody.all():
        firsts, ends, found = firsts[somebody], ends[somebody], found.filter(pa.array(somebody))
    users = listed(found)
    return OwnRuns(runs_of(firsts, ends, users.places, times), users.people)


def _firsts(ids: pa.Array) -> tuple[Int32, Int32, pa.StringArray]:
    """The first row of each run of equal ids, the code of each run, and what codes stand for."""
    if not pa.types.is_dictionary(ids.type):
        firsts = first_of_runs(ids)
        return firsts, np.arange(len(firsts), dtype=np.int32), ids.take(pa.array(firsts))
    codes = ids.indices.to_numpy()
    firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)]).astype(np.int32)
    return firsts, codes[firsts], ids.dictionary
