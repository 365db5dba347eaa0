"""Users who belong to something, by their numbers; and the same users where others are numbered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Bools
from evenshard.events.users import People


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Some of ``people``, and others."""

    people: People
    belongs: Bools
    """Of each of ``people``."""
    others: pa.Array
    """distinct_ids (utf8) of those who are not among ``people``."""

    def ids(self) -> pa.Array:
        """The distinct_id (utf8) of each, once."""
        known = self.people.ids(np.flatnonzero(self.belongs).astype(np.int32))
        return pa.concat_arrays([known, self.others])

    def among(self, people: People) -> Bools:
        """Of each of ``people`` whether it belongs."""
        if people is self.people:
            return self.belongs
        found = people.find(self.ids())
        belongs = np.zeros(len(people), np.bool_)
        belongs[found[found >= 0]] = True
        return belongs


def in_all(found: Sequence[Members]) -> Members:
    """Those who are among all of them; at least one."""
    belongs, others = found[0].belongs, found[0].others
    for each in found[1:]:
        belongs = belongs & each.among(found[0].people)
        others = others.filter(pc.is_in(others, value_set=each.ids()))
    return Members(found[0].people, belongs, others)
