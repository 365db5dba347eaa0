"""Flows on a shard: one pass over rows, then a kernel over each user's; the result is a table that adds up.

**Partial**: ``step`` (int32), ``from`` and ``to`` (utf8, names of events) and ``users`` (int64): how many hopped so;
step 0 is the anchor, from nowhere (``""``). The schema's metadata ``cut_short`` says how many sessions may go on beyond
the rows that were read. All of a user's events come to one scan,
so the partials of shards simply add.

Duplicates skipped are those that the filter selects. Order within a ms needs no insert_ids where the anchor has no
filter: events of one name then are as good as each other.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries.cells import CellCounts
from evenshard.queries.columns import Columns
from evenshard.queries.counting import counted
from evenshard.queries.flows_kernel import ANCHOR, NAME_SHIFT, PART, flow_hops, order_by_name
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.plan import ScanStats
from evenshard.queries.step_masks import StepMatcher, columns_of_steps
from evenshard.queries.user_chunks import follow_users
from evenshard.queries.user_rows import SESSION_GAP_MS, Choice, Coded, Int32, Matched, Needs, UserRows
from evenshard.queries.values import encoded

CUT_SHORT: Final = b"cut_short"
NAMES_MAX: Final = 100_000
"""Names of events on a shard."""


def columns_of(plan: FlowsScan) -> Columns:
    """What a scan reads."""
    fields, properties = columns_of_steps((plan.anchor,), plan.where, ())
    late = {"insert_id"} if plan.anchor.where else set()
    return Columns.of(fields | {"time", "event"}, properties, late=late, users=True)


def scan_parts(plan: FlowsScan, parts: Parts, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    """The partial and the account. ``check`` raises if nobody waits any more.

    Raises ``QUERY_INVALID`` for more names or rows than can be held.
    """
    return follow_users(_Scan(plan), np.uint64, parts, check, skip_duplicates=plan.skip_duplicates)


def nothing(plan: FlowsScan) -> pa.Table:
    """The partial of no rows."""
    return scan_parts(plan, Parts([]), lambda: None)[0]


class _Names:
    """Numbers names 0, 1, 2 … as they come."""

    def __init__(self) -> None:
        self.values: pa.Array = pa.array([], pa.utf8())
        self.ranks: Int32 = np.zeros(0, np.int32)
        """The place of each number in the order of names."""

    def number(self, names: pa.Array) -> Int32:
        """Raises ``QUERY_INVALID`` for more names than can be held."""
        names = names.cast(pa.utf8())
        fresh = pc.unique(names.filter(pc.invert(pc.is_in(names, value_set=self.values))))
        if len(fresh):
            self._add(fresh)
        numbers: Int32 = pc.index_in(names, value_set=self.values).to_numpy().astype(np.int32)
        return numbers

    def _add(self, fresh: pa.Array) -> None:
        self.values = pa.concat_arrays([self.values, fresh])
        if len(self.values) > NAMES_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {NAMES_MAX} names of events on a shard",
                hint="filter with where, or ask for fewer days",
            )
        self.ranks = np.empty(len(self.values), np.int32)
        self.ranks[pc.sort_indices(self.values).to_numpy()] = np.arange(len(self.values), dtype=np.int32)


class _Scan:
    """The state of one pass: how many users each hop has."""

    def __init__(self, plan: FlowsScan) -> None:
        self.plan = plan
        self.matcher = StepMatcher([(0, plan.anchor)], plan.where, other=int(PART))
        self.names = _Names()
        self.needs = Needs(ties="all" if plan.anchor.where else "any", opens=lambda masks: masks & ANCHOR != 0)
        self.anchors = np.array(plan.anchors_ms, np.int64)
        self.hops = CellCounts()
        self.cut_short = 0

    def choose(self, some: ScannedRows) -> Choice | Matched:
        """What each row may be, and its name; for sessions all rows are looked at."""
        choice = self.matcher.choice(some.record)
        codes, names = encoded(some.record.column("event"))
        numbers = self.names.number(names).astype(np.uint64) << NAME_SHIFT
        if isinstance(choice, Coded):
            bits = choice.bits[:-1] if self.matcher.by_name else choice.bits[:1]
            choice = Coded(codes, bits | numbers)
        else:
            choice = np.where(choice != 0, choice | numbers[codes], np.uint64(0))
        return choice if self.plan.window_ms >= 0 else Matched(choice, None)

    def follow(self, rows: UserRows) -> None:
        """Follows each user; see ``flow_hops``."""
        plan, count = self.plan, len(self.names.values)
        if not len(rows.times):
            return
        if not plan.anchor.where:
            order_by_name(rows.starts, rows.times, self.names.ranks, rows.masks)
        hops = np.empty(len(rows.times), np.int64)
        found, cut_short = flow_hops(
            rows.starts, rows.times, rows.masks, self.anchors, count, plan.steps, plan.window_ms, SESSION_GAP_MS,
            plan.backward, plan.collapse_repeats, plan.start_ms, plan.end_ms, hops,
        )  # fmt: skip
        self.cut_short += cut_short
        keys, users = counted(hops[:found])
        steps, before, to = keys // count // count, keys // count % count, keys % count
        self.hops.add((steps * NAMES_MAX + before) * NAMES_MAX + to, users)

    def partial(self) -> pa.Table:
        """What the pass found."""
        keys, users = self.hops.sums()
        steps, names = keys // NAMES_MAX // NAMES_MAX, self.names.values
        before = pc.if_else(pa.array(steps == 0), "", names.take(pa.array(keys // NAMES_MAX % NAMES_MAX)))
        columns = {
            "step": pa.array(steps.astype(np.int32)),
            "from": before,
            "to": names.take(pa.array(keys % NAMES_MAX)),
            "users": pa.array(users),
        }
        return pa.table(columns).replace_schema_metadata({CUT_SHORT: str(self.cut_short).encode()})
