"""A funnel on a shard: one pass over rows, then a kernel over each user's; the result is a table that is appended to.

**Partial**: ``by_0`` … (utf8, the tags of a group), ``level`` (int32), ``users`` (int64) and ``times``
(large_list<uint32>, of int64 where windows are longer): of ``users`` attempts that count, one after the other, the ms
from step 1 to steps 2 … level. Users without an entry are left out. The schema's metadata ``explained`` lists what
became of the events of the user who is explained. All of a user's events come to one scan, so the partials of shards
are simply put behind one another.

Duplicates skipped are those that match a step or an exclusion, entries and completions alike.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries import user_rows
from evenshard.queries.columns import Columns
from evenshard.queries.counting import counted
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import parse
from evenshard.queries.funnel_attempts import attempts_that_count
from evenshard.queries.funnel_explain import Explained, parts_of_user
from evenshard.queries.funnel_holds import held_values, hold_codes
from evenshard.queries.funnel_moment import EXCLUSION_BIT
from evenshard.queries.groups import Groups, Integers, groups_of_rows
from evenshard.queries.members import Members
from evenshard.queries.plan import FunnelScan, ScanStats
from evenshard.queries.step_masks import StepMatcher, columns_of_steps, matches_any
from evenshard.queries.step_numbers import StepNumbers, are_apart
from evenshard.queries.steps import Step
from evenshard.queries.user_chunks import UserChunks
from evenshard.queries.user_rows import AnyMasks, Choice, Int32, Kept, Matched, Needs, Ties, UserRows, Valued, Wanted
from evenshard.queries.values import NULL_TAG

EXPLAINED = b"explained"
NO_GROUP = 0
"""The number of the group whose values are all unset."""
_LEVELS = 64
"""More than there are."""
_RADIX_SORTED = 1 << 16
"""Numbers below it numpy sorts by their bytes."""
_GROUP = "group"


def columns_of(plan: FunnelScan) -> Columns:
    """What a scan reads."""
    chosen = [step for _, step in _selectors(plan)]
    fields, properties = columns_of_steps(chosen, plan.where, (*plan.by, *plan.hold))
    late = () if plan.is_plain else ("event", "insert_id")
    return Columns.of(fields | {"time"}, properties, late=late, users=True)


def scan_parts(plan: FunnelScan, parts: Parts, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    """The partial and the account. ``check`` raises if nobody waits any more.

    Raises ``QUERY_INVALID`` for more groups, attempts or rows than can be held.
    """
    running = _Scan(plan)
    chunks = running.chunks(check)
    parts = parts.read_once() if plan.explain_user else parts
    for rows in chunks.of(parts):
        running.follow(rows)
    table = running.partial()
    if plan.explain_user:
        table = table.replace_schema_metadata({EXPLAINED: orjson.dumps(running.explained(parts, check))})
    return table, chunks.stats()


def scan_rows(plan: FunnelScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """The same of rows of which it is not known whose they are."""
    return scan_parts(plan, Parts.of(rows), lambda: None)


def users_reaching(plan: FunnelScan, step: int, parts: Parts, check: Callable[[], None]) -> tuple[Members, ScanStats]:
    """Users with an attempt that counts and reached ``step``."""
    running = _Scan(plan)
    chunks = running.chunks(check)
    found = []
    for rows in chunks.of(parts):
        attempts = attempts_that_count(plan, rows, hold_codes(plan, rows))
        found.append(rows.first + np.unique(attempts.users[attempts.levels >= step]))
    return chunks.members(found), chunks.stats()


def _selectors(plan: FunnelScan) -> list[tuple[int, Step]]:
    """Steps and exclusions with their bits in a mask."""
    steps = list(enumerate(plan.steps))
    return steps + [(EXCLUSION_BIT + number, each.step) for number, each in enumerate(plan.exclusions)]


def _opens(masks: AnyMasks) -> Kept:
    """Steps in order begin with step 1."""
    opens: Kept = masks & masks.dtype.type(1) != 0
    return opens


def _is_first(numbers: AnyMasks) -> Kept:
    """The same of numbers of steps."""
    opens: Kept = numbers == 1
    return opens


class _Scan:
    """The state of one pass: the attempts that count."""

    def __init__(self, plan: FunnelScan) -> None:
        self.plan = plan
        self.matcher = StepMatcher(_selectors(plan), plan.where)
        """Of steps and exclusions."""
        self.numbers = StepNumbers(plan.steps, plan.where) if plan.steps_decide and are_apart(plan.steps) else None
        """Where they are enough; then masks are the numbers of steps."""
        self.where = parse(plan.where) if plan.where else None
        self.groups = Groups(plan.by)
        if plan.by:
            self.groups.add(((NULL_TAG,) * len(plan.by),))
        steps_mask = (1 << len(plan.steps)) - 1
        one_step = plan.by_step > 0 and plan.order != "any"
        self.group_mask = 1 << (plan.by_step - 1) if one_step else steps_mask
        self.sessions = plan.count_mode == "session"
        has_codes = bool(plan.by or plan.hold)
        opens = None if plan.order == "any" else _opens
        if self.numbers is not None:
            of_ms: Ties = "shared" if has_codes else "any"
            self.needs = Needs(self._codes_of if has_codes else None, of_ms, numbered=True, opens=_is_first)
        elif plan.is_plain:
            self.needs = Needs(opens=opens)
        else:
            # Of events that fill nothing the next one breaks a strict attempt, and excludes or not.
            ties: Ties = "all" if plan.order == "strict" and plan.exclusions else "shared"
            self.needs = Needs(
                self._codes_of if has_codes else None,
                ties,
                rank_mask=steps_mask,
                sessions=self.sessions,
                opens=opens,
            )
        self.found: list[tuple[Integers, Integers]] = []
        """Of each chunk the key of each attempt, and the ms from step 1 to the others, attempt after attempt."""
        self.filled = 0

    def chunks(self, check: Callable[[], None], needs: Needs | None = None) -> UserChunks:
        """A pass over rows."""
        kind = np.uint64 if self.numbers is None else np.uint8
        return UserChunks(
            self._choose, kind, skip_duplicates=self.plan.skip_duplicates, check=check,
            needs=self.needs if needs is None else needs,
        )  # fmt: skip

    def _choose(self, some: ScannedRows) -> Choice | Matched | None:
        """What each row matches. With ``strict`` any event that the filter lets through may break the order."""
        if self.numbers is not None:
            return self.numbers.choice(some.record)
        choice = self.matcher.choice(some.record)
        if self.plan.order != "strict":
            return choice if self.sessions or matches_any(choice) else None
        return Matched(choice, None if self.where is None else evaluate(self.where, some.record))

    def _codes_of(self, record: pa.RecordBatch, wanted: Wanted) -> dict[str, Int32 | Valued]:
        """The group of each row that may group its user, and what it holds."""
        codes = held_values(record, self.plan.hold)
        if self.plan.by:
            codes[_GROUP] = groups_of_rows(self.groups, record, lambda: wanted.rows(self.group_mask), NO_GROUP)
        return codes

    def follow(self, rows: UserRows) -> None:
        """Follows each user of a chunk. Raises ``QUERY_INVALID`` for more attempts than can be held."""
        attempts = attempts_that_count(self.plan, rows, hold_codes(self.plan, rows))
        levels, filled, starts = attempts.levels, attempts.filled, attempts.starts
        self.filled += len(filled)
        if self.filled > user_rows.ROWS_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {user_rows.ROWS_MAX} events of a shard fill steps",
                hint="ask for fewer days, a shorter window, or filter with where",
            )
        times = rows.times[filled]
        since_entry = times - np.repeat(times[starts], levels)
        groups: Integers = np.zeros_like(levels)
        if self.plan.by and len(levels):
            groups = self._groups_of_attempts(rows.codes[_GROUP][filled], starts, levels)
        later = np.ones(len(filled), np.bool_)
        later[starts] = False
        self.found.append((groups * _LEVELS + levels, since_entry[later]))

    def partial(self) -> pa.Table:
        """What the pass found."""
        keys = np.concatenate([np.zeros(0, np.int64), *(keys for keys, _ in self.found)])
        times = np.concatenate([np.zeros(0, np.int64), *(times for _, times in self.found)])
        later = keys % _LEVELS - 1
        small = keys.max(initial=0) < _RADIX_SORTED
        order = np.argsort(keys.astype(np.uint16) if small else keys, kind="stable")
        found, users = counted(keys)
        offsets = np.append(0, np.cumsum((found % _LEVELS - 1) * users))
        flat = times[_ranges((np.cumsum(later) - later)[order], later[order])]
        tags = self.groups.tags() if self.plan.by else []
        columns = {f"by_{at}": each.take(pa.array(found // _LEVELS)) for at, each in enumerate(tags)}
        columns["level"] = pa.array((found % _LEVELS).astype(np.int32))
        columns["users"] = pa.array(users.astype(np.int64))
        columns["times"] = pa.LargeListArray.from_arrays(
            pa.array(offsets.astype(np.int64)),
            pa.array(flat.astype(np.uint32) if self.plan.has_short_times else flat),
        )
        return pa.table(columns)

    def explained(self, parts: Parts, check: Callable[[], None]) -> list[dict[str, Any]]:
        """What became of the events of the user who is explained."""
        telling = Explained(self.plan, (1 << len(self.plan.steps)) - 1)
        return telling.lines(self.chunks(check, telling.needs).of(parts_of_user(parts, self.plan.explain_user)))

    def _groups_of_attempts(self, groups: Integers, starts: Integers, levels: Integers) -> Integers:
        """The group of each attempt; ``groups``: of the rows that fill steps."""
        if self.plan.by_step > 0:
            reached = levels >= self.plan.by_step
            return np.where(reached, groups[np.where(reached, starts + self.plan.by_step - 1, starts)], NO_GROUP)
        places = np.arange(len(groups))
        if self.plan.by_step == 0:
            chosen = np.minimum.reduceat(np.where(groups != NO_GROUP, places, len(groups)), starts)
            return np.append(groups, NO_GROUP)[chosen].astype(np.int64)
        chosen = np.maximum.reduceat(np.where(groups != NO_GROUP, places, -1), starts)
        return np.append(groups, NO_GROUP)[chosen].astype(np.int64)


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """``starts[0], starts[0] + 1, …`` of each range, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
