"""A funnel on a shard: one pass over rows, then a kernel over each user's; the result is a table that is appended to.

**Partial**: ``by_0`` … (utf8, the tags of a group), ``level`` (int32), ``users`` (int64) and ``times``
(large_list<int64>): of ``users`` users, one after the other, the ms from step 1 to steps 2 … level. Users without an
entry are left out. The schema's metadata ``seen`` lists the names of events that occur at all. All of a user's events
are on one shard, so the partials of shards are simply put behind one another.

Duplicates skipped are those that match a step, entries and completions alike.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import names_in, parse
from evenshard.queries.funnel_kernel import best_attempts
from evenshard.queries.groups import Groups, Integers
from evenshard.queries.plan import FunnelScan, ScanStats
from evenshard.queries.steps import Step
from evenshard.queries.user_rows import Masks, UserRowGatherer, UserRows
from evenshard.queries.values import FIELD_OF_NAME, NULL_TAG, columns_holding, encoded

SEEN = b"seen"
NO_GROUP = 0
"""The number of the group whose values are all unset."""
_LEVELS = 64
"""More than there are."""
_GROUP = "group"


def columns_of(plan: FunnelScan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields and the properties a scan reads."""
    names = frozenset(plan.by)
    for where in (plan.where, *(step.where for step in plan.steps)):
        names |= names_in(parse(where)) if where else frozenset()
    fields = {"time", "distinct_id"} | {FIELD_OF_NAME[name] for name in names if name in FIELD_OF_NAME}
    if any(step.events for step in plan.steps):
        fields.add("event")
    if plan.by:
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


class _Scan:
    """The state of one pass: the rows that match, see ``UserRowGatherer``."""

    def __init__(self, plan: FunnelScan) -> None:
        self.plan = plan
        self.where = parse(plan.where) if plan.where else None
        self.step_wheres = [parse(step.where) if step.where else None for step in plan.steps]
        self.names = {name for step in plan.steps for name in step.events}
        self.seen: set[str] = set()
        self.groups = Groups(plan.by)
        if plan.by:
            self.groups.add(((NULL_TAG,) * len(plan.by),))
        every_step = (1 << len(plan.steps)) - 1
        self.group_mask = np.uint64(1 << (plan.by_step - 1) if plan.by_step > 0 else every_step)
        # Which of two rows of one ms fills a step decides the group.
        self.gatherer = UserRowGatherer(self._codes_of, "shared") if plan.by else UserRowGatherer()
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        masks = self._masks(record)
        if self.where is not None and masks.any():
            masks[~evaluate(self.where, record)] = 0
        if self.plan.skip_duplicates:
            duplicate = duplicates_of(record)
            if duplicate is not None:
                self.skipped[some.indexed] += int(np.count_nonzero(masks[duplicate]))
                masks[duplicate] = 0
        if not masks.any():
            return
        needed = ["time", "distinct_id", *(["event", "insert_id"] if self.plan.by else [])]
        needed += [name for name in columns_holding(self.plan.by, record.schema.names) if name not in needed]
        self.gatherer.add(record.select(needed), masks)

    def _codes_of(self, record: pa.RecordBatch, masks: Masks) -> dict[str, Integers]:
        """The group of each row that may group its user."""
        groups: Integers = np.full(len(masks), NO_GROUP, np.int32)
        wanted = masks & self.group_mask != 0
        shown = record.select(columns_holding(self.plan.by, record.schema.names))
        if shown.num_columns and wanted.any():
            shown = shown if wanted.all() else shown.take(pa.array(np.flatnonzero(wanted)))
            groups[wanted] = self.groups.number(shown)
        return {_GROUP: groups}

    def _masks(self, record: pa.RecordBatch) -> Masks:
        """The steps that each row matches, but for the filter of all; one bit a step."""
        codes, names = np.zeros(record.num_rows, np.int32), pa.array([""])
        if self.names:
            codes, names = encoded(record.column("event"))
            unseen = pc.is_in(names, value_set=pa.array(sorted(self.names - self.seen), names.type))
            for code in np.flatnonzero(unseen.to_numpy(zero_copy_only=False)).tolist():
                if (codes == code).any():
                    self.seen.add(names[code].as_py())
        masks = bits_of(self.plan.steps, names, [where is None for where in self.step_wheres])[codes]
        for number, where in enumerate(self.step_wheres):
            if where is not None:
                named = bits_of(self.plan.steps, names, [at == number for at in range(len(self.plan.steps))])
                if named.any():
                    masks |= np.where(evaluate(where, record), named[codes], np.uint64(0))
        return masks

    def partial(self) -> pa.Table:
        """What the pass found."""
        rows = self.gatherer.gathered()
        levels, filled = np.empty(len(rows.starts) - 1, np.int8), np.empty(len(rows.times), np.int32)
        entries = np.array(self.plan.entries_ms, np.int64)
        steps, window_ms = len(self.plan.steps), self.plan.window_ms
        total = best_attempts(rows.starts, rows.times, rows.masks, steps, window_ms, entries, levels, filled)
        return self._table(rows, levels[levels > 0].astype(np.int64), filled[:total])

    def _table(self, rows: UserRows, levels: Integers, filled: Integers) -> pa.Table:
        """``levels``: of users who entered; ``filled``: the rows of their steps."""
        ends = np.cumsum(levels)
        starts = ends - levels
        times = rows.times[filled]
        since_entry = times - np.repeat(times[starts], levels)
        groups: Integers = np.zeros_like(levels)
        if self.plan.by and len(levels):
            groups = self._groups_of_users(rows.codes[_GROUP][filled], starts, levels)
        keys = groups * _LEVELS + levels
        order = np.argsort(keys, kind="stable")
        found, users = np.unique(keys, return_counts=True)
        offsets = np.append(0, np.cumsum((found % _LEVELS - 1) * users))
        flat = since_entry[_ranges(starts[order] + 1, levels[order] - 1)]
        columns = {f"by_{at}": tags.take(pa.array(found // _LEVELS)) for at, tags in enumerate(self._tags())}
        columns["level"] = pa.array((found % _LEVELS).astype(np.int32))
        columns["users"] = pa.array(users.astype(np.int64))
        columns["times"] = pa.LargeListArray.from_arrays(pa.array(offsets.astype(np.int64)), pa.array(flat))
        return pa.table(columns).replace_schema_metadata({SEEN: orjson.dumps(sorted(self.seen))})

    def _tags(self) -> list[pa.StringArray]:
        return self.groups.tags() if self.plan.by else []

    def _groups_of_users(self, groups: Integers, starts: Integers, levels: Integers) -> Integers:
        """The group of each user; ``groups``: of the rows that fill steps."""
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


def bits_of(steps: Sequence[Step], names: pa.Array, wanted: Sequence[bool]) -> Masks:
    """For each name the steps (of those wanted) whose events it is one of; a last entry for no name."""
    bits = np.zeros(len(names) + 1, np.uint64)
    for number, step in enumerate(steps):
        if wanted[number]:
            matches = np.ones(len(bits), np.bool_)
            if step.events:
                found = pc.is_in(names, value_set=pa.array(step.events, names.type))
                matches = np.append(found.to_numpy(zero_copy_only=False), False)
            bits[matches] |= np.uint64(1 << number)
    return bits


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """``starts[0], starts[0] + 1, …`` of each range, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
