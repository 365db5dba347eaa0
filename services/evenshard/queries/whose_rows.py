"""Whose the rows of parts are: storage says it of most, the others are read and numbered behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.events.user_runs import UserRuns, runs_of
from evenshard.events.users import UNKNOWN, People
from evenshard.queries.user_codes import NOBODY, number_users, user_codes


@dataclass(frozen=True, slots=True, eq=False)
class WhoseRows:
    """``parts``: with whose their rows are. Users beyond ``people`` are ``others`` (utf8); their numbers follow."""

    parts: Sequence[tuple[Part, UserRuns]]
    people: People
    others: pa.Array


def whose_rows(parts: Parts, check: Callable[[], None]) -> WhoseRows:
    """Reads the parts of which it is not known. ``check`` raises if nobody waits any more."""
    known: list[tuple[Part, UserRuns]] = []
    waiting: list[ScannedRows] = []
    for part in parts.parts:
        if part.users is not None:
            known.append((part, part.users))
            continue
        check()
        some = part.read().kept()
        if some.record.num_rows:
            waiting.append(some)
    runs, others = _numbered(waiting, parts.people)
    return WhoseRows([*known, *zip(map(Part.of, waiting), runs, strict=True)], parts.people, others)


def _numbered(batches: Sequence[ScannedRows], people: People) -> tuple[list[UserRuns], pa.Array]:
    """Whose the rows of batches are, by their ``distinct_id``; and who is not known, with numbers behind."""
    coded = [user_codes(some.record.column("distinct_id")) for some in batches]
    if not coded:
        return [], pa.array([], pa.utf8())
    places, ids = number_users([ids for _, ids in coded])
    ids = ids.cast(pa.utf8())
    found = people.find(ids)
    unknown = found == UNKNOWN
    found[unknown] = len(people) + np.arange(np.count_nonzero(unknown), dtype=np.int32)
    others = ids.filter(pa.array(unknown))
    found[pc.equal(ids, "").to_numpy(zero_copy_only=False)] = NOBODY
    result = []
    for some, (codes, _), numbers in zip(batches, coded, places, strict=True):
        rows = np.arange(len(codes) + 1, dtype=np.int32)
        result.append(runs_of(rows[:-1], rows[1:], found[numbers][codes], some.record.column("time").to_numpy()))
    return result, others
