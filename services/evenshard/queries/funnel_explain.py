"""Tells of one user which event filled which step of a funnel, and why the others did not.

The events told of are those that take part: all that match a step or an exclusion, with ``strict`` all of the user's;
what ``where`` leaves out and duplicates do not. A reason is one of ``Reason``, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.queries.funnel_attempts import attempts_that_count
from evenshard.queries.funnel_holds import held_values, hold_codes
from evenshard.queries.funnel_moment import EXCLUSION_BIT
from evenshard.queries.groups import Integers
from evenshard.queries.plan import FunnelScan
from evenshard.queries.user_rows import Int32, Needs, UserRows, Valued, Wanted

Holds = npt.NDArray[np.int32]
EVENTS_EXPLAINED_MAX: Final = 10_000
_ROW: Final = "row"


class Reason(StrEnum):
    """Why an event did, or did not fill a step; ``{step}`` is a step's number."""

    FILLS = "fills step {step}"
    OUTSIDE_DATES = "step 1, but not within the dates"
    NO_ENTRY = "no step 1 within the dates comes before it"
    BEFORE_ENTRY = "comes before the step 1 that counts"
    LATER_IS_DEEPER = "step 1, but a later one leads further"
    EARLIER_COUNTS = "step 1, but an earlier one counts"
    AFTER_WINDOW = "comes after the window"
    AFTER_CONVERSION = "comes after the last step"
    OTHER_VALUE = "holds another value than step 1"
    ALREADY_FILLED = "step {step} is filled by another event"
    TOO_EARLY = "comes before step {step} is done"
    SAME_MS = "is not later than the step before"
    EXCLUDES = "excluded here: ends the attempt at step {step}"
    DROPS_USER = "excluded here: drops the user from all counts"
    USER_DROPPED = "not counted: an exclusion drops the user"
    AFTER_EXCLUSION = "comes after an exclusion ended the attempt"
    NOT_BETWEEN = "excluded, but not between its steps"
    BREAKS = "breaks the order: step {step} had to be next"
    AFTER_BREAK = "comes after the order was broken"


def parts_of_user(parts: Parts, user: str) -> Parts:
    """The rows of one user, with ``event`` and ``insert_id``; only parts that have any are read."""
    (number,) = parts.people.find(pa.array([user])).tolist()
    found = []
    for part in parts.parts:
        if part.users is None:
            some = part.read().kept()
            rows = np.flatnonzero(pc.equal(some.record.column("distinct_id"), user).to_numpy(zero_copy_only=False))
        else:
            (run,) = np.flatnonzero(part.users.numbers == number)[:1].tolist() or (None,)
            if run is None:
                continue
            rows = np.arange(part.users.starts[run], part.users.ends[run])
            rows = rows if part.users.order is None else part.users.order[rows].astype(np.int64)
            some = part.read()
            rows = rows if some.keep is None else rows[some.keep[rows]]
        if len(rows):
            found.append(Part.of(_whole(some, rows, user)))
    return Parts(found)


def _whole(some: ScannedRows, rows: Integers, user: str) -> ScannedRows:
    """Some rows, all of one user."""
    columns = dict(zip(some.record.schema.names, some.record.columns, strict=True))
    for name in ("event", "insert_id"):
        columns[name], _ = some.column(name)
    places = pa.array(rows)
    columns = {name: column.take(places) for name, column in columns.items()}
    columns["distinct_id"] = pa.array([user] * len(rows), pa.utf8())
    return ScannedRows(pa.RecordBatch.from_pydict(columns), some.indexed, 0)


class Explained:
    """Tells of the events of the user who is explained."""

    def __init__(self, plan: FunnelScan, steps_mask: int) -> None:
        self.plan = plan
        self.needs = Needs(self._codes_of, "all", rank_mask=steps_mask, sessions=plan.count_mode == "session")
        self._texts: list[pa.Table] = []

    def _codes_of(self, record: pa.RecordBatch, wanted: Wanted) -> dict[str, Int32 | Valued]:
        """What each row holds, and its place in ``_texts``."""
        before = sum(table.num_rows for table in self._texts)
        names = ("event", "insert_id")
        self._texts.append(pa.table({name: record.column(name).cast(pa.utf8()) for name in names}))
        rows = np.arange(before, before + record.num_rows, dtype=np.int32)
        return {**held_values(record, self.plan.hold), _ROW: rows}

    def lines(self, chunks: Iterable[UserRows]) -> list[dict[str, Any]]:
        """Of each event, in order: ``event``, ``time_ms``, ``insert_id``, ``step`` (None: it has none), ``reason``.
        ``chunks``: of ``parts_of_user``, with ``needs``. Raises ``QUERY_INVALID`` for a user with too many."""
        (rows,) = chunks
        if not len(rows.times):
            return []
        if len(rows.times) > EVENTS_EXPLAINED_MAX:
            problem = f"more than {EVENTS_EXPLAINED_MAX} events of {self.plan.explain_user!r} take part"
            raise EvenshardError(
                "QUERY_INVALID",
                f"explain_user: {problem}",
                hint="ask for fewer days, a shorter window, or filter with where",
                fields=(FieldFault("explain_user", problem),),
            )
        reasons = _reasons(self.plan, rows, hold_codes(self.plan, rows))
        texts = pa.concat_tables(self._texts).take(pa.array(rows.codes[_ROW])).to_pylist()
        return [
            {**text, "time_ms": time_ms, "step": step, "reason": reason}
            for text, time_ms, (step, reason) in zip(texts, rows.times.tolist(), reasons, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that counts: the places of its rows, and what ended it before it was done."""

    filled: list[int]
    excluded_at: int | None
    broken_at: int | None


def _reasons(plan: FunnelScan, rows: UserRows, holds: Holds | None) -> list[tuple[int | None, str]]:
    counted = replace(plan, exclude_user=False)
    found = attempts_that_count(counted, rows, holds)
    attempts = sorted(
        (found.filled[start : start + level].tolist() for start, level in zip(found.starts, found.levels, strict=True)),
        key=lambda filled: filled[0],
    )
    if plan.exclude_user and attempts and not len(attempts_that_count(plan, rows, holds).levels):
        drops = _first_that_drops(plan, rows, holds)
        count = len(rows.times)
        return [(None, Reason.DROPS_USER if place == drops else Reason.USER_DROPPED) for place in range(count)]
    teller = _Teller(counted, rows, holds)
    return teller.tell([teller.attempt(filled) for filled in attempts])


def _first_that_drops(plan: FunnelScan, rows: UserRows, holds: Holds | None) -> int:
    """The place of the first row without whose exclusion, and those behind, the user would be counted."""
    low, high = 0, len(rows.times) - 1
    while low < high:
        middle = (low + high) // 2
        masks = rows.masks.copy()
        masks[middle + 1 :] &= np.uint64((1 << EXCLUSION_BIT) - 1)
        if len(attempts_that_count(plan, replace(rows, masks=masks), holds).levels):
            low = middle + 1
        else:
            high = middle
    return low


class _Teller:
    """The rows of one user, as lists."""

    def __init__(self, plan: FunnelScan, rows: UserRows, holds: Holds | None) -> None:
        self.plan = plan
        self.steps = len(plan.steps)
        self.times = rows.times.tolist()
        masks = rows.masks.tolist()
        self.matched = [[step for step in range(1, self.steps + 1) if mask >> (step - 1) & 1] for mask in masks]
        self.excluded = [
            [each for number, each in enumerate(plan.exclusions) if mask >> (EXCLUSION_BIT + number) & 1]
            for mask in masks
        ]
        self.held = [0] * len(self.times) if holds is None else holds.tolist()
        self.sessions = rows.sessions.tolist() if plan.count_mode == "session" else [0] * len(self.times)

    def attempt(self, filled: list[int]) -> _Attempt:
        """What ended it is what the rules say would: the first event between its steps that is excluded there, or with
        ``strict`` the next event."""
        last_ms = self.times[filled[0]] + self.plan.window_ms
        done = len(filled) == self.steps
        for place in range(filled[0], len(self.times)):
            time = self.times[place]
            if time > last_ms or self.sessions[place] != self.sessions[filled[0]]:
                break
            if place in filled:
                continue
            if self._excludes(place, filled):
                return _Attempt(filled, place, None)
            if self.plan.order == "strict" and not done and place > filled[-1]:
                return _Attempt(filled, None, place)
        return _Attempt(filled, None, None)

    def _excludes(self, place: int, filled: list[int]) -> bool:
        for each in self.excluded[place]:
            behind = len(filled) >= each.after_step and self.times[filled[each.after_step - 1]] < self.times[place]
            reached = len(filled) >= each.before_step
            if behind and not (reached and self.times[filled[each.before_step - 1]] <= self.times[place]):
                return True
        return False

    def tell(self, attempts: list[_Attempt]) -> list[tuple[int | None, str]]:
        """The step and the reason of each row."""
        step_of = {place: step for each in attempts for step, place in enumerate(each.filled, 1)}
        told: list[tuple[int | None, str]] = []
        for place in range(len(self.times)):
            if place in step_of:
                told.append((step_of[place], Reason.FILLS.format(step=step_of[place])))
                continue
            mine = [each for each in attempts if self.sessions[each.filled[0]] == self.sessions[place]]
            # With total the attempt that went on then, or was the last one.
            begun = [each for each in mine if each.filled[0] <= place]
            if begun:
                told.append((None, self._behind(place, begun[-1])))
            else:
                told.append((None, self._ahead(place, bool(mine))))
        return told

    def _enters(self, place: int) -> bool:
        return 1 in self.matched[place] or (self.plan.order == "any" and bool(self.matched[place]))

    def _opens(self, place: int) -> bool:
        starts, ends = self.plan.entries_ms[::2], self.plan.entries_ms[1::2]
        return any(start <= self.times[place] < end for start, end in zip(starts, ends, strict=True))

    def _ahead(self, place: int, entered: bool) -> str:
        """Of a row that no attempt had begun before."""
        if self._enters(place):
            return Reason.LATER_IS_DEEPER if self._opens(place) else Reason.OUTSIDE_DATES
        return Reason.BEFORE_ENTRY if entered else Reason.NO_ENTRY

    def _behind(self, place: int, attempt: _Attempt) -> str:
        """Of a row after the entry of ``attempt`` that fills none of its steps."""
        filled, level = attempt.filled, len(attempt.filled)
        if place == attempt.excluded_at:
            return Reason.EXCLUDES.format(step=level)
        if place == attempt.broken_at:
            return Reason.BREAKS.format(step=level + 1)
        if self._enters(place) and not self._opens(place):
            return Reason.OUTSIDE_DATES
        if self.times[place] > self.times[filled[0]] + self.plan.window_ms:
            return Reason.EARLIER_COUNTS if self._enters(place) else Reason.AFTER_WINDOW
        if level == self.steps and place > filled[-1]:
            return Reason.AFTER_CONVERSION
        if attempt.excluded_at is not None and place > attempt.excluded_at:
            return Reason.AFTER_EXCLUSION
        if attempt.broken_at is not None and place > attempt.broken_at:
            return Reason.AFTER_BREAK
        return self._during(place, filled)

    def _during(self, place: int, filled: list[int]) -> str:
        """Of a row within an attempt that goes on."""
        if not self.matched[place]:
            return Reason.NOT_BETWEEN
        if self.held[place] != self.held[filled[0]]:
            return Reason.OTHER_VALUE
        done = sum(self.times[each] <= self.times[place] for each in filled)
        if self.plan.strict_increase and done + 1 in self.matched[place] and done < self.steps:
            return Reason.SAME_MS
        already = [step for step in self.matched[place] if step <= done]
        if already or self.plan.order == "any":
            return Reason.ALREADY_FILLED.format(step=already[0] if already else self.matched[place][0])
        return Reason.TOO_EARLY.format(step=done + 1)
