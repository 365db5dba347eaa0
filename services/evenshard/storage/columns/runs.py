"""Which rows of a segment's part or of a block are whose, before users are numbered over all of them. Pure."""

from collections.abc import Sequence
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


def own_runs(ids: Sequence[pa.Array], times: Int64) -> OwnRuns:
    """``ids``: the distinct_id of each row, plain or dictionary-encoded, in pieces. Rows mostly come in the order of
    segments, each user's in one piece and by time; where they do not they get an ``order``."""
    firsts, found = _firsts(ids)
    ends = np.append(firsts[1:], np.int32(len(times))).astype(np.int32)
    somebody = pc.not_equal(found, "").to_numpy(zero_copy_only=False)
    if not somebody.all():
        firsts, ends, found = firsts[somebody], ends[somebody], found.filter(pa.array(somebody))
    users = listed(found)
    return OwnRuns(runs_of(firsts, ends, users.places, times), users.people)


def _firsts(pieces: Sequence[pa.Array]) -> tuple[Int32, pa.StringArray]:
    """The first row of each run of equal ids, and the ids."""
    firsts: list[Int32] = [np.zeros(0, np.int32)]
    found: list[pa.StringArray] = [pa.array([], pa.utf8())]
    rows = 0
    for ids in pieces:
        mine, own = _firsts_of(ids)
        if len(own) and len(found[-1]) and own[0] == found[-1][-1]:  # it goes on
            mine, own = mine[1:], own[1:]
        if len(own):
            firsts.append(mine + np.int32(rows))
            found.append(own)
        rows += len(ids)
    return np.concatenate(firsts), pa.concat_arrays(found)


def _firsts_of(ids: pa.Array) -> tuple[Int32, pa.StringArray]:
    if not pa.types.is_dictionary(ids.type):
        firsts = first_of_runs(ids)
        return firsts, ids.take(pa.array(firsts))
    codes = ids.indices.to_numpy()
    firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)]).astype(np.int32)
    codes = codes[firsts]
    if len(codes) == len(ids.dictionary) and (codes == np.arange(len(codes))).all():  # so segments have them
        return firsts, ids.dictionary
    return firsts, ids.dictionary.take(pa.array(codes))
