"""Gathers rows by user, some users at a time: memory is bounded however many rows a query keeps.

Parts come with whose their rows are (``UserRuns``), users are numbered over all of them, and each part's stand in that
order. So the rows of users ``a`` to ``b`` are one stretch of every part, and a kernel picks them; what several parts
have of a user is then joined. A part is read when its first user is reached and let go after its last.

A query that wants to know more of its rows (``Needs``) has it looked up of those that were picked. What rows of one ms
are called is read only where that decides, for it seldom does.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Part, Parts, ScannedRows, duplicate_rows, duplicates_of
from evenshard.events.user_runs import UserRuns, runs_of
from evenshard.events.users import NO_PEOPLE, UNKNOWN
from evenshard.queries.gather_kernel import LEFT_OUT, USED
from evenshard.queries.groups import Integers
from evenshard.queries.members import Members
from evenshard.queries.picked import Opened, Picked
from evenshard.queries.plan import ScanStats
from evenshard.queries.user_codes import NOBODY, number_users, user_codes
from evenshard.queries.user_rows import Choice, Coded, Int64, Matched, Needs, SmallMasks, UserRows

CHUNK_ROWS: Final = 1 << 18
"""Rows of parts that a chunk of users looks at, about: few enough to stay in a core's cache."""
_PLAIN: Final = Needs()
_NONE8: Final = np.zeros(0, np.uint8)
_NO_ROWS: Final = np.zeros(0, np.int64)


class UserChunks:
    """One pass over the parts of a scan, in the order of users."""

    def __init__(
        self,
        choose: Callable[[ScannedRows], Choice | Matched | None],
        kind: npt.DTypeLike,
        *,
        skip_duplicates: bool,
        check: Callable[[], None],
        needs: Needs = _PLAIN,
    ) -> None:
        """``choose``: is asked once a part for masks of type ``kind``; None: nothing of it is wanted. ``check`` is
        called every few ms, and raises if nobody waits."""
        self._kind = kind
        self._choose = choose
        self._skip_duplicates = skip_duplicates
        self._check = check
        self._needs = needs
        self._people = NO_PEOPLE
        self._others: pa.Array = pa.array([], pa.utf8())
        """Users who are not among the people of the parts; their numbers follow."""
        self.skipped = {True: 0, False: 0}
        """Duplicates that were wanted, of segments (True) and of the log."""
        self.rows = 0
        self.bytes = 0

    def of(self, parts: Parts) -> Iterator[UserRows]:
        """The users' rows, a chunk at a time; each user is in one chunk. Raises ``QUERY_INVALID`` for one with more
        than ``ROWS_MAX``."""
        known = []
        for part, runs in self._with_users(parts):
            if len(runs.numbers):
                known.append((part, runs))
            else:  # what is nobody's is accounted for
                self._open(part.read())
        bounds = _bounds([runs for _, runs in known])
        cuts = [np.searchsorted(runs.numbers, bounds).tolist() for _, runs in known]
        opened: list[Opened | None] = [None] * len(known)
        picked = Picked(self._kind, self._needs)
        for chunk, (base, end) in enumerate(pairwise(bounds.tolist())):
            self._check()
            picked.begin(base, end)
            stretches = []
            for number, (part, runs) in enumerate(known):
                first, last = cuts[number][chunk], cuts[number][chunk + 1]
                if first == last:
                    continue
                if first == 0:
                    opened[number] = self._open(part.read())
                one = opened[number]
                if one is not None:
                    stretches.append((one, runs, first, last))
                if last == len(runs.numbers):
                    opened[number] = None
            picked.add_all(stretches)
            yield picked.joined()
            self.bytes += picked.late_bytes()

    def members(self, numbers: Sequence[Integers]) -> Members:
        """Users of the parts that were gone through, by their numbers."""
        found = np.concatenate([np.zeros(0, np.int64), *numbers])
        known = len(self._people)
        belongs = np.zeros(known, np.bool_)
        belongs[found[found < known]] = True
        return Members(self._people, belongs, self._others.take(pa.array(found[found >= known] - known)))

    def stats(self) -> ScanStats:
        """The account of the pass."""
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)

    def _open(self, some: ScannedRows) -> Opened | None:
        self.rows += some.record.num_rows if some.keep is None else int(np.count_nonzero(some.keep))
        self.bytes += some.bytes_read
        chosen = self._choose(some)
        if chosen is None:
            return None
        choice = chosen.masks if isinstance(chosen, Matched) else chosen
        states = states_of(some, self._skip_duplicates)
        duplicates = duplicate_rows(some.record) if self._skip_duplicates else _NO_ROWS
        if some.keep is not None:
            duplicates = duplicates[some.keep[duplicates]]
        masks = choice.bits[choice.codes[duplicates]] if isinstance(choice, Coded) else choice[duplicates]
        self.skipped[some.indexed] += int(np.count_nonzero(masks))
        return Opened.of(some, chosen, states, self._needs)

    def _with_users(self, parts: Parts) -> list[tuple[Part, UserRuns]]:
        """Parts with whose their rows are; those of which it was not known are read."""
        known: list[tuple[Part, UserRuns]] = []
        waiting: list[ScannedRows] = []
        for part in parts.parts:
            if part.users is not None:
                known.append((part, part.users))
                continue
            self._check()
            some = part.read().kept()
            if some.record.num_rows:
                waiting.append(some)
        self._people = parts.people
        for some, runs in zip(waiting, self._numbered(waiting), strict=True):
            known.append((Part.of(some), runs))
        return known

    def _numbered(self, batches: Sequence[ScannedRows]) -> list[UserRuns]:
        """Whose the rows of batches are, by their ``distinct_id``; who is not known gets a number behind."""
        coded = [user_codes(some.record.column("distinct_id")) for some in batches]
        if not coded:
            return []
        places, ids = number_users([ids for _, ids in coded])
        ids = ids.cast(pa.utf8())
        found = self._people.find(ids)
        unknown = found == UNKNOWN
        found[unknown] = len(self._people) + np.arange(np.count_nonzero(unknown), dtype=np.int32)
        self._others = ids.filter(pa.array(unknown))
        found[pc.equal(ids, "").to_numpy(zero_copy_only=False)] = NOBODY
        result = []
        for some, (codes, _), numbers in zip(batches, coded, places, strict=True):
            rows = np.arange(len(codes) + 1, dtype=np.int32)
            result.append(runs_of(rows[:-1], rows[1:], found[numbers][codes], some.record.column("time").to_numpy()))
        return result


class Following(Protocol):
    """Follows users, a chunk after the other."""

    needs: Needs

    def choose(self, some: ScannedRows) -> Choice | Matched | None:
        """See ``UserChunks``."""
        ...

    def follow(self, rows: UserRows) -> None:
        """The users of a chunk."""
        ...

    def partial(self) -> pa.Table:
        """What was found."""
        ...


def follow_users(
    running: Following, kind: npt.DTypeLike, parts: Parts, check: Callable[[], None], *, skip_duplicates: bool
) -> tuple[pa.Table, ScanStats]:
    """Follows all users of ``parts``: the partial, and the account. ``kind``: the type of masks."""
    chunks = UserChunks(running.choose, kind, skip_duplicates=skip_duplicates, check=check, needs=running.needs)
    for rows in chunks.of(parts):
        running.follow(rows)
    return running.partial(), chunks.stats()


def states_of(some: ScannedRows, skip_duplicates: bool) -> SmallMasks:
    """What each row is; none: all are USED."""
    duplicates = duplicates_of(some.record) if skip_duplicates else None
    if some.keep is None:
        return _NONE8 if duplicates is None else duplicates.view(np.uint8)
    states = np.where(some.keep, np.uint8(USED), np.uint8(LEFT_OUT))
    return states if duplicates is None else np.maximum(states, duplicates.view(np.uint8))


def _bounds(users: Sequence[UserRuns]) -> Int64:
    """Numbers at which chunks begin, and the end of all."""
    end = max((int(runs.numbers[-1]) + 1 for runs in users), default=0)
    rows = sum(int((runs.ends - runs.starts).sum()) for runs in users)
    chunks = max(1, min(end, -(-rows // CHUNK_ROWS)))
    return np.arange(chunks + 1) * end // chunks
