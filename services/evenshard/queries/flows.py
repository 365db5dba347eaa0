"""Flows on a shard: one pass over rows, then a kernel over each user's; the result is a table that adds up.

**Partial**: ``step`` (int32), ``from`` and ``to`` (utf8, names of events) and ``users`` (int64): how many hopped so;
step 0 is the anchor, from nowhere (``""``). The schema's metadata ``cut_short`` says how many sessions may go on beyond
the rows that were read. All of a user's events are on one shard,
so the partials of shards simply add.

Duplicates skipped are those that the filter selects. Order within a ms needs no insert_ids where the anchor has no
filter: events of one name then are as good as each other.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.counting import counted
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import parse
from evenshard.queries.flows_kernel import PART, flow_hops, order_by_name
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.groups import Integers
from evenshard.queries.plan import ScanStats
from evenshard.queries.step_masks import StepMatcher, columns_of_steps
from evenshard.queries.user_rows import SESSION_GAP_MS, Masks, UserRowGatherer
from evenshard.queries.values import encoded

CUT_SHORT: Final = b"cut_short"
NAMES_MAX: Final = 100_000
"""Names of events on a shard."""
_NAME: Final = "name"


def columns_of(plan: FlowsScan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields and the properties a scan reads."""
    fields, properties = columns_of_steps((plan.anchor,), plan.where, ())
    fields |= {"time", "distinct_id", "event"}
    if plan.anchor.where:
        fields.add("insert_id")
    return tuple(sorted(fields)), tuple(sorted(properties))


def scan_rows(plan: FlowsScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan.

    Raises ``QUERY_INVALID`` for more names or rows than can be held.
    """
    running = _Scan(plan)
    for some in rows:
        running.add(some)
    return running.partial(), running.stats()


class _Names:
    """Numbers names 0, 1, 2 … as they come."""

    def __init__(self) -> None:
        self.values: pa.Array = pa.array([], pa.utf8())

    def number(self, column: pa.Array) -> Integers:
        codes, names = encoded(column)
        names = names.cast(pa.utf8())
        fresh = pc.unique(names.filter(pc.invert(pc.is_in(names, value_set=self.values))))
        self.values = pa.concat_arrays([self.values, fresh])
        if len(self.values) > NAMES_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {NAMES_MAX} names of events on a shard",
                hint="filter with where, or ask for fewer days",
            )
        numbers: Integers = pc.index_in(names, value_set=self.values).to_numpy().astype(np.int32)[codes]
        return numbers


class _Scan:
    """The state of one pass: the rows that take part, see ``UserRowGatherer``; for sessions all."""

    def __init__(self, plan: FlowsScan) -> None:
        self.plan = plan
        self.where = parse(plan.where) if plan.where else None
        self.matcher = StepMatcher([(0, plan.anchor)])
        self.names = _Names()
        self.needed = ["time", "distinct_id", "event", *(["insert_id"] if plan.anchor.where else [])]
        self.gatherer = UserRowGatherer(self._codes_of, "all" if plan.anchor.where else "any")
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        masks = self.matcher.masks(record)
        masks |= PART
        if self.where is not None:
            masks[~evaluate(self.where, record)] = 0
        kept = masks != 0 if self.plan.window_ms >= 0 else np.ones(record.num_rows, np.bool_)
        if self.plan.skip_duplicates:
            duplicate = duplicates_of(record)
            if duplicate is not None:
                self.skipped[some.indexed] += int(np.count_nonzero(masks[duplicate]))
                kept[duplicate] = False
        if kept.any():
            self.gatherer.add(record.select(self.needed), masks, kept)

    def _codes_of(self, record: pa.RecordBatch, masks: Masks) -> dict[str, Integers]:
        return {_NAME: self.names.number(record.column("event"))}

    def partial(self) -> pa.Table:
        """What the pass found."""
        plan, rows = self.plan, self.gatherer.gathered()
        order = pc.sort_indices(self.names.values)
        count = max(1, len(order))
        ranks = np.empty(count, np.int32)
        ranks[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        names, masks = ranks[rows.codes.get(_NAME, np.zeros(0, np.int32))], rows.masks
        if not plan.anchor.where:
            order_by_name(rows.starts, rows.times, names, masks)
        hops = np.empty(len(rows.times), np.int64)
        found, cut_short = flow_hops(
            rows.starts, rows.times, names, masks, np.array(plan.anchors_ms, np.int64), count, plan.steps,
            plan.window_ms, SESSION_GAP_MS, plan.backward, plan.collapse_repeats, plan.start_ms, plan.end_ms, hops,
        )  # fmt: skip
        keys, users = counted(hops[:found])
        steps, shown = keys // count // count, self.names.values.take(order)
        before = pc.if_else(pa.array(steps == 0), "", shown.take(pa.array(keys // count % count)))
        columns = {
            "step": pa.array(steps.astype(np.int32)),
            "from": before,
            "to": shown.take(pa.array(keys % count)),
            "users": pa.array(users),
        }
        return pa.table(columns).replace_schema_metadata({CUT_SHORT: str(cut_short).encode()})

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)
