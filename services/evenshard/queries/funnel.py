"""A funnel on a shard: one pass over rows, then a kernel over each user's; the result is a table that is appended to.

**Partial**: ``by_0`` … (utf8, the tags of a group), ``level`` (int32), ``users`` (int64) and ``times``
(large_list<int64>): of ``users`` attempts that count, one after the other, the ms from step 1 to steps 2 … level. Users
without an entry are left out. The schema's metadata ``explained`` lists what became of the events of the user who is
explained. All of a user's events are on one shard, so the partials of shards are simply put behind one another.

Duplicates skipped are those that match a step or an exclusion, entries and completions alike.
"""

from collections.abc import Iterable

import numpy as np
import orjson
import pyarrow as pa

from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import names_in, parse
from evenshard.queries.funnel_attempts import Attempts, attempts_that_count
from evenshard.queries.funnel_explain import Explained
from evenshard.queries.funnel_holds import held_values, hold_codes
from evenshard.queries.funnel_moment import EXCLUSION_BIT
from evenshard.queries.groups import Groups, Integers
from evenshard.queries.plan import FunnelScan, ScanStats
from evenshard.queries.step_masks import StepMatcher
from evenshard.queries.steps import Step
from evenshard.queries.user_rows import Masks, UserRowGatherer, UserRows
from evenshard.queries.values import FIELD_OF_NAME, NULL_TAG, columns_holding

EXPLAINED = b"explained"
NO_GROUP = 0
"""The number of the group whose values are all unset."""
_LEVELS = 64
"""More than there are."""
_GROUP = "group"


def columns_of(plan: FunnelScan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields and the properties a scan reads."""
    names = frozenset((*plan.by, *plan.hold))
    chosen = [step for _, step in _selectors(plan)]
    for where in (plan.where, *(step.where for step in chosen)):
        names |= names_in(parse(where)) if where else frozenset()
    fields = {"time", "distinct_id"} | {FIELD_OF_NAME[name] for name in names if name in FIELD_OF_NAME}
    if any(step.events for step in chosen):
        fields.add("event")
    if not plan.is_plain:
        fields |= {"event", "insert_id"}
    return tuple(sorted(fields)), tuple(sorted(name for name in names if name not in FIELD_OF_NAME))


def scan_rows(plan: FunnelScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan.

    Raises ``QUERY_INVALID`` for more groups or rows than can be held.
    """
    running = _Scan(plan)
    for some in rows:
        running.add(some)
    return running.partial(), running.stats()


def users_reaching(plan: FunnelScan, step: int, rows: Iterable[ScannedRows]) -> tuple[pa.Array, ScanStats]:
    """Goes once through ``rows``: the distinct_ids of users with an attempt that counts and reached ``step``."""
    running = _Scan(plan)
    for some in rows:
        running.add(some)
    gathered = running.gatherer.gathered()
    attempts = attempts_that_count(plan, gathered, hold_codes(plan, gathered))
    entries = attempts.filled[attempts.starts[attempts.levels >= step]]
    users = np.unique(np.searchsorted(gathered.starts, entries, "right") - 1)
    return gathered.ids.take(pa.array(users)), running.stats()


def _selectors(plan: FunnelScan) -> list[tuple[int, Step]]:
    """Steps and exclusions with their bits in a mask."""
    steps = list(enumerate(plan.steps))
    return steps + [(EXCLUSION_BIT + number, each.step) for number, each in enumerate(plan.exclusions)]


class _Scan:
    """The state of one pass: the rows that take part, see ``UserRowGatherer``."""

    def __init__(self, plan: FunnelScan) -> None:
        self.plan = plan
        self.where = parse(plan.where) if plan.where else None
        self.matcher = StepMatcher(_selectors(plan))
        """Of steps and exclusions."""
        self.groups = Groups(plan.by)
        if plan.by:
            self.groups.add(((NULL_TAG,) * len(plan.by),))
        steps_mask = (1 << len(plan.steps)) - 1
        one_step = plan.by_step > 0 and plan.order != "any"
        self.group_mask = np.uint64(1 << (plan.by_step - 1) if one_step else steps_mask)
        self.needed = ["time", "distinct_id"]
        self.gatherer = UserRowGatherer(sessions=plan.count_mode == "session")
        if not plan.is_plain:
            self.needed += ["event", "insert_id"]
            self.gatherer = UserRowGatherer(
                self._codes_of, "shared", rank_mask=steps_mask, sessions=plan.count_mode == "session"
            )
        self.explained = Explained(plan, steps_mask) if plan.explain_user else None
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        masks = self.matcher.masks(record)
        alive = np.ones(record.num_rows, np.bool_)
        if self.plan.skip_duplicates:
            duplicate = duplicates_of(record)
            alive = alive if duplicate is None else ~duplicate
        kept = alive
        if self.where is not None and (masks.any() or self.plan.order == "strict"):
            passes = evaluate(self.where, record)
            masks[~passes] = 0
            kept = alive & passes
        self.skipped[some.indexed] += int(np.count_nonzero(masks[~alive]))
        masks[~alive] = 0
        if self.plan.order != "strict":
            kept = masks != 0
        if self.explained is not None:
            self.explained.add(record, masks, kept, alive)
        if not (alive if self.gatherer.sessions else kept).any():
            return
        looked_at = columns_holding((*self.plan.by, *self.plan.hold), record.schema.names)
        self.gatherer.add(record.select(list(dict.fromkeys((*self.needed, *looked_at)))), masks, kept, alive)

    def _codes_of(self, record: pa.RecordBatch, masks: Masks) -> dict[str, Integers | pa.Array]:
        """The group of each row that may group its user, and what it holds."""
        codes: dict[str, Integers | pa.Array] = held_values(record, self.plan.hold)
        if self.plan.by:
            groups: Integers = np.full(len(masks), NO_GROUP, np.int32)
            wanted = masks & self.group_mask != 0
            shown = record.select(columns_holding(self.plan.by, record.schema.names))
            if shown.num_columns and wanted.any():
                shown = shown if wanted.all() else shown.take(pa.array(np.flatnonzero(wanted)))
                groups[wanted] = self.groups.number(shown)
            codes[_GROUP] = groups
        return codes

    def partial(self) -> pa.Table:
        """What the pass found."""
        rows = self.gatherer.gathered()
        attempts = attempts_that_count(self.plan, rows, hold_codes(self.plan, rows))
        table = self._table(rows, attempts)
        if self.explained is not None:
            table = table.replace_schema_metadata({EXPLAINED: orjson.dumps(self.explained.lines())})
        return table

    def _table(self, rows: UserRows, attempts: Attempts) -> pa.Table:
        levels, filled, starts = attempts.levels, attempts.filled, attempts.starts
        times = rows.times[filled]
        since_entry = times - np.repeat(times[starts], levels)
        groups: Integers = np.zeros_like(levels)
        if self.plan.by and len(levels):
            groups = self._groups_of_attempts(rows.codes[_GROUP][filled], starts, levels)
        keys = groups * _LEVELS + levels
        order = np.argsort(keys, kind="stable")
        found, users = np.unique(keys, return_counts=True)
        offsets = np.append(0, np.cumsum((found % _LEVELS - 1) * users))
        flat = since_entry[_ranges(starts[order] + 1, levels[order] - 1)]
        columns = {f"by_{at}": tags.take(pa.array(found // _LEVELS)) for at, tags in enumerate(self._tags())}
        columns["level"] = pa.array((found % _LEVELS).astype(np.int32))
        columns["users"] = pa.array(users.astype(np.int64))
        columns["times"] = pa.LargeListArray.from_arrays(pa.array(offsets.astype(np.int64)), pa.array(flat))
        return pa.table(columns)

    def _tags(self) -> list[pa.StringArray]:
        return self.groups.tags() if self.plan.by else []

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

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """``starts[0], starts[0] + 1, …`` of each range, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
