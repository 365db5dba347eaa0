"""Gathers rows by user, some users at a time: memory is bounded however many rows a query keeps.

Parts come with whose their rows are (``UserRuns``), users are numbered over all of them, and each part's stand in that
order. So the rows of users ``a`` to ``b`` are one stretch of every part, and a kernel picks them; what several parts
have of a user is then joined. A part is read when its first user is reached and let go after its last.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Part, Parts, ScannedRows, duplicates_of
from evenshard.events.user_runs import UserRuns, runs_of
from evenshard.events.users import UNKNOWN, People
from evenshard.queries.gather_kernel import (
    DUPLICATE,
    LEFT_OUT,
    ROWS,
    RUNS,
    USED,
    join_runs,
    pick_coded,
    pick_masked,
)
from evenshard.queries.groups import Integers
from evenshard.queries.user_codes import NOBODY, number_users, user_codes

CHUNK_ROWS: Final = 1 << 17
"""Rows of parts that a chunk of users looks at, about: few enough to stay in a core's cache."""

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint64] | npt.NDArray[np.uint8]
"""What a row matches: a bit for each (uint64), or the number of the only one, from 1 (uint8)."""
UInt8 = npt.NDArray[np.uint8]
_NONE32: Final = np.zeros(0, np.int32)
_NONE8: Final = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Coded:
    """The mask of a row is ``bits[codes[row]]``; 0: it is not wanted."""

    codes: Integers
    """int32."""
    bits: Masks


Choice = Coded | Masks
"""Or the mask of each row. In one pass all masks are of one type."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of some users that are wanted, by (user, time): as ``UserRows`` has them."""

    starts: Int64
    times: Int64
    masks: Masks


@dataclass(frozen=True, slots=True)
class _Open:
    """A part that was read."""

    choice: Choice
    states: UInt8
    times: Int64


class UserChunks:
    """One pass over the parts of a scan, in the order of users."""

    def __init__(
        self,
        choose: Callable[[ScannedRows], Choice | None],
        kind: npt.DTypeLike,
        *,
        skip_duplicates: bool,
        check: Callable[[], None],
    ) -> None:
        """``choose``: is asked once a part for masks of type ``kind``; None: nothing of it is wanted. ``check`` is
        called every few ms, and raises if nobody waits."""
        self._kind = kind
        self._choose = choose
        self._skip_duplicates = skip_duplicates
        self._check = check
        self.skipped = {True: 0, False: 0}
        """Duplicates that were wanted, of segments (True) and of the log."""
        self.rows = 0
        self.bytes = 0

    def of(self, parts: Parts) -> Iterator[Chunk]:
        """The users' rows, a chunk at a time; each user is in one chunk."""
        known = []
        for part, runs in _with_users(parts, self._check):
            if len(runs.numbers):
                known.append((part, runs))
            else:  # what is nobody's is accounted for
                self._open(part.read())
        bounds = _bounds([runs for _, runs in known])
        cuts = [np.searchsorted(runs.numbers, bounds).tolist() for _, runs in known]
        opened: list[_Open | None] = [None] * len(known)
        picked = _Picked(self._kind)
        for chunk, (base, end) in enumerate(pairwise(bounds.tolist())):
            self._check()
            picked.begin(base, end)
            for number, (part, runs) in enumerate(known):
                first, last = cuts[number][chunk], cuts[number][chunk + 1]
                if first == last:
                    continue
                if first == 0:
                    opened[number] = self._open(part.read())
                one = opened[number]
                if one is not None:
                    picked.add(one, runs, first, last)
                if last == len(runs.numbers):
                    opened[number] = None
            yield picked.joined()

    def _open(self, some: ScannedRows) -> _Open | None:
        self.rows += some.record.num_rows if some.keep is None else int(np.count_nonzero(some.keep))
        self.bytes += some.bytes_read
        choice = self._choose(some)
        if choice is None:
            return None
        states = states_of(some, self._skip_duplicates)
        duplicates = np.flatnonzero(states == DUPLICATE)
        masks = choice.bits[choice.codes[duplicates]] if isinstance(choice, Coded) else choice[duplicates]
        self.skipped[some.indexed] += int(np.count_nonzero(masks))
        return _Open(choice, states, some.record.column("time").to_numpy())


def states_of(some: ScannedRows, skip_duplicates: bool) -> UInt8:
    """What each row is; none: all are USED."""
    duplicates = duplicates_of(some.record) if skip_duplicates else None
    if some.keep is None:
        return _NONE8 if duplicates is None else duplicates.view(np.uint8)
    states = np.where(some.keep, np.uint8(USED), np.uint8(LEFT_OUT))
    return states if duplicates is None else np.maximum(states, duplicates.view(np.uint8))


def _with_users(parts: Parts, check: Callable[[], None]) -> list[tuple[Part, UserRuns]]:
    """Parts with whose their rows are; those of which it was not known are read."""
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
    for some, runs in zip(waiting, _numbered(waiting, parts.people), strict=True):
        known.append((Part.of(some), runs))
    return known


def _numbered(batches: Sequence[ScannedRows], people: People) -> list[UserRuns]:
    """Whose the rows of batches are, by their ``distinct_id``; who is not among ``people`` gets a number behind."""
    coded = [user_codes(some.record.column("distinct_id")) for some in batches]
    if not coded:
        return []
    places, ids = number_users([ids for _, ids in coded])
    ids = ids.cast(pa.utf8())
    found = people.find(ids)
    unknown = found == UNKNOWN
    found[unknown] = len(people) + np.arange(np.count_nonzero(unknown), dtype=np.int32)
    found[pc.equal(ids, "").to_numpy(zero_copy_only=False)] = NOBODY
    result = []
    for some, (codes, _), numbers in zip(batches, coded, places, strict=True):
        rows = np.arange(len(codes) + 1, dtype=np.int32)
        result.append(runs_of(rows[:-1], rows[1:], found[numbers][codes], some.record.column("time").to_numpy()))
    return result


def _bounds(users: Sequence[UserRuns]) -> Int64:
    """Numbers at which chunks begin, and the end of all."""
    end = max((int(runs.numbers[-1]) + 1 for runs in users), default=0)
    rows = sum(int((runs.ends - runs.starts).sum()) for runs in users)
    chunks = max(1, min(end, -(-rows // CHUNK_ROWS)))
    return np.arange(chunks + 1) * end // chunks


class _Picked:
    """Rows of some users, part after part; its room is used again for each chunk."""

    def __init__(self, kind: npt.DTypeLike) -> None:
        self._base = 0
        self._end = 0
        self._times = np.empty(0, np.int64)
        self._masks: npt.NDArray[Any] = np.empty(0, kind)
        self._users = np.empty(0, np.int32)
        self._counts = np.empty(0, np.int32)
        self._at = np.zeros(RUNS + 1, np.int64)

    def begin(self, base: int, end: int) -> None:
        """From now on rows of the users ``base`` to ``end``."""
        self._base, self._end = base, end
        self._at[:] = 0

    def add(self, one: _Open, runs: UserRuns, first: int, last: int) -> None:
        """Picks from some runs of a part."""
        starts, ends = runs.starts, runs.ends
        self._reserve(int(ends[last - 1] - starts[first]), last - first)
        order = _NONE32 if runs.order is None else runs.order
        where = (one.times, starts, ends, runs.numbers, order, first, last, self._base)
        out = (self._times, self._masks, self._users, self._counts, self._at)
        if isinstance(one.choice, Coded):
            pick_coded(one.choice.codes, one.choice.bits, one.states, *where, *out)
        else:
            pick_masked(one.choice, one.states, *where, *out)

    def _reserve(self, rows: int, runs: int) -> None:
        """Room for so many more, and the one that is written before it is known to be wanted."""
        needed_rows, needed_runs = int(self._at[ROWS]) + rows + 1, int(self._at[RUNS]) + runs + 1
        if needed_rows > len(self._times):
            size = max(needed_rows, 2 * len(self._times))
            self._times, self._masks = _grown(self._times, size), _grown(self._masks, size)
        if needed_runs > len(self._users):
            size = max(needed_runs, 2 * len(self._users))
            self._users, self._counts = _grown(self._users, size), _grown(self._counts, size)

    def joined(self) -> Chunk:
        rows, runs = int(self._at[ROWS]), int(self._at[RUNS])
        starts = np.empty(self._end - self._base + 1, np.int64)
        times, masks = np.empty(rows, np.int64), np.empty(rows, self._masks.dtype)
        join_runs(self._users[:runs], self._counts[:runs], self._times[:rows], self._masks[:rows], starts, times, masks)
        return Chunk(starts, times, masks)


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger
