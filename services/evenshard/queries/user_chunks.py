"""Gathers rows by user, some users at a time: memory is bounded however many rows a query keeps.

Parts come with whose their rows are (``UserRuns``), users are numbered over all of them, and each part's stand in that
order. So the rows of users ``a`` to ``b`` are one stretch of every part, and a kernel picks them; what several parts
have of a user is then joined. A part is read when its first user is reached and let go after its last.

A query that wants to know more of its rows (``Needs``) has it looked up of those that were picked. What rows of one ms
are called is read only where that decides, for it seldom does.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.scan import Part, Parts, ScannedRows, duplicate_rows, duplicates_of
from evenshard.events.user_runs import UserRuns
from evenshard.events.users import NO_PEOPLE
from evenshard.queries.gather_kernel import LEFT_OUT
from evenshard.queries.groups import Integers
from evenshard.queries.members import Members
from evenshard.queries.picked import Opened, Picked
from evenshard.queries.plan import ScanStats
from evenshard.queries.user_rows import Choice, Coded, Int64, Matched, Needs, SmallMasks, UserRows
from evenshard.queries.whose_rows import WhoseRows, whose_rows

CHUNK_ROWS: Final = 1 << 18
"""Rows of parts that a chunk of users looks at, about: few enough to stay in a core's cache."""
T = TypeVar("T")
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
        self._whose = WhoseRows((), NO_PEOPLE, pa.array([], pa.utf8()))
        self.skipped = {True: 0, False: 0}
        """Duplicates that were wanted, of segments (True) and of the log."""
        self.rows = 0
        self.bytes = 0

    def of(self, parts: Parts) -> Iterator[UserRows]:
        """The users' rows, a chunk at a time; each user is in one chunk. Raises ``QUERY_INVALID`` for one with more
        than ``ROWS_MAX``."""
        known = []
        self._whose = whose_rows(parts, self._check)
        for part, runs in self._whose.parts:
            if len(runs.numbers):
                known.append((part, runs))
            else:  # what is nobody's is accounted for
                self._open(part.read())
        picked = Picked(self._kind, self._needs)
        for base, end, stretches in in_turn(known, _bounds([runs for _, runs in known]), self._open):
            self._check()
            picked.begin(base, end)
            picked.add_all(list(stretches))
            yield picked.joined()
            self.bytes += picked.late_bytes()

    def members(self, numbers: Sequence[Integers]) -> Members:
        """Users of the parts that were gone through, by their numbers."""
        found = np.concatenate([np.zeros(0, np.int64), *numbers])
        people, others = self._whose.people, self._whose.others
        belongs = np.zeros(len(people), np.bool_)
        belongs[found[found < len(people)]] = True
        return Members(people, belongs, others.take(pa.array(found[found >= len(people)] - len(people))))

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


def in_turn(
    known: Sequence[tuple[Part, UserRuns]], bounds: Int64, open_part: Callable[[ScannedRows], T | None]
) -> Iterator[tuple[int, int, Iterator[tuple[T, UserRuns, int, int]]]]:
    """For the users from each bound to the next, what parts have of them: each part as it was opened, and the runs
    ``first`` to ``last`` of it. To be gone through in order: a part is opened when its first user is reached, and let
    go after its last."""
    cuts = [np.searchsorted(runs.numbers, bounds).tolist() for _, runs in known]
    opened: list[T | None] = [None] * len(known)

    def stretches(chunk: int) -> Iterator[tuple[T, UserRuns, int, int]]:
        for number, (part, runs) in enumerate(known):
            first, last = cuts[number][chunk], cuts[number][chunk + 1]
            if first == last:
                continue
            one = open_part(part.read()) if first == 0 else opened[number]
            opened[number] = None if last == len(runs.numbers) else one
            if one is not None:
                yield one, runs, first, last

    for chunk, (base, end) in enumerate(pairwise(bounds.tolist())):
        yield base, end, stretches(chunk)


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
    states = (~some.keep).view(np.uint8) * np.uint8(LEFT_OUT)
    return states if duplicates is None else np.maximum(states, duplicates.view(np.uint8))


def _bounds(users: Sequence[UserRuns]) -> Int64:
    """Numbers at which chunks begin, and the end of all."""
    end = max((int(runs.numbers[-1]) + 1 for runs in users), default=0)
    rows = sum(int((runs.ends - runs.starts).sum()) for runs in users)
    chunks = max(1, min(end, -(-rows // CHUNK_ROWS)))
    return np.arange(chunks + 1) * end // chunks
